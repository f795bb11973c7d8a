//! A vault that cannot be written to: a read-only mount, a disc, a folder of another user.
//!
//! It is opened without a trace: no lock, no sweep, no lease. What a process that was killed left in the database's log
//! can only be read where SQLite may write, so then a copy of both is read. So it is if another machine may be using the
//! vault: what is read then is one state of it, the one of the moment it was opened.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use landfall_env::{Env, FileStatus, Files};
use rusqlite::OptionalExtension as _;
use tokio::sync::Semaphore;

use crate::{
    ServerConfig,
    database::{Database, SCHEMA},
    folder::{Folder, found},
    instance::{Instance, left_traces},
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
    let database = if may_change(&folder, env.files.as_ref()).map_err(|error| open_io(&path, error))? {
        match DatabaseCopy::make(&folder.database(), &env).map_err(|error| open_io(&path, error))? {
            Some(copy) => Database::open_copy(copy, config.busy_wait_max),
            None => return Err(OpenError::InUse { path }),
        }
    } else {
        Database::open_immutable(&folder.database(), config.sqlite_vfs.as_deref())
    };
    let database = database.map_err(|error| open_sqlite(&path, error))?;
    let damaged = |source| OpenError::Damaged { path: folder.database(), source };
    match database.schema().map_err(|error| open_sqlite(&path, error))? {
        SCHEMA => {}
        found if found > SCHEMA => return Err(OpenError::NewerSchema { found, known: SCHEMA }),
        // An older schema can only be brought up to date by writing; there was none before the first.
        _ => return Err(damaged(None)),
    }
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

/// Whether the database is more than its file, or somebody may be writing to it.
fn may_change(folder: &Folder, files: &dyn Files) -> io::Result<bool> {
    let database = folder.database();
    for beside in [log_of(&database), database.with_extension("db-shm")] {
        if found(files.status(&beside))?.is_some() {
            return Ok(true);
        }
    }
    left_traces(folder, files)
}

/// A database and its log in a folder of their own, which goes when this is dropped.
pub(crate) struct DatabaseCopy {
    folder: PathBuf,
    files: Arc<dyn Files>,
}

impl DatabaseCopy {
    /// `None` if they changed meanwhile, so that the copies may not belong together.
    fn make(database: &Path, env: &Env) -> io::Result<Option<Self>> {
        let before = Seen::of(database, env.files.as_ref())?;
        let folder = std::env::temp_dir().join(format!("landfall-{}", env.random.name()));
        env.files.create_dir_all(&folder)?;
        let made = Self { folder, files: Arc::clone(&env.files) };
        copy(env.files.as_ref(), database, &made.database())?;
        found(copy(env.files.as_ref(), &log_of(database), &log_of(&made.database())))?;
        let after = Seen::of(database, env.files.as_ref())?;
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
}

fn log_of(database: &Path) -> PathBuf {
    database.with_extension("db-wal")
}

fn copy(files: &dyn Files, from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, mut target) = (files.open(from)?, files.create_new(to)?);
    let (mut buffer, mut at) = (vec![0; COPY_BYTES], 0);
    loop {
        let count = source.read_at(at, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        target.append(&buffer[..count])?;
        at += count as u64;
    }
}
