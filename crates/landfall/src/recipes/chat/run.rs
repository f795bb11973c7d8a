//! Working on messages: within a budget, as long as a wake-up lasts, or until nothing is left.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use landfall_core::Timestamp;
use landfall_store::{Lease, MessageOutlook};

use super::{Chat, Moves, mover, work::Work};
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
    /// Nothing is left that could go on by itself, but for what waits for a moment or for the platform's carrier.
    pub is_drained: bool,
    /// Messages that are not finished and not staged.
    pub remaining: u64,
    /// Transfers that the platform's carrier may take, or has.
    pub transfers: u64,
    /// When something could go on by itself next.
    pub next_wake: Option<Timestamp>,
}

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
        let worker = Worker::enter(engine, &Silent).await?;
        let deadline = options.budget.map(|budget| tokio::time::Instant::now() + budget);
        let mut running =
            Running { chat: self, worker, works: UnderWay::default(), held: BTreeMap::new(), movers: BTreeMap::new() };
        let ended = {
            let work = running.until_drained(&options.stop);
            match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, work).await.unwrap_or(Ok(false)),
                None => work.await,
            }
        };
        let Running { worker, works, .. } = running;
        drop(works);
        // Also after an error: leases that nobody works on are nobody's.
        let left = worker.leave().await;
        let is_drained = ended?;
        left?;
        let destination = self.inner.destination;
        let (remaining, transfers, next_wake) = engine.journal.read(move |tx| tx.messages_left(destination)).await?;
        Ok(ChatReport { is_drained, remaining, transfers, next_wake })
    }
}

enum Ended {
    Work(Lease, Result<(), Error>),
    Moved(String, Result<(), Error>),
}

/// What this run is at.
#[derive(Default)]
struct UnderWay {
    works: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// What ended while something else was being waited for.
    ended: VecDeque<Ended>,
}

impl UnderWay {
    fn is_empty(&self) -> bool {
        self.works.is_empty() && self.ended.is_empty()
    }

    /// Waits for something while the work goes on. Work that is not polled may be next in line for the journal: to wait
    /// for the journal without polling it would be to wait for ever.
    async fn alongside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                Some(ended) = self.works.next(), if !self.works.is_empty() => self.ended.push_back(ended),
            }
        }
    }

    async fn next(&mut self) -> Option<Ended> {
        match self.ended.pop_front() {
            Some(ended) => Some(ended),
            None => self.works.next().await,
        }
    }
}

struct Running<'c> {
    chat: &'c Chat,
    worker: Worker,
    works: UnderWay,
    held: BTreeMap<i64, (Lease, AbortHandle)>,
    /// Transfers that this process carries, by attempt.
    movers: BTreeMap<String, AbortHandle>,
}

impl Running<'_> {
    /// `true` if nothing is left to do.
    async fn until_drained(&mut self, stop: &Stop) -> Result<bool, Error> {
        let mut swept = false;
        loop {
            if stop.was_said() {
                return Ok(false);
            }
            let Self { worker, works, .. } = self;
            if !works.alongside(worker.tend(&Silent)).await? {
                // We stood still for so long that others took our messages.
                self.works = UnderWay::default();
                self.held.clear();
                self.movers.clear();
                let fresh = Worker::enter(&self.chat.inner.engine, &Silent).await?;
                std::mem::replace(&mut self.worker, fresh).leave().await?;
            }
            let outlook = self.look().await?;
            self.drop_lost(&outlook);
            if outlook.can_claim {
                self.claim().await?;
            }
            if outlook.has_ready {
                self.begin_moves().await?;
            }
            if self.works.is_empty() {
                if !std::mem::replace(&mut swept, true) {
                    self.tidy().await?;
                    continue;
                }
                // What another process is at is left if that one dies or stands still.
                let looks_again = outlook.can_claim || outlook.has_ready || outlook.others_work;
                let is_soon = outlook.due.is_some_and(|due| due <= self.now().after(self.chat.inner.settings.linger));
                if !looks_again && !is_soon {
                    return Ok(true);
                }
            }
            self.next(&outlook).await?;
        }
    }

    async fn next(&mut self, outlook: &MessageOutlook) -> Result<(), Error> {
        let until_due = outlook.due.map_or(LOOK_EVERY, |due| due.since(self.now()).max(Duration::from_millis(1)));
        let pause = until_due.min(LOOK_EVERY);
        tokio::select! {
            biased;
            Some(ended) = self.works.next(), if !self.works.is_empty() => match ended {
                Ended::Work(lease, done) => {
                    if self.held.get(&lease.item.0).is_some_and(|(held, _)| *held == lease) {
                        self.held.remove(&lease.item.0);
                    }
                    done
                }
                Ended::Moved(attempt, done) => {
                    self.movers.remove(&attempt);
                    done
                }
            },
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    async fn look(&mut self) -> Result<MessageOutlook, Error> {
        let inner = &self.chat.inner;
        let (destination, limits, now) = (inner.destination, inner.settings.limits, self.now());
        let worker = self.worker.id.clone();
        let leases: Vec<Lease> = self.held.values().map(|(lease, _)| lease.clone()).collect();
        let read = move |tx: &landfall_store::Tx<'_>| tx.message_outlook(destination, &worker, &leases, limits, now);
        Ok(self.works.alongside(inner.engine.journal.read(read)).await?)
    }

    /// Stops work on messages that a person took back, or that another worker has.
    fn drop_lost(&mut self, outlook: &MessageOutlook) {
        for item in &outlook.lost {
            if let Some((_, abort)) = self.held.remove(&item.0) {
                abort.abort();
            }
        }
    }

    async fn claim(&mut self) -> Result<(), Error> {
        let inner = &self.chat.inner;
        let (destination, limits, now) = (inner.destination, inner.settings.limits, self.now());
        let worker = self.worker.id.clone();
        let claimed = inner.engine.journal.write(move |tx| {
            tx.wake(now)?;
            tx.claim_messages(&worker, destination, limits, usize::MAX, now)
        });
        for lease in self.works.alongside(claimed).await? {
            let work = Work { chat: self.chat.clone(), lease: lease.clone() };
            let (work, abort) = abortable(work.run());
            self.held.insert(lease.item.0, (lease.clone(), abort));
            self.works.works.push(work.map(move |done| Ended::Work(lease, done.unwrap_or(Ok(())))).boxed());
        }
        Ok(())
    }

    /// Begins transfers that this process carries itself.
    async fn begin_moves(&mut self) -> Result<(), Error> {
        let Moves::InProcess(carrier) = &self.chat.inner.moves else { return Ok(()) };
        let room = self.chat.inner.settings.transfers_max.saturating_sub(self.movers.len());
        if room == 0 {
            return Ok(());
        }
        let taken = self.chat.take_for(Some(self.worker.id.clone()), room);
        for transfer in self.works.alongside(taken).await? {
            let attempt = transfer.attempt.clone();
            let (moving, abort) = abortable(mover::carry(self.chat.clone(), carrier.clone(), transfer));
            self.movers.insert(attempt.clone(), abort);
            self.works.works.push(moving.map(move |done| Ended::Moved(attempt, done.unwrap_or(Ok(())))).boxed());
        }
        Ok(())
    }

    /// Collects what was staged and never sent, and removes files that nothing needs.
    async fn tidy(&mut self) -> Result<(), Error> {
        self.chat.collect_staged(self.now()).await?;
        let spool = self.chat.inner.spool.clone();
        self.chat.inner.engine.journal.write(move |tx| spool.sweep(tx)).await?;
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.chat.inner.engine.now()
    }
}
