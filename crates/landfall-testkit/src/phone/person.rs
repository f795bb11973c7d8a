//! What a person did, and has been told: the model that a phone is measured by.

use std::collections::{BTreeMap, BTreeSet};

use landfall_core::{ItemId, OnFailure, PublishOrder};

/// A file that was handed over.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) label: String,
    pub(crate) composer: Option<String>,
    pub(crate) is_photo: bool,
    pub(crate) bytes: Vec<u8>,
    /// What it is called by the phone, once it said so.
    pub(crate) id: Option<ItemId>,
    pub(crate) fate: Fate,
}

/// What became of what was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits to be sent.
    Staged,
    /// It was sent.
    Sent,
    /// It was given up: it must not be seen.
    GivenUp,
}

/// A message that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) label: String,
    pub(crate) lane: usize,
    pub(crate) batch: u64,
    pub(crate) id: ItemId,
    pub(crate) is_text: bool,
    /// The photo that it goes with.
    pub(crate) with: Option<ItemId>,
    /// When somebody began to take it back, or to leave it out.
    pub(crate) ended: Option<u64>,
    /// What it may say, by the edits that were made of it.
    pub(crate) says: BTreeSet<String>,
}

/// A batch of which nobody knows whether it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Uncertain {
    pub(crate) lane: usize,
    /// Labels, in their order, and whether each is a text.
    pub(crate) parts: Vec<(String, bool)>,
}

/// A lane's policy, from when on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) begun: u64,
    /// When it was sure to hold; `None` if nobody knows whether it does.
    pub(crate) done: Option<u64>,
    pub(crate) order: PublishOrder,
    pub(crate) on_failure: OnFailure,
}

/// Everything that a person did.
#[derive(Debug, Default)]
pub(crate) struct Person {
    pub(crate) chosen: Vec<Chosen>,
    /// In the order of sending.
    pub(crate) messages: Vec<Message>,
    pub(crate) uncertain: Option<Uncertain>,
    pub(crate) policies: BTreeMap<usize, Vec<Policy>>,
    pub(crate) batches: u64,
    pub(crate) made: u64,
}

impl Person {
    pub(crate) fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Notes a batch that is known to be sent.
    pub(crate) fn sent(&mut self, batch: &Uncertain, ids: &[ItemId]) {
        self.batches += 1;
        let mut with = None;
        for ((label, is_text), id) in batch.parts.iter().zip(ids) {
            if !is_text {
                with = Some(*id);
                for chosen in self.chosen.iter_mut().filter(|chosen| chosen.label == *label) {
                    chosen.fate = Fate::Sent;
                    chosen.id = Some(*id);
                }
            }
            self.messages.push(Message {
                label: label.clone(),
                lane: batch.lane,
                batch: self.batches,
                id: *id,
                is_text: *is_text,
                with: with.filter(|_| *is_text),
                ended: None,
                says: BTreeSet::from([label.clone()]),
            });
        }
    }

    /// Somebody began to take a message back, or to leave it out: that and the texts that go with it may end.
    pub(crate) fn ending(&mut self, id: ItemId, tick: u64) {
        for message in &mut self.messages {
            if message.id == id || message.with == Some(id) {
                message.ended.get_or_insert(tick);
            }
        }
        for chosen in &mut self.chosen {
            if chosen.id == Some(id) && chosen.fate == Fate::Staged {
                chosen.fate = Fate::GivenUp;
            }
        }
    }

    /// Nothing ended after all.
    pub(crate) fn not_ended(&mut self, id: ItemId, tick: u64) {
        for message in &mut self.messages {
            if (message.id == id || message.with == Some(id)) && message.ended == Some(tick) {
                message.ended = None;
            }
        }
    }

    /// Policies that may have held at a moment.
    pub(crate) fn policies_at(&self, lane: usize, tick: u64) -> Vec<(PublishOrder, OnFailure)> {
        let mut possible = vec![(PublishOrder::Strict, OnFailure::Wait)];
        for policy in self.policies.get(&lane).into_iter().flatten() {
            if policy.begun > tick {
                break;
            }
            if policy.done.is_some_and(|done| done <= tick) {
                possible.clear();
            }
            possible.push((policy.order, policy.on_failure));
        }
        possible
    }
}
