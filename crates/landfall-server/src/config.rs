//! Settings.

use std::{path::PathBuf, time::Duration};

/// What a user may tune. Every field has a default but the folder; see [`ServerConfig::new`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The vault folder. Created if it is not there.
    pub vault: PathBuf,
    /// Only read: nothing in the folder is made, changed or removed, so it may be on read-only media. Requests that would
    /// write fail. What others write meanwhile is not seen: what is read is a copy of the database, made in the folder for
    /// temporary files when the vault is opened. `false`.
    pub read_only: bool,
    /// How long a signed URL stays valid. 15 minutes.
    pub grant_ttl: Duration,
    /// Largest object and largest attachment, in bytes of ciphertext. 64 GiB.
    pub object_bytes_max: u64,
    /// Longest sealed text in a record but for its places, in bytes. 256 KiB. A page of a diff is cut so that no
    /// answer exceeds [`landfall_protocol::JSON_BYTES_MAX`], whatever this is.
    pub sealed_bytes_max: usize,
    /// Longest owner's metadata of a record, sealed, in bytes. [`landfall_protocol::PLACES_BYTES_MAX`], 4 MiB: about
    /// 30,000 places of a content.
    pub places_bytes_max: usize,
    /// Most collections of an account. 4000, so that their list is one answer.
    pub collections_max: u32,
    /// Requests answered at once; more are told to come back (503, `Retry-After: 1`). 1024.
    pub requests_in_flight_max: usize,
    /// Connections that [`crate::Server::serve`] has open at once; more wait to be taken until one ends. Each holds a file
    /// descriptor, and another one while a part comes in or goes out. 1024.
    pub connections_max: usize,
    /// Longest time in which a request's head must have arrived, counted from the connection or from the answer before;
    /// so also how long an unused connection is kept. 15 s.
    pub head_time_max: Duration,
    /// Longest time in which a JSON body must have arrived to its end. 60 s.
    pub json_time_max: Duration,
    /// Longest silence within a part or an attachment before it counts as cut off. 60 s.
    pub part_idle_max: Duration,
    /// Least bytes per second of a part or an attachment, on average since it began. One that is slower once
    /// [`Self::part_rate_after`] is over counts as cut off, however rarely it is silent; 0 is no bound. 1 KiB.
    pub part_rate_min: u64,
    /// How long a part may take before [`Self::part_rate_min`] is asked of it. 60 s.
    pub part_rate_after: Duration,
    /// Longest time in which a client takes nothing of an answer before it counts as gone. More than that of a part: a
    /// system says only now and then that a slow client took something. 5 minutes.
    pub answer_idle_max: Duration,
    /// Longest wait for another process that writes to the same vault before answering 503. 10 s.
    pub busy_wait_max: Duration,
    /// An upload that no file has, open or stored, and that nobody touched for this long is removed by
    /// [`crate::Server::maintain`]; a stored one once no upload of its account is open. 14 days.
    pub upload_ttl: Duration,
    /// How long leave to put an attachment stays valid. 1 hour.
    pub asset_grant_ttl: Duration,
    /// How long an attachment is kept after it was last put or renewed. 30 days.
    pub asset_ttl: Duration,
    /// For how long those who come for an attachment hear that it is gone (410), before nothing is known of it any more
    /// (404). 90 days.
    pub asset_gone_ttl: Duration,
    /// Most leaves to put an attachment that an account is given within a minute; more are told to come back (429). 600.
    pub asset_grants_per_minute_max: u32,
    /// Most messages of a lane. 100,000.
    pub lane_messages_max: u64,
    /// Most bytes that the messages of an account take up in all lanes together, 256 for each besides its body. 1 GiB.
    pub message_bytes_max: u64,
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
            read_only: false,
            grant_ttl: Duration::from_secs(15 * 60),
            object_bytes_max: 64 << 30,
            sealed_bytes_max: 256 << 10,
            places_bytes_max: landfall_protocol::PLACES_BYTES_MAX,
            collections_max: 4000,
            requests_in_flight_max: 1024,
            connections_max: 1024,
            head_time_max: Duration::from_secs(15),
            json_time_max: Duration::from_secs(60),
            part_idle_max: Duration::from_secs(60),
            part_rate_min: 1 << 10,
            part_rate_after: Duration::from_secs(60),
            answer_idle_max: Duration::from_secs(5 * 60),
            busy_wait_max: Duration::from_secs(10),
            upload_ttl: Duration::from_secs(14 * 24 * 60 * 60),
            asset_grant_ttl: Duration::from_secs(60 * 60),
            asset_ttl: Duration::from_secs(30 * 24 * 60 * 60),
            asset_gone_ttl: Duration::from_secs(90 * 24 * 60 * 60),
            asset_grants_per_minute_max: 600,
            lane_messages_max: 100_000,
            message_bytes_max: 1 << 30,
            maintenance_interval: Duration::from_secs(10 * 60),
            shutdown_grace: Duration::from_secs(30),
            sqlite_vfs: None,
        }
    }
}
