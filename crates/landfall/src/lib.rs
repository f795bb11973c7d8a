//! Landfall takes charge of media the moment it is handed over, and sees it through to its destination.
//!
//! An [`Engine`] is one *home*: a folder with the journal. A [`Session`] is one *vault* with its keys at hand. A *scan*
//! offers files and takes them in charge as *items*; a *run* works on items until none is left, the budget is spent or
//! someone says stop; *restore* gives everything back. The recipe for backing up photos end-to-end encrypted is
//! [`recipes::vault`].
//!
//! ```text
//! let engine = Engine::open(Settings::new(home), Env::real()).await?;
//! let session = engine.unlock(destination, vault, Secret::Password(password)).await?;
//! recipes::vault::scan(&engine, &session, &roots, &options, &observer).await?;
//! engine.run(&session, RunOptions::default(), &observer).await?;
//! ```
//!
//! The decisions live in `landfall-core`, the journal in `landfall-store`, the ciphers in `landfall-crypto`; this crate
//! is where they meet, and the only one that owns a clock, a random generator and tasks.

pub mod bucket;
mod deflate;
mod drafts;
mod drive;
mod engine;
mod error;
mod facts;
mod link;
mod memory;
mod observer;
mod plain_name;
mod prepare;
mod presence;
mod publish;
mod reach;
mod reap;
pub mod recipes;
mod remote;
mod run;
mod send;
mod session;
mod site;
mod source;
mod sources;
mod worker;
mod zip;

pub use landfall_core::{Bandwidth, Class, ClassLimits, Code, Failure, ItemId, RetryPolicy, Timestamp, UploadKind};
pub use landfall_crypto::{MasterKey, RecoveryKey};
pub use landfall_env::Env;
pub use landfall_store::{
    Counts, Destination, DestinationId, Enqueued, Event, ItemSummary, NewUpload, ObjectSummary, StoreError,
};
#[cfg(feature = "http")]
pub use landfall_transport::HttpCarrier;
pub use landfall_transport::vault::{Origin, Token, Vault};
pub use landfall_transport::{Carrier, ServiceCarrier, s3};

pub use self::{
    engine::{Engine, Settings},
    error::Error,
    facts::VaultFacts,
    observer::{Observer, Progress, Silent},
    run::{RunEnd, RunOptions, RunReport, Stop},
    session::{NewAccount, Secret, Session, UnlockedKeys},
};
