//! The simulated disk keeps the promises of `Files`, and none beyond them.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use landfall_env::{FileKind, Files};
use landfall_testkit::{Op, ProcessId, Seed, SimClock, SimDisk};

const SEEDS: u64 = 300;

struct Machine {
    disk: Arc<SimDisk>,
    process: ProcessId,
    files: Arc<dyn Files>,
}

impl Machine {
    fn new() -> Self {
        let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
        disk.put_dir("/spool").unwrap();
        disk.put_dir("/blobs").unwrap();
        Self::on(disk)
    }

    fn on(disk: Arc<SimDisk>) -> Self {
        let process = disk.spawn();
        let files = disk.process(process);
        Self { disk, process, files }
    }

    fn create(&self, path: &str, bytes: &[u8], sync: bool) {
        let mut file = self.files.create_new(Path::new(path)).unwrap();
        file.append(bytes).unwrap();
        if sync {
            file.sync().unwrap();
        }
    }

    fn rename(&self, from: &str, to: &str) {
        self.files.rename(Path::new(from), Path::new(to)).unwrap();
    }

    fn sync_dir(&self, path: &str) {
        self.files.sync_dir(Path::new(path)).unwrap();
    }

    fn remove(&self, path: &str) {
        self.files.remove_file(Path::new(path)).unwrap();
    }

    /// What is in a file, if anything is.
    fn find(&self, path: &str) -> Option<Vec<u8>> {
        self.disk.read(path).ok()
    }
}

/// In how many of the seeds a power cut after `act` leaves a disk for which `check` is true.
fn after_cuts(act: impl Fn(&Machine), check: impl Fn(&Machine) -> bool) -> u64 {
    let survived = |seed: &u64| {
        let machine = Machine::new();
        act(&machine);
        machine.disk.power_cut(&Seed(*seed).random());
        check(&machine)
    };
    (0..SEEDS).filter(survived).count() as u64
}

fn sometimes(count: u64) -> bool {
    (1..SEEDS).contains(&count)
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("it fails").kind()
}

#[test]
fn a_file_reads_back_what_was_appended() {
    let machine = Machine::new();
    let path = Path::new("/spool/a");
    let mut file = machine.files.create_new(path).unwrap();
    file.append(b"hello ").unwrap();
    file.append(b"world").unwrap();
    file.set_modified(1_600_000_000_123_456_789).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(machine.files.open(path).unwrap().read_at(6, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"world");
    assert_eq!(file.read_at(11, &mut buffer).unwrap(), 0);
    let status = machine.files.status(path).unwrap();
    assert_eq!((status.kind, status.len, status.modified_ns), (FileKind::File, 11, 1_600_000_000_123_456_789));
    assert_eq!(machine.files.link_status(path).unwrap(), file.status().unwrap());
}

#[test]
fn refusals_are_those_of_a_real_file_system() {
    let machine = Machine::new();
    let files = &machine.files;
    machine.create("/spool/a", b"1", true);
    machine.create("/spool/b", b"2", true);
    let [a, b, spool, none] = ["/spool/a", "/spool/b", "/spool", "/spool/none"].map(Path::new);
    assert_eq!(kind(files.open(none)), io::ErrorKind::NotFound);
    assert_eq!(kind(files.create_new(a)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(files.hard_link(a, b)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(files.rename(none, a)), io::ErrorKind::NotFound);
    assert_eq!(kind(files.rename(a, spool)), io::ErrorKind::IsADirectory);
    assert_eq!(kind(files.remove_dir(spool)), io::ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(files.remove_dir(a)), io::ErrorKind::NotADirectory);
    assert_eq!(kind(files.remove_file(spool)), io::ErrorKind::IsADirectory);
    assert_eq!(kind(files.list(a)), io::ErrorKind::NotADirectory);
    assert_eq!(kind(files.create_dir_all(a)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(files.create_new(&a.join("x"))), io::ErrorKind::NotADirectory);
    assert_eq!(kind(files.sync_dir(none)), io::ErrorKind::NotFound);
    assert_eq!(kind(files.open(a).unwrap().append(b"x")), io::ErrorKind::PermissionDenied);
    assert_eq!((machine.find("/spool/a").unwrap(), machine.find("/spool/b").unwrap()), (b"1".to_vec(), b"2".to_vec()));
}

#[test]
fn folders_list_what_they_hold_sorted() {
    let machine = Machine::new();
    machine.create("/spool/b", b"", false);
    machine.create("/spool/a", b"", false);
    machine.files.create_dir_all(Path::new("/spool/c/d")).unwrap();
    let entries = machine.files.list(Path::new("/spool")).unwrap();
    let entries: Vec<_> = entries.iter().map(|entry| (entry.name.to_str().unwrap(), entry.kind)).collect();
    assert_eq!(entries, [("a", FileKind::File), ("b", FileKind::File), ("c", FileKind::Dir)]);
    assert_eq!(machine.disk.files(), ["/spool/a", "/spool/b"].map(PathBuf::from));
}

#[test]
fn two_names_of_one_file_share_its_content_until_the_last_is_gone() {
    let machine = Machine::new();
    let (a, b) = (Path::new("/spool/a"), Path::new("/blobs/b"));
    machine.create("/spool/a", b"1", true);
    machine.files.hard_link(a, b).unwrap();
    machine.rename("/spool/a", "/blobs/b");
    assert!(machine.find("/spool/a").is_some(), "moving a file onto itself does nothing");
    assert_eq!(machine.files.status(a).unwrap().identity, machine.files.status(b).unwrap().identity);
    machine.remove("/spool/a");
    assert_eq!(machine.find("/blobs/b").unwrap(), b"1");
}

#[test]
fn a_lock_is_exclusive_until_it_is_dropped_or_its_process_dies() {
    let machine = Machine::new();
    let other = Machine::on(Arc::clone(&machine.disk));
    let path = Path::new("/spool/instance");
    let lock = machine.files.try_lock(path).unwrap();
    assert!(lock.is_some());
    assert!(machine.files.try_lock(path).unwrap().is_none(), "also against its own process");
    assert!(other.files.try_lock(path).unwrap().is_none());
    drop(lock);
    let lock = machine.files.try_lock(path).unwrap();
    assert!(lock.is_some());
    machine.disk.kill(machine.process);
    let taken = other.files.try_lock(path).unwrap();
    assert!(taken.is_some());
    drop(lock);
    assert!(other.files.try_lock(path).unwrap().is_none(), "a dead process's lock frees nothing");
}

#[test]
fn a_dead_process_can_do_nothing_and_what_it_wrote_stays() {
    let machine = Machine::new();
    let mut file = machine.files.create_new(Path::new("/spool/a")).unwrap();
    file.append(b"1").unwrap();
    machine.disk.kill(machine.process);
    assert!(!machine.disk.is_alive(machine.process));
    assert!(file.append(b"2").is_err() && file.sync().is_err() && file.status().is_err());
    assert!(machine.files.remove_file(Path::new("/spool/a")).is_err());
    assert!(machine.files.status(Path::new("/spool/a")).is_err());
    assert_eq!(machine.find("/spool/a").unwrap(), b"1");
}

#[test]
fn a_process_can_be_made_to_die_at_its_nth_write() {
    let machine = Machine::new();
    machine.disk.kill_after(machine.process, 2);
    let mut file = machine.files.create_new(Path::new("/spool/a")).unwrap();
    file.append(b"1").unwrap();
    assert_eq!(file.status().unwrap().len, 1, "reading does not count");
    assert!(file.append(b"2").is_err());
    assert!(!machine.disk.is_alive(machine.process));
    assert_eq!(machine.find("/spool/a").unwrap(), b"1");
}

#[test]
fn what_was_synced_with_its_folder_survives() {
    let act = |machine: &Machine| {
        machine.create("/spool/a", b"1", true);
        machine.rename("/spool/a", "/spool/b");
        machine.sync_dir("/spool");
    };
    let check =
        |machine: &Machine| machine.find("/spool/b").as_deref() == Some(b"1") && machine.find("/spool/a").is_none();
    assert_eq!(after_cuts(act, check), SEEDS);
}

#[test]
fn a_synced_file_in_a_folder_that_was_not_can_be_lost() {
    let create = |machine: &Machine| machine.create("/spool/a", b"1", true);
    assert!(sometimes(after_cuts(create, |machine| machine.find("/spool/a").is_some())));
}

#[test]
fn a_named_file_that_was_not_synced_can_be_empty() {
    let act = |machine: &Machine| {
        machine.create("/spool/a", b"1", false);
        machine.sync_dir("/spool");
    };
    assert_eq!(after_cuts(act, |machine| machine.find("/spool/a").is_some()), SEEDS);
    assert!(sometimes(after_cuts(act, |machine| machine.find("/spool/a").as_deref() == Some(b"1"))));
}

#[test]
fn a_move_without_a_folder_sync_can_be_undone_but_never_loses_the_file() {
    let act = |machine: &Machine| {
        machine.create("/spool/a", b"1", true);
        machine.sync_dir("/spool");
        machine.rename("/spool/a", "/blobs/a");
    };
    assert!(sometimes(after_cuts(act, |machine| machine.find("/blobs/a").is_some())));
    let one_name = |machine: &Machine| machine.find("/blobs/a").is_some() != machine.find("/spool/a").is_some();
    assert_eq!(after_cuts(act, one_name), SEEDS);
}

#[test]
fn replacing_by_a_move_leaves_the_old_content_or_the_new() {
    let act = |machine: &Machine| {
        machine.create("/blobs/a", b"old", true);
        machine.sync_dir("/blobs");
        machine.create("/blobs/b", b"new", true);
        machine.rename("/blobs/b", "/blobs/a");
    };
    assert!(sometimes(after_cuts(act, |machine| machine.find("/blobs/a").as_deref() == Some(b"new"))));
    let either = |machine: &Machine| [&b"old"[..], b"new"].contains(&machine.find("/blobs/a").unwrap().as_slice());
    assert_eq!(after_cuts(act, either), SEEDS);
}

#[test]
fn a_file_is_never_lost_between_a_link_and_the_removal_of_the_first_name() {
    let act = |machine: &Machine| {
        machine.create("/spool/a", b"1", true);
        machine.sync_dir("/spool");
        machine.files.create_dir_all(Path::new("/blobs/aa")).unwrap();
        machine.sync_dir("/blobs");
        machine.files.hard_link(Path::new("/spool/a"), Path::new("/blobs/aa/a")).unwrap();
        machine.remove("/spool/a");
        machine.sync_dir("/spool");
    };
    assert_eq!(after_cuts(act, |machine| machine.find("/blobs/aa/a").is_some()), SEEDS);
}

#[test]
fn a_removed_name_can_come_back() {
    let act = |machine: &Machine| {
        machine.create("/spool/a", b"1", true);
        machine.sync_dir("/spool");
        machine.remove("/spool/a");
    };
    assert!(sometimes(after_cuts(act, |machine| machine.find("/spool/a").as_deref() == Some(b"1"))));
}

#[test]
fn a_new_folder_needs_its_parent_synced() {
    let act = |machine: &Machine| {
        machine.files.create_dir_all(Path::new("/blobs/aa")).unwrap();
        machine.create("/blobs/aa/a", b"1", true);
        machine.sync_dir("/blobs/aa");
    };
    assert!(sometimes(after_cuts(act, |machine| machine.find("/blobs/aa/a").is_some())));
    let act_and_sync = |machine: &Machine| {
        act(machine);
        machine.sync_dir("/blobs");
    };
    assert_eq!(after_cuts(act_and_sync, |machine| machine.find("/blobs/aa/a").is_some()), SEEDS);
}

#[test]
fn a_move_into_a_new_folder_never_loses_the_file() {
    let act = |machine: &Machine| {
        machine.create("/spool/a", b"1", true);
        machine.sync_dir("/spool");
        machine.files.create_dir_all(Path::new("/blobs/aa/bb")).unwrap();
        machine.rename("/spool/a", "/blobs/aa/bb/a");
    };
    let found = |machine: &Machine| machine.find("/blobs/aa/bb/a").is_some() || machine.find("/spool/a").is_some();
    assert_eq!(after_cuts(act, found), SEEDS);
    let act_and_sync = |machine: &Machine| {
        act(machine);
        machine.sync_dir("/blobs/aa/bb");
    };
    assert_eq!(after_cuts(act_and_sync, found), SEEDS);
}

#[test]
fn emptying_and_removing_a_folder_never_loses_what_was_moved_out() {
    let act = |machine: &Machine| {
        machine.create("/spool/a", b"1", true);
        machine.sync_dir("/spool");
        machine.rename("/spool/a", "/blobs/a");
        machine.files.remove_dir(Path::new("/spool")).unwrap();
    };
    let found = |machine: &Machine| machine.find("/blobs/a").is_some() || machine.find("/spool/a").is_some();
    assert_eq!(after_cuts(act, found), SEEDS);
    let act_and_sync = |machine: &Machine| {
        act(machine);
        machine.sync_dir("/");
    };
    assert_eq!(after_cuts(act_and_sync, |machine| machine.find("/blobs/a").is_some()), SEEDS);
}

#[test]
fn what_the_outside_world_puts_there_is_durable() {
    let act = |machine: &Machine| machine.disk.put("/photos/2024/a.jpg", b"photo").unwrap();
    assert_eq!(after_cuts(act, |machine| machine.find("/photos/2024/a.jpg").is_some()), SEEDS);
    let settle = |machine: &Machine| {
        machine.create("/spool/a", b"1", false);
        machine.disk.settle();
    };
    assert_eq!(after_cuts(settle, |machine| machine.find("/spool/a").as_deref() == Some(b"1")), SEEDS);
}

#[test]
fn putting_again_changes_a_file_in_place() {
    let machine = Machine::new();
    let path = Path::new("/photos/a");
    machine.disk.put(path, b"first version").unwrap();
    let before = machine.files.status(path).unwrap();
    machine.disk.put(path, b"second").unwrap();
    let after = machine.files.status(path).unwrap();
    assert_eq!((before.identity.inode, after.len), (after.identity.inode, 6));
    machine.disk.remove(path).unwrap();
    machine.disk.put(path, b"third").unwrap();
    assert_ne!(machine.files.status(path).unwrap().identity.inode, before.identity.inode);
}

#[tokio::test(start_paused = true)]
async fn times_are_those_of_the_clock() {
    let machine = Machine::new();
    machine.create("/spool/a", b"1", true);
    let before = machine.files.status(Path::new("/spool/a")).unwrap();
    tokio::time::advance(std::time::Duration::from_secs(3)).await;
    machine.rename("/spool/a", "/spool/b");
    let after = machine.files.status(Path::new("/spool/b")).unwrap();
    assert_eq!(after.modified_ns, before.modified_ns);
    assert_eq!(after.identity.changed_ns, before.identity.changed_ns + 3_000_000_000);
}

#[test]
fn a_full_disk_takes_nothing_more_until_something_is_removed() {
    let machine = Machine::new();
    let root = Path::new("/");
    machine.create("/spool/a", &[0; 600], true);
    machine.disk.set_free(1_000);
    let mut file = machine.files.create_new(Path::new("/spool/b")).unwrap();
    file.append(&[0; 900]).unwrap();
    assert_eq!(kind(file.append(&[0; 101])), io::ErrorKind::StorageFull);
    assert_eq!(machine.files.free_bytes(root).unwrap(), 100);
    machine.remove("/spool/a");
    assert_eq!(machine.files.free_bytes(root).unwrap(), 700);
    file.append(&[0; 101]).unwrap();
    machine.remove("/spool/b");
    assert_eq!(machine.files.free_bytes(root).unwrap(), 599, "an open file keeps its space");
    drop(file);
    assert_eq!(machine.files.free_bytes(root).unwrap(), 1_600);
}

#[test]
fn an_injected_fault_strikes_once_and_changes_nothing() {
    let machine = Machine::new();
    machine.create("/spool/a", b"1", true);
    machine.disk.fail_next(Op::Rename, io::ErrorKind::PermissionDenied);
    let rename = || machine.files.rename(Path::new("/spool/a"), Path::new("/spool/b"));
    assert_eq!(kind(rename()), io::ErrorKind::PermissionDenied);
    assert!(machine.find("/spool/a").is_some());
    rename().unwrap();
}

#[test]
fn a_long_life_leaves_no_rubbish_behind() {
    let machine = Machine::new();
    for round in 0..10_000 {
        let (staging, name) = ("/spool/staging", format!("/blobs/{}", round % 10));
        machine.create(staging, &[1; 1_000], true);
        machine.rename(staging, &name);
        machine.sync_dir("/blobs");
        machine.sync_dir("/spool");
    }
    assert_eq!(machine.disk.files().len(), 10);
    assert_eq!(machine.files.free_bytes(Path::new("/")).unwrap(), (1 << 40) - 10_000);
}

/// Not a promise but a figure: `cargo test --release -p landfall-testkit --test disk speed -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
fn speed() {
    let machine = Machine::new();
    for len in [1_024, 100 * 1_024] {
        let bytes = vec![1; len];
        let start = std::time::Instant::now();
        for _ in 0..10_000 {
            machine.create("/spool/staging", &bytes, true);
            machine.rename("/spool/staging", "/blobs/a");
            machine.sync_dir("/blobs");
        }
        // Create, append, sync, close, move, sync the folder.
        eprintln!("{len} bytes: {:.2} µs per call", start.elapsed().as_secs_f64() * 1e6 / 60_000.0);
    }
}
