//! How the journal fails.

use std::{path::PathBuf, sync::Arc};

use landfall_core::ItemId;

/// Why a call on the journal failed. Nothing of it was written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is not what was written: set it aside and rebuild from the vault and a rescan.
    #[error("the journal `{}` is damaged: {detail}", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// A newer Landfall has changed the file: use that one.
    #[error("the journal has schema {found}, and this version of landfall knows schemas up to {known}")]
    Newer {
        /// In the file.
        found: u32,
        /// In this binary.
        known: u32,
    },
    /// The disk is full: free space and try again.
    #[error("the disk of the journal is full")]
    Full,
    /// The home cannot be written to.
    #[error("the journal cannot be written: {0}")]
    ReadOnly(String),
    /// This worker no longer holds the item: stop working on it.
    #[error("item {0} is held by another worker now")]
    LostLease(ItemId),
    /// There is no such item.
    #[error("there is no item {0}")]
    NoSuchItem(ItemId),
    /// The journal was suspended: resume it first.
    #[error("the journal is suspended")]
    Suspended,
    /// Anything else that SQLite reports: a bug, or a broken disk.
    #[error("the journal failed")]
    Sqlite(#[source] Arc<rusqlite::Error>),
}

impl StoreError {
    /// Sorts what SQLite reports by what to do about it.
    pub(crate) fn from_sqlite(error: Arc<rusqlite::Error>, path: &std::path::Path) -> Self {
        use rusqlite::ErrorCode as Sql;
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(Sql::DatabaseCorrupt | Sql::NotADatabase) => Self::Damaged { path: path.to_owned(), detail },
            Some(Sql::DiskFull) => Self::Full,
            // The index of the log cannot be made longer: what SQLite calls an I/O error is a full disk.
            Some(Sql::SystemIoFailure) if is_extended(&error, rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Self::Full,
            Some(Sql::ReadOnly | Sql::CannotOpen | Sql::PermissionDenied) => Self::ReadOnly(detail),
            _ => Self::Sqlite(error),
        }
    }
}

fn is_extended(error: &rusqlite::Error, code: i32) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, _) if failure.extended_code == code)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::from_sqlite(Arc::new(error), std::path::Path::new("journal.db"))
    }
}
