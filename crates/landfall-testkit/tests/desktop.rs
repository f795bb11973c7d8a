//! Desktops on which everything goes wrong come to rest with every upload in its bucket, once, whole and of one moment;
//! and every safety measure that is taken away is missed.

use landfall_testkit::{Programs, desktop, desktop_sabotages};

/// Every durable step of an upload: processes die at each of them, and at any write between them.
const STEPS: &[&str] = &[
    "bucket.prepare.read",
    "bucket.prepare.committed",
    "bucket.put.intent",
    "bucket.put.answered",
    "bucket.open.intent",
    "bucket.open.answered",
    "bucket.open.committed",
    "bucket.send.intent",
    "bucket.send.answered",
    "bucket.send.committed",
    "bucket.complete.intent",
    "bucket.complete.answered",
    "bucket.proved",
    "bucket.done",
    "bucket.abort.answered",
    "journal.commit",
    "journal.committed",
    "claim.committed",
];

const PROGRAMS: Programs = Programs {
    run: desktop::run,
    count: 1_500,
    noun: "uploads",
    steps: STEPS,
    least: 50,
    sabotages: desktop_sabotages,
};

/// SQLite's as well.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn every_upload_arrives_once_whole_and_of_one_moment() {
    PROGRAMS.hold();
}

#[test]
fn every_sabotage_is_caught() {
    PROGRAMS.miss_every_safety_measure();
}

#[test]
fn one_seed_gives_one_trace() {
    PROGRAMS.are_the_same_each_time(20);
}
