//! How far transfers are. In memory alone: what counts is written when a transfer ends.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use landfall_core::ItemId;
use tokio::sync::watch;

/// How far one transfer is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Transfer {
    attempt: String,
    sent: u64,
    total: u64,
}

/// Transfers under way, as carriers tell of them.
pub(crate) struct Transfers {
    transfers: Mutex<BTreeMap<i64, Transfer>>,
    changed: watch::Sender<u64>,
}

impl Default for Transfers {
    fn default() -> Self {
        Self { transfers: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Transfers {
    /// A carrier tells how far it is. Never goes back within an attempt, and a total that makes no sense is the payload's
    /// own length.
    pub(crate) fn saw(&self, item: ItemId, attempt: &str, sent: u64, payload: u64) {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = transfers.entry(item.0).or_insert_with(|| Transfer {
            attempt: attempt.to_owned(),
            sent: 0,
            total: payload.max(1),
        });
        if transfer.attempt != attempt {
            *transfer = Transfer { attempt: attempt.to_owned(), sent: 0, total: payload.max(1) };
        }
        // All of it is there only when the remote says so, and then the transfer is over.
        let sent = sent.min(transfer.total.saturating_sub(1));
        if sent > transfer.sent {
            transfer.sent = sent;
            drop(transfers);
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// An attempt is over, however it ended.
    pub(crate) fn ended(&self, attempt: &str) {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.retain(|_, transfer| transfer.attempt != attempt);
        drop(transfers);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Bytes of a message's payload that were handed over in the transfer under way.
    pub(crate) fn sent(&self, item: ItemId) -> u64 {
        let transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.get(&item.0).map_or(0, |transfer| transfer.sent)
    }

    /// Bytes handed over and bytes in all, of everything under way.
    pub(crate) fn sum(&self) -> (u64, u64) {
        let transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.values().fold((0, 0), |(sent, total), each| (sent + each.sent, total + each.total))
    }

    /// Changes whenever any of them does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
