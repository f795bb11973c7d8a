//! What differs between operating systems. The only module that may assume one.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{FileKind, FileStatus, Identity};

pub(crate) fn kind(file_type: fs::FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Dir
    } else if file_type.is_symlink() {
        FileKind::Link
    } else {
        FileKind::Other
    }
}

pub(crate) fn status(metadata: &fs::Metadata) -> FileStatus {
    FileStatus {
        kind: kind(metadata.file_type()),
        len: metadata.len(),
        modified_ns: metadata.modified().map_or(0, nanoseconds),
        identity: identity(metadata),
    }
}

fn nanoseconds(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

pub(crate) fn system_time(ns: i128) -> SystemTime {
    let magnitude = ns.unsigned_abs();
    let duration = Duration::new(
        u64::try_from(magnitude / 1_000_000_000).unwrap_or(u64::MAX / 4),
        u32::try_from(magnitude % 1_000_000_000).expect("a remainder of a billion fits"),
    );
    let moved = if ns < 0 { UNIX_EPOCH.checked_sub(duration) } else { UNIX_EPOCH.checked_add(duration) };
    moved.unwrap_or(UNIX_EPOCH)
}

#[cfg(unix)]
mod imp {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};

    pub(crate) fn identity(metadata: &fs::Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed_ns: i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()),
        }
    }

    /// A link that leads back to itself leads nowhere. The standard library has no stable name for that.
    pub(crate) fn leads_nowhere(error: io::Error) -> io::Error {
        const ELOOP: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 40 } else { 62 };
        if error.raw_os_error() == Some(ELOOP) { io::Error::new(io::ErrorKind::NotFound, error) } else { error }
    }

    pub(crate) fn only_owner(options: &mut fs::OpenOptions) {
        options.mode(0o600);
    }

    /// Opens what has this very name, whatever it is, and waits for nobody: a link fails, a pipe does not hang.
    pub(crate) fn itself(options: &mut fs::OpenOptions) {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }

    /// Tells a living process from another that has its number later; `None` if there is none of that number.
    pub(crate) fn process_mark(pid: u32) -> Option<u64> {
        let number = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
        match rustix::process::test_kill_process(number) {
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(_) => return None,
        }
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return Some(0);
        }
        // The 22nd field: when it began. The 2nd, its name, may have spaces and parentheses itself (proc(5)).
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, after_name) = status.rsplit_once(')')?;
        after_name.split_whitespace().nth(19)?.parse().ok()
    }

    /// Whether it has no other name.
    pub(crate) fn has_one_name(metadata: &fs::Metadata) -> bool {
        metadata.nlink() == 1
    }

    pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    pub(crate) fn read_at(file: &fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        file.read_at(buffer, offset)
    }

    pub(crate) fn write_all_at(file: &fs::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
}

#[cfg(not(unix))]
mod imp {
    use super::*;
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

    pub(crate) fn identity(_: &fs::Metadata) -> Identity {
        Identity::default()
    }

    pub(crate) fn leads_nowhere(error: io::Error) -> io::Error {
        error
    }

    pub(crate) fn only_owner(_: &mut fs::OpenOptions) {}

    /// Nothing to ask for: whoever opens looks at the name first.
    pub(crate) fn itself(_: &mut fs::OpenOptions) {}

    pub(crate) fn process_mark(_: u32) -> Option<u64> {
        Some(0)
    }

    pub(crate) fn has_one_name(_: &fs::Metadata) -> bool {
        true
    }

    pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    /// NTFS journals names by itself and offers no call to hurry it.
    pub(crate) fn sync_dir(_: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn read_at(mut file: &fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        file.seek(SeekFrom::Start(offset))?;
        file.read(buffer)
    }

    pub(crate) fn write_all_at(mut file: &fs::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
}

pub(crate) use imp::{
    create_dir_all, has_one_name, identity, itself, leads_nowhere, only_owner, process_mark, read_at, sync_dir,
    write_all_at,
};
