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
            let pid = std::process::id();
            let mark = platform::process_mark(pid).unwrap_or(0);
            // Always of the same length, so that one note replaces another.
            let _ = file.write_all(format!("{pid:<10} {mark:<20}\n").as_bytes());
        }
    }

    /// The number of the process that began to write last, if it is known, lives, and is another than this one.
    pub fn pid(&self) -> Option<u32> {
        let mut text = String::new();
        self.open(OpenOptions::new().read(true)).ok()?.take(LENGTH).read_to_string(&mut text).ok()?;
        let (pid, mark) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok().filter(|pid| *pid != std::process::id())?;
        (platform::process_mark(pid)? == mark.trim().parse().ok()?).then_some(pid)
    }

    /// Opens the note if it is one of ours by its looks. A folder may come from somebody else: a link in it must not lead
    /// us to write into another file, and a pipe must not keep us.
    fn open(&self, options: &mut OpenOptions) -> io::Result<fs::File> {
        let is_plain = |metadata: fs::Metadata| {
            metadata.is_file() && metadata.len() <= LENGTH && platform::has_one_name(&metadata)
        };
        if !fs::symlink_metadata(&self.note).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, is_plain) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        platform::itself(options);
        let file = options.open(&self.note)?;
        if file.metadata().is_ok_and(is_plain) { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// Of a note, in bytes.
const LENGTH: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn another_that_lives_is_named_and_no_other_that_has_its_number_later() {
        let folder = tempfile::tempdir().unwrap();
        let (note, holder) = (folder.path().join("rows.writer"), Holder::beside(&folder.path().join("rows.db")));
        assert_eq!(holder.pid(), None);
        holder.is_this_process();
        holder.is_this_process();
        assert_eq!(fs::read(&note).unwrap().len() as u64, LENGTH);
        assert_eq!(holder.pid(), None, "nobody waits for itself");
        let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let mark = platform::process_mark(other.id()).unwrap();
        fs::write(&note, format!("{:<10} {:<20}\n", other.id(), mark)).unwrap();
        assert_eq!(holder.pid(), Some(other.id()));
        if mark > 0 {
            fs::write(&note, format!("{:<10} {:<20}\n", other.id(), mark + 1)).unwrap();
            assert_eq!(holder.pid(), None);
        }
        other.kill().unwrap();
        other.wait().unwrap();
        fs::write(&note, format!("{:<10} {:<20}\n", other.id(), mark)).unwrap();
        assert_eq!(holder.pid(), None);
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
        fs::hard_link(&other, &note).unwrap();
        holder.is_this_process();
        assert_eq!(fs::read_to_string(&other).unwrap(), "4711");
        fs::remove_file(&note).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&note).status().unwrap().success());
        holder.is_this_process();
        assert_eq!(holder.pid(), None);
    }
}
