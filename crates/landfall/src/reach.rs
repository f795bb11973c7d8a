//! Whether a destination can be reached, as all that talk to it in this process know it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use landfall_core::{Code, Failure, Gate, Remedy, RetryPolicy};
use landfall_env::Env;

use crate::engine::Inner;

/// A memory of whether a destination can be reached. Clones share it.
#[derive(Clone)]
pub(crate) struct Reach {
    env: Env,
    policy: RetryPolicy,
    gates: Arc<Mutex<Gates>>,
}

/// How long the request that finds out whether the destination is back keeps the others waiting.
const PROBE: Duration = Duration::from_secs(2);

/// What a call does to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It takes no room there.
    Ask,
    /// It leaves something there.
    Store,
}

#[derive(Default)]
struct Gates {
    /// Whether the destination can be reached.
    reach: Gate,
    /// Whether it takes anything. A full one answers all questions, so only something stored tells that there is room again.
    room: Gate,
    /// Why one is shut.
    last: Option<Failure>,
}

impl Gates {
    fn came_through(&mut self, kind: Kind, now: Duration) {
        self.reach.on_success(now);
        if kind == Kind::Store {
            self.room.on_success(now);
        }
        if (self.reach, self.room) == (Gate::Open, Gate::Open) {
            self.last = None;
        }
    }
}

impl Reach {
    pub(crate) fn new(engine: &Inner) -> Self {
        Self { env: engine.env.clone(), policy: engine.settings.reach, gates: Arc::default() }
    }

    /// How long it has been out of reach or has taken nothing, and why.
    pub(crate) fn away(&self) -> Option<(Duration, Failure)> {
        let now = self.env.clock.monotonic();
        let gates = self.gates();
        let away = gates.reach.away_for(now).max(gates.room.away_for(now))?;
        Some((away, gates.last.clone()?))
    }

    /// Forgets that it was out of reach, or full: whoever starts a run wants to know how it is now.
    pub(crate) fn try_anew(&self) {
        *self.gates() = Gates::default();
    }

    /// Takes note of a failure: whether it says that the destination is away, or that it is there. One that answers
    /// questions and takes nothing is as good as away for whoever brings something.
    pub(crate) fn note(&self, kind: Kind, failure: Failure) -> Failure {
        let wait = match failure.remedy {
            Remedy::Wait { retry_after } => Some(retry_after),
            // A lost answer is a network that may be going away: the next request is not sent at once. One that says who
            // is there already is an answer.
            Remedy::Ask if failure.code != Code::KeyTaken => Some(None),
            _ => None,
        };
        let now = self.env.clock.monotonic();
        let fraction = self.env.random.fraction();
        let mut gates = self.gates();
        match wait {
            Some(retry_after) => {
                let has_answered = !matches!(failure.code, Code::Offline | Code::AnswerLost | Code::Stalled);
                let takes_nothing = failure.code == Code::VaultFull || (kind == Kind::Store && has_answered);
                let gate = if takes_nothing { &mut gates.room } else { &mut gates.reach };
                gate.on_failure(&self.policy, now, retry_after, fraction);
                gates.last = Some(failure.clone());
            }
            None if failure.code != Code::BadAnswer => gates.came_through(kind, now),
            None => {}
        }
        failure
    }

    pub(crate) fn came_through(&self, kind: Kind) {
        let now = self.env.clock.monotonic();
        self.gates().came_through(kind, now);
    }

    /// Waits until the destination may be tried. While it is away, or full, one caller at a time finds out.
    pub(crate) async fn pass(&self, kind: Kind) {
        loop {
            let now = self.env.clock.monotonic();
            let may = {
                let mut gates = self.gates();
                let room = if kind == Kind::Store { gates.room.opens_at(now) } else { None };
                match room {
                    Some(until) => Err(until),
                    None => gates.reach.pass(now, PROBE).and_then(|()| match kind {
                        Kind::Store => gates.room.pass(now, PROBE),
                        Kind::Ask => Ok(()),
                    }),
                }
            };
            let Err(until) = may else { return };
            tokio::time::sleep(until.saturating_sub(now).max(Duration::from_millis(5))).await;
        }
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
