//! Who is writing to a database that several processes share.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

/// A note beside a database that says which process began to write to it last, so that one which has to wait can say for
/// whom. A hint: nothing is decided by it, and what goes wrong with it is of no matter.
#[derive(Debug)]
pub struct Holder {
    note: PathBuf,
}

impl Holder {
    /// The note beside `database`: its name with the ending `writer`.
    pub fn beside(database: &Path) -> Self {
        Self { note: database.with_extension("writer") }
    }

    /// This process begins to write.
    pub fn is_this_process(&self) {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.note);
        if let Ok(mut file) = file {
            // Always of the same length, so that one note replaces another.
            let _ = file.write_all(format!("{:<10}\n", std::process::id()).as_bytes());
        }
    }

    /// The number of the process that began to write last, if it is known.
    pub fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(&self.note).ok()?.trim().parse().ok()
    }
}
