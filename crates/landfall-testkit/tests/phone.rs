//! Phones on which everything goes wrong come to rest with every message where it belongs, once, in its order; and every
//! safety measure that is taken away is missed.
//!
//! `LANDFALL_PROGRAMS=n` runs n programs instead of 2,000; `LANDFALL_SEED=n` runs that one and prints all that happened in
//! it. Of a sabotaged phone `LANDFALL_SABOTAGE=name` does the same.

use std::{collections::BTreeMap, sync::Mutex};

use landfall_testkit::{
    number, on_all_cores,
    phone::{self, PhoneOptions},
    phone_sabotages, survivors,
};

const PROGRAMS: u64 = 2_000;

/// Every durable step of a message: processes die at each of them, and at any write between them.
const STEPS: [&str; 15] = [
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

/// SQLite's as well.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Total {
    deaths: BTreeMap<&'static str, u64>,
    operations: BTreeMap<&'static str, u64>,
    messages: usize,
    failures: BTreeMap<u64, Vec<String>>,
}

#[test]
fn every_message_arrives_once_and_in_its_order() {
    if let Some(seed) = number("LANDFALL_SEED") {
        return replay(seed);
    }
    let programs = number("LANDFALL_PROGRAMS").unwrap_or(PROGRAMS);
    let total = Mutex::new(Total::default());
    on_all_cores(programs, |seed| {
        let outcome = phone::run(seed, &PhoneOptions::default());
        let mut total = total.lock().unwrap();
        for (step, count) in outcome.deaths {
            *total.deaths.entry(step).or_default() += count;
        }
        for (operation, count) in outcome.operations {
            *total.operations.entry(operation).or_default() += count;
        }
        total.messages += outcome.messages;
        if !outcome.complaints.is_empty() {
            total.failures.insert(seed, outcome.complaints);
        }
        true
    });
    let total = total.into_inner().unwrap();
    println!("{} messages in {programs} programs", total.messages);
    println!("operations: {:?}", total.operations);
    println!("deaths by step: {:?}", total.deaths);
    let lines: Vec<String> = total
        .failures
        .iter()
        .flat_map(|(seed, complaints)| complaints.iter().map(move |line| format!("LANDFALL_SEED={seed}: {line}")))
        .collect();
    assert!(lines.is_empty(), "{} of {programs} programs:\n{}", total.failures.len(), lines.join("\n"));
    if programs >= PROGRAMS {
        let missed: Vec<_> = STEPS.iter().filter(|step| !total.deaths.contains_key(*step)).collect();
        assert!(missed.is_empty(), "no process died at {missed:?}");
        assert!(total.operations.values().all(|count| *count > 100), "{:?}", total.operations);
    }
}

fn replay(seed: u64) {
    let wanted = std::env::var("LANDFALL_SABOTAGE").ok();
    let sabotage = phone_sabotages().into_iter().map(|one| one.sabotage).find(|one| wanted == Some(format!("{one:?}")));
    let outcome = phone::run(seed, &PhoneOptions { history: true, sabotage });
    println!("{}", outcome.history.join("\n"));
    assert!(outcome.complaints.is_empty(), "{}", outcome.complaints.join("\n"));
}

#[test]
fn every_sabotage_is_caught() {
    if number("LANDFALL_SEED").is_some() {
        return;
    }
    let survivors = survivors(phone_sabotages(), PROGRAMS, |sabotage, seed| {
        let options = PhoneOptions { sabotage: Some(sabotage), history: false };
        phone::run(seed, &options).complaints.into_iter().next()
    });
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn one_seed_gives_one_trace() {
    if number("LANDFALL_SEED").is_some() {
        return;
    }
    let traces: Mutex<BTreeMap<u64, Vec<u64>>> = Mutex::default();
    on_all_cores(90, |run| {
        let outcome = phone::run(run % 30, &PhoneOptions { history: run >= 60, sabotage: None });
        traces.lock().unwrap().entry(run % 30).or_default().push(outcome.trace);
        true
    });
    for (seed, traces) in traces.into_inner().unwrap() {
        assert!(traces.iter().all(|trace| *trace == traces[0]), "three runs of seed {seed}: {traces:x?}");
    }
}
