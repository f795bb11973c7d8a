//! What to do next with a message: an item of a conversation.
//!
//! A message is a text or an *attachment*. A text has only to be published. An attachment is *prepared* (made smaller,
//! sealed into a payload), *uploaded* by a carrier that may be another process altogether, and then published. Uploads
//! run side by side; publishes of one *lane* follow each other in the order in which their messages were sent, as the
//! lane's [`PublishOrder`] says. An attachment may be *staged*: prepared and uploaded before anybody has sent it.
//!
//! Nothing is held open while bytes move. An *attempt* is written down and handed over; whoever hears how it ended writes
//! that down; the next look at the message decides from there.

use std::time::Duration;

use crate::{Action, ItemId, Phase, State, Timestamp, Waits, state::names};

/// Who may be published before whom in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublishOrder {
    /// In the order in which they were sent, all of them.
    #[default]
    Strict,
    /// Batches race: whichever is uploaded first goes first. Within a batch the order is that of sending.
    ByUpload,
}

/// What becomes of those behind a message that is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// They wait until a person retries, skips or discards it.
    #[default]
    Wait,
    /// They pass it, but for the texts that go with it: those wait for it, and are passed as well.
    Pass,
}

names!(PublishOrder { Strict = "strict", ByUpload = "by-upload" });
names!(OnFailure { Wait = "wait", Pass = "pass" });

/// What a worker knows of a message.
#[derive(Debug, Clone)]
pub struct MessageView {
    /// Its state.
    pub state: State,
    /// Where its payload stands; `None` for a text.
    pub payload: Option<Payload>,
    /// The message that has to be published, or given up, before this one.
    pub behind: Option<ItemId>,
    /// Its bytes are fixed.
    pub is_frozen: bool,
    /// A publish of it was begun: it may have reached somebody.
    pub may_be_seen: bool,
}

/// Where an attachment's payload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Only what was handed over is there.
    Original,
    /// It was sealed, and its secrets are lost with the process that had them.
    Unreadable,
    /// It is sealed and on no way.
    Sealed,
    /// A carrier has it, or may take it.
    UnderWay,
    /// A carrier had it, and what became of it is not known.
    Unknown,
    /// The remote took it then.
    Stored(Timestamp),
}

/// One step of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStep {
    /// Make the payload of what was handed over, with new secrets.
    Prepare,
    /// Get leave to put the payload, and write down the attempt for a carrier.
    Grant,
    /// Ask the remote whether it has the payload.
    Ask,
    /// Fix the bytes that will be published.
    Freeze,
    /// Give fixed bytes up that nobody can have seen: what they name may soon be gone.
    Thaw,
    /// Publish exactly these bytes. Harmless when done twice.
    Publish,
}

/// What holds for this worker right now.
#[derive(Debug, Clone, Copy)]
pub struct MessageConditions {
    /// What the journal keeps sealed can be opened.
    pub unlocked: bool,
    /// A payload that the remote took longer ago than this may not live long enough for those who are to fetch it.
    pub reuse: Duration,
}

/// Names the next step of a message. Called with what the journal holds at this moment, by the worker that holds its
/// lease.
pub fn next_message_step(view: &MessageView, conditions: &MessageConditions, now: Timestamp) -> Action<MessageStep> {
    let State::Active { phase, waits } = view.state else { return Action::Rest };
    match waits {
        Waits::Until(moment) if now < moment => return Action::WaitUntil(moment),
        Waits::Item(_) | Waits::Transfer => return Action::WaitFor(waits),
        Waits::Nothing | Waits::Until(_) | Waits::Unlock | Waits::Token => {}
    }
    if !conditions.unlocked {
        return Action::WaitFor(Waits::Unlock);
    }
    if view.is_frozen {
        let is_stale = matches!(view.payload, Some(Payload::Stored(at)) if now.since(at) >= conditions.reuse);
        return match view.behind {
            _ if is_stale && !view.may_be_seen => Action::Start(MessageStep::Thaw),
            // Others were put before it since, by another order: it has not begun.
            Some(other) if !view.may_be_seen => Action::WaitFor(Waits::Item(other)),
            _ => Action::Start(MessageStep::Publish),
        };
    }
    match (view.payload, phase) {
        (Some(payload), _) => match payload {
            Payload::Original | Payload::Unreadable => Action::Start(MessageStep::Prepare),
            Payload::Sealed => Action::Start(MessageStep::Grant),
            Payload::UnderWay => Action::WaitFor(Waits::Transfer),
            Payload::Unknown => Action::Start(MessageStep::Ask),
            // Nobody has seen its address yet: it may as well be put anew.
            Payload::Stored(at) if now.since(at) >= conditions.reuse => Action::Start(MessageStep::Grant),
            Payload::Stored(_) => turn(view),
        },
        (None, Phase::Publish) => turn(view),
        // The journal's checks keep a text from any other phase; to publish it is what there is to do.
        (None, Phase::Prepare | Phase::Upload) => turn(view),
    }
}

fn turn(view: &MessageView) -> Action<MessageStep> {
    match view.behind {
        Some(other) => Action::WaitFor(Waits::Item(other)),
        None => Action::Start(MessageStep::Freeze),
    }
}

/// How a put ended, as its carrier tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutReport {
    /// The remote answered.
    Answered {
        /// With this status.
        status: u16,
        /// And asked to wait for so long before the next.
        retry_after: Option<Duration>,
        /// Its error has S3's word for a grant that is no longer good, whatever the status.
        says_expired: bool,
    },
    /// The network failed before the request was on its way: the remote has not got it.
    NotSent,
    /// The request was on its way when the network failed, or the carrier reports an error that successes are known to
    /// be reported as.
    Unknown,
    /// The carrier gave it up, on somebody's word or its own.
    Cancelled,
}

/// What a put's end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The remote has the payload.
    Stored,
    /// The grant is no longer good: another is needed, for the same payload. No attempt is charged.
    Expired,
    /// Try again later; an attempt is charged unless the remote is merely out of reach or busy.
    Later {
        /// Not before this.
        retry_after: Option<Duration>,
        /// Whether it counts.
        is_charged: bool,
    },
    /// Ask the remote.
    Ask,
    /// It will never be taken.
    Refused(u16),
}

/// Reads how a put ended. By the class of the status alone: a body that is not what was expected says nothing.
pub fn put_outcome(report: &PutReport) -> PutOutcome {
    match *report {
        PutReport::Answered { status: 200..=299, .. } => PutOutcome::Stored,
        PutReport::Answered { says_expired: true, .. } => PutOutcome::Expired,
        PutReport::Answered { status, retry_after, .. } => match status {
            // S3 answers 403 to a URL that has expired, to one signed by a clock that is wrong, and to any it does not
            // like: who renews sees whether that helps.
            401 | 403 => PutOutcome::Expired,
            408 | 425 => PutOutcome::Later { retry_after, is_charged: true },
            429 | 503 => PutOutcome::Later { retry_after, is_charged: false },
            400..=499 => PutOutcome::Refused(status),
            // A redirect is a bucket elsewhere: the next grant may know.
            300..=399 => PutOutcome::Expired,
            _ => PutOutcome::Later { retry_after, is_charged: true },
        },
        PutReport::NotSent => PutOutcome::Later { retry_after: None, is_charged: false },
        PutReport::Unknown | PutReport::Cancelled => PutOutcome::Ask,
    }
}

/// The latest moment at which a transfer of so many bytes may still be handed over under a grant that lasts from `granted`
/// to `deadline`: a carrier that begins later might be cut off, or refused. A grant is good for half of its time whatever
/// the bytes: for those that might take longer than any grant lasts, another would be no better.
pub fn latest_start(granted: Timestamp, deadline: Timestamp, bytes: u64, bytes_per_second_min: u64) -> Timestamp {
    let takes = Duration::from_secs((bytes / bytes_per_second_min.max(1)).saturating_add(1));
    let half = deadline.since(granted) / 2;
    Timestamp(deadline.0.saturating_sub(i64::try_from(takes.min(half).as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const OPEN: MessageConditions = MessageConditions { unlocked: true, reuse: Duration::from_secs(100) };

    fn view(phase: Phase, payload: Option<Payload>) -> MessageView {
        let state = State::Active { phase, waits: Waits::Nothing };
        MessageView { state, payload, behind: None, is_frozen: false, may_be_seen: false }
    }

    #[test]
    fn bytes_move_whoever_is_before_and_a_publish_waits_for_its_turn() {
        let mut message = view(Phase::Prepare, Some(Payload::Original));
        message.behind = Some(ItemId(3));
        assert_eq!(next_message_step(&message, &OPEN, NOW), Action::Start(MessageStep::Prepare));
        message.payload = Some(Payload::Sealed);
        assert_eq!(next_message_step(&message, &OPEN, NOW), Action::Start(MessageStep::Grant));
        message.payload = Some(Payload::Stored(NOW));
        assert_eq!(next_message_step(&message, &OPEN, NOW), Action::WaitFor(Waits::Item(ItemId(3))));
        message.behind = None;
        assert_eq!(next_message_step(&message, &OPEN, NOW), Action::Start(MessageStep::Freeze));
    }

    #[test]
    fn what_may_have_been_published_is_published_again_and_never_made_anew() {
        for payload in [None, Some(Payload::Unreadable), Some(Payload::Stored(Timestamp(0)))] {
            let message = MessageView { is_frozen: true, may_be_seen: true, ..view(Phase::Publish, payload) };
            assert_eq!(next_message_step(&message, &OPEN, NOW), Action::Start(MessageStep::Publish));
            let behind = MessageView { behind: Some(ItemId(3)), ..message };
            assert_eq!(next_message_step(&behind, &OPEN, NOW), Action::Start(MessageStep::Publish));
        }
        let unseen = MessageView { is_frozen: true, behind: Some(ItemId(3)), ..view(Phase::Publish, None) };
        assert_eq!(next_message_step(&unseen, &OPEN, NOW), Action::WaitFor(Waits::Item(ItemId(3))));
    }

    #[test]
    fn a_payload_that_may_soon_be_gone_is_put_anew_unless_its_address_is_known() {
        let stale = Payload::Stored(Timestamp(NOW.0 - 100_000));
        let message = view(Phase::Publish, Some(stale));
        assert_eq!(next_message_step(&message, &OPEN, NOW), Action::Start(MessageStep::Grant));
        let message = MessageView { is_frozen: true, ..message };
        assert_eq!(next_message_step(&message, &OPEN, NOW), Action::Start(MessageStep::Thaw));
        let message = MessageView { may_be_seen: true, ..message };
        assert_eq!(next_message_step(&message, &OPEN, NOW), Action::Start(MessageStep::Publish));
    }

    #[test]
    fn an_answer_is_read_by_its_status() {
        let answered = |status| put_outcome(&PutReport::Answered { status, retry_after: None, says_expired: false });
        for status in [200, 201, 204] {
            assert_eq!(answered(status), PutOutcome::Stored);
        }
        assert_eq!(answered(403), PutOutcome::Expired);
        for status in [400, 404, 411, 413] {
            assert_eq!(answered(status), PutOutcome::Refused(status));
        }
        // Also the one that proxies answer with a page of HTML.
        for status in [408, 500, 502, 504, 520] {
            assert_eq!(answered(status), PutOutcome::Later { retry_after: None, is_charged: true });
        }
        for status in [429, 503] {
            assert_eq!(answered(status), PutOutcome::Later { retry_after: None, is_charged: false });
        }
        assert_eq!(put_outcome(&PutReport::NotSent), PutOutcome::Later { retry_after: None, is_charged: false });
        assert_eq!(put_outcome(&PutReport::Unknown), PutOutcome::Ask);
    }

    #[test]
    fn a_grant_is_used_only_while_there_is_time_for_the_bytes() {
        assert_eq!(latest_start(Timestamp(0), Timestamp(60_000), 10_000, 1000), Timestamp(49_000));
        assert_eq!(latest_start(Timestamp(0), Timestamp(60_000), u64::MAX, 1), Timestamp(30_000), "or never");
        assert_eq!(latest_start(Timestamp(60_000), Timestamp(0), u64::MAX, 1), Timestamp(0));
    }
}
