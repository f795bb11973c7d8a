//! An XML answer as a small tree.
//!
//! Of XML only what S3 answers with is understood: elements, texts, and the entities that every document has. Length,
//! depth and number of elements are bounded, so that no answer takes much memory or time.

use quick_xml::{Reader, escape::resolve_predefined_entity, events::Event};

/// An element with what is in it. Attributes and the prefixes of names are left out.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Its name.
    pub(super) name: String,
    text: String,
    children: Vec<Element>,
}

/// The longest answer that is read, in bytes. A page of 1000 parts with their checksums has a quarter of it.
pub(super) const BYTES_MAX: usize = 2 << 20;
const DEPTH_MAX: usize = 8;
const ELEMENTS_MAX: usize = 50_000;

impl Element {
    /// The root element of a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(document: &[u8]) -> Result<Self, &'static str> {
        if document.len() > BYTES_MAX {
            return Err("it is too long");
        }
        let text = std::str::from_utf8(document).map_err(|_| "it is not UTF-8")?;
        // Stores send white space to keep a connection open while they work, even before the XML declaration.
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim());
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        let mut elements = 0;
        loop {
            let event = reader.read_event().map_err(|_| "it is not XML")?;
            let is_empty = matches!(event, Event::Empty(_));
            match event {
                Event::Start(tag) | Event::Empty(tag) => {
                    elements += 1;
                    if root.is_some() || elements > ELEMENTS_MAX || open.len() >= DEPTH_MAX {
                        return Err("its XML has too many elements, or too deep ones");
                    }
                    open.push(Self { name: tag.local_name().into_inner().to_owned(), ..Self::default() });
                    if is_empty {
                        close(&mut open, &mut root)?;
                    }
                }
                Event::End(_) => close(&mut open, &mut root)?,
                Event::Text(text) => push(&mut open, &text.xml10_content())?,
                Event::CData(text) => push(&mut open, &text.xml10_content())?,
                Event::GeneralRef(entity) => match entity.resolve_char_ref() {
                    Ok(Some(char)) => push(&mut open, char.encode_utf8(&mut [0; 4]))?,
                    Ok(None) => {
                        let text = resolve_predefined_entity(&entity).ok_or("its XML names an unknown entity")?;
                        push(&mut open, text)?;
                    }
                    Err(_) => return Err("its XML has a character that is none"),
                },
                Event::DocType(_) => return Err("its XML brings a grammar of its own"),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => break,
            }
        }
        if !open.is_empty() {
            return Err("its XML ends too soon");
        }
        root.ok_or("it is empty")
    }

    /// The text of the child of that name, if there is one.
    ///
    /// # Errors
    /// There are several.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, &'static str> {
        let mut children = self.all(name);
        let child = children.next();
        if children.next().is_some() {
            return Err("it says something twice");
        }
        Ok(child.map(|child| child.text.as_str()))
    }

    /// All children of that name.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn push(open: &mut [Element], text: &str) -> Result<(), &'static str> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("it is not XML"),
    }
    Ok(())
}

fn close(open: &mut Vec<Element>, root: &mut Option<Element>) -> Result<(), &'static str> {
    let element = open.pop().ok_or("it is not XML")?;
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_with_their_entities_and_without_prefixes() {
        let document = " \n<?xml version=\"1.0\"?>\r\n<s3:A xmlns:s3='x'><!-- c --><s3:B>&lt;a&#32;&amp;&quot;\r\n&#13;</s3:B><C/>\
            <D><![CDATA[<x>&lt;]]></D></s3:A>\n";
        let root = Element::read(document.as_bytes()).unwrap();
        assert_eq!(root.name, "A");
        assert_eq!(root.text("B"), Ok(Some("<a &\"\n\r")));
        assert_eq!(root.text("C"), Ok(Some("")));
        assert_eq!(root.text("D"), Ok(Some("<x>&lt;")));
        assert_eq!(root.text("E"), Ok(None));
        assert!(Element::read("\u{feff}<A><B/><B/></A>".as_bytes()).unwrap().text("B").is_err());
    }

    #[test]
    fn what_is_not_such_a_document_is_refused() {
        let deep = "<a>".repeat(9) + &"</a>".repeat(9);
        let wide = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS_MAX));
        let long = format!("<a>{}</a>", " ".repeat(BYTES_MAX));
        for document in [
            "",
            "text",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>text",
            "<a>&no;</a>",
            "<a>&#0;</a>",
            "<a>&#x110000;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "{\"a\":1}",
            "<a>&</a>",
            "<a",
            "<>",
            &deep,
            &wide,
            &long,
        ] {
            assert!(Element::read(document.as_bytes()).is_err(), "{:.40}", document);
        }
        assert!(Element::read(b"<a>\xff</a>").is_err());
    }
}
