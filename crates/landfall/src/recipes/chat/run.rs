//! Working on messages: within a budget, as long as a wake-up lasts, or until nothing is left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use landfall_core::{PutReport, Timestamp, Waits};
use landfall_store::{CarrierName, Lease, MessageOutlook, MessagesLeft, Tx, Version};

use super::{Chat, Moves, mover, transfer::Transfer, under_way::UnderWay, work::Work};
use crate::{Error, Silent, Stop, worker::Worker};

/// How a run of messages is limited.
#[derive(Clone, Default)]
pub struct ChatRun {
    /// Stop after this long: what is under way is dropped, and what it did is durable or unknown.
    pub budget: Option<Duration>,
    /// Says when to stop.
    pub stop: Stop,
}

/// What a run of messages came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatReport {
    /// Messages that this run published.
    pub published: u64,
    /// Nothing is left that could go on by itself, but for what waits for a moment or for the platform's carrier.
    pub is_drained: bool,
    /// Messages that are not finished and not staged.
    pub remaining: u64,
    /// Messages that wait until somebody has logged in. Each run tries once whether somebody has.
    pub logged_out: u64,
    /// Transfers that the platform's carrier may take, or has.
    pub transfers: u64,
    /// When something could go on by itself next.
    pub next_wake: Option<Timestamp>,
}

/// After its budget, a run says for so long that it is over.
const LEAVES_WITHIN: Duration = Duration::from_millis(100);
/// How often a run looks whether there is more.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Chat {
    /// Works on messages until nothing is left that could go on now, the budget is spent, or stop is said. In this order:
    /// what may be published is, what may be handed to a carrier is, what may be prepared is, and what nobody needs is
    /// removed. Any number of processes may do this at once over one home.
    ///
    /// What was done is durable when this returns. Dropping the future stops everything at once.
    ///
    /// # Errors
    /// The journal's. What goes wrong with a message is on the message.
    pub async fn run(&self, options: ChatRun) -> Result<ChatReport, Error> {
        let engine = &self.inner.engine;
        let deadline = options.budget.map(|budget| tokio::time::Instant::now() + budget);
        // Another process may be in the middle of a write that lasts.
        let entering = Worker::enter(engine, &Silent);
        let entered = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, entering).await.ok(),
            None => Some(entering.await),
        };
        let Some(worker) = entered.transpose()? else { return self.left(0, false).await };
        let published = Arc::<AtomicU64>::default();
        let mut keeper = Keeper { chat: self, worker, published: Arc::clone(&published), seen: None };
        let mut work = UnderWay::default();
        let ended = {
            let drained = until_drained(&mut keeper, &mut work, &options.stop);
            match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, drained).await.unwrap_or(Ok(false)),
                None => drained.await,
            }
        };
        drop(work);
        // Also after an error: leases that nobody works on are nobody's.
        let leaving = keeper.worker.leave();
        let left = match deadline {
            // One that does not get to say so is found by the lock that it does not hold any more.
            Some(_) => tokio::time::timeout(LEAVES_WITHIN, leaving).await.unwrap_or(Ok(())),
            None => leaving.await,
        };
        let is_drained = ended?;
        left?;
        self.left(published.load(Ordering::Relaxed), is_drained).await
    }

    async fn left(&self, published: u64, is_drained: bool) -> Result<ChatReport, Error> {
        let destination = self.inner.destination;
        let left = self.inner.engine.journal.read(move |tx| tx.messages_left(destination));
        let MessagesLeft { remaining, logged_out, transfers, next_wake } = left.await?;
        Ok(ChatReport { published, is_drained, remaining, logged_out, transfers, next_wake })
    }
}

/// Everything of a run but what is under way.
struct Keeper<'c> {
    chat: &'c Chat,
    worker: Worker,
    published: Arc<AtomicU64>,
    /// What the journal said last, and at which version.
    seen: Option<(Version, MessageOutlook)>,
}

/// Until nothing is left to do (`true`), or somebody says stop.
async fn until_drained(keeper: &mut Keeper<'_>, work: &mut UnderWay, stop: &Stop) -> Result<bool, Error> {
    let mut swept = false;
    keeper.wake_logged_out().await?;
    loop {
        if stop.was_said() {
            return Ok(false);
        }
        if !work.alongside(keeper.worker.tend(&Silent)).await? {
            // We stood still for so long that others took our messages.
            work.drop_all();
            let fresh = Worker::enter(&keeper.chat.inner.engine, &Silent).await?;
            std::mem::replace(&mut keeper.worker, fresh).leave().await?;
        }
        let leases = work.leases();
        let outlook = work.alongside(keeper.look(leases)).await?;
        work.drop_lost(&outlook.lost, LOOK_EVERY);
        if !outlook.unwanted.is_empty() {
            work.break_off(&outlook.unwanted);
            work.alongside(keeper.report_broken_off(outlook.unwanted)).await?;
        }
        if outlook.can_claim {
            // There may be something to tidy up after it.
            swept = false;
            for lease in work.alongside(keeper.claim()).await? {
                let published = Arc::clone(&keeper.published);
                work.work(lease.clone(), Work { chat: keeper.chat.clone(), lease, published }.run());
            }
        }
        if outlook.has_ready {
            let under_way = work.transfers();
            for (attempt, transfer) in work.alongside(keeper.begin_transfers(under_way)).await? {
                work.carry(attempt, transfer);
            }
        }
        if work.is_empty() {
            if !std::mem::replace(&mut swept, true) {
                keeper.tidy().await?;
                continue;
            }
            // What another process is at is left to do if that one dies or stands still.
            let looks_again = outlook.can_claim || outlook.has_ready || outlook.others_work;
            let soon = keeper.now().after(keeper.chat.inner.settings.linger);
            if !looks_again && outlook.due.is_none_or(|due| due > soon) {
                return Ok(true);
            }
        }
        let until_due = outlook.due.map_or(LOOK_EVERY, |due| due.since(keeper.now()).max(Duration::from_millis(1)));
        tokio::select! {
            biased;
            ended = work.next() => ended?,
            () = tokio::time::sleep(until_due.min(LOOK_EVERY)) => {}
        }
    }
}

/// An attempt, and its transfer by this process.
type Carried = (String, BoxFuture<'static, Result<(), Error>>);

impl Keeper<'_> {
    /// What the journal says now. Costs no write, and next to nothing if it says what it said before.
    async fn look(&mut self, leases: Vec<Lease>) -> Result<MessageOutlook, Error> {
        let inner = &self.chat.inner;
        // Taken first: what is committed from here on is seen by the next look at the latest.
        let version = inner.engine.journal.version().await.ok();
        if let Some((at, outlook)) = &self.seen
            && Some(*at) == version
            && outlook.due.is_none_or(|due| due > self.now())
        {
            return Ok(outlook.clone());
        }
        let (destination, limits, now) = (inner.destination, inner.settings.limits, self.now());
        let worker = self.worker.id.clone();
        let read = move |tx: &Tx<'_>| tx.message_outlook(destination, &worker, &leases, limits, now);
        let outlook = inner.engine.journal.read(read).await?;
        self.seen = version.map(|version| (version, outlook.clone()));
        Ok(outlook)
    }

    /// Nobody may have told that somebody has logged in.
    async fn wake_logged_out(&self) -> Result<(), Error> {
        let inner = &self.chat.inner;
        let destination = inner.destination;
        if inner.engine.journal.read(move |tx| tx.waits_for_secrets(destination)).await? {
            inner.engine.journal.write(move |tx| tx.wake_waiting(destination, Waits::Token)).await?;
        }
        Ok(())
    }

    async fn claim(&mut self) -> Result<Vec<Lease>, Error> {
        let inner = &self.chat.inner;
        let (destination, limits, now) = (inner.destination, inner.settings.limits, self.now());
        let worker = self.worker.id.clone();
        let claim = move |tx: &Tx<'_>| {
            tx.wake(now)?;
            tx.claim_messages(&worker, destination, limits, usize::MAX, now)
        };
        Ok(inner.engine.journal.write(claim).await?)
    }

    /// Transfers that this process carries itself, as many as there is room for.
    async fn begin_transfers(&mut self, under_way: usize) -> Result<Vec<Carried>, Error> {
        let Moves::InProcess(carrier) = &self.chat.inner.moves else { return Ok(Vec::new()) };
        let room = self.chat.inner.settings.transfers_max.saturating_sub(under_way);
        if room == 0 {
            return Ok(Vec::new());
        }
        let transfers = self.chat.take_for(CarrierName::Worker(self.worker.id.clone()), room).await?;
        let carry = |one: Transfer| (one.attempt.clone(), mover::carry(self.chat.clone(), Arc::clone(carrier), one));
        Ok(transfers.into_iter().map(carry).collect())
    }

    /// Transfers of this process that were broken off because nobody wants them: their files are let go.
    async fn report_broken_off(&mut self, attempts: Vec<String>) -> Result<(), Error> {
        for attempt in attempts {
            self.chat.transfer_finished(&attempt, &PutReport::Cancelled).await?;
        }
        Ok(())
    }

    /// Collects what was staged and never sent, and removes files that nothing needs.
    async fn tidy(&mut self) -> Result<(), Error> {
        self.chat.tidy().await
    }

    fn now(&self) -> Timestamp {
        self.chat.inner.engine.now()
    }
}
