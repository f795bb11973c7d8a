//! Who is writing to a database that several processes share.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::platform;

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
        let file = self.open(OpenOptions::new().create(true).truncate(false).write(true));
        if let Ok(mut file) = file {
            // Always of the same length, so that one note replaces another.
            let _ = file.write_all(format!("{:<LENGTH$}\n", std::process::id()).as_bytes());
        }
    }

    /// The number of the process that began to write last, if it is known.
    pub fn pid(&self) -> Option<u32> {
        let mut text = String::new();
        self.open(OpenOptions::new().read(true)).ok()?.take(2 * LENGTH as u64).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Opens the note if it is an ordinary file. A folder may come from somebody else: a link in it must not lead us to
    /// write into a file elsewhere, and a pipe must not keep us.
    fn open(&self, options: &mut OpenOptions) -> io::Result<fs::File> {
        let is_plain = |metadata: fs::Metadata| metadata.is_file();
        if !fs::symlink_metadata(&self.note).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, is_plain) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        platform::itself(options);
        let file = options.open(&self.note)?;
        if file.metadata().is_ok_and(is_plain) { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// Digits of the longest process number.
const LENGTH: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_write_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let holder = Holder::beside(&folder.path().join("rows.db"));
        assert_eq!(holder.pid(), None);
        holder.is_this_process();
        holder.is_this_process();
        assert_eq!(holder.pid(), Some(std::process::id()));
        assert_eq!(fs::read(folder.path().join("rows.writer")).unwrap().len(), LENGTH + 1);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link_and_a_pipe_keeps_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (note, other) = (folder.path().join("rows.writer"), folder.path().join("precious"));
        fs::write(&other, "4711").unwrap();
        std::os::unix::fs::symlink(&other, &note).unwrap();
        let holder = Holder::beside(&folder.path().join("rows.db"));
        holder.is_this_process();
        assert_eq!(holder.pid(), None);
        assert_eq!(fs::read_to_string(&other).unwrap(), "4711");
        fs::remove_file(&note).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&note).status().unwrap().success());
        holder.is_this_process();
        assert_eq!(holder.pid(), None);
    }
}
