//! Phones on which everything goes wrong come to rest with every message where it belongs, once, in its order; and every
//! safety measure that is taken away is missed.
//!
//! `LANDFALL_PROGRAMS=n` runs n programs instead of 2,000; `LANDFALL_SEED=n` runs that one and prints all that happened in
//! it. Of a sabotaged phone `LANDFALL_SABOTAGE=name` does the same.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use landfall_testkit::phone::{self, PhoneOptions};

const PROGRAMS: u64 = 2_000;

/// SQLite's as well.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `work` for every seed below `end`, on all cores, until one says to stop. In which order is up to the threads.
fn on_all_cores(end: u64, work: impl Fn(u64) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    if !work(seed) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

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
    let began = std::time::Instant::now();
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
    println!("{} messages in {programs} programs, {:.1?}", total.messages, began.elapsed());
    println!("operations: {:?}", total.operations);
    println!("deaths by step: {:?}", total.deaths);
    let lines: Vec<String> = total
        .failures
        .iter()
        .flat_map(|(seed, complaints)| complaints.iter().map(move |line| format!("LANDFALL_SEED={seed}: {line}")))
        .collect();
    assert!(lines.is_empty(), "{} of {programs} programs:\n{}", total.failures.len(), lines.join("\n"));
}

fn replay(seed: u64) {
    let outcome = phone::run(seed, &PhoneOptions { history: true, ..PhoneOptions::default() });
    println!("{}", outcome.history.join("\n"));
    assert!(outcome.complaints.is_empty(), "{}", outcome.complaints.join("\n"));
}
