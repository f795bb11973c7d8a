//! Which fault strikes when.
//!
//! Every process of a world reports the durable steps it reaches. At each of them the seed decides whether a fault
//! strikes, and which. The table of faults by phase shows afterwards that every kind struck in every phase.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landfall_env::{Sabotage, StepHook};
use tokio::sync::Notify;

use crate::{ProcessId, SeededRandom, SimDisk};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The process dies at a durable step.
    Crash,
    /// The machine of the vault loses power: what was not synced may be gone, also a rename.
    LostRename,
    /// A request is carried out and its answer is lost.
    LostAnswer,
    /// A request arrives twice: at once, or again long after it was answered.
    DuplicatedAnswer,
    /// An answer takes longer than anyone expected.
    LateAnswer,
    /// A signed URL expires before it is used.
    ExpiredUrl,
    /// The server asks to slow down.
    Throttle,
    /// A disk is full for a while.
    DiskFull,
    /// The wall clock jumps an hour.
    ClockJump,
    /// The process stands still for longer than its lease.
    Sigstop,
    /// The server's process dies.
    ServerCrash,
    /// Somebody changes a source.
    SourceChange,
    /// Somebody cancels, pauses or retries items, or removes a content from the vault.
    Person,
}

impl Fault {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::LostRename => "power cut",
            Self::LostAnswer => "lost answer",
            Self::DuplicatedAnswer => "duplicate",
            Self::LateAnswer => "late answer",
            Self::ExpiredUrl => "expired URL",
            Self::Throttle => "throttle",
            Self::DiskFull => "disk full",
            Self::ClockJump => "clock jump",
            Self::Sigstop => "SIGSTOP",
            Self::ServerCrash => "server crash",
            Self::SourceChange => "source change",
            Self::Person => "person",
        }
    }

    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Crash,
        Self::LostRename,
        Self::LostAnswer,
        Self::DuplicatedAnswer,
        Self::LateAnswer,
        Self::ExpiredUrl,
        Self::Throttle,
        Self::DiskFull,
        Self::ClockJump,
        Self::Sigstop,
        Self::ServerCrash,
        Self::SourceChange,
        Self::Person,
    ];
}

/// What the world was doing when a fault struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Claiming, reading, sealing.
    Prepare,
    /// Opening and sending.
    Upload,
    /// Completing objects of several parts.
    Complete,
    /// Freezing, registering, linking.
    Register,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 4] = [Self::Prepare, Self::Upload, Self::Complete, Self::Register];

    fn of(step: &str) -> Option<Self> {
        let mut words = step.split('.');
        let word = match words.next()? {
            "server" => words.next()?,
            word => word,
        };
        match word {
            "prepare" | "claim" => Some(Self::Prepare),
            "upload" | "open" | "part" => Some(Self::Upload),
            "complete" => Some(Self::Complete),
            "register" | "link" => Some(Self::Register),
            _ => None,
        }
    }
}

/// How often each fault struck in each phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultTable(BTreeMap<(Fault, Phase), u64>);

impl FaultTable {
    /// Adds another world's counts.
    pub fn add(&mut self, other: &Self) {
        for (cell, count) in &other.0 {
            *self.0.entry(*cell).or_default() += count;
        }
    }

    /// Cells in which nothing struck.
    pub fn empty_cells(&self) -> Vec<(Fault, Phase)> {
        let all = Fault::ALL.into_iter().flat_map(|fault| Phase::ALL.map(|phase| (fault, phase)));
        all.filter(|cell| !self.0.contains_key(cell)).collect()
    }

    /// All faults together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for FaultTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18}", "fault")?;
        for phase in Phase::ALL {
            write!(f, "{:>10}", format!("{phase:?}").to_lowercase())?;
        }
        for fault in Fault::ALL {
            write!(f, "\n{:<18}", fault.name())?;
            for phase in Phase::ALL {
                write!(f, "{:>10}", self.0.get(&(fault, phase)).copied().unwrap_or(0))?;
            }
        }
        Ok(())
    }
}

/// What the network does to the next request of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkFault {
    LoseAnswer,
    Duplicate,
    /// A copy arrives long after the answer.
    Echo,
    Late,
    ExpireFirst,
    Throttle,
}

/// A panic that is a crash, not a bug.
pub(crate) struct Crash;

/// The source of all trouble in one world.
pub struct Chaos {
    state: Mutex<State>,
    /// Something happened that the world has to see to.
    stirred: Notify,
    sabotage: Option<Sabotage>,
}

struct State {
    random: SeededRandom,
    left: u32,
    table: FaultTable,
    network: Vec<NetworkFault>,
    stopped: BTreeMap<ProcessId, u64>,
    disk_full_until_ms: Option<u64>,
    power_cut: bool,
    server_crash: bool,
    source_change: bool,
    clock_jump: bool,
    person: bool,
    /// Somebody has nothing left to do while faults are left.
    idle: bool,
    /// How often a process stood still for longer than its lease.
    stops: BTreeMap<ProcessId, u32>,
    /// How often it was taken for dead while it held items.
    robbed: BTreeMap<ProcessId, u32>,
    /// What happened, kept only if somebody wants to read it.
    history: Option<Vec<String>>,
    trace_hash: u64,
}

impl Chaos {
    /// At least `faults` faults, drawn from a seed.
    pub fn new(random: SeededRandom, faults: u32, sabotage: Option<Sabotage>, with_history: bool) -> Arc<Self> {
        let state = State {
            random,
            left: faults,
            table: FaultTable::default(),
            network: Vec::new(),
            stopped: BTreeMap::new(),
            disk_full_until_ms: None,
            power_cut: false,
            server_crash: false,
            source_change: false,
            clock_jump: false,
            person: false,
            idle: false,
            stops: BTreeMap::new(),
            robbed: BTreeMap::new(),
            history: with_history.then(Vec::new),
            trace_hash: 0xcbf2_9ce4_8422_2325,
        };
        Arc::new(Self { state: Mutex::new(state), stirred: Notify::new(), sabotage })
    }

    pub(crate) fn state_left(&self) -> u32 {
        self.lock().left
    }

    /// No more faults; what is pending is forgotten.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.left = 0;
        state.network.clear();
        state.stopped.clear();
        state.disk_full_until_ms = None;
        (state.power_cut, state.server_crash, state.source_change) = (false, false, false);
        (state.clock_jump, state.person, state.idle) = (false, false, false);
    }

    /// Says that a process has nothing left to do. `true`: not enough has gone wrong, and there will be more to do.
    pub(crate) fn idle(&self) -> bool {
        let mut state = self.lock();
        state.idle = state.left > 0;
        let more = state.idle;
        drop(state);
        self.stir();
        more
    }

    /// Has the world look at what happened.
    pub(crate) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Waits until something happened that the world has to see to: a fault that it carries out, the end of a process.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// What struck so far.
    pub fn table(&self) -> FaultTable {
        self.lock().table.clone()
    }

    /// A number that two runs of one seed agree on.
    pub fn trace_hash(&self) -> u64 {
        self.lock().trace_hash
    }

    /// Notes something for whoever has to understand a failure.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.lock().history {
            history.push(line());
        }
    }

    /// Something happened that two runs of one seed must agree on.
    pub(crate) fn trace(&self, process: ProcessId, what: &'static str) {
        let mut state = self.lock();
        let mut hash = state.trace_hash ^ process.number();
        for byte in what.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        state.trace_hash = hash;
        if let Some(history) = &mut state.history {
            history.push(format!("{process} {what}"));
        }
    }

    /// What was noted.
    pub(crate) fn history(&self) -> Vec<String> {
        self.lock().history.clone().unwrap_or_default()
    }

    /// A process stood still for longer than its lease.
    pub(crate) fn stood_still(&self, process: ProcessId) {
        *self.lock().stops.entry(process).or_default() += 1;
    }

    /// Whether a process has ever stood still for longer than its lease.
    pub(crate) fn ever_stopped(&self, process: ProcessId) -> bool {
        let state = self.lock();
        state.stops.contains_key(&process) || state.stopped.contains_key(&process)
    }

    /// Processes that were taken for dead, with items in their hands, more often than they stood still.
    pub(crate) fn robbed(&self) -> Vec<ProcessId> {
        let state = self.lock();
        let is_unjust = |(process, times): &(&ProcessId, &u32)| state.stops.get(process).unwrap_or(&0) < times;
        state.robbed.iter().filter(is_unjust).map(|(process, _)| *process).collect()
    }

    pub(crate) fn take_network_fault(&self, is_put: bool) -> Option<NetworkFault> {
        let mut state = self.lock();
        let at = state.network.iter().position(|fault| is_put || *fault != NetworkFault::ExpireFirst)?;
        Some(state.network.remove(at))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.lock().random.below(bound)
    }

    pub(crate) fn stopped_for_ms(&self, process: ProcessId) -> Option<u64> {
        self.lock().stopped.remove(&process)
    }

    pub(crate) fn take_pending(&self) -> Pending {
        let mut state = self.lock();
        Pending {
            power_cut: std::mem::take(&mut state.power_cut),
            server_crash: std::mem::take(&mut state.server_crash),
            source_change: std::mem::take(&mut state.source_change),
            clock_jump: std::mem::take(&mut state.clock_jump),
            person: std::mem::take(&mut state.person),
            idle: std::mem::take(&mut state.idle),
            disk_full_ms: state.disk_full_until_ms.take(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Faults that the world itself carries out.
pub(crate) struct Pending {
    pub(crate) power_cut: bool,
    pub(crate) server_crash: bool,
    pub(crate) source_change: bool,
    pub(crate) clock_jump: bool,
    pub(crate) person: bool,
    pub(crate) idle: bool,
    pub(crate) disk_full_ms: Option<u64>,
}

/// Watches one process for a world.
pub(crate) struct Watcher {
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) process: ProcessId,
    pub(crate) disk: Arc<SimDisk>,
    /// All that can happen to a server at a step is that it dies.
    pub(crate) is_server: bool,
}

/// How likely a server dies at a step, and any process at one that belongs to no phase.
const CRASH_CHANCE: f64 = 0.01;
/// How likely it dies just before or just after a commit of its journal: there are many.
const CRASH_AT_COMMIT_CHANCE: f64 = 0.001;

/// How likely a fault strikes at a step of a phase.
const FAULT_CHANCE: f64 = 0.9;
/// Faults after which the rest mostly waits for the later phases.
const EARLY_FAULTS: u64 = 16;
/// How likely one of the rest does not wait.
const LATER_FAULT_CHANCE: f64 = 0.02;

impl StepHook for Watcher {
    fn reached(&self, step: &'static str) {
        let fault = self.draw(step);
        if !step.starts_with("journal.") || fault.is_some() {
            self.chaos.trace(self.process, step);
        }
        if step == "claim.lost" {
            *self.chaos.lock().robbed.entry(self.process).or_default() += 1;
        }
        let Some(fault) = fault else { return };
        self.chaos.trace(self.process, fault.name());
        let mut state = self.chaos.lock();
        match fault {
            Fault::ServerCrash if !self.is_server => state.server_crash = true,
            Fault::Crash | Fault::ServerCrash => {
                drop(state);
                self.disk.kill(self.process);
                self.chaos.stir();
                std::panic::resume_unwind(Box::new(Crash));
            }
            Fault::LostRename => state.power_cut = true,
            Fault::LostAnswer => state.network.push(NetworkFault::LoseAnswer),
            Fault::DuplicatedAnswer => {
                let copies = [NetworkFault::Duplicate, NetworkFault::Echo];
                let at = state.random.below(2);
                state.network.push(copies[usize::try_from(at).unwrap_or(0)]);
            }
            Fault::LateAnswer => state.network.push(NetworkFault::Late),
            Fault::ExpiredUrl => state.network.push(NetworkFault::ExpireFirst),
            Fault::Throttle => state.network.push(NetworkFault::Throttle),
            Fault::DiskFull => state.disk_full_until_ms = Some(200 + state.random.below(3000)),
            Fault::ClockJump => state.clock_jump = true,
            Fault::Sigstop => {
                let pause = 16_000 + state.random.below(10_000);
                state.stopped.insert(self.process, pause);
            }
            Fault::SourceChange => state.source_change = true,
            Fault::Person => state.person = true,
        }
        self.chaos.stir();
    }

    fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.chaos.sabotage == Some(sabotage)
    }
}

impl Watcher {
    fn draw(&self, step: &'static str) -> Option<Fault> {
        let phase = Phase::of(step);
        let mut state = self.chaos.lock();
        if state.left == 0 {
            return None;
        }
        let Some(phase) = phase else {
            // Not counted, since it belongs to no phase.
            let chance = if step.starts_with("journal.") { CRASH_AT_COMMIT_CHANCE } else { CRASH_CHANCE };
            return state.random.chance(chance).then_some(Fault::Crash);
        };
        // Steps of the later phases are fewer: faults must find them as well.
        let is_late = matches!(phase, Phase::Complete | Phase::Register);
        let chance = if self.is_server {
            CRASH_CHANCE
        } else if is_late || state.table.total() < EARLY_FAULTS {
            FAULT_CHANCE
        } else {
            LATER_FAULT_CHANCE
        };
        if !state.random.chance(chance) {
            return None;
        }
        let fault = if self.is_server {
            Fault::ServerCrash
        } else {
            let draw = || Fault::ALL[usize::try_from(state.random.below(Fault::ALL.len() as u64)).unwrap_or(0)];
            match draw() {
                // After these all begins anew, and a world takes longer than its other faults together.
                Fault::Crash | Fault::LostRename | Fault::ServerCrash if state.random.chance(0.75) => draw(),
                // A person brings a process of their own.
                Fault::Person if state.random.chance(0.75) => draw(),
                // What was prepared and sent is prepared and sent again.
                Fault::SourceChange if state.random.chance(0.5) => draw(),
                fault => fault,
            }
        };
        *state.table.0.entry((fault, phase)).or_default() += 1;
        state.left -= 1;
        Some(fault)
    }
}
