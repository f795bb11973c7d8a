//! Durable steps and sabotages: where a test may stop a process, and which safety measure it may take away.
//!
//! Without feature `sim` both are compiled to nothing.

#[cfg(feature = "sim")]
use std::sync::Arc;

/// A safety measure that a test can take away, to show that the tests notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Sabotage {
    /// Writes by a worker that lost its lease are let through.
    DropGenerationCheck,
    /// A file is registered before all its parts have receipts.
    PublishBeforeReceipt,
    /// The folder of a stored part is not synced.
    SkipFolderSync,
    /// A stored part's bytes are not synced.
    SkipFileSync,
    /// A changed source keeps its keys and its object.
    ReuseKeyForNewRevision,
    /// A lost answer counts as a refusal: the upload starts again under a new key without asking.
    LostAnswerIsFailure,
    /// Leases end by the wall clock.
    WallClockLease,
    /// The remote object is deleted before the journal says so.
    DeleteBeforeCommit,
    /// A remote upload is opened without a row that says so.
    NoIntentRow,
    /// The journal's commits are not synced.
    SkipJournalSync,
    /// The changed bytes of a source are sent without comparing their MAC.
    SkipMacCheck,
    /// Content that another item is uploading is uploaded again.
    SkipTwinCheck,
    /// The messages of a batch are sent one by one.
    SendPiecemeal,
    /// A message is published without looking whether others come before it.
    PublishOutOfTurn,
    /// A message that decides to wait for another does not ask again when it writes so.
    WaitUnasked,
    /// Every publish has an idempotency key of its own.
    FreshKeyPerPublish,
    /// The journal does not say that a publish is about to begin.
    SkipPublishIntent,
    /// A report about an attempt that nobody waits for counts.
    SkipAttemptFence,
    /// An upload whose outcome is unknown is taken for one that failed.
    UnknownIsFailure,
    /// Files are removed although a carrier may be reading them.
    SweepCarriedFiles,
    /// Files of messages are not synced.
    SkipSpoolSync,
    /// Whatever is under an object's key in a bucket counts as that object.
    TakeAnyForOurs,
    /// What a bucket says of an object is not compared with what was sent.
    SkipProof,
    /// A bucket is not asked to refuse where something is there already, and nobody looks.
    DropGuard,
}

/// Named moments at which something durable has just happened or is just about to.
#[derive(Clone, Default)]
pub struct Steps {
    #[cfg(feature = "sim")]
    hook: Option<Arc<dyn StepHook>>,
}

/// What a simulation does at a step.
#[cfg(feature = "sim")]
pub trait StepHook: Send + Sync {
    /// A step was reached. May panic (a crash) or end the process.
    fn reached(&self, step: &'static str);
    /// Whether a safety measure is taken away in this run.
    fn sabotaged(&self, sabotage: Sabotage) -> bool;
}

impl Steps {
    /// No stops, no sabotage; with feature `sim`, what `LANDFALL_CRASH_AT=step:n` asks for: the process kills itself
    /// the n-th time it reaches that step.
    pub fn from_environment() -> Self {
        #[cfg(feature = "sim")]
        {
            Self { hook: crash_at::from_environment() }
        }
        #[cfg(not(feature = "sim"))]
        {
            Self {}
        }
    }

    /// Steps watched by a simulation.
    #[cfg(feature = "sim")]
    pub fn with_hook(hook: Arc<dyn StepHook>) -> Self {
        Self { hook: Some(hook) }
    }

    /// Says that `step` was reached.
    #[inline]
    pub fn reached(&self, step: &'static str) {
        #[cfg(feature = "sim")]
        if let Some(hook) = &self.hook {
            hook.reached(step);
        }
        #[cfg(not(feature = "sim"))]
        let _ = step;
    }

    /// Whether a safety measure is taken away in this run. Always false without feature `sim`.
    #[inline]
    pub fn sabotaged(&self, sabotage: Sabotage) -> bool {
        #[cfg(feature = "sim")]
        {
            self.hook.as_ref().is_some_and(|hook| hook.sabotaged(sabotage))
        }
        #[cfg(not(feature = "sim"))]
        {
            let _ = sabotage;
            false
        }
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}

#[cfg(feature = "sim")]
mod crash_at {
    use super::{Sabotage, StepHook};
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    /// Kills the process the n-th time it reaches a step.
    struct CrashAt {
        step: String,
        remaining: AtomicU64,
    }

    pub(super) fn from_environment() -> Option<Arc<dyn StepHook>> {
        let wanted = std::env::var("LANDFALL_CRASH_AT").ok()?;
        let (step, count) = wanted.rsplit_once(':').unwrap_or((&wanted, "1"));
        let remaining = AtomicU64::new(count.parse().ok()?);
        Some(Arc::new(CrashAt { step: step.to_owned(), remaining }))
    }

    impl StepHook for CrashAt {
        fn reached(&self, step: &'static str) {
            if step == self.step && self.remaining.fetch_sub(1, Ordering::Relaxed) == 1 {
                // No destructor, no flush, no exit handler: as near to `kill -9` as a process can do to itself.
                std::process::abort();
            }
        }

        fn sabotaged(&self, _: Sabotage) -> bool {
            false
        }
    }
}
