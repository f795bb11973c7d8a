//! Random programs of what people and machines do, and of what goes wrong meanwhile: each from one seed, judged when it has
//! come to rest.
//!
//! `LANDFALL_PROGRAMS=n` runs n programs instead of as many as usual; `LANDFALL_SEED=n` runs that one and prints all that
//! happened in it. Of a sabotaged one `LANDFALL_SABOTAGE=name` does the same.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use landfall_env::Sabotage;

use crate::{Catalogued, number, on_all_cores, survivors};

/// How a program is run.
#[derive(Debug, Clone, Default)]
pub struct ProgramOptions {
    /// Safety measure to take away.
    pub sabotage: Option<Sabotage>,
    /// Keep what happened, to be read.
    pub history: bool,
}

/// What a program came to.
#[derive(Debug)]
pub struct ProgramOutcome {
    /// What must hold and does not; empty if all is well.
    pub complaints: Vec<String>,
    /// How often a process died, by the step at which it did.
    pub deaths: BTreeMap<&'static str, u64>,
    /// How often each operation was done, and each fault struck.
    pub operations: BTreeMap<&'static str, u64>,
    /// Messages that were sent, or uploads that were taken in charge.
    pub made: usize,
    /// The same for two runs of one seed.
    pub trace: u64,
    /// What happened, if [`ProgramOptions::history`] asks for it.
    pub history: Vec<String>,
}

/// Programs of one kind.
pub struct Programs {
    /// Runs the one of a seed to its end.
    pub run: fn(u64, &ProgramOptions) -> ProgramOutcome,
    /// How many there are.
    pub count: u64,
    /// What they make.
    pub noun: &'static str,
    /// Steps at each of which processes must have died.
    pub steps: &'static [&'static str],
    /// How often each operation must have been done.
    pub least: u64,
    /// Safety measures that are missed when they are taken away.
    pub sabotages: fn() -> Vec<Catalogued>,
}

#[derive(Default)]
struct Total {
    deaths: BTreeMap<&'static str, u64>,
    operations: BTreeMap<&'static str, u64>,
    made: usize,
    failures: BTreeMap<u64, Vec<String>>,
}

impl Programs {
    /// Runs them all, or the one that `LANDFALL_SEED` names.
    ///
    /// # Panics
    /// Something that must hold does not; or not everything happened that is to happen in so many programs.
    pub fn hold(&self) {
        if let Some(seed) = number("LANDFALL_SEED") {
            return self.replay(seed);
        }
        let programs = number("LANDFALL_PROGRAMS").unwrap_or(self.count);
        let total = Mutex::new(Total::default());
        on_all_cores(programs, |seed| {
            let outcome = (self.run)(seed, &ProgramOptions::default());
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            add(&mut total.deaths, outcome.deaths);
            add(&mut total.operations, outcome.operations);
            total.made += outcome.made;
            if !outcome.complaints.is_empty() {
                total.failures.insert(seed, outcome.complaints);
            }
            true
        });
        let Total { deaths, operations, made, failures } = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("{made} {} in {programs} programs", self.noun);
        println!("operations: {operations:?}");
        println!("deaths by step: {deaths:?}");
        let lines: Vec<String> = failures
            .iter()
            .flat_map(|(seed, complaints)| complaints.iter().map(move |line| format!("LANDFALL_SEED={seed}: {line}")))
            .collect();
        assert!(lines.is_empty(), "{} of {programs} programs:\n{}", failures.len(), lines.join("\n"));
        if programs >= self.count {
            let missed: Vec<_> = self.steps.iter().filter(|step| !deaths.contains_key(*step)).collect();
            assert!(missed.is_empty(), "no process died at {missed:?}");
            assert!(operations.values().all(|count| *count > self.least), "{operations:?}");
        }
    }

    fn replay(&self, seed: u64) {
        let wanted = std::env::var("LANDFALL_SABOTAGE").ok();
        let mut known = (self.sabotages)().into_iter().map(|one| one.sabotage);
        let sabotage = known.find(|one| wanted == Some(format!("{one:?}")));
        let outcome = (self.run)(seed, &ProgramOptions { history: true, sabotage });
        println!("{}", outcome.history.join("\n"));
        assert!(outcome.complaints.is_empty(), "{}", outcome.complaints.join("\n"));
    }

    /// Takes each safety measure away.
    ///
    /// # Panics
    /// One is not missed.
    pub fn miss_every_safety_measure(&self) {
        if number("LANDFALL_SEED").is_some() {
            return;
        }
        let survivors = survivors((self.sabotages)(), self.count, |sabotage, seed| {
            let options = ProgramOptions { sabotage: Some(sabotage), history: false };
            (self.run)(seed, &options).complaints.into_iter().next()
        });
        assert!(survivors.is_empty(), "{survivors:#?}");
    }

    /// Runs the first `seeds` three times each, the last time with their history.
    ///
    /// # Panics
    /// Two runs of one seed differ.
    pub fn are_the_same_each_time(&self, seeds: u64) {
        if number("LANDFALL_SEED").is_some() {
            return;
        }
        let traces: Mutex<BTreeMap<u64, Vec<u64>>> = Mutex::default();
        on_all_cores(3 * seeds, |run| {
            let outcome = (self.run)(run % seeds, &ProgramOptions { history: run >= 2 * seeds, sabotage: None });
            let mut traces = traces.lock().unwrap_or_else(PoisonError::into_inner);
            traces.entry(run % seeds).or_default().push(outcome.trace);
            true
        });
        for (seed, traces) in traces.into_inner().unwrap_or_else(PoisonError::into_inner) {
            assert!(traces.iter().all(|trace| *trace == traces[0]), "three runs of seed {seed}: {traces:x?}");
        }
    }
}

fn add(counts: &mut BTreeMap<&'static str, u64>, more: BTreeMap<&'static str, u64>) {
    more.into_iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
}
