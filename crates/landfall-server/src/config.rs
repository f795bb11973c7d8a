//! Settings.

use std::{path::PathBuf, time::Duration};

/// What a user may tune. Every field has a default but the folder; see [`ServerConfig::new`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The vault folder. Created if it is not there.
    pub vault: PathBuf,
    /// How long a signed URL stays valid. 15 minutes.
    pub grant_ttl: Duration,
    /// Largest object, in bytes of ciphertext. 64 GiB.
    pub object_bytes_max: u64,
    /// Longest sealed text in a record (metadata of either kind), in bytes. 256 KiB. A page of a diff is cut so that no
    /// answer exceeds [`landfall_protocol::JSON_BYTES_MAX`], whatever this is.
    pub sealed_bytes_max: usize,
    /// Most collections of an account. 4000, so that their list is one answer.
    pub collections_max: u32,
    /// Requests answered at once; more are told to come back (503, `Retry-After: 1`). 1024.
    pub requests_in_flight_max: usize,
    /// Longest silence within a request's body before it counts as cut off. 60 s.
    pub body_idle_max: Duration,
    /// Longest wait for another process that writes to the same vault before answering 503. 10 s.
    pub busy_wait_max: Duration,
    /// An upload that no file has, open or stored, and that nobody touched for this long is removed by
    /// [`crate::Server::maintain`]; a stored one once no upload of its account is open. 14 days.
    pub upload_ttl: Duration,
    /// How often [`crate::Server::serve`] maintains the vault. 10 minutes.
    pub maintenance_interval: Duration,
    /// How long [`crate::Server::serve`] lets running requests finish after the signal to stop. 30 s.
    pub shutdown_grace: Duration,
    /// The SQLite VFS that `server.db` lives on; `None` is SQLite's own default.
    pub sqlite_vfs: Option<String>,
}

impl ServerConfig {
    /// The defaults, for a vault in `vault`.
    pub fn new(vault: impl Into<PathBuf>) -> Self {
        Self {
            vault: vault.into(),
            grant_ttl: Duration::from_secs(15 * 60),
            object_bytes_max: 64 << 30,
            sealed_bytes_max: 256 << 10,
            collections_max: 4000,
            requests_in_flight_max: 1024,
            body_idle_max: Duration::from_secs(60),
            busy_wait_max: Duration::from_secs(10),
            upload_ttl: Duration::from_secs(14 * 24 * 60 * 60),
            maintenance_interval: Duration::from_secs(10 * 60),
            shutdown_grace: Duration::from_secs(30),
            sqlite_vfs: None,
        }
    }
}
