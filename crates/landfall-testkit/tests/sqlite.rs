//! SQLite keeps its promises on the simulated disk, and breaks them when it is not allowed to keep them.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{collections::BTreeSet, io, sync::Arc};

use landfall_testkit::{Op, ProcessId, Seed, SeededRandom, SimClock, SimDisk, SimVfs};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

const DATABASE: &str = "/home/journal.db";

/// A process with a connection. The fields are dropped in this order.
struct Writer {
    connection: Connection,
    _vfs: SimVfs,
    process: ProcessId,
}

impl Writer {
    fn open(disk: &Arc<SimDisk>, process: ProcessId, synchronous: &str) -> rusqlite::Result<Self> {
        let vfs = SimVfs::register(disk, process, Seed(0).random());
        let connection = Connection::open_with_flags_and_vfs(DATABASE, OpenFlags::default(), vfs.name())?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = {synchronous};
             PRAGMA wal_autocheckpoint = 16;
             CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
        ))?;
        Ok(Self { connection, _vfs: vfs, process })
    }

    fn insert(&mut self, id: u64, len: u64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.prepare_cached("INSERT INTO item VALUES (?1, zeroblob(?2))")?.execute((id as i64, len as i64))?;
        transaction.commit()
    }

    fn ids(&self) -> rusqlite::Result<BTreeSet<u64>> {
        self.connection
            .prepare("SELECT id FROM item ORDER BY id")?
            .query_map((), |row| Ok(row.get::<_, i64>(0)? as u64))?
            .collect()
    }

    fn is_intact(&self) -> bool {
        let check = self.connection.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0));
        check.is_ok_and(|answer| answer == "ok")
    }
}

fn disk() -> Arc<SimDisk> {
    let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
    disk.put_dir("/home").unwrap();
    disk
}

fn writer(disk: &Arc<SimDisk>) -> Writer {
    Writer::open(disk, disk.spawn(), "FULL").unwrap()
}

#[derive(Clone, Copy)]
struct Plan {
    synchronous: &'static str,
    skip_sync: bool,
    power_cuts: bool,
}

const FULL: Plan = Plan { synchronous: "FULL", skip_sync: false, power_cuts: true };

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    acknowledged: u64,
    crashes: u64,
    lost: u64,
    corrupt: u64,
    trace: u64,
    digest: u64,
}

/// Two processes insert rows, and now and then one of them dies in the middle of anything, or all of them.
fn run(seed: Seed, plan: Plan) -> Outcome {
    let random = seed.random();
    let disk = disk();
    disk.skip_database_sync(plan.skip_sync);
    let mut outcome = Outcome::default();
    let mut kept = BTreeSet::new();
    let mut next = 0;
    for _ in 0..3 {
        next = live(&disk, &random, plan, next, &mut kept, &mut outcome);
        if plan.power_cuts {
            disk.power_cut(&random);
        }
        let found = Writer::open(&disk, disk.spawn(), plan.synchronous)
            .and_then(|writer| if writer.is_intact() { writer.ids() } else { Ok(BTreeSet::new()) });
        let before = kept.len() as u64;
        match found {
            Ok(found) => kept = kept.intersection(&found).copied().collect(),
            Err(_) => kept.clear(),
        }
        outcome.lost += before - kept.len() as u64;
        if !Writer::open(&disk, disk.spawn(), plan.synchronous).is_ok_and(|writer| writer.is_intact()) {
            outcome.corrupt = 1;
            break;
        }
    }
    outcome.trace = disk.trace();
    outcome.digest = disk.digest();
    outcome
}

/// From one power cut to the next. Returns the first id not used.
fn live(
    disk: &Arc<SimDisk>,
    random: &SeededRandom,
    plan: Plan,
    mut next: u64,
    kept: &mut BTreeSet<u64>,
    outcome: &mut Outcome,
) -> u64 {
    let mut writers: [Option<Writer>; 2] = [None, None];
    for _ in 0..random.below(20) {
        let slot = &mut writers[random.below(2) as usize];
        if slot.is_none() {
            let process = disk.spawn();
            disk.kill_after(process, random.below(120));
            *slot = Writer::open(disk, process, plan.synchronous).ok();
        }
        let Some(writer) = slot else {
            outcome.crashes += 1;
            continue;
        };
        let id = next;
        next += 1;
        match writer.insert(id, random.below(9_000)) {
            Ok(()) => {
                kept.insert(id);
                outcome.acknowledged += 1;
            }
            Err(error) => {
                assert!(!disk.is_alive(writer.process), "only the dead fail: {error}");
                outcome.crashes += 1;
                *slot = None;
            }
        }
    }
    if random.chance(0.5) {
        writers.iter().flatten().for_each(|writer| disk.kill(writer.process));
    }
    next
}

fn runs(count: u64, plan: Plan) -> Outcome {
    let mut sum = Outcome::default();
    for seed in 0..count {
        let outcome = run(Seed(seed), plan);
        if plan.synchronous == "FULL" && !plan.skip_sync {
            assert_eq!((outcome.lost, outcome.corrupt), (0, 0), "seed {seed}: {outcome:?}");
        }
        sum.acknowledged += outcome.acknowledged;
        sum.crashes += outcome.crashes;
        sum.lost += outcome.lost;
        sum.corrupt += outcome.corrupt;
    }
    eprintln!("{count} worlds: {sum:?}");
    sum
}

#[test]
fn a_synced_commit_survives_every_kill_and_power_cut() {
    let sum = runs(1_000, FULL);
    assert!(sum.acknowledged > 10_000 && sum.crashes > 500, "{sum:?}");
}

#[test]
fn a_commit_that_was_not_synced_can_be_lost_but_leaves_the_database_whole() {
    let sum = runs(300, Plan { synchronous: "NORMAL", ..FULL });
    assert!(sum.lost > 0 && sum.corrupt == 0, "{sum:?}");
}

#[test]
fn without_syncs_databases_are_lost() {
    let sum = runs(300, Plan { skip_sync: true, ..FULL });
    assert!(sum.lost > 0, "{sum:?}");
    assert!(sum.corrupt > 0, "{sum:?}");
}

#[test]
fn a_kill_loses_nothing_that_was_committed() {
    let sum = runs(300, Plan { synchronous: "NORMAL", skip_sync: true, power_cuts: false });
    assert!(sum.crashes > 100, "{sum:?}");
    assert_eq!((sum.lost, sum.corrupt), (0, 0), "{sum:?}");
}

#[tokio::test(start_paused = true)]
async fn two_runs_of_one_seed_are_one_run() {
    for seed in 0..100 {
        assert_eq!(run(Seed(seed), FULL), run(Seed(seed), FULL), "seed {seed}");
    }
    assert_ne!(run(Seed(1), FULL).trace, run(Seed(2), FULL).trace);
}

#[test]
fn a_power_cut_at_every_single_write_leaves_a_whole_database() {
    for writes in 0.. {
        let disk = disk();
        let process = disk.spawn();
        disk.kill_after(process, writes);
        let mut done = 0;
        if let Ok(mut writer) = Writer::open(&disk, process, "FULL") {
            done = (0..6).take_while(|id| writer.insert(*id, 5_000).is_ok()).count();
            let _ = writer.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        let finished = disk.is_alive(process);
        disk.power_cut(&Seed(writes).random());
        let writer = writer(&disk);
        assert!(writer.is_intact(), "after {writes} writes");
        let ids = writer.ids().unwrap();
        assert!((0..done as u64).all(|id| ids.contains(&id)), "after {writes} writes: {ids:?}");
        if finished {
            assert!(writes > 30, "only {writes} writes were tried");
            break;
        }
    }
}

#[test]
fn there_is_one_writer_at_a_time_and_a_dead_one_is_no_writer() {
    let disk = disk();
    let (first, mut second) = (writer(&disk), writer(&disk));
    first.connection.execute_batch("BEGIN IMMEDIATE; INSERT INTO item VALUES (1, x'')").unwrap();
    assert_eq!(second.insert(2, 0).unwrap_err().sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    assert_eq!(second.ids().unwrap(), BTreeSet::new(), "a reader is not held up");
    disk.kill(first.process);
    second.insert(2, 0).unwrap();
    let (trace, digest) = (disk.trace(), disk.digest());
    assert!(first.connection.execute_batch("COMMIT").is_err());
    drop(first);
    assert_eq!((disk.trace(), disk.digest()), (trace, digest), "the dead change nothing");
    assert_eq!(second.ids().unwrap(), BTreeSet::from([2]));
    assert!(second.is_intact());
}

#[test]
fn a_reader_keeps_its_view_and_holds_up_a_checkpoint() {
    let disk = disk();
    let (mut first, second) = (writer(&disk), writer(&disk));
    first.insert(1, 0).unwrap();
    second.connection.execute_batch("BEGIN").unwrap();
    assert_eq!(second.ids().unwrap().len(), 1);
    first.insert(2, 0).unwrap();
    assert_eq!(second.ids().unwrap().len(), 1);
    let busy = |writer: &Writer| -> bool {
        writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0)).unwrap()
    };
    assert!(busy(&first));
    disk.kill(second.process);
    assert!(!busy(&first));
    assert_eq!(disk.read("/home/journal.db-wal").unwrap().len(), 0);
}

#[test]
fn the_last_to_close_tidies_the_log_away_and_the_dead_do_not() {
    let disk = disk();
    let mut first = writer(&disk);
    first.insert(1, 0).unwrap();
    disk.kill(first.process);
    drop(first);
    assert_eq!(disk.files().len(), 2, "{disk:?}");
    let second = writer(&disk);
    assert_eq!(second.ids().unwrap(), BTreeSet::from([1]));
    drop(second);
    assert_eq!(disk.files().len(), 1, "{disk:?}");
}

#[test]
fn a_rollback_journal_works_too() {
    let disk = disk();
    let vfs = SimVfs::register(&disk, disk.spawn(), Seed(0).random());
    let open = || Connection::open_with_flags_and_vfs("/home/other.db", OpenFlags::default(), vfs.name()).unwrap();
    let (first, second) = (open(), open());
    first
        .execute_batch("PRAGMA journal_mode = DELETE; CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
        .unwrap();
    let error = second.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    first.execute_batch("COMMIT").unwrap();
    assert_eq!(second.query_row("SELECT count(*) FROM t", (), |row| row.get::<_, i64>(0)), Ok(1));
}

#[test]
fn a_full_disk_refuses_a_transaction_and_later_takes_it() {
    let disk = disk();
    let mut writer = writer(&disk);
    writer.insert(1, 0).unwrap();
    disk.set_free(20_000);
    assert_eq!(writer.insert(2, 100_000).unwrap_err().sqlite_error_code(), Some(ErrorCode::DiskFull));
    disk.set_free(10_000_000);
    writer.insert(3, 100_000).unwrap();
    assert_eq!(writer.ids().unwrap(), BTreeSet::from([1, 3]));
    assert!(writer.is_intact());
}

#[test]
fn a_failed_read_or_sync_is_an_error_and_no_loss() {
    let disk = disk();
    let mut first = writer(&disk);
    disk.fail_next(Op::Sync, io::ErrorKind::Other);
    assert_eq!(first.insert(1, 0).unwrap_err().sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
    first.insert(2, 0).unwrap();
    disk.fail_next(Op::Read, io::ErrorKind::Other);
    assert!(Writer::open(&disk, disk.spawn(), "FULL").is_err());
    assert_eq!(writer(&disk).ids().unwrap(), BTreeSet::from([2]));
}

#[tokio::test(start_paused = true)]
async fn sqlite_reads_the_simulated_clock() {
    let disk = disk();
    let writer = writer(&disk);
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    let now = writer.connection.query_row("SELECT unixepoch()", (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(now, 1_700_000_061);
}

/// Not a promise but a figure: `cargo test --release -p landfall-testkit --test sqlite speed -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
fn speed() {
    let disk = disk();
    let mut writer = writer(&disk);
    let start = std::time::Instant::now();
    (0..20_000).for_each(|id| writer.insert(id, 200).unwrap());
    eprintln!("{:.1} µs per transaction", start.elapsed().as_secs_f64() * 1e6 / 20_000.0);

    let start = std::time::Instant::now();
    for _ in 0..20_000 {
        SimVfs::register(&disk, writer.process, Seed(0).random());
    }
    eprintln!("{:.2} µs per registration", start.elapsed().as_secs_f64() * 1e6 / 20_000.0);

    let start = std::time::Instant::now();
    let sum = runs(3_000, FULL);
    let elapsed = start.elapsed().as_secs_f64();
    eprintln!("{:.0} worlds/s, {:.0} commits/s", 3_000.0 / elapsed, sum.acknowledged as f64 / elapsed);
}
