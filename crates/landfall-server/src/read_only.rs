//! A vault that cannot be written to: a read-only mount, a disc, a folder of another user.
//!
//! It is opened without a trace: no lock, no sweep, no lease. What is read is a copy of the database and its log, made
//! when the vault is opened: SQLite reads a log only where it may write, and what cannot be written to from here may be
//! from elsewhere, at any time and without a lock that could be seen. So what is read is one state of the vault, the one
//! of that moment. The copy costs as much room for temporary files as the database has bytes, and the time to read them
//! once; where that room is memory it costs memory. The contents are read where they are.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use landfall_env::{Env, File, FileStatus, Files};
use rusqlite::OptionalExtension as _;
use tokio::sync::Semaphore;

use crate::{
    ServerConfig,
    database::{Database, MigrateError, SCHEMA},
    folder::{Folder, found},
    instance::Instance,
    server::{Inner, OpenError, open_io, open_sqlite},
    signing::Signer,
};

/// How much of a file is copied at once.
const COPY_BYTES: usize = 1 << 20;
/// What begins a log. It is another one whenever SQLite has begun the log anew.
const LOG_HEADER_BYTES: usize = 32;

/// Opens a vault folder only to read.
pub(crate) fn open(config: ServerConfig, env: Env) -> Result<Inner, OpenError> {
    let path = config.vault.clone();
    let folder = Folder::new(path.clone());
    let copy = DatabaseCopy::make(&folder.database(), &env).map_err(|error| match error {
        NotCopied::Unread(error) => open_io(&path, error),
        NotCopied::Unwritten(folder, source) => OpenError::Copy { folder, source },
    })?;
    let Some(copy) = copy else { return Err(OpenError::InUse { path }) };
    let database = Database::open_copy(copy, config.busy_wait_max).map_err(|error| open_sqlite(&path, error))?;
    let damaged = |source| OpenError::Damaged { path: folder.database(), source };
    // There was no schema before the first.
    if database.schema().map_err(|error| open_sqlite(&path, error))? == 0 {
        return Err(damaged(None));
    }
    // It is the copy that an older schema is brought up to date in.
    database.migrate(|_| Ok(()), || Ok::<_, MigrateError>(())).map_err(|error| match error {
        MigrateError::Newer(found) => OpenError::NewerSchema { found, known: SCHEMA },
        MigrateError::Sqlite(error) => open_sqlite(&path, error),
    })?;
    let vault = database
        .read(|transaction| {
            Ok(transaction.query_row("SELECT name FROM vault", [], |row| row.get::<_, String>(0)).optional()?)
        })
        .map_err(|refusal| open_io(&path, io::Error::other(refusal.detail)))?
        .ok_or_else(|| damaged(None))?;
    Ok(Inner {
        database,
        folder,
        // What it signs is read through this server, or not at all.
        signer: Signer::new(env.random.array()),
        embedded: Mutex::default(),
        observed: Mutex::default(),
        in_flight: Arc::new(Semaphore::new(config.requests_in_flight_max)),
        vault,
        instance: Instance::without_traces(&env),
        config,
        env,
    })
}

/// A database and its log in a folder of their own, which goes when this is dropped.
pub(crate) struct DatabaseCopy {
    folder: PathBuf,
    files: Arc<dyn Files>,
}

impl DatabaseCopy {
    /// `None` if they changed meanwhile, so that the copies may not belong together.
    fn make(database: &Path, env: &Env) -> Result<Option<Self>, NotCopied> {
        let files = env.files.as_ref();
        let before = Seen::of(database, files).map_err(NotCopied::Unread)?;
        let temporary = std::env::temp_dir();
        let unwritten = |error| NotCopied::Unwritten(temporary.clone(), error);
        // Known beforehand, it is not found out by filling a disk that others write to.
        if files.free_bytes(&temporary).is_ok_and(|free| free < before.len()) {
            return Err(unwritten(io::ErrorKind::StorageFull.into()));
        }
        let folder = temporary.join(format!("landfall-{}", env.random.name()));
        files.create_dir_all(&folder).map_err(unwritten)?;
        let made = Self { folder, files: Arc::clone(&env.files) };
        // The database before the log: what is moved from the log to the database meanwhile is still in the log.
        for (from, to) in [(database.to_owned(), made.database()), (log_of(database), log_of(&made.database()))] {
            let Some(mut source) = found(files.open(&from)).map_err(NotCopied::Unread)? else { continue };
            let mut target = files.create_new(&to).map_err(unwritten)?;
            copy(source.as_mut(), target.as_mut(), unwritten)?;
        }
        let after = Seen::of(database, files).map_err(NotCopied::Unread)?;
        Ok((before == after).then_some(made))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("server.db")
    }
}

impl Drop for DatabaseCopy {
    fn drop(&mut self) {
        let _ = crate::folder::remove_flat_dir(self.files.as_ref(), &self.folder);
    }
}

/// Why there is no copy.
enum NotCopied {
    /// The vault cannot be read.
    Unread(io::Error),
    /// The folder for temporary files cannot be written to.
    Unwritten(PathBuf, io::Error),
}

/// What tells whether a database was written to.
#[derive(PartialEq)]
struct Seen {
    database: FileStatus,
    log: Option<FileStatus>,
    /// Times may be too coarse to tell. Whatever was moved from the log to the database is still in a log that was not
    /// begun anew, and read from there.
    log_header: Option<Vec<u8>>,
}

impl Seen {
    fn of(database: &Path, files: &dyn Files) -> io::Result<Self> {
        let log = log_of(database);
        let log_header = match found(files.open(&log))? {
            Some(mut file) => {
                let mut header = vec![0; LOG_HEADER_BYTES];
                let length = file.read_at(0, &mut header)?;
                header.truncate(length);
                Some(header)
            }
            None => None,
        };
        Ok(Self { database: files.status(database)?, log: found(files.status(&log))?, log_header })
    }

    fn len(&self) -> u64 {
        self.database.len + self.log.as_ref().map_or(0, |log| log.len)
    }
}

fn log_of(database: &Path) -> PathBuf {
    database.with_extension("db-wal")
}

fn copy(
    source: &mut dyn File,
    target: &mut dyn File,
    unwritten: impl Fn(io::Error) -> NotCopied,
) -> Result<(), NotCopied> {
    let (mut buffer, mut at) = (vec![0; COPY_BYTES], 0);
    loop {
        let count = source.read_at(at, &mut buffer).map_err(NotCopied::Unread)?;
        if count == 0 {
            return Ok(());
        }
        target.append(&buffer[..count]).map_err(&unwritten)?;
        at += count as u64;
    }
}
