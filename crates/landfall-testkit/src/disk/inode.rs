//! A file or a folder, apart from its names: what processes see of it, and what is on the platter.

use std::io;

use landfall_env::FileKind;

use super::{content::Content, fingerprint::Shape, names::Names};

/// A file or a folder.
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) modified_ns: i128,
    pub(super) changed_ns: i128,
    pub(super) durable_modified_ns: i128,
    /// Names it has now.
    pub(super) links: u32,
    pub(super) shape: Shape,
}

pub(super) enum Body {
    File(Content),
    Dir(Names),
}

impl Inode {
    pub(super) fn new(body: Body, now_ns: i128) -> Self {
        Self {
            body,
            modified_ns: now_ns,
            changed_ns: now_ns,
            durable_modified_ns: now_ns,
            links: 0,
            shape: Shape::Plain,
        }
    }

    pub(super) fn sync(&mut self) {
        if let Body::File(content) = &mut self.body {
            content.sync();
            self.durable_modified_ns = self.modified_ns;
        }
    }

    pub(super) fn names_mut(&mut self) -> Option<&mut Names> {
        match &mut self.body {
            Body::Dir(names) => Some(names),
            Body::File(_) => None,
        }
    }

    pub(super) fn names(&self) -> io::Result<&Names> {
        match &self.body {
            Body::Dir(names) => Ok(names),
            Body::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn content(&self) -> io::Result<&Content> {
        match &self.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn content_mut(&mut self) -> io::Result<&mut Content> {
        match &mut self.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn kind(&self) -> FileKind {
        match self.body {
            Body::File(_) => FileKind::File,
            Body::Dir(_) => FileKind::Dir,
        }
    }

    pub(super) fn len(&self) -> u64 {
        match &self.body {
            Body::File(content) => content.len(),
            Body::Dir(_) => 0,
        }
    }
}
