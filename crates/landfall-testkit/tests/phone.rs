//! Phones on which everything goes wrong come to rest with every message where it belongs, once, in its order; and every
//! safety measure that is taken away is missed.

use landfall_testkit::{Programs, phone, phone_sabotages};

/// Every durable step of a message: processes die at each of them, and at any write between them.
const STEPS: &[&str] = &[
    "chat.copied",
    "chat.staged",
    "chat.sent",
    "chat.sealed",
    "chat.sealed.committed",
    "chat.granted",
    "chat.granted.committed",
    "chat.transfer.answered",
    "chat.transfer.committed",
    "chat.frozen",
    "chat.publishing",
    "chat.published",
    "chat.published.committed",
    "journal.commit",
    "journal.committed",
];

const PROGRAMS: Programs =
    Programs { run: phone::run, count: 2_000, noun: "messages", steps: STEPS, least: 100, sabotages: phone_sabotages };

/// SQLite's as well.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn every_message_arrives_once_and_in_its_order() {
    PROGRAMS.hold();
}

#[test]
fn every_sabotage_is_caught() {
    PROGRAMS.miss_every_safety_measure();
}

#[test]
fn one_seed_gives_one_trace() {
    PROGRAMS.are_the_same_each_time(30);
}
