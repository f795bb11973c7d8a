//! The real file system keeps the promises of `Files`.

use landfall_env::{FileKind, Files, RealFiles};

#[test]
fn a_file_reads_back_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut file = RealFiles.create_new(&path).unwrap();
    file.append(b"hello ").unwrap();
    file.append(b"world").unwrap();
    file.set_modified(1_600_000_000_123_456_789).unwrap();
    file.sync().unwrap();
    let mut buffer = [0; 64];
    assert_eq!(RealFiles.open(&path).unwrap().read_at(6, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"world");
    let status = RealFiles.status(&path).unwrap();
    assert_eq!((status.kind, status.len, status.modified_ns), (FileKind::File, 11, 1_600_000_000_123_456_789));
}

#[test]
fn creating_never_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    RealFiles.create_new(&path).unwrap().append(b"first").unwrap();
    assert_eq!(RealFiles.create_new(&path).err().unwrap().kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn a_lock_is_exclusive_until_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let lock = RealFiles.try_lock(&path).unwrap();
    assert!(lock.is_some());
    assert!(RealFiles.try_lock(&path).unwrap().is_none());
    drop(lock);
    assert!(RealFiles.try_lock(&path).unwrap().is_some());
}
