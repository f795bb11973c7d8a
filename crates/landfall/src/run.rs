//! Working on everything that is queued for one destination.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use landfall_core::{ClassLimits, Failure, ItemId};
use landfall_store::{Lease, Outlook, Version};
use tokio::sync::watch;

use crate::{
    Engine, Error, Observer, Progress, Session, drive::Driven, reach::is_over, reap::Reaped, site::Site, worker::Worker,
};

/// How a run is limited.
#[derive(Clone)]
pub struct RunOptions {
    /// Stop claiming after this long, and checkpoint.
    pub budget: Option<Duration>,
    /// End when the vault has been out of reach for this long without a break. `None`: wait for ever. A vault in this
    /// process that another one holds ([`Code::VaultHeld`](crate::Code)) is waited for without an end, unless this is zero.
    pub patience: Option<Duration>,
    /// Says when to stop.
    pub stop: Stop,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { budget: None, patience: Some(Duration::from_secs(60)), stop: Stop::default() }
    }
}

/// Tells a run to stop taking work, to finish what can be finished soon, and to give the rest back.
#[derive(Clone)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// Says stop. Harmless when said twice.
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    /// Whether stop was said.
    pub fn was_said(&self) -> bool {
        *self.0.borrow()
    }

    async fn said(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = receiver.wait_for(|said| *said).await;
    }
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing is left that could go on by itself.
    Drained,
    /// The budget is spent.
    BudgetSpent,
    /// Stop was said.
    Stopped,
    /// The vault is out of reach, or full; the failure says which.
    Away(Failure),
    /// The vault refuses the token.
    LoggedOut(Failure),
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// Why it ended.
    pub end: RunEnd,
    /// Items that will go on by themselves in a later run.
    pub queued: u64,
    /// Items that wait until a person lets them go on.
    pub paused: u64,
    /// How long it took.
    pub took: Duration,
}

/// How often a run that works on something looks whether it is to go on, and whether there is more.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a run with nothing to do looks for work that others left or made, or whose moment has come.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so many goes in a row that could not delete some uploads, these are left to a later run.
const REAP_FAILURES_MAX: u32 = 3;
/// How often in a row a destination may ask to wait before that counts as a failure.
const REAP_WAITS_MAX: u32 = 10;
/// How long work under way may go on after stop was said.
const CHECKPOINT: Duration = Duration::from_millis(900);

impl Engine {
    /// Works on the items of a vault until nothing is left that could go on by itself, the budget is spent, the vault is
    /// away for too long, or stop is said. Any number of processes may do this at once over one home.
    ///
    /// What was finished is durable when the observer hears of it. Dropping the future stops everything at once: the
    /// journal shows what is unknown, and the next run asks the vault about it.
    ///
    /// # Errors
    /// The journal's. What goes wrong with an item is on the item; what goes wrong with the vault is in the report.
    pub async fn run(
        &self,
        session: &Session,
        options: RunOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<RunReport, Error> {
        self.run_at(Arc::new(session.clone()), options, observer).await
    }

    pub(crate) async fn run_at(
        &self,
        site: Arc<dyn Site>,
        options: RunOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<RunReport, Error> {
        let destination = site.destination();
        // A run that ended because the destination was away too long says nothing about this one.
        site.try_anew();
        let start = self.inner.env.clock.monotonic();
        let worker = Worker::enter(&self.inner, observer.as_ref()).await?;
        let mut run = Run {
            keeper: Keeper { engine: self, site, observer, worker, start, options, was_away: false, seen: None },
            work: UnderWay::default(),
        };
        let end = run.until_it_ends().await;
        let Run { keeper, work } = run;
        drop(work);
        // Also after an error: leases that nobody works on are nobody's.
        let left = keeper.worker.leave().await;
        let end = end?;
        left?;
        let counts = move |tx: &landfall_store::Tx<'_>| Ok((tx.queued(destination)?, tx.paused(destination)?));
        let (queued, paused) = self.inner.journal.read(counts).await?;
        Ok(RunReport { end, queued, paused, took: self.inner.env.clock.monotonic().saturating_sub(start) })
    }
}

type Ended = (Lease, Result<Driven, Error>);

/// The items this run is working on.
#[derive(Default)]
struct UnderWay {
    futures: FuturesUnordered<BoxFuture<'static, Ended>>,
    held: BTreeMap<i64, Held>,
    /// Items whose work ended while something else was being waited for.
    ended: VecDeque<Ended>,
}

/// An item that is being worked on.
struct Held {
    lease: Lease,
    abort: AbortHandle,
    /// When its lease was first seen to be gone.
    lost_at: Option<Duration>,
}

impl UnderWay {
    fn start(&mut self, lease: Lease, drive: BoxFuture<'static, Result<Driven, Error>>) {
        let (work, abort) = abortable(drive);
        self.held.insert(lease.item.0, Held { lease: lease.clone(), abort, lost_at: None });
        self.futures.push(work.map(move |driven| (lease, driven.unwrap_or(Ok(Driven::Released)))).boxed());
    }

    /// The work under this lease has ended. The item may be worked on under a newer one by now.
    fn let_go(&mut self, lease: &Lease) {
        if self.held.get(&lease.item.0).is_some_and(|held| held.lease == *lease) {
            self.held.remove(&lease.item.0);
        }
    }

    fn is_empty(&self) -> bool {
        self.futures.is_empty() && self.ended.is_empty()
    }

    /// Waits for something while the items go on. An item that is not polled may be next in line for the journal: to
    /// wait for the journal without polling it would be to wait for ever.
    async fn alongside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                Some(ended) = self.futures.next(), if !self.futures.is_empty() => self.ended.push_back(ended),
            }
        }
    }

    async fn next(&mut self) -> Option<Ended> {
        match self.ended.pop_front() {
            Some(ended) => Some(ended),
            None => self.futures.next().await,
        }
    }

    fn drop_all(&mut self) {
        self.futures = FuturesUnordered::new();
        self.held.clear();
        self.ended.clear();
    }
}

struct Run<'r> {
    keeper: Keeper<'r>,
    work: UnderWay,
}

/// Everything of a run but the items under way.
struct Keeper<'r> {
    engine: &'r Engine,
    site: Arc<dyn Site>,
    observer: Arc<dyn Observer>,
    worker: Worker,
    start: Duration,
    options: RunOptions,
    was_away: bool,
    /// What the journal said last, and at which version.
    seen: Option<(Version, Outlook)>,
}

enum Next {
    Ended(Ended),
    Look,
    Stop,
}

impl Run<'_> {
    async fn until_it_ends(&mut self) -> Result<RunEnd, Error> {
        let (mut reap_failures, mut reap_waits) = (0, 0);
        loop {
            if let Some(end) = self.keeper.should_end() {
                return self.checkpoint(end).await;
            }
            let Self { keeper, work } = self;
            if !work.alongside(keeper.worker.tend(keeper.observer.as_ref())).await? {
                // We stood still for so long that others took our items. What we were doing is theirs now.
                if !work.held.is_empty() {
                    keeper.engine.inner.env.steps.reached("claim.lost");
                }
                work.drop_all();
                let fresh = Worker::enter(&keeper.engine.inner, keeper.observer.as_ref()).await?;
                std::mem::replace(&mut keeper.worker, fresh).leave().await?;
            }
            let outlook = self.look().await?;
            self.drop_lost(&outlook.lost);
            if outlook.can_claim {
                self.claim(&outlook).await?;
            }
            if self.work.is_empty() {
                if outlook.has_abandoning && reap_failures < REAP_FAILURES_MAX {
                    match self.keeper.site.reap(&self.keeper.engine.inner).await? {
                        Reaped::Gone => {
                            (reap_failures, reap_waits) = (0, 0);
                            continue;
                        }
                        // One that answers one question and not the next must not hold up the end for ever.
                        Reaped::Waits if reap_waits < REAP_WAITS_MAX => reap_waits += 1,
                        Reaped::Waits | Reaped::Failed => reap_failures += 1,
                        Reaped::LoggedOut(failure) => return self.checkpoint(RunEnd::LoggedOut(failure)).await,
                    }
                } else if !outlook.has_queued {
                    return Ok(RunEnd::Drained);
                }
            }
            match self.next().await {
                Next::Ended((lease, driven)) => {
                    self.work.let_go(&lease);
                    match driven? {
                        Driven::Released => {}
                        Driven::LoggedOut(failure) => return self.checkpoint(RunEnd::LoggedOut(failure)).await,
                    }
                }
                Next::Look => {}
                Next::Stop => return self.checkpoint(RunEnd::Stopped).await,
            }
        }
    }

    async fn claim(&mut self, outlook: &Outlook) -> Result<(), Error> {
        let Self { keeper, work } = self;
        if keeper.site.away().is_some() && !work.is_empty() {
            // Those at work find out when it is back.
            return Ok(());
        }
        let limits = keeper.engine.inner.settings.limits;
        let room = limits.most().saturating_sub(work.held.len());
        if room == 0 {
            return Ok(());
        }
        for lease in work.alongside(keeper.claim(outlook, limits, room)).await? {
            let drive = keeper.site.drive(&keeper.engine.inner, lease.clone(), Arc::clone(&keeper.observer));
            work.start(lease, drive);
        }
        Ok(())
    }

    /// What the journal says now. Costs no write, and next to nothing if it says what it said before.
    async fn look(&mut self) -> Result<Outlook, Error> {
        let Self { keeper, work } = self;
        let (engine, destination) = (&keeper.engine.inner, keeper.site.destination());
        let (limits, now) = (engine.settings.limits, engine.now());
        // Taken first: what is committed from here on is seen by the next look at the latest.
        let version = work.alongside(engine.journal.version()).await.ok();
        if let Some((at, outlook)) = &keeper.seen
            && Some(*at) == version
            && outlook.holds_at(now)
        {
            return Ok(outlook.clone());
        }
        let leases: Vec<Lease> = work.held.values().map(|held| held.lease.clone()).collect();
        let outlook = engine.journal.read(move |tx| tx.outlook(destination, &leases, limits, now));
        let outlook = work.alongside(outlook).await?;
        keeper.seen = version.map(|version| (version, outlook.clone()));
        Ok(outlook)
    }

    /// Stops work on items that a person paused or cancelled, or that another worker took: their bytes stop within a
    /// second.
    ///
    /// An item that is finished has no lease either, and its work may just be about to say so. So one whose lease is gone
    /// has until the next look to end by itself.
    fn drop_lost(&mut self, lost: &[ItemId]) {
        let Self { keeper, work } = self;
        let now = keeper.engine.inner.env.clock.monotonic();
        for &item in lost {
            let Some(held) = work.held.get_mut(&item.0) else { continue };
            if now.saturating_sub(*held.lost_at.get_or_insert(now)) >= LOOK_EVERY {
                held.abort.abort();
                work.held.remove(&item.0);
                keeper.observer.saw(Progress::Put { item });
            }
        }
    }

    async fn next(&mut self) -> Next {
        let stop = self.keeper.options.stop.clone();
        let idle = self.work.is_empty();
        let pause = if idle { IDLE_LOOK_EVERY } else { LOOK_EVERY };
        tokio::select! {
            biased;
            () = stop.said() => Next::Stop,
            Some(ended) = self.work.next(), if !idle => Next::Ended(ended),
            () = tokio::time::sleep(pause) => Next::Look,
        }
    }

    /// Lets work under way reach a durable point, for a moment, and gives the rest back.
    async fn checkpoint(&mut self, end: RunEnd) -> Result<RunEnd, Error> {
        let away = self.keeper.site.away().is_some();
        if matches!(end, RunEnd::Stopped | RunEnd::BudgetSpent) && !away {
            let finish = async {
                while let Some((_, driven)) = self.work.next().await {
                    driven?;
                }
                Ok::<_, Error>(())
            };
            if let Ok(finished) = tokio::time::timeout(CHECKPOINT, finish).await {
                finished?;
            }
        }
        self.work.drop_all();
        Ok(end)
    }
}

impl Keeper<'_> {
    fn should_end(&mut self) -> Option<RunEnd> {
        let spent = self.engine.inner.env.clock.monotonic().saturating_sub(self.start);
        if self.options.stop.was_said() {
            return Some(RunEnd::Stopped);
        }
        if self.options.budget.is_some_and(|budget| spent >= budget) {
            return Some(RunEnd::BudgetSpent);
        }
        let is_away = self.site.away().is_some();
        if self.was_away && !is_away {
            self.observer.saw(Progress::Back);
        }
        self.was_away = is_away;
        let ((away, failure), patience) = self.site.hopeless().zip(self.options.patience)?;
        is_over(away, &failure, patience).then_some(RunEnd::Away(failure))
    }

    async fn claim(&self, outlook: &Outlook, limits: ClassLimits, room: usize) -> Result<Vec<Lease>, Error> {
        let destination = self.site.destination();
        let now = self.engine.inner.now();
        let is_due = !outlook.holds_at(now);
        let journal = &self.engine.inner.journal;
        let worker = self.worker.id.clone();
        let site = Arc::clone(&self.site);
        let leases = journal
            .write(move |tx| {
                if !site.is_current(tx)? {
                    return Ok(None);
                }
                if is_due {
                    tx.wake(now)?;
                }
                tx.claim(&worker, destination, limits, room, now).map(Some)
            })
            .await?;
        self.engine.inner.env.steps.reached("claim.committed");
        leases.ok_or(Error::Superseded)
    }
}
