//! The outside world as values: files, time, randomness, threads.
//!
//! The engine and the server receive an [`Env`] and touch nothing else, so that a simulated run owns everything that
//! happens in it. The real world is [`Env::real`]; the simulated one lives in the test kit. With feature `sim` an
//! `Env` also stops at named durable [`Steps`] and can be told to leave out one safety measure ([`Sabotage`]), which
//! is how the tests show that they would notice.

mod apart;
mod blocking;
mod clock;
mod files;
mod holder;
mod incoming;
mod platform;
mod random;
mod steps;

use std::sync::Arc;

#[cfg(feature = "sim")]
pub use self::steps::StepHook;
pub use self::{
    apart::{Apart, hear},
    blocking::Blocking,
    clock::{Clock, SystemClock},
    files::{DirEntry, File, FileKind, FileLock, FileStatus, Files, Identity, RealFiles},
    holder::Holder,
    incoming::Incoming,
    random::{Random, SystemRandom},
    steps::{Sabotage, Steps},
};

/// Everything a Landfall component may touch besides its database and its network.
#[derive(Clone)]
pub struct Env {
    /// Files and folders.
    pub files: Arc<dyn Files>,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Keys, nonces, names, jitter.
    pub random: Arc<dyn Random>,
    /// Where work that would hold up the event loop runs.
    pub blocking: Blocking,
    /// Durable steps a test may stop at.
    pub steps: Steps,
}

impl Env {
    /// The machine this process runs on.
    pub fn real() -> Self {
        Self {
            files: Arc::new(RealFiles),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            blocking: Blocking::Threads,
            steps: Steps::from_environment(),
        }
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}
