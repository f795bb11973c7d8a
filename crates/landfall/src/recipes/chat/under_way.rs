//! What a run has under way: messages that are worked on, and transfers that this process carries.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use landfall_core::ItemId;
use landfall_store::Lease;
use tokio::time::Instant;

use crate::Error;

/// Work that may end at any moment.
#[derive(Default)]
pub(crate) struct UnderWay {
    futures: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// What ended while something else was being waited for.
    ended: VecDeque<Ended>,
    held: BTreeMap<i64, Held>,
    /// The transfers that this process carries, by their attempts.
    carried: BTreeMap<String, AbortHandle>,
}

/// A message that is worked on.
struct Held {
    lease: Lease,
    abort: AbortHandle,
    /// When its lease was first seen to be gone.
    lost_at: Option<Instant>,
}

enum Ended {
    Work(Lease, Result<(), Error>),
    Transfer(String, Result<(), Error>),
}

impl UnderWay {
    /// Begins to work on a message.
    pub(crate) fn work(&mut self, lease: Lease, work: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let (work, abort) = abortable(work);
        self.held.insert(lease.item.0, Held { lease: lease.clone(), abort, lost_at: None });
        self.futures.push(work.map(move |done| Ended::Work(lease, done.unwrap_or(Ok(())))).boxed());
    }

    /// Begins to carry an attempt's transfer.
    pub(crate) fn carry(&mut self, attempt: String, transfer: BoxFuture<'static, Result<(), Error>>) {
        let (transfer, abort) = abortable(transfer);
        self.carried.insert(attempt.clone(), abort);
        self.futures.push(transfer.map(|done| Ended::Transfer(attempt, done.unwrap_or(Ok(())))).boxed());
    }

    /// How many transfers this process carries.
    pub(crate) fn transfers(&self) -> usize {
        self.carried.len()
    }

    /// Breaks off the transfers of these attempts.
    pub(crate) fn break_off(&mut self, attempts: &[String]) {
        for attempt in attempts {
            if let Some(abort) = self.carried.get(attempt) {
                abort.abort();
            }
        }
    }

    /// The leases of what is worked on.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.held.values().map(|held| held.lease.clone()).collect()
    }

    /// Stops work on messages that a person took back, or that another worker has.
    ///
    /// A message that is finished has no lease either, and its work may just be about to say so. So one whose lease is gone
    /// has `grace` to end by itself.
    pub(crate) fn drop_lost(&mut self, lost: &[ItemId], grace: Duration) {
        for item in lost {
            let Some(held) = self.held.get_mut(&item.0) else { continue };
            if held.lost_at.get_or_insert_with(Instant::now).elapsed() >= grace {
                held.abort.abort();
                self.held.remove(&item.0);
            }
        }
    }

    /// Stops everything.
    pub(crate) fn drop_all(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.futures.is_empty() && self.ended.is_empty()
    }

    /// Waits for something while the work goes on. Work that is not polled may be next in line for the journal: to wait
    /// for the journal without polling it would be to wait for ever.
    pub(crate) async fn alongside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                Some(ended) = self.futures.next(), if !self.futures.is_empty() => self.ended.push_back(ended),
            }
        }
    }

    /// Waits until some work has ended; for ever if there is none.
    pub(crate) async fn next(&mut self) -> Result<(), Error> {
        let ended = match self.ended.pop_front() {
            Some(ended) => ended,
            None => match self.futures.next().await {
                Some(ended) => ended,
                None => std::future::pending().await,
            },
        };
        match ended {
            Ended::Work(lease, done) => {
                // The message may be worked on under a newer lease by now.
                if self.held.get(&lease.item.0).is_some_and(|held| held.lease == lease) {
                    self.held.remove(&lease.item.0);
                }
                done
            }
            Ended::Transfer(attempt, done) => {
                self.carried.remove(&attempt);
                done
            }
        }
    }
}
