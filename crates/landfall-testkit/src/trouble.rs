//! Where a process dies.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use landfall_env::{Sabotage, StepHook};

use crate::{ProcessId, SeededRandom, SimDisk, chaos::Crash};

/// Kills processes at the durable steps they reach, and counts where.
pub(crate) struct Trouble {
    state: Mutex<State>,
    sabotage: Option<Sabotage>,
}

struct State {
    random: SeededRandom,
    /// How likely a process dies at a step.
    chance: f64,
    deaths: BTreeMap<&'static str, u64>,
    history: Option<Vec<String>>,
    trace: u64,
}

impl Trouble {
    pub(crate) fn new(random: SeededRandom, sabotage: Option<Sabotage>, with_history: bool) -> Arc<Self> {
        let state = State {
            random,
            chance: 0.0,
            deaths: BTreeMap::new(),
            history: with_history.then(Vec::new),
            trace: 0xcbf2_9ce4_8422_2325,
        };
        Arc::new(Self { state: Mutex::new(state), sabotage })
    }

    pub(crate) fn set_chance(&self, chance: f64) {
        self.lock().chance = chance;
    }

    pub(crate) fn deaths(&self) -> BTreeMap<&'static str, u64> {
        self.lock().deaths.clone()
    }

    pub(crate) fn history(&self) -> Vec<String> {
        self.lock().history.clone().unwrap_or_default()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.lock().trace
    }

    /// Notes something that two runs of one seed agree on.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let mut state = self.lock();
        let line = line();
        state.trace =
            line.bytes().fold(state.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        if let Some(history) = &mut state.history {
            history.push(line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches one process.
pub(crate) struct Watcher {
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) process: ProcessId,
    pub(crate) disk: Arc<SimDisk>,
}

impl StepHook for Watcher {
    fn reached(&self, step: &'static str) {
        if !step.starts_with("journal.") {
            self.trouble.note(|| format!("{} {step}", self.process));
        }
        let mut state = self.trouble.lock();
        // A process commits more often than it does anything else.
        let chance = if step.starts_with("journal.") { state.chance / 10.0 } else { state.chance };
        if chance == 0.0 || !state.random.chance(chance) {
            return;
        }
        *state.deaths.entry(step).or_default() += 1;
        drop(state);
        self.trouble.note(|| format!("{} dies at {step}", self.process));
        self.disk.kill(self.process);
        std::panic::resume_unwind(Box::new(Crash));
    }

    fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.trouble.sabotage == Some(sabotage)
    }
}
