//! The decisions of an upload: what to do next, when to try again, who may act.
//!
//! An *item* is what a caller handed over. It goes through up to three *phases*: prepare, upload, publish. In upload it
//! has *objects*, each cut into *parts* by a *plan* that never changes. A *worker* that holds the item's *lease* asks
//! [`next_action`] for one *step* after the other; a step that fails is classified once ([`Failure`]), and a step whose
//! answer is lost is settled by asking.
//!
//! Nothing here reads a clock, a file, a socket or a random generator. Callers pass in what they saw and carry out
//! what they are told, so a thousand timelines can be decided in a millisecond.

mod bandwidth;
mod checksum;
mod failure;
mod lease;
mod link;
mod message;
mod next;
mod pace;
mod part;
mod retry;
mod silence;
mod state;
mod time;
mod upload;

pub use self::{
    bandwidth::{Bandwidth, BandwidthError, LocalMoment, Weekday},
    checksum::{Algorithm, Checksum},
    failure::{Code, Failure, Remedy},
    lease::{BEAT_EVERY, Generation, STOPPED_AFTER, Verdict, Watch},
    link::{GATHERED_FROM, link_waits},
    message::{
        MessageConditions, MessageStep, MessageView, OnFailure, Payload, PublishOrder, PutOutcome, PutReport,
        latest_start, next_message_step, put_outcome,
    },
    next::{
        Action, Conditions, ItemView, ObjectState, ObjectView, PartState, PublishState, Role, Step, next_action,
        twin_waits_for,
    },
    pace::Pace,
    part::{PARTS_MAX, PartLimits, PartNumber, PartPlan, PartSpan, PlanError},
    retry::{Gate, RetryPolicy},
    silence::DiskHealth,
    state::{BlockReason, Class, ClassLimits, Held, ItemId, Phase, Room, State, Waits},
    time::Timestamp,
    upload::{BucketObjectView, Proof, UploadKind, UploadStep, UploadView, Window, next_upload_step},
};
