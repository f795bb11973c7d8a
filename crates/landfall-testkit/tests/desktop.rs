//! Desktops on which everything goes wrong come to rest with every upload in its bucket, once, whole and of one moment;
//! and every safety measure that is taken away is missed.
//!
//! `LANDFALL_PROGRAMS=n` runs n programs instead of 1,500; `LANDFALL_SEED=n` runs that one and prints all that happened in
//! it. Of a sabotaged desktop `LANDFALL_SABOTAGE=name` does the same.

use std::{collections::BTreeMap, sync::Mutex};

use landfall_testkit::{
    desktop::{self, DesktopOptions},
    desktop_sabotages, number, on_all_cores, survivors,
};

const PROGRAMS: u64 = 1_500;

/// Every durable step of an upload: processes die at each of them, and at any write between them.
const STEPS: [&str; 18] = [
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

/// SQLite's as well.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Total {
    counts: [BTreeMap<&'static str, u64>; 3],
    uploads: usize,
    failures: BTreeMap<u64, Vec<String>>,
}

#[test]
fn every_upload_arrives_once_whole_and_of_one_moment() {
    if let Some(seed) = number("LANDFALL_SEED") {
        return replay(seed);
    }
    let programs = number("LANDFALL_PROGRAMS").unwrap_or(PROGRAMS);
    let total = Mutex::new(Total::default());
    on_all_cores(programs, |seed| {
        let outcome = desktop::run(seed, &DesktopOptions::default());
        let mut total = total.lock().unwrap();
        for (counts, more) in total.counts.iter_mut().zip([outcome.deaths, outcome.operations, outcome.faults]) {
            more.into_iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
        }
        total.uploads += outcome.uploads;
        if !outcome.complaints.is_empty() {
            total.failures.insert(seed, outcome.complaints);
        }
        true
    });
    let Total { counts: [deaths, operations, faults], uploads, failures } = total.into_inner().unwrap();
    println!("{uploads} uploads in {programs} programs");
    println!("operations: {operations:?}");
    println!("faults: {faults:?}");
    println!("deaths by step: {deaths:?}");
    let lines: Vec<String> = failures
        .iter()
        .flat_map(|(seed, complaints)| complaints.iter().map(move |line| format!("LANDFALL_SEED={seed}: {line}")))
        .collect();
    assert!(lines.is_empty(), "{} of {programs} programs:\n{}", failures.len(), lines.join("\n"));
    if programs >= PROGRAMS {
        let missed: Vec<_> = STEPS.iter().filter(|step| !deaths.contains_key(*step)).collect();
        assert!(missed.is_empty(), "no process died at {missed:?}");
        assert!(operations.values().chain(faults.values()).all(|count| *count > 50), "{operations:?} {faults:?}");
    }
}

fn replay(seed: u64) {
    let wanted = std::env::var("LANDFALL_SABOTAGE").ok();
    let sabotage =
        desktop_sabotages().into_iter().map(|one| one.sabotage).find(|one| wanted == Some(format!("{one:?}")));
    let outcome = desktop::run(seed, &DesktopOptions { history: true, sabotage });
    println!("{}", outcome.history.join("\n"));
    assert!(outcome.complaints.is_empty(), "{}", outcome.complaints.join("\n"));
}

#[test]
fn every_sabotage_is_caught() {
    if number("LANDFALL_SEED").is_some() {
        return;
    }
    let survivors = survivors(desktop_sabotages(), PROGRAMS, |sabotage, seed| {
        let options = DesktopOptions { sabotage: Some(sabotage), history: false };
        desktop::run(seed, &options).complaints.into_iter().next()
    });
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn one_seed_gives_one_trace() {
    if number("LANDFALL_SEED").is_some() {
        return;
    }
    let traces: Mutex<BTreeMap<u64, Vec<u64>>> = Mutex::default();
    on_all_cores(60, |run| {
        let outcome = desktop::run(run % 20, &DesktopOptions { history: run >= 40, sabotage: None });
        traces.lock().unwrap().entry(run % 20).or_default().push(outcome.trace);
        true
    });
    for (seed, traces) in traces.into_inner().unwrap() {
        assert!(traces.iter().all(|trace| *trace == traces[0]), "three runs of seed {seed}: {traces:x?}");
    }
}
