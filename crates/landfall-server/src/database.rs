//! The vault's database: how it is opened, migrated, read and written.
//!
//! One connection per process, behind a mutex that is only taken inside blocking work. A write is one immediate
//! transaction and never waits for anything but the disk; a promise is kept from the moment it commits
//! (`synchronous=FULL`).

use std::{
    ops::Deref,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use landfall_env::Holder;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use landfall_protocol::ErrorCode;

use crate::{read_only::DatabaseCopy, refusal::Refusal};

/// Scripts that lead from each schema to the next. A script is never edited once released.
const MIGRATIONS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The schema this version reads and writes.
pub(crate) const SCHEMA: u32 = MIGRATIONS.len() as u32;

pub(crate) struct Database {
    connection: Mutex<Connection>,
    /// Where others may look, if there is such a place.
    holder: Option<Holder>,
    /// Another process was found in the middle of a write that lasts: nobody waits for it on a thread.
    is_held: AtomicBool,
    /// Last, so that the connection is closed before the files are removed.
    _copy: Option<DatabaseCopy>,
    busy_wait: Duration,
}

/// Why a database could not be brought to the present schema.
#[derive(Debug)]
pub(crate) enum MigrateError {
    Newer(u32),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Database {
    pub(crate) fn open(path: &Path, vfs: Option<&str>, busy_wait: Duration) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = match vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
            None => Connection::open_with_flags(path, flags)?,
        };
        let holder = vfs.is_none().then(|| Holder::beside(path));
        Ok(Self { holder, ..Self::set_up(connection, busy_wait, None)? })
    }

    /// Opens a copy, which lives as long as this value.
    pub(crate) fn open_copy(copy: DatabaseCopy, busy_wait: Duration) -> rusqlite::Result<Self> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = Connection::open_with_flags(copy.database(), flags)?;
        Self::set_up(connection, busy_wait, Some(copy))
    }

    fn set_up(connection: Connection, busy_wait: Duration, copy: Option<DatabaseCopy>) -> rusqlite::Result<Self> {
        connection.busy_timeout(busy_wait)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| {
            let mode = row.get::<_, String>(0)?;
            if mode.eq_ignore_ascii_case("wal") { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
        })?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Otherwise a statement with ORDER BY is prepared anew for every value that is bound to it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self {
            connection: Mutex::new(connection),
            holder: None,
            is_held: AtomicBool::new(false),
            _copy: copy,
            busy_wait,
        })
    }

    /// Brings the database to [`SCHEMA`]. `new` fills a database that has just been made, `always` runs in the same
    /// transaction each time.
    pub(crate) fn migrate<T, E: From<MigrateError>>(
        &self,
        new: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
        always: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let sqlite = |error| E::from(MigrateError::Sqlite(error));
        let transaction = self.begin_write(&connection).map_err(sqlite)?;
        let found = user_version(&transaction).map_err(sqlite)?;
        if found > SCHEMA {
            return Err(MigrateError::Newer(found).into());
        }
        for script in &MIGRATIONS[found as usize..] {
            transaction.execute_batch(script).map_err(sqlite)?;
        }
        if found == 0 {
            new(&transaction).map_err(sqlite)?;
        }
        if found < SCHEMA {
            transaction.pragma_update(None, "user_version", SCHEMA).map_err(sqlite)?;
        }
        let value = always()?;
        transaction.commit().map_err(sqlite)?;
        Ok(value)
    }

    /// The schema that the database has.
    pub(crate) fn schema(&self) -> rusqlite::Result<u32> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        user_version(&connection)
    }

    /// Does `work` in one immediate transaction, which commits if it succeeds.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.begin_write(&connection).map_err(|error| self.refusal(error))?;
        if user_version(&transaction)? != SCHEMA {
            return Err(Refusal::unavailable("the vault was upgraded by a newer version; restart with that version"));
        }
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// The process that is writing now, as far as is known.
    pub(crate) fn held_by(&self) -> Option<u32> {
        self.holder.as_ref().and_then(Holder::pid)
    }

    /// Whether another process was found in the middle of a write that lasts.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// Looks whether a write could begin now.
    pub(crate) fn can_write(&self) -> Result<bool, Refusal> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match self.begin_write(&connection) {
            Ok(_) => Ok(true),
            Err(error) if is_busy(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for others on this thread, but not for one that is known to stand still: threads are few.
    fn begin_write<'c>(&self, connection: &'c Connection) -> rusqlite::Result<Transaction<'c>> {
        let patience = if self.is_held() { Duration::ZERO } else { self.busy_wait };
        connection.busy_timeout(patience)?;
        let begun = Transaction::begin(connection, "BEGIN IMMEDIATE");
        let restored = connection.busy_timeout(self.busy_wait);
        self.is_held.store(begun.as_ref().is_err_and(is_busy), Ordering::Relaxed);
        let transaction = begun?;
        restored?;
        if let Some(holder) = &self.holder {
            holder.is_this_process();
        }
        Ok(transaction)
    }

    fn refusal(&self, error: rusqlite::Error) -> Refusal {
        match Refusal::from(error) {
            refusal if refusal.code == ErrorCode::VaultHeld => {
                Refusal { source: refusal.source, ..Refusal::held(self.held_by()) }
            }
            other => other,
        }
    }

    /// Does `work` on one consistent state of the database.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = Transaction::begin(&connection, "BEGIN")?;
        work(&transaction)
    }
}

/// A transaction, rolled back when it is dropped. The statements that frame it are prepared once for a connection, since
/// a request is hardly more than they are.
pub(crate) struct Transaction<'c>(&'c Connection);

impl<'c> Transaction<'c> {
    fn begin(connection: &'c Connection, statement: &str) -> rusqlite::Result<Self> {
        run(connection, statement)?;
        Ok(Self(connection))
    }

    fn commit(self) -> rusqlite::Result<()> {
        // If it fails, what is dropped rolls back.
        run(self.0, "COMMIT")
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // After a commit, and where SQLite has rolled back by itself, there is nothing to do.
        if !self.0.is_autocommit() {
            let _ = run(self.0, "ROLLBACK");
        }
    }
}

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(
        error.sqlite_error_code(),
        Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed)
    )
}

fn user_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))
}
