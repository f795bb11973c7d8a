//! A home, opened.

use std::{path::PathBuf, sync::Arc, time::Duration};

use landfall_core::{ClassLimits, ItemId, RetryPolicy, Timestamp};
use landfall_crypto::ChunkLen;
use landfall_env::Env;
use landfall_images::ThumbnailLimits;
use landfall_store::{Counts, Destination, Event, ItemSummary, Journal, JournalOptions, StoreError, Tx};

use crate::{
    Error, Observer, Progress,
    memory::{BUDGET_BYTES, DECODER_BYTES, Memory},
    presence::Presences,
    sources::Sources,
};

/// How an engine works. Plain data, checked once when the engine is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the journal. Created if it is missing, for its owner alone.
    pub home: PathBuf,
    /// Name of a registered SQLite VFS; `None` for the platform's.
    pub vfs: Option<String>,
    /// Compare the journal with its rules when it is opened.
    pub check: bool,
    /// Only look: the journal is neither created nor written.
    pub read_only: bool,
    /// Keep the journal in memory and touch no home: for restoring on a machine that has none.
    pub ephemeral: bool,
    /// How many items are worked on at once, over all processes of the home.
    pub limits: ClassLimits,
    /// How many parts of one file are under way at once.
    pub parts_in_flight_max: usize,
    /// Length of a sealed chunk's plaintext. A vault has one for ever: 4 MiB.
    pub chunk_len: ChunkLen,
    /// Chunks per part.
    pub chunks_per_part: u64,
    /// What buffers and decoders may hold at once, in bytes.
    pub memory_bytes: u64,
    /// Pauses between attempts at an item.
    pub retry: RetryPolicy,
    /// Pauses between attempts to reach a destination.
    pub reach: RetryPolicy,
    /// How long what cannot go on without a destination waits for one that is away.
    pub patience: Duration,
    /// A file modified less than this ago may still be written, and waits.
    pub quiet: Duration,
    /// A source that gives no byte for this long has stalled.
    pub silence: Duration,
    /// Files longer than this are not taken, in bytes.
    pub file_bytes_max: u64,
    /// Name of this device: tells its folders from those of the same name on others.
    pub device: String,
    /// How thumbnails are made.
    pub thumbnails: ThumbnailLimits,
}

impl Settings {
    /// The defaults over a home.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            vfs: None,
            check: false,
            read_only: false,
            ephemeral: false,
            limits: ClassLimits::default(),
            parts_in_flight_max: 2,
            chunk_len: ChunkLen::DEFAULT,
            chunks_per_part: 4,
            memory_bytes: BUDGET_BYTES,
            retry: RetryPolicy::default(),
            reach: RetryPolicy {
                base: Duration::from_millis(500),
                cap: Duration::from_secs(30),
                attempts_max: u32::MAX,
            },
            patience: Duration::from_secs(60),
            quiet: Duration::from_secs(2),
            silence: Duration::from_secs(15),
            file_bytes_max: 64 << 30,
            device: String::new(),
            thumbnails: ThumbnailLimits { memory_bytes: DECODER_BYTES, ..ThumbnailLimits::default() },
        }
    }
}

/// One home. Clones are the same engine.
///
/// Nothing runs in the background: work is done inside [`Engine::run`], and dropping that future stops it at once; the
/// journal is sound at every instant.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) env: Env,
    pub(crate) journal: Journal,
    pub(crate) memory: Memory,
    pub(crate) sources: Sources,
    pub(crate) presences: Presences,
}

impl Engine {
    /// Opens a home, creating it if it is missing.
    ///
    /// # Errors
    /// What [`Journal::open`] says; [`Error::Home`] if the folder cannot be made.
    pub async fn open(settings: Settings, env: Env) -> Result<Self, Error> {
        if !settings.read_only && !settings.ephemeral {
            let (files, home) = (env.files.clone(), settings.home.clone());
            env.blocking
                .run(move || {
                    files.create_dir_durable(&home)?;
                    files.create_dir_durable(&home.join("workers"))
                })
                .await
                .map_err(|source| Error::Home { path: settings.home.clone(), source })?;
        }
        let options = JournalOptions {
            path: if settings.ephemeral { PathBuf::from(":memory:") } else { Self::journal_path(&settings.home) },
            vfs: settings.vfs.clone(),
            check: settings.check,
            read_only: settings.read_only,
        };
        let journal = Journal::open(options, &env).await?;
        let memory = Memory::new(settings.memory_bytes, settings.chunk_len);
        let sources = Sources::new(&env, settings.silence);
        Ok(Self { inner: Arc::new(Inner { settings, env, journal, memory, sources, presences: Presences::default() }) })
    }

    /// Where the journal of a home is.
    pub fn journal_path(home: &std::path::Path) -> PathBuf {
        home.join("journal.db")
    }

    /// Tells `observer` when another process holds the journal for long.
    pub fn watch_journal(&self, observer: Arc<dyn Observer>) {
        self.inner.journal.on_wait(Arc::new(move |pid| observer.saw(Progress::JournalHeld { pid })));
    }

    /// Closes the journal and lets go of every lock: when this returns no statement runs and no lock is held. Within
    /// milliseconds, also while another process writes. What is under way fails with [`StoreError::Suspended`]; other
    /// processes may take over what this one worked on. Call [`Engine::resume`] before anything else.
    pub async fn suspend(&self) {
        self.inner.journal.suspend().await;
        self.inner.presences.suspend();
    }

    /// Opens the journal again.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn resume(&self) -> Result<(), Error> {
        self.inner.journal.resume().await?;
        self.inner.presences.resume();
        Ok(())
    }

    /// The destination at a location, created if it is new: `default`, `dir:<path>` or `url:<origin>`.
    pub async fn destination(&self, location: &str) -> Result<Destination, Error> {
        let location = location.to_owned();
        let wanted = location.clone();
        match self.inner.journal.read(move |tx| tx.find_destination(&wanted)).await? {
            Some(known) => Ok(known),
            None => Ok(self.inner.journal.write(move |tx| tx.destination_at(&location)).await?),
        }
    }

    /// All destinations.
    pub async fn destinations(&self) -> Result<Vec<Destination>, Error> {
        Ok(self.inner.journal.read(|tx| tx.destinations()).await?)
    }

    /// Whether the journal keeps anything that opens under the host's key alone.
    pub async fn has_lane_keys(&self) -> Result<bool, Error> {
        Ok(self.inner.journal.read(|tx| tx.has_lane_keys()).await?)
    }

    /// How many items are in which state.
    pub async fn counts(&self) -> Result<Counts, Error> {
        Ok(self.inner.journal.read(|tx| tx.counts(None)).await?)
    }

    /// How many items of one destination are in which state. A destination that the home does not know has none.
    pub async fn counts_at(&self, location: &str) -> Result<Counts, Error> {
        let location = location.to_owned();
        let counts = move |tx: &Tx<'_>| match tx.destinations()?.iter().find(|known| known.location == location) {
            Some(destination) => tx.counts(Some(destination.id)),
            None => Ok(Counts::default()),
        };
        Ok(self.inner.journal.read(counts).await?)
    }

    /// Gives up on aborting what nobody wants at a destination: it is not to be reached any more. Returns how many remote
    /// uploads stay there.
    pub async fn forget_abandoned(&self, location: &str) -> Result<usize, Error> {
        let location = location.to_owned();
        let forget = move |tx: &Tx<'_>| match tx.destinations()?.iter().find(|known| known.location == location) {
            Some(destination) => tx.forget_abandoned_uploads(destination.id),
            None => Ok(0),
        };
        Ok(self.inner.journal.write(forget).await?)
    }

    /// Items in a state, or all that are not finished, newest change first.
    pub async fn items(&self, state: Option<String>, limit: usize) -> Result<Vec<ItemSummary>, Error> {
        Ok(self.inner.journal.read(move |tx| tx.summaries(state.as_deref(), limit)).await?)
    }

    /// One item and its history.
    pub async fn item(&self, id: ItemId) -> Result<(ItemSummary, Vec<Event>), Error> {
        Ok(self.inner.journal.read(move |tx| Ok((tx.summary(id)?, tx.history(id)?))).await?)
    }

    /// Events above a number, oldest first.
    pub async fn events_since(&self, number: i64, limit: usize) -> Result<Vec<Event>, Error> {
        Ok(self.inner.journal.read(move |tx| tx.events_since(number, limit)).await?)
    }

    /// Has blocked items tried again: those named, or all. Returns how many were blocked.
    pub async fn retry(&self, ids: Option<Vec<ItemId>>) -> Result<usize, Error> {
        self.each(ids, "blocked", |tx, id, now| tx.retry(id, now).map(usize::from)).await
    }

    /// Takes items back: those named, and the texts that go with messages among them. Returns how many could be.
    pub async fn cancel(&self, ids: Vec<ItemId>) -> Result<usize, Error> {
        self.each(Some(ids), "active", |tx, id, now| match tx.is_message(id)? {
            true => Ok(tx.discard(id, now)?.len()),
            false => Ok(usize::from(tx.cancel(id, now)?)),
        })
        .await
    }

    /// Leaves messages out, and the texts that go with them, so that those behind go on. Returns how many are left out;
    /// what is no message stays as it is.
    pub async fn skip(&self, ids: Vec<ItemId>) -> Result<usize, Error> {
        self.each(Some(ids), "blocked", |tx, id, now| match tx.is_message(id)? {
            true => Ok(tx.skip(id, now)?.len()),
            false => Ok(0),
        })
        .await
    }

    /// Stops items for now: those named, or all active ones. A worker that is at one stops within a second.
    pub async fn pause(&self, ids: Option<Vec<ItemId>>) -> Result<usize, Error> {
        self.each(ids, "active", |tx, id, now| tx.pause(id, now).map(usize::from)).await
    }

    /// Lets paused items go on: those named, or all.
    pub async fn unpause(&self, ids: Option<Vec<ItemId>>) -> Result<usize, Error> {
        self.each(ids, "paused", |tx, id, now| tx.resume(id, now).map(usize::from)).await
    }

    async fn each(
        &self,
        ids: Option<Vec<ItemId>>,
        state: &'static str,
        change: fn(&Tx<'_>, ItemId, Timestamp) -> Result<usize, StoreError>,
    ) -> Result<usize, Error> {
        let now = self.inner.now();
        let changed = self
            .inner
            .journal
            .write(move |tx| {
                let ids = match ids {
                    Some(ids) => ids,
                    None => tx.item_ids(state)?,
                };
                let mut changed = 0;
                for id in ids {
                    changed += change(tx, id, now)?;
                }
                Ok(changed)
            })
            .await?;
        Ok(changed)
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.env.clock.wall_ms())
    }
}
