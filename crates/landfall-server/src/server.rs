//! The server itself: opening a vault folder, and what every handler has at hand.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use landfall_env::{Env, Files, Holder, Incoming};
use rusqlite::OptionalExtension as _;
use tokio::sync::Semaphore;

use crate::{
    ServerConfig,
    account::Token,
    database::Transaction,
    database::{Database, MigrateError, SCHEMA},
    folder::{Folder, found},
    instance::{Instance, sweep_dead},
    maintenance::{Observed, collect_garbage},
    read_only,
    refusal::{Refusal, is_disk_full},
    signing::Signer,
};

/// A vault folder, opened. Clones are cheap and share it.
///
/// Several servers, in one process or in several, may have one folder open at once. Dropping the last clone removes
/// this server's traces in the folder; a killed process's are removed by the next to open it.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones of a [`Server`] share.
pub(crate) struct Inner {
    // First, so that the database is closed while the instance still counts as alive.
    pub(crate) database: Database,
    pub(crate) config: ServerConfig,
    pub(crate) env: Env,
    pub(crate) folder: Folder,
    pub(crate) signer: Signer,
    /// Tokens minted for embedded use, by account. They live as long as this value.
    pub(crate) embedded: Mutex<BTreeMap<i64, Token>>,
    /// What was last seen of another holder of the maintenance lease.
    pub(crate) observed: Mutex<Option<Observed>>,
    pub(crate) in_flight: Arc<Semaphore>,
    /// The vault's random name.
    pub(crate) vault: String,
    pub(crate) instance: Instance,
}

/// Why a vault folder could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer version has used this vault. Use that version, or a newer one.
    #[error("the vault has schema {found} and this version knows {known}: use the newer version")]
    NewerSchema {
        /// What the vault has.
        found: u32,
        /// What this version knows.
        known: u32,
    },
    /// A file of the vault is not what was written. Nothing was changed; restore the vault from a copy.
    #[error("{path} is damaged: keep the folder as it is and restore that file from a copy")]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// What noticed.
        #[source]
        source: Option<rusqlite::Error>,
    },
    /// The folder has contents of a vault and no rows that tell of them: its database is lost. Nothing was made in it.
    /// Restore the database from a copy, or name another folder for a new vault.
    #[error("{path} is missing or empty, and the folder has a vault's contents: restore that file from a copy")]
    DatabaseLost {
        /// Where the database should be.
        path: PathBuf,
    },
    /// The folder cannot be written to. Give this user leave to write, or mount it writable.
    #[error("the vault at {path} is read-only: make it writable for this user")]
    ReadOnly {
        /// The folder.
        path: PathBuf,
    },
    /// The disk is full. Free space and open again; nothing is lost.
    #[error("the disk of the vault at {path} is full: free space there")]
    DiskFull {
        /// The folder.
        path: PathBuf,
    },
    /// Another process was in the middle of a write to the vault for longer than [`ServerConfig::busy_wait_max`]. Try
    /// again: this ends when it goes on, or when it is ended.
    #[error("{} is writing to the vault at {path} and does not go on: continue it or end it", holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Busy {
        /// The folder.
        path: PathBuf,
        /// Its process number, if known.
        holder: Option<u32>,
    },
    /// Another process wrote to the vault, which is only read here, whenever it was copied for
    /// [`ServerConfig::busy_wait_max`]. Wait until that one is done, or read the vault where it may be written to.
    #[error("the vault at {path} is in use and changes while it is read: try again when nothing is written to it")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The vault is only read, for which its database is copied, and there is no room for the copy. Free space there, or
    /// have another folder for temporary files (`TMPDIR`).
    #[error("the vault's database cannot be copied to {folder}: free space there, or name another folder in TMPDIR")]
    Copy {
        /// The folder for temporary files.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system refused.
    #[error("failed to open the vault at {path}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database refused.
    #[error("failed to open the database of the vault at {path}")]
    Database {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// Why a vault that is open could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The vault cannot be used now. Try again.
    #[error("{0}")]
    Unavailable(String),
    /// Another process stands still in the middle of a write to the vault: this ends when it goes on, or when it is ended.
    #[error("{message}")]
    Held {
        /// What a person should know.
        message: String,
        /// Its process number, if known.
        holder: Option<u32>,
    },
    /// The disk is full. Free space; nothing is lost.
    #[error("the vault's disk is full: free space there")]
    StorageFull,
    /// A bug or a broken disk.
    #[error("the vault's database or files failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Server {
    /// Opens a vault folder, which is made if it is not there, and removes what dead instances left in it. None is made
    /// over the contents of another.
    ///
    /// When this returns, the folder and its schema are durable. Opening is the authority over all accounts in it.
    ///
    /// # Errors
    /// Each variant of [`OpenError`] says what to do. Nothing in the folder is set aside or repaired.
    pub async fn open(config: ServerConfig, env: Env) -> Result<Self, OpenError> {
        let patience = config.busy_wait_max;
        let (start, mut pause) = (env.clock.monotonic(), Duration::from_millis(20));
        loop {
            let blocking = env.blocking;
            let (config, env) = (config.clone(), env.clone());
            let clock = Arc::clone(&env.clock);
            match blocking.run(move || open_now(config, env)).await {
                // Not everything SQLite does while opening waits for others by itself: two that switch a new database
                // to WAL at once, or one that closes it as another opens it, answer "busy" at once.
                Err(OpenError::Busy { .. } | OpenError::InUse { .. })
                    if clock.monotonic().saturating_sub(start) < patience =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
                Err(error) => return Err(error),
                Ok(inner) => return Ok(Self { inner: Arc::new(inner) }),
            }
        }
    }

    /// The folder that is open.
    pub fn vault(&self) -> &std::path::Path {
        self.inner.folder.root()
    }

    /// Does `work` in one transaction, off the event loop.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &Inner) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.until_writable().await?;
        let inner = Arc::clone(&self.inner);
        self.inner.env.blocking.run(move || inner.write(|transaction| work(transaction, &inner))).await
    }

    /// While another process stands still in the middle of a write, waits for it without keeping a thread, for as long as
    /// a request may.
    ///
    /// # Errors
    /// [`Refusal::held`] if it does not go on.
    pub(crate) async fn until_writable(&self) -> Result<(), Refusal> {
        const PAUSE_MAX: Duration = Duration::from_millis(500);
        if !self.inner.database.is_held() {
            return Ok(());
        }
        let (clock, patience) = (&self.inner.env.clock, self.inner.config.busy_wait_max);
        let (start, mut pause) = (clock.monotonic(), Duration::from_millis(20));
        loop {
            let inner = Arc::clone(&self.inner);
            let can_write = self.inner.env.blocking.run(move || inner.database.can_write()).await?;
            if can_write {
                return Ok(());
            }
            if clock.monotonic().saturating_sub(start) + pause > patience {
                return Err(Refusal::held(self.inner.database.held_by()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Reads one consistent state, off the event loop.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &Inner) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let inner = Arc::clone(&self.inner);
        self.inner.env.blocking.run(move || inner.database.read(|transaction| work(transaction, &inner))).await
    }

    /// Does anything that holds its thread, off the event loop.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> T {
        let inner = Arc::clone(&self.inner);
        self.inner.env.blocking.run(move || work(&inner)).await
    }
}

impl Inner {
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        if self.config.read_only {
            return Err(Refusal::invalid("this vault is only read: nothing can be written to it"));
        }
        self.database.write(work).map_err(|refusal| self.explain(refusal))
    }

    /// A failure to map or sync on a full disk is reported as an I/O error; the client should hear of the disk.
    fn explain(&self, refusal: Refusal) -> Refusal {
        const NOTHING_LEFT: u64 = 256 << 10;
        let unexplained = refusal.status == axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        if unexplained && self.env.files.free_bytes(self.folder.root()).is_ok_and(|free| free < NOTHING_LEFT) {
            Refusal { source: refusal.source, ..Refusal::storage_full() }
        } else {
            refusal
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.env.clock.wall_ms()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("instance", &self.inner.instance.name).finish_non_exhaustive()
    }
}

impl From<Refusal> for VaultError {
    fn from(refusal: Refusal) -> Self {
        use landfall_protocol::ErrorCode;
        match refusal.code {
            ErrorCode::StorageFull => Self::StorageFull,
            ErrorCode::Unavailable => Self::Unavailable(refusal.detail.into_owned()),
            ErrorCode::VaultHeld => Self::Held { message: refusal.detail.into_owned(), holder: refusal.holder },
            _ => Self::Failed(refusal.source.unwrap_or_else(|| refusal.detail.into())),
        }
    }
}

/// How long a thread waits for another process that is writing. Writes are short: one that takes longer has stopped.
const BUSY_WAIT: Duration = Duration::from_secs(2);

fn open_now(config: ServerConfig, env: Env) -> Result<Inner, OpenError> {
    if config.read_only {
        return read_only::open(config, env);
    }
    let path = config.vault.clone();
    let failed = |error: io::Error| open_io(&path, error);
    let refused = |refusal: Refusal| match VaultError::from(refusal) {
        VaultError::StorageFull => OpenError::DiskFull { path: path.clone() },
        VaultError::Unavailable(_) | VaultError::Held { .. } => busy(&path),
        VaultError::Failed(source) => match source.downcast::<rusqlite::Error>() {
            Ok(error) => open_sqlite(&path, *error),
            Err(other) => open_io(&path, io::Error::other(other)),
        },
    };
    let folder = Folder::new(path.clone());
    if has_lost_its_database(&folder, env.files.as_ref()).map_err(failed)? {
        return Err(OpenError::DatabaseLost { path: folder.database() });
    }
    make_folders(&folder, &env).map_err(failed)?;
    let instance = Instance::start(&folder, &env).map_err(failed)?;
    let database =
        Database::open(&folder.database(), config.sqlite_vfs.as_deref(), BUSY_WAIT.min(config.busy_wait_max))
            .map_err(|error| open_sqlite(&path, error))?;
    let key = prepare(&database, &folder, &env, &instance).map_err(|error| match error {
        Unprepared::Newer(found) => OpenError::NewerSchema { found, known: SCHEMA },
        Unprepared::Sqlite(error) => open_sqlite(&path, error),
        Unprepared::Io(error) => open_io(&path, error),
    })?;
    let Some(key) = key else { return Err(OpenError::Damaged { path: folder.signing_key(), source: None }) };
    env.files.sync_dir(folder.root()).map_err(failed)?;
    let vault = database
        .read(|transaction| {
            Ok(transaction.query_row("SELECT name FROM vault", [], |row| row.get::<_, String>(0)).optional()?)
        })
        .map_err(refused)?
        .ok_or_else(|| OpenError::Damaged { path: folder.database(), source: None })?;
    sweep_dead(&folder, env.files.as_ref(), &instance.name).map_err(failed)?;
    let in_flight = Arc::new(Semaphore::new(config.requests_in_flight_max));
    let inner = Inner {
        database,
        config,
        env,
        folder,
        signer: Signer::new(key),
        embedded: Mutex::default(),
        observed: Mutex::default(),
        in_flight,
        vault,
        instance,
    };
    collect_garbage(&inner).map_err(refused)?;
    Ok(inner)
}

/// Whether there are a vault's contents and no rows. Contents are looked for first: there is a database before anybody
/// brings any.
fn has_lost_its_database(folder: &Folder, files: &dyn Files) -> io::Result<bool> {
    Ok(folder.has_contents(files)? && found(files.status(&folder.database()))?.is_none_or(|status| status.len == 0))
}

/// Makes the vault's folders and their names durable.
fn make_folders(folder: &Folder, env: &Env) -> io::Result<()> {
    let files = env.files.as_ref();
    files.create_dir_durable(folder.root())?;
    for path in [folder.blobs(), folder.incoming(), folder.instances()] {
        files.create_dir_all(&path)?;
    }
    files.sync_dir(folder.root())
}

enum Unprepared {
    Newer(u32),
    Sqlite(rusqlite::Error),
    Io(io::Error),
}

impl From<MigrateError> for Unprepared {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Newer(found) => Self::Newer(found),
            MigrateError::Sqlite(error) => Self::Sqlite(error),
        }
    }
}

/// Makes or migrates the database, and reads or makes the signing key, in one transaction: whoever else opens the
/// vault now waits, so nobody makes a second key. `None` if the key is damaged.
fn prepare(
    database: &Database,
    folder: &Folder,
    env: &Env,
    instance: &Instance,
) -> Result<Option<[u8; 32]>, Unprepared> {
    let name = env.random.name();
    database.migrate(
        |transaction| {
            transaction
                .execute("INSERT INTO vault (id, name, created_ms) VALUES (1, ?1, ?2)", (&name, env.clock.wall_ms()))
                .map(drop)
        },
        || signing_key(folder, env, instance).map_err(Unprepared::Io),
    )
}

fn signing_key(folder: &Folder, env: &Env, instance: &Instance) -> io::Result<Option<[u8; 32]>> {
    let path = folder.signing_key();
    if let Some(mut file) = found(env.files.open(&path))? {
        let mut bytes = [0; 33];
        let length = file.read_at(0, &mut bytes)?;
        return Ok(bytes[..length].try_into().ok());
    }
    let key = env.random.array::<32>();
    let mut incoming = Incoming::create(env, &instance.incoming)?;
    incoming.append(&key)?;
    incoming.sync()?;
    incoming.place(&path)?;
    env.files.sync_dir(folder.root())?;
    Ok(Some(key))
}

pub(crate) fn open_io(path: &std::path::Path, error: io::Error) -> OpenError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path },
        _ if is_disk_full(&error) => OpenError::DiskFull { path },
        _ => OpenError::Io { path, source: error },
    }
}

pub(crate) fn open_sqlite(path: &std::path::Path, error: rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode as Code;
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => {
            OpenError::Damaged { path: path.join("server.db"), source: Some(error) }
        }
        Some(Code::ReadOnly | Code::PermissionDenied) => OpenError::ReadOnly { path },
        Some(Code::DiskFull) => OpenError::DiskFull { path },
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed) => busy(&path),
        _ => OpenError::Database { path, source: error },
    }
}

fn busy(path: &std::path::Path) -> OpenError {
    let database = Folder::new(path.to_owned()).database();
    OpenError::Busy { path: path.to_owned(), holder: Holder::beside(&database).pid() }
}
