//! The journal: one SQLite file that is the truth about everything Landfall has taken in charge.
//!
//! There is no queue in memory. An *item* is a row; what it waits for is on that row; its *objects* and their *parts*
//! are rows; who may change it is a *worker*'s lease with a *generation* on the row. A transition is one conditional
//! write: [`Tx::hold`] compares the generation first, in the same transaction, so a worker that lost its lease changes
//! nothing. Many callers' transitions are committed together, as one *turn* ([`Journal::write`]), because a durable
//! commit costs the same for one row and for a hundred.
//!
//! The file is in WAL mode with `synchronous=FULL`: what a `write` has returned survives `kill -9` and power loss.
//! Every writing transaction is `BEGIN IMMEDIATE`, so that any number of processes may share the file.

mod attempt;
mod bucket;
mod bucket_object;
mod claim;
mod content;
mod destination;
mod error;
mod event;
mod item;
mod journal;
mod lane;
mod message;
mod object;
mod outlook;
mod place;
mod report;
mod schema;
mod session;
mod upload;
mod withdrawal;
mod worker;

pub use self::{
    attempt::{Attempt, AttemptState, CarrierName, NewAttempt, Reported},
    bucket::BucketFacts,
    bucket_object::{
        AbandonedUpload, BucketObject, BucketObjectId, BucketPart, PlannedBucketObject, PlannedBucketPart,
    },
    claim::{Lease, Outlook},
    content::{NewContent, SeenPlace},
    destination::{Destination, DestinationId, StoredCollection},
    error::StoreError,
    event::Event,
    item::{Item, NewItem, Prepared, PreparedOutcome, SourceIdentity},
    journal::{Journal, JournalOptions, Tx, Version, WaitNotice},
    lane::{Lane, LaneId, Outgoing, Sent},
    message::{AttachmentRow, Message, MessageContent, NewAttachment, NewText, Sealed},
    object::{Object, ObjectId, Part, PlannedObject, PlannedPart},
    outlook::{MessageBytes, MessageLimits, MessageOutlook, MessagesLeft},
    place::{Offer, OfferOutcome, Root, RootId},
    report::{Counts, ItemSummary, ObjectSummary},
    session::SessionRow,
    upload::{BundleEntry, Enqueued, NewUpload, PreparedUpload, Upload},
    worker::WorkerRow,
};
