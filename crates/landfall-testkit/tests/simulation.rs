//! Worlds full of faults come to rest with everything in its place.

use landfall_testkit::world::{self, WorldOptions};

fn seeds() -> std::ops::Range<u64> {
    let one = std::env::var("LANDFALL_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let count = std::env::var("LANDFALL_SEEDS").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(50);
    one.map_or(0..count, |seed| seed..seed + 1)
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice() {
    let mut table = landfall_testkit::FaultTable::default();
    let mut failures = Vec::new();
    for seed in seeds() {
        let outcome = world::run(seed, &WorldOptions::default());
        table.add(&outcome.table);
        if !outcome.complaints.is_empty() {
            failures.push(format!("LANDFALL_SEED={seed}: {:#?}", outcome.complaints));
            if seeds().count() == 1 {
                println!("{}", outcome.history.join("\n"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {} worlds:\n{}", failures.len(), seeds().count(), failures.join("\n"));
    println!("{table}");
}
