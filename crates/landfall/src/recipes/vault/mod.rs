//! Backing up media end-to-end encrypted: take it in charge, and give it back.
//!
//! [`scan`] walks folders and offers what is new or has changed; an [`crate::Engine::run`] uploads it. [`learn`] reads
//! what the vault holds, so that nothing is sent that it has. [`restore`] gives everything back, [`list`] shows it,
//! [`verify`] checks it, [`remove`] takes it out.

mod fetch;
pub(crate) mod index;
mod layout;
mod listing;
pub(crate) mod metadata;
pub(crate) mod places;
mod restore;
mod scan;
mod verify;

#[cfg(feature = "sim")]
pub use self::listing::{RecordKeys, keys_of_records};
/// Decides by a place (the root's name and the segments below it, joined by `/`).
pub type PlaceFilter = std::sync::Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;
/// Told of a restored file: its place and its length in bytes.
pub type OnFile = std::sync::Arc<dyn Fn(&[u8], u64) + Send + Sync>;

pub use self::{
    index::learn,
    listing::{Entry, list, remove},
    restore::{RestoreOptions, RestoreReport, RestoreTarget, restore},
    scan::{FoundFile, ScanOptions, ScanProblem, ScanReport, SkippedFile, scan, scan_offline},
    verify::{VerifyReport, verify},
};
