//! The boxes of ISO base media files, which QuickTime calls atoms: a length, a name of four letters, a body that may
//! hold further ones.

use crate::source::{Fault, Source};

/// One atom: its name and where its body begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Atom {
    pub(crate) name: [u8; 4],
    pub(crate) body: u64,
    pub(crate) end: u64,
}

impl Atom {
    /// The whole file, as if it were the body of an atom.
    pub(crate) fn file(source: &Source<'_>) -> Self {
        Self { name: *b"file", body: 0, end: source.length() }
    }

    /// The same atom without the first bytes of its body.
    pub(crate) fn skip(self, bytes: u64) -> Self {
        Self { body: self.body.saturating_add(bytes).min(self.end), ..self }
    }

    /// The first child of this name. Nothing behind it is read.
    pub(crate) fn child(self, source: &mut Source<'_>, name: &[u8; 4]) -> Result<Option<Self>, Fault> {
        let mut at = self.body;
        while let Some(atom) = self.atom_at(source, at)? {
            if atom.name == *name {
                return Ok(Some(atom));
            }
            at = atom.end;
        }
        Ok(None)
    }

    /// The first descendant along a path of names.
    pub(crate) fn descendant(self, source: &mut Source<'_>, path: &[&[u8; 4]]) -> Result<Option<Self>, Fault> {
        let mut atom = self;
        for name in path {
            match atom.child(source, name)? {
                Some(child) => atom = child,
                None => return Ok(None),
            }
        }
        Ok(Some(atom))
    }

    /// All children, in order; no more than a sensible writer makes.
    pub(crate) fn children(self, source: &mut Source<'_>) -> Result<Vec<Self>, Fault> {
        let mut children = Vec::new();
        let mut at = self.body;
        while children.len() < CHILDREN_MAX
            && let Some(atom) = self.atom_at(source, at)?
        {
            children.push(atom);
            at = atom.end;
        }
        Ok(children)
    }

    /// The child that begins here. Fewer than eight bytes are padding; a length of zero means the rest.
    fn atom_at(self, source: &mut Source<'_>, at: u64) -> Result<Option<Self>, Fault> {
        if at.saturating_add(8) > self.end {
            return Ok(None);
        }
        let [length @ .., a, b, c, d] = source.array::<8>(at)?;
        let (length, header) = match u32::from_be_bytes(length) {
            0 => (self.end - at, 8),
            1 => (source.be64(at + 8)?, 16),
            length => (length.into(), 8),
        };
        if length < header {
            return Err(Fault::Malformed("an atom is shorter than its own header"));
        }
        // A file cut short ends inside its last atom; what is there can still be read.
        let end = at.saturating_add(length).min(self.end);
        Ok(Some(Self { name: [a, b, c, d], body: (at + header).min(end), end }))
    }
}

const CHILDREN_MAX: usize = 1000;
