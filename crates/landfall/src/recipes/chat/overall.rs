//! How far everything is, for whoever shows one bar for all of it.
//!
//! Such a bar must not go back because something is finished. So what belongs together is counted together: a *burst*
//! begins when something is staged or sent while nothing is unfinished, and lasts until nothing is. What ends within it
//! stays in it, as something that is done with.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use landfall_core::{ItemId, Timestamp};
use landfall_store::MessageBytes;

use super::progress::Transfers;

/// How far a burst is: everything that is not finished, and what ended since the last moment at which nothing was
/// unfinished, as far as this process has looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overall {
    /// Messages that are not finished, staged ones among them. None: the burst is over.
    pub messages: u64,
    /// Bytes of the burst's attachments: of the payloads as far as those are made, of what was handed over else.
    pub bytes: u64,
    /// Bytes of these that are done with: of what ended, however it did, of what the remote has, and what was handed over
    /// in a transfer. Never falls within a burst, also not when a transfer begins again: then it stands still until
    /// the new one is as far.
    pub bytes_sent: u64,
}

/// What this process has seen of a burst.
#[derive(Default)]
pub(crate) struct Burst {
    /// Held from the reading of the journal on: a look at what was before another look would take back what that one saw.
    turn: tokio::sync::Mutex<()>,
    shares: Mutex<BTreeMap<i64, Share>>,
}

/// A message's share of a burst.
#[derive(Default)]
struct Share {
    bytes: u64,
    sent: u64,
    is_over: bool,
}

impl Burst {
    /// One look after the other.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Messages of the burst that were not finished at the last look.
    pub(crate) fn unfinished(&self) -> Vec<ItemId> {
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.iter().filter(|(_, share)| !share.is_over).map(|(id, _)| ItemId(*id)).collect()
    }

    /// Takes in what is unfinished now, and the last moment at which one of [`Burst::unfinished`] ended.
    pub(crate) fn look(
        &self,
        unfinished: &[MessageBytes],
        last_end: Option<Timestamp>,
        transfers: &Transfers,
    ) -> Overall {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = unfinished.iter().any(|one| shares.get(&one.id.0).is_some_and(|share| !share.is_over));
        let first = unfinished.iter().map(|one| one.created_at).min();
        // Nobody may have looked while there was nothing unfinished: the moments tell that there was such a time.
        if first.is_some_and(|first| !goes_on && last_end.is_none_or(|end| end <= first)) {
            shares.clear();
        }
        shares.values_mut().for_each(|share| share.is_over = true);
        for one in unfinished {
            let share = shares.entry(one.id.0).or_default();
            let sent = if one.is_stored { one.bytes } else { transfers.sent(one.id) };
            *share = Share { bytes: one.bytes, sent: share.sent.max(sent).min(one.bytes), is_over: false };
        }
        let add = |(bytes, sent): (u64, u64), share: &Share| {
            (bytes + share.bytes, sent + if share.is_over { share.bytes } else { share.sent })
        };
        let (bytes, bytes_sent) = shares.values().fold((0, 0), add);
        Overall { messages: unfinished.len() as u64, bytes, bytes_sent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfinished(id: i64, bytes: u64, created_at: i64) -> MessageBytes {
        MessageBytes { id: ItemId(id), bytes, is_stored: false, created_at: Timestamp(created_at) }
    }

    #[test]
    fn a_burst_keeps_what_ended_until_nothing_is_unfinished() {
        let (burst, transfers) = (Burst::default(), Transfers::default());
        let seen = |messages, bytes, bytes_sent| Overall { messages, bytes, bytes_sent };
        let (one, two, three) = (unfinished(1, 100, 0), unfinished(2, 100, 0), unfinished(3, 50, 20));
        assert_eq!(burst.look(&[], None, &transfers), seen(0, 0, 0));
        transfers.saw(ItemId(1), "a", 60, 100);
        transfers.saw(ItemId(2), "b", 10, 100);
        assert_eq!(burst.look(&[one, two], None, &transfers), seen(2, 200, 70));
        transfers.ended("a");
        assert_eq!(burst.look(&[two], Some(Timestamp(10)), &transfers), seen(1, 200, 110), "the first is done with");
        // Its transfer failed, and begins again.
        transfers.ended("b");
        transfers.saw(ItemId(2), "c", 5, 100);
        assert_eq!(burst.look(&[two], None, &transfers), seen(1, 200, 110), "it stands still");
        // Another came before the second ended, and is seen only afterwards.
        assert_eq!(burst.look(&[three], Some(Timestamp(30)), &transfers), seen(1, 250, 200), "it is one burst");
        assert_eq!(burst.look(&[], Some(Timestamp(40)), &transfers), seen(0, 250, 250));
        assert_eq!(burst.look(&[], None, &transfers), seen(0, 250, 250), "until another begins");
        let next = unfinished(4, 10, 50);
        assert_eq!(burst.look(&[next], None, &transfers), seen(1, 10, 0));
    }

    #[test]
    fn a_burst_that_ended_while_nobody_looked_is_not_part_of_the_next() {
        let (burst, transfers) = (Burst::default(), Transfers::default());
        burst.look(&[unfinished(1, 100, 0)], None, &transfers);
        let next = unfinished(2, 10, 50);
        let seen = burst.look(&[next], Some(Timestamp(40)), &transfers);
        assert_eq!(seen, Overall { messages: 1, bytes: 10, bytes_sent: 0 });
    }
}
