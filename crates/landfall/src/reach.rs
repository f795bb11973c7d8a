//! Whether a destination can be reached, as all that talk to it in this process know it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::BodyExt as _;
use landfall_core::{Code, Failure, Gate, Remedy, RetryPolicy};
use landfall_env::Env;
use landfall_transport::Body;

use crate::engine::Inner;

/// A memory of whether a destination can be reached. Clones share it.
#[derive(Clone)]
pub(crate) struct Reach {
    env: Env,
    policy: RetryPolicy,
    gates: Arc<Mutex<Gates>>,
}

/// A body whose bytes moved so short a time ago may still be moving. Longer than a carrier lets one stand still.
const MOVING: Duration = Duration::from_secs(30);
/// Whoever has had to wait for so long without getting further lets others try, for as long.
pub(crate) const STUCK: Duration = Duration::from_secs(20);
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
    /// The requests under way that have a body, and when bytes of it moved last.
    moving: BTreeMap<u64, Option<Duration>>,
    /// How many have something that they want stored, or that is under way.
    storing: usize,
    /// Those who are at work, and whether they had to wait last.
    at_work: BTreeMap<u64, bool>,
    /// Since when somebody had to wait and nobody got any further, and why.
    stuck: Option<(Duration, Failure)>,
    /// How many there were of either.
    entered: u64,
}

impl Gates {
    fn enter(&mut self) -> u64 {
        self.entered += 1;
        self.entered
    }
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

    /// How long nothing has come of anything, and why. `None` while something may: bytes are moving of a request that
    /// finds out whether it is back; it is full, and nobody has anything to store; somebody gets further.
    ///
    /// A destination that answers one question and not the next is never [away](Self::away). Whoever needs both gets no
    /// further.
    pub(crate) fn hopeless(&self) -> Option<(Duration, Failure)> {
        let now = self.env.clock.monotonic();
        let gates = self.gates();
        if gates.moving.values().flatten().any(|at| now.saturating_sub(*at) < MOVING) {
            return None;
        }
        let full = gates.room.away_for(now).filter(|_| gates.storing > 0);
        let away = gates.reach.away_for(now).max(full).zip(gates.last.clone());
        let all_wait = !gates.at_work.is_empty() && gates.at_work.values().all(|waits| *waits);
        let stuck = gates.stuck.clone().filter(|_| all_wait);
        let stuck = stuck.map(|(since, failure)| (now.saturating_sub(since), failure));
        [away, stuck].into_iter().flatten().max_by_key(|(time, _)| *time)
    }

    /// Forgets that it was out of reach, or full: whoever starts a run wants to know how it is now.
    pub(crate) fn try_anew(&self) {
        let mut gates = self.gates();
        (gates.reach, gates.room, gates.last, gates.stuck) = (Gate::Open, Gate::Open, None, None);
    }

    /// Somebody begins to work for the destination.
    pub(crate) fn enter(&self) -> AtWork {
        let mut gates = self.gates();
        let number = gates.enter();
        gates.at_work.insert(number, false);
        drop(gates);
        AtWork { reach: self.clone(), number, since: Mutex::default() }
    }

    /// Repeats a question that somebody waits for, until the destination has been away, or it got no answer, for longer
    /// than `patience`.
    pub(crate) async fn patiently<T, F>(
        &self,
        patience: Duration,
        mut question: impl FnMut() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut since = None;
        loop {
            // The gate keeps the next one until it is time for it.
            match question().await {
                Err(failure) if matches!(failure.remedy, Remedy::Wait { .. } | Remedy::Ask) => {
                    let now = self.env.clock.monotonic();
                    let unanswered = now.saturating_sub(*since.get_or_insert(now));
                    let away = self.away().map_or(unanswered, |(away, _)| away.max(unanswered));
                    if is_over(away, &failure, patience) {
                        return Err(failure);
                    }
                }
                other => return other,
            }
        }
    }

    /// Whether it has been away for longer than `patience`.
    pub(crate) fn is_given_up(&self, patience: Duration) -> bool {
        self.away().is_some_and(|(away, failure)| is_over(away, &failure, patience))
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
    pub(crate) async fn pass(&self, kind: Kind) -> Passage {
        let passage = Passage { reach: self.clone(), kind, number: self.gates().enter() };
        if kind == Kind::Store {
            self.gates().storing += 1;
        }
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
            let Err(until) = may else { return passage };
            tokio::time::sleep(until.saturating_sub(now).max(Duration::from_millis(5))).await;
        }
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether patience is at its end. A vault that somebody here holds is there, and they were told whom to continue or to
/// end; whoever has no patience at all does not wait for them either.
pub(crate) fn is_over(away: Duration, failure: &Failure, patience: Duration) -> bool {
    away >= patience && (failure.code != Code::VaultHeld || patience.is_zero())
}

/// A request that was let pass. It is under way until this is dropped.
pub(crate) struct Passage {
    reach: Reach,
    kind: Kind,
    number: u64,
}

impl Passage {
    /// Sees the bytes of the request's body move.
    pub(crate) fn watch(&self, body: Body) -> Body {
        let (reach, number) = (self.reach.clone(), self.number);
        reach.gates().moving.insert(number, None);
        body.map_frame(move |frame| {
            let now = reach.env.clock.monotonic();
            // Whoever has its answer already is not under way any more.
            if let Some(at) = reach.gates().moving.get_mut(&number) {
                *at = Some(now);
            }
            frame
        })
        .boxed_unsync()
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let mut gates = self.reach.gates();
        gates.moving.remove(&self.number);
        if self.kind == Kind::Store {
            gates.storing -= 1;
        }
    }
}

/// Somebody who works for the destination, until this is dropped.
pub(crate) struct AtWork {
    reach: Reach,
    number: u64,
    /// Since when they have had to wait without getting further.
    since: Mutex<Option<Duration>>,
}

impl AtWork {
    /// They have to wait. Returns whether they have got no further for so long that others should try.
    pub(crate) fn waits(&self, failure: &Failure) -> bool {
        let now = self.reach.env.clock.monotonic();
        let mut gates = self.reach.gates();
        gates.at_work.insert(self.number, true);
        gates.stuck.get_or_insert_with(|| (now, failure.clone()));
        // While nobody gets an answer, nobody else would.
        let is_away = gates.reach.away_for(now).max(gates.room.away_for(now)).is_some_and(|away| away >= STUCK);
        drop(gates);
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_sub(*since.get_or_insert(now)) >= STUCK && !is_away
    }

    /// They got further.
    pub(crate) fn gets_further(&self) {
        let mut gates = self.reach.gates();
        gates.at_work.insert(self.number, false);
        gates.stuck = None;
        drop(gates);
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.reach.gates().at_work.remove(&self.number);
    }
}
