//! Worlds full of faults come to rest with everything in its place, and every safety measure that is taken away is
//! missed.
//!
//! `LANDFALL_SEEDS=n` runs n worlds instead of 2,000; `LANDFALL_SEED=n` runs that one and prints all that happened in it.
//! Of a sabotaged world `LANDFALL_SABOTAGE=name` does the same.

use std::{collections::BTreeMap, sync::Mutex};

use landfall_testkit::{
    FaultTable, number, on_all_cores, sabotages, survivors,
    world::{self, Outcome, WorldOptions},
};

const SEEDS: u64 = 2_000;

/// SQLite's as well.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time of this thread in milliseconds, where the system tells.
fn thread_cpu_ms() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e6)
}

/// What must hold of every world, whatever came of it.
fn check_shape(seed: u64, outcome: &Outcome) -> Vec<String> {
    let mut complaints = outcome.complaints.clone();
    if outcome.table.total() < 20 {
        complaints.push(format!("only {} faults struck", outcome.table.total()));
    }
    if !(2..=12).contains(&outcome.files) || !(1..=3).contains(&outcome.workers) {
        complaints.push(format!("{} files and {} workers", outcome.files, outcome.workers));
    }
    complaints.into_iter().map(|complaint| format!("LANDFALL_SEED={seed}: {complaint}")).collect()
}

#[derive(Default)]
struct Total {
    table: FaultTable,
    failures: BTreeMap<u64, Vec<String>>,
    cpu_ms: Vec<f64>,
    kinds: BTreeMap<(usize, bool), u64>,
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    if let Some(seed) = number("LANDFALL_SEED") {
        return replay(seed);
    }
    let seeds = number("LANDFALL_SEEDS").unwrap_or(SEEDS);
    let total = Mutex::new(Total::default());
    on_all_cores(seeds, |seed| {
        let before = thread_cpu_ms();
        let outcome = world::run(seed, &WorldOptions::default());
        let cpu_ms = thread_cpu_ms().zip(before).map(|(after, before)| after - before);
        let mut total = total.lock().unwrap();
        total.cpu_ms.extend(cpu_ms);
        total.table.add(&outcome.table);
        *total.kinds.entry((outcome.homes, outcome.is_embedded)).or_default() += 1;
        let complaints = check_shape(seed, &outcome);
        if !complaints.is_empty() {
            total.failures.insert(seed, complaints);
        }
        true
    });
    let mut total = total.into_inner().unwrap();
    println!("{}", total.table);
    for ((homes, is_embedded), worlds) in &total.kinds {
        let server = if *is_embedded { "a router in each process" } else { "a server of its own" };
        println!("{worlds} worlds with {homes} homes and {server}");
    }
    total.cpu_ms.sort_by(f64::total_cmp);
    if let (Some(most), count) = (total.cpu_ms.last(), total.cpu_ms.len()) {
        let mean = total.cpu_ms.iter().sum::<f64>() / count as f64;
        println!("CPU per seed: {mean:.1} ms on average, {:.1} ms median, {most:.1} ms most", total.cpu_ms[count / 2]);
        if let Some(limit) = number("LANDFALL_CPU_MS_MAX") {
            assert!(mean <= limit as f64, "{mean:.1} ms of CPU per seed");
        }
    }
    let failed = total.failures.len();
    let lines: Vec<String> = total.failures.into_values().flatten().collect();
    assert!(failed == 0, "{failed} of {seeds} worlds:\n{}", lines.join("\n"));
    if seeds >= SEEDS {
        assert_eq!(total.table.empty_cells(), [], "each fault strikes in each phase");
    }
}

fn replay(seed: u64) {
    let wanted = std::env::var("LANDFALL_SABOTAGE").ok();
    let sabotage = sabotages().into_iter().map(|one| one.sabotage).find(|one| wanted == Some(format!("{one:?}")));
    let outcome = world::run(seed, &WorldOptions { history: true, sabotage, ..WorldOptions::default() });
    println!("{}", outcome.history.join("\n"));
    let complaints = check_shape(seed, &outcome);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_sabotage_is_caught() {
    if number("LANDFALL_SEED").is_some() {
        return;
    }
    let survivors = survivors(sabotages(), SEEDS, |sabotage, seed| {
        let options = WorldOptions { sabotage: Some(sabotage), ..WorldOptions::default() };
        world::run(seed, &options).complaints.into_iter().next()
    });
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn one_seed_gives_one_trace() {
    if number("LANDFALL_SEED").is_some() {
        return;
    }
    let traces: Mutex<BTreeMap<u64, Vec<u64>>> = Mutex::default();
    // Neighbours in time, on threads beside each other, are the same seed or not.
    on_all_cores(150, |run| {
        let outcome = world::run(run % 50, &WorldOptions { history: run >= 100, ..WorldOptions::default() });
        traces.lock().unwrap().entry(run % 50).or_default().push(outcome.trace);
        true
    });
    for (seed, traces) in traces.into_inner().unwrap() {
        assert!(traces.iter().all(|trace| *trace == traces[0]), "three runs of seed {seed}: {traces:x?}");
    }
}
