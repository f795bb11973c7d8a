//! What a person sees of messages before anybody else does.
//!
//! An *echo* is a message as the journal has it: readable when [`Chat::send`] returns, through upload, publish and after,
//! until whoever shows it has the message from elsewhere and lets the echo go. All echoes of a lane are read at one
//! moment, together with the number of the last event: whoever goes on with the events after it misses nothing.

use std::path::PathBuf;

use landfall_core::{Code, ItemId, OnFailure, Payload, Phase, PublishOrder, PublishState, State, Waits};
use landfall_store::{Event, Lane, Message, MessageContent, Tx};

use super::{Chat, ChatInner, spool::Spool};
use crate::Error;

/// Echoes of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// In the order of sending.
    pub echoes: Vec<Echo>,
    /// The last event that is in them.
    pub cursor: i64,
}

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Echo {
    /// Its number: stays the same for ever.
    pub id: ItemId,
    /// Its place in the lane, once it is sent.
    pub sequence: Option<i64>,
    /// Which send it was part of.
    pub batch: Option<i64>,
    /// What it says.
    pub content: EchoContent,
    /// How far it is.
    pub stage: Stage,
    /// The message that holds it up, because it needs a person. Another than itself.
    pub blocked_by: Option<ItemId>,
}

/// What an echo says.
#[derive(Debug, Clone, PartialEq)]
pub enum EchoContent {
    /// A text; `None` if the key that it was sealed under is not at hand.
    Text(Option<String>),
    /// An attachment.
    Attachment {
        /// Its name.
        name: String,
        /// Its media type.
        mime: String,
        /// What to show, below the home: there from the moment it is staged until the echo is let go.
        image: Option<PathBuf>,
    },
}

/// How far a message is.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Its payload is being made.
    Preparing,
    /// Its payload is on its way.
    Uploading(Uploaded),
    /// Everything is done that can be before it is sent.
    Staged,
    /// It waits for its turn, or is being published.
    Publishing,
    /// It is published.
    Completed,
    /// It needs a person.
    Failed {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        message: String,
    },
    /// A person stopped it for now.
    Paused,
    /// A person left it out, or took it back.
    Dropped,
}

/// How far an upload is. Never goes back within an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uploaded {
    /// Bytes of the payload that were handed over. Less than all of them, until the remote says that it has them: the stage
    /// is another then.
    pub bytes: u64,
    /// Bytes of the payload.
    pub total: u64,
}

impl Uploaded {
    /// From 0 to less than 1.
    pub fn fraction(self) -> f64 {
        // Both are far below 2^52.
        self.bytes as f64 / self.total.max(1) as f64
    }
}

/// What came after a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Events {
    /// All of it, oldest first; there may be more.
    These(Vec<Event>),
    /// Some of it is not kept any more: read a [`Snapshot`] again.
    Resync,
}

/// What became of a lane's echoes after a cursor.
#[derive(Debug, Clone, PartialEq)]
pub enum Changes {
    /// All of it.
    These {
        /// Echoes that are new or may be another, in the order of sending.
        echoes: Vec<Echo>,
        /// Those that were let go.
        gone: Vec<ItemId>,
        /// The last event that is in them.
        cursor: i64,
    },
    /// Some of it is not kept any more: read a [`Snapshot`] again.
    Resync,
}

impl Chat {
    /// Everything of a lane that is to be shown, and the last event that is in it, at one moment.
    pub async fn echoes(&self, lane: &Lane) -> Result<Snapshot, Error> {
        self.snapshot(Some(lane)).await
    }

    /// What is staged and not sent.
    pub async fn staged(&self) -> Result<Snapshot, Error> {
        self.snapshot(None).await
    }

    async fn snapshot(&self, lane: Option<&Lane>) -> Result<Snapshot, Error> {
        let (destination, id) = (self.inner.destination, lane.map(|lane| lane.id));
        let read = move |tx: &Tx<'_>| {
            let policy = id.map(|id| tx.lane(id)).transpose()?.map(|lane| (lane.order, lane.on_failure));
            let blocked = id.map(|id| tx.blocked_in(id)).transpose()?.unwrap_or_default();
            Ok((policy.unwrap_or_default(), tx.shown(destination, id)?, blocked, tx.last_event()?))
        };
        let (policy, messages, blocked, cursor) = self.inner.engine.journal.read(read).await?;
        let echo = |message| self.inner.echo(message, blocker(message, &blocked, policy));
        Ok(Snapshot { echoes: messages.iter().map(echo).collect(), cursor })
    }

    /// What happened after a cursor, oldest first, at most `limit`.
    pub async fn events_since(&self, cursor: i64, limit: usize) -> Result<Events, Error> {
        let read = move |tx: &Tx<'_>| Ok((tx.first_event()?, tx.events_since(cursor, limit)?));
        let (first, events) = self.inner.engine.journal.read(read).await?;
        Ok(if first > cursor + 1 { Events::Resync } else { Events::These(events) })
    }

    /// What became of a lane's echoes after a cursor. Put over any [`Snapshot`] of that cursor, it makes the present one:
    /// whoever asks again and again misses nothing and sees nothing that was not. How far transfers are is told apart, by
    /// [`Chat::progress_changes`].
    pub async fn changes(&self, lane: &Lane, cursor: i64) -> Result<Changes, Error> {
        let id = lane.id;
        let read = move |tx: &Tx<'_>| {
            if tx.first_event()? > cursor + 1 {
                return Ok(None);
            }
            let lane = tx.lane(id)?;
            Ok(Some(((lane.order, lane.on_failure), tx.changed(id, cursor)?, tx.blocked_in(id)?, tx.last_event()?)))
        };
        let Some((policy, changed, blocked, cursor)) = self.inner.engine.journal.read(read).await? else {
            return Ok(Changes::Resync);
        };
        let (mut echoes, mut gone) = (Vec::new(), Vec::new());
        for (message, is_shown) in changed {
            match is_shown {
                true => echoes.push(self.inner.echo(&message, blocker(&message, &blocked, policy))),
                false => gone.push(message.id),
            }
        }
        Ok(Changes::These { echoes, gone, cursor })
    }

    /// Lets echoes of finished messages go: whoever showed them has the messages from elsewhere. Their images are removed.
    /// Returns how many were let go.
    pub async fn release(&self, ids: Vec<ItemId>) -> Result<usize, Error> {
        let now = self.inner.engine.now();
        let released = self.inner.engine.journal.write(move |tx| tx.release_echoes(&ids, now)).await?;
        // Once that is durable: a picture that is still to be shown must not go.
        self.inner.spool.sweep().await?;
        Ok(released)
    }
}

impl ChatInner {
    fn echo(&self, message: &Message, blocked_by: Option<ItemId>) -> Echo {
        let content = match &message.content {
            MessageContent::Text { text, .. } => EchoContent::Text(self.at_rest.open_text(text)),
            MessageContent::Attachment(row) => EchoContent::Attachment {
                name: row.name.clone(),
                mime: row.mime.clone(),
                image: row.original.as_deref().map(Spool::relative),
            },
        };
        Echo {
            id: message.id,
            sequence: message.sequence,
            batch: message.batch,
            content,
            stage: self.stage(message),
            blocked_by,
        }
    }

    fn stage(&self, message: &Message) -> Stage {
        match &message.state {
            State::Staged => Stage::Staged,
            State::Paused { .. } => Stage::Paused,
            State::Blocked { reason, .. } => Stage::Failed { code: reason.code, message: reason.message.clone() },
            State::Done => Stage::Completed,
            State::Skipped | State::Cancelled => Stage::Dropped,
            State::Active { phase: Phase::Publish, .. } => Stage::Publishing,
            State::Active { .. } if message.publish != PublishState::Nothing => Stage::Publishing,
            State::Active { waits, .. } => match &message.content {
                MessageContent::Attachment(row) if *waits == Waits::Transfer || row.payload() != Payload::Original => {
                    let bytes = if *waits == Waits::Transfer { self.progress.sent(message.id) } else { 0 };
                    Stage::Uploading(Uploaded { bytes, total: row.payload_size.unwrap_or(row.size) })
                }
                _ => Stage::Preparing,
            },
        }
    }
}

/// The nearest blocked message of the lane that holds a message up.
fn blocker(message: &Message, blocked: &[Message], (order, on_failure): (PublishOrder, OnFailure)) -> Option<ItemId> {
    if message.state.is_final() {
        return None;
    }
    let photo = match message.content {
        MessageContent::Text { goes_with, .. } => goes_with,
        MessageContent::Attachment(_) => None,
    };
    // A text passes anything but what it goes with.
    let may_pass = |other: &Message| on_failure == OnFailure::Pass && photo != Some(other.id);
    let is_in_turn = |other: &Message| order == PublishOrder::Strict || other.batch == message.batch;
    let holds_up = |other: &&Message| other.sequence < message.sequence && is_in_turn(other) && !may_pass(other);
    blocked.iter().rev().find(holds_up).map(|other| other.id)
}
