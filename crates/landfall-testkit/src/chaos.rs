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

use crate::{ProcessId, SeededRandom, SimClock, SimDisk};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The process dies at a durable step.
    Crash,
    /// The machine of the vault loses power: what was not synced may be gone, also a rename.
    LostRename,
    /// A request is carried out and its answer is lost.
    LostAnswer,
    /// A request arrives twice.
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
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 12] = [
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
        match step.split('.').next()? {
            "prepare" | "claim" => Some(Self::Prepare),
            "upload" => Some(Self::Upload),
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
            write!(f, "\n{:<18}", format!("{fault:?}"))?;
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
    Late,
    ExpireFirst,
    Throttle,
}

/// A panic that is a crash, not a bug.
pub(crate) struct Crash;

/// The source of all trouble in one world.
pub struct Chaos {
    state: Mutex<State>,
    sabotage: Option<Sabotage>,
}

struct State {
    random: SeededRandom,
    left: u32,
    chance: f64,
    table: FaultTable,
    network: Vec<NetworkFault>,
    stopped: BTreeMap<ProcessId, u64>,
    disk_full_until_ms: Option<u64>,
    power_cut: bool,
    server_crash: bool,
    source_change: bool,
    clock_jump: bool,
    /// The first reports of a process, kept to be printed with a failure.
    trace: Vec<String>,
    tracing: bool,
    trace_hash: u64,
}

impl Chaos {
    /// At least `faults` faults, drawn from a seed.
    pub fn new(random: SeededRandom, faults: u32, chance: f64, sabotage: Option<Sabotage>) -> Arc<Self> {
        let state = State {
            random,
            left: faults,
            chance,
            table: FaultTable::default(),
            network: Vec::new(),
            stopped: BTreeMap::new(),
            disk_full_until_ms: None,
            power_cut: false,
            server_crash: false,
            source_change: false,
            clock_jump: false,
            trace: Vec::new(),
            tracing: std::env::var_os("LANDFALL_TRACE").is_some(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
        };
        Arc::new(Self { state: Mutex::new(state), sabotage })
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
        (state.power_cut, state.server_crash, state.source_change, state.clock_jump) = (false, false, false, false);
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
        let mut state = self.lock();
        let line = line();
        for byte in line.bytes() {
            state.trace_hash = (state.trace_hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if state.tracing {
            eprintln!("{line}");
        }
        state.trace.push(line);
        if state.trace.len() > 4000 {
            state.trace.drain(..2000);
        }
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
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
    pub(crate) disk_full_ms: Option<u64>,
}

/// Watches one process for a world.
pub(crate) struct Watcher {
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) process: ProcessId,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    /// A server's steps are moments to die at, and not phases of their own.
    pub(crate) is_server: bool,
}

impl StepHook for Watcher {
    fn reached(&self, step: &'static str) {
        if !step.starts_with("journal.") {
            self.chaos.note(|| format!("{:?} {step}", self.process));
        }
        let Some(fault) = self.draw(step) else { return };
        self.chaos.note(|| format!("{:?} {step}: {fault:?}", self.process));
        let mut state = self.chaos.lock();
        match fault {
            Fault::Crash => {
                drop(state);
                self.disk.kill(self.process);
                std::panic::resume_unwind(Box::new(Crash));
            }
            Fault::LostRename => state.power_cut = true,
            Fault::LostAnswer => state.network.push(NetworkFault::LoseAnswer),
            Fault::DuplicatedAnswer => state.network.push(NetworkFault::Duplicate),
            Fault::LateAnswer => state.network.push(NetworkFault::Late),
            Fault::ExpiredUrl => state.network.push(NetworkFault::ExpireFirst),
            Fault::Throttle => state.network.push(NetworkFault::Throttle),
            Fault::DiskFull => state.disk_full_until_ms = Some(200 + state.random.below(3000)),
            Fault::ClockJump => state.clock_jump = true,
            Fault::Sigstop => {
                let pause = 16_000 + state.random.below(20_000);
                state.stopped.insert(self.process, pause);
            }
            Fault::ServerCrash => state.server_crash = true,
            Fault::SourceChange => state.source_change = true,
        }
    }

    fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.chaos.sabotage == Some(sabotage)
    }
}

impl Watcher {
    fn draw(&self, step: &'static str) -> Option<Fault> {
        let _ = &self.clock;
        if step.starts_with("journal.") {
            return None;
        }
        let phase = Phase::of(step);
        let mut state = self.chaos.lock();
        if state.left == 0 {
            return None;
        }
        // Steps of the later phases are fewer: faults must find them as well.
        let chance = match phase {
            Some(Phase::Complete) => state.chance * 6.0,
            Some(Phase::Register) => state.chance * 4.0,
            _ => state.chance,
        };
        if !state.random.chance(chance) {
            return None;
        }
        let fault = if self.is_server || phase.is_none() {
            // Only death makes sense here; it is not counted, for it belongs to no phase.
            return (state.random.chance(0.3) && !self.is_server).then_some(Fault::Crash);
        } else {
            Fault::ALL[usize::try_from(state.random.below(Fault::ALL.len() as u64)).unwrap_or(0)]
        };
        if let Some(phase) = phase {
            *state.table.0.entry((fault, phase)).or_default() += 1;
            state.left -= 1;
        }
        Some(fault)
    }
}
