//! Zip archives whose every byte is known before the first one is sent.
//!
//! A bundle goes up in parts, and a part that was lost is sent again, perhaps by another process next week. Nobody
//! keeps the archive for that. Its [`Layout`] is made of the names, lengths and checksums of its *entries* alone, and
//! tells of any range which *pieces* it consists of: bytes of the format itself, and bytes of the entries' sources,
//! which are read where they lie. Equal entries make equal archives, on every machine, on every day and in whatever
//! order they are given.
//!
//! So an archive tells nothing but its entries. They lie in the order of their names' bytes, each with its header
//! before it, either as they are or as they were deflated beforehand into a file; lengths and checksums stand in the
//! headers, so that nothing follows a content. Every entry is a plain file with the earliest date that the format has.
//! Where a number does not fit into its field, and only there, the wide fields of Zip64 hold it.
//!
//! The format is that of PKWARE's APPNOTE 6.3.10, <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

mod record;

#[cfg(test)]
mod peers;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

/// Where each byte of an archive comes from.
#[derive(Debug)]
pub(crate) struct Layout {
    /// In the order of their names' bytes.
    places: Vec<Place>,
    /// Where the central directory starts.
    directory: u64,
    /// What follows the central directory.
    end: Bytes,
    size: u64,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path in the archive, with `/` between folders.
    pub(crate) name: String,
    /// Bytes of the file when it is unpacked.
    pub(crate) size: u64,
    /// Bytes it has in the archive.
    pub(crate) stored: u64,
    /// CRC-32 (ISO-HDLC) of the file when it is unpacked.
    pub(crate) crc32: u32,
    /// What its bytes in the archive are.
    pub(crate) method: Method,
}

/// What the bytes of an entry are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// The file itself.
    Stored,
    /// A raw stream of DEFLATE, RFC 1951.
    Deflated,
}

/// A stretch of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These bytes; never empty.
    Bytes(Bytes),
    /// Bytes of a source.
    Source {
        /// Of which entry, as its place in the list that the layout was made of.
        entry: usize,
        /// Where they start in what the archive stores of the entry.
        offset: u64,
        /// How many they are, at least one.
        length: u64,
    },
}

/// Why no archive can be made of these entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ZipError {
    /// The name is not that of a file below the folder into which the archive is unpacked.
    #[error("`{name}` cannot be the name of a file in an archive: {why}; give it another one")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two entries have this name.
    #[error("two files of an archive would be called `{0}`; give one of them another name")]
    Twice(String),
    /// Another entry lies in a folder of this name.
    #[error("`{0}` would be both a file and a folder of an archive; give the file another name")]
    FileAndFolder(String),
    /// The lengths of this entry contradict each other.
    #[error("`{0}` cannot have these lengths in an archive; measure the file again")]
    Lengths(String),
    /// An offset would not fit into 64 bits.
    #[error("these files are too large for one archive; leave some of them out")]
    TooLarge,
}

impl Layout {
    /// Lays out an archive. Of 100,000 entries it keeps about what their names take and 100 bytes each.
    ///
    /// # Errors
    /// [`ZipError`] says which entry must be changed, or left out.
    pub(crate) fn new(entries: Vec<Entry>) -> Result<Self, ZipError> {
        entries.iter().try_for_each(check)?;
        let places = entries.into_iter().enumerate();
        let mut places: Vec<_> =
            places.map(|(given, entry)| Place { entry, given, header: 0, content: 0, record: 0 }).collect();
        places.sort_unstable_by(|one, other| one.entry.name.cmp(&other.entry.name));
        check_apart(&places)?;

        let mut at = Offset(0);
        for place in &mut places {
            place.header = at.0;
            place.content = at.pass(place.header_bytes().len() as u64)?;
            at.pass(place.entry.stored)?;
        }
        let directory = at.0;
        for place in &mut places {
            place.record = at.0;
            at.pass(place.record_bytes().len() as u64)?;
        }
        let end = Bytes::from(record::end(places.len() as u64, directory..at.0));
        let size = at.pass(end.len() as u64)?;
        Ok(Self { places, directory, end, size })
    }

    /// Bytes of the archive.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// What the archive has in that range, in order and without a gap; nothing beyond its end. The first piece is found
    /// in a time that grows with the logarithm of the number of entries, and each is made when it is asked for.
    pub(crate) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Piece> {
        Pieces { layout: self, at: range.start, end: range.end.min(self.size) }
    }

    /// What lies at an offset below the size.
    fn stretch_at(&self, offset: u64) -> Stretch<'_> {
        // The first entry's header and record start where those of all do, so one is always found.
        let last = |starts_by: fn(&Place, u64) -> bool| {
            &self.places[self.places.partition_point(|place| starts_by(place, offset)) - 1]
        };
        if offset < self.directory {
            let place = last(|place, offset| place.header <= offset);
            if offset < place.content { Stretch::Header(place) } else { Stretch::Content(place) }
        } else if offset < self.size - self.end.len() as u64 {
            Stretch::Record(last(|place, offset| place.record <= offset))
        } else {
            Stretch::End
        }
    }
}

/// An entry and where it lies.
#[derive(Debug)]
struct Place {
    entry: Entry,
    /// Its place in the list that the layout was made of.
    given: usize,
    /// Where its header starts.
    header: u64,
    /// Where its content starts.
    content: u64,
    /// Where its record in the central directory starts.
    record: u64,
}

impl Place {
    fn header_bytes(&self) -> Vec<u8> {
        record::header(&self.entry)
    }

    fn record_bytes(&self) -> Vec<u8> {
        record::directory(&self.entry, self.header)
    }
}

/// What an archive consists of.
enum Stretch<'a> {
    Header(&'a Place),
    Content(&'a Place),
    Record(&'a Place),
    End,
}

struct Pieces<'a> {
    layout: &'a Layout,
    at: u64,
    end: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let mut gathered = Vec::new();
        while self.at < self.end && gathered.len() < GATHERED_BYTES {
            let (start, bytes) = match self.layout.stretch_at(self.at) {
                Stretch::Content(_) if !gathered.is_empty() => break,
                Stretch::Content(place) => return Some(self.source(place)),
                Stretch::Header(place) => (place.header, place.header_bytes()),
                Stretch::Record(place) => (place.record, place.record_bytes()),
                Stretch::End => (self.layout.size - self.layout.end.len() as u64, self.layout.end.to_vec()),
            };
            let wanted = (self.at - start) as usize..(bytes.len() as u64).min(self.end - start) as usize;
            self.at += wanted.len() as u64;
            gathered.extend_from_slice(&bytes[wanted]);
        }
        (!gathered.is_empty()).then(|| Piece::Bytes(gathered.into()))
    }
}

impl Pieces<'_> {
    fn source(&mut self, place: &Place) -> Piece {
        let offset = self.at - place.content;
        let length = (place.entry.stored - offset).min(self.end - self.at);
        self.at += length;
        Piece::Source { entry: place.given, offset, length }
    }
}

fn check(entry: &Entry) -> Result<(), ZipError> {
    if let Some(why) = fault(&entry.name) {
        return Err(ZipError::Name { name: entry.name.clone(), why });
    }
    let fits = match entry.method {
        Method::Stored => entry.stored == entry.size,
        // The end of a stream alone has two bytes.
        Method::Deflated => entry.stored >= 2,
    };
    if fits { Ok(()) } else { Err(ZipError::Lengths(entry.name.clone())) }
}

/// What is wrong with a name.
fn fault(name: &str) -> Option<&'static str> {
    let drive = matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    match name {
        "" => Some("it is empty"),
        _ if name.starts_with('/') || drive => Some("it is absolute"),
        _ if name.contains('\\') => Some("it has a backslash, which some systems take for the end of a folder's name"),
        _ if name.contains('\0') => Some("it has a zero byte"),
        _ if name.split('/').any(|segment| segment == "..") => Some("it leads out of its folder"),
        _ if name.split('/').any(|segment| matches!(segment, "" | ".")) => Some("one of its parts is empty or a dot"),
        _ if name.len() > NAME_BYTES_MAX => Some("it is too long"),
        _ => None,
    }
}

/// No two of these sorted entries claim one path.
fn check_apart(places: &[Place]) -> Result<(), ZipError> {
    if let Some(pair) = places.windows(2).find(|pair| pair[0].entry.name == pair[1].entry.name) {
        return Err(ZipError::Twice(pair[0].entry.name.clone()));
    }
    let is_file = |name: &str| places.binary_search_by(|place| place.entry.name.as_str().cmp(name)).is_ok();
    for place in places {
        let mut folders = place.entry.name.match_indices('/').map(|(end, _)| &place.entry.name[..end]);
        if let Some(folder) = folders.find(|folder| is_file(folder)) {
            return Err(ZipError::FileAndFolder(folder.to_owned()));
        }
    }
    Ok(())
}

/// How far a layout has come.
struct Offset(u64);

impl Offset {
    /// Goes on by so many bytes, and says where that is.
    fn pass(&mut self, bytes: u64) -> Result<u64, ZipError> {
        self.0 = self.0.checked_add(bytes).ok_or(ZipError::TooLarge)?;
        Ok(self.0)
    }
}

/// Headers and records that follow each other are handed out together from here on.
const GATHERED_BYTES: usize = 64 << 10;
/// The longest path that both Linux and the usual tools can unpack.
const NAME_BYTES_MAX: usize = 4095;
