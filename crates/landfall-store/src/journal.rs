//! Opening, reading and writing the file.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use landfall_env::{Blocking, Env, Holder, Sabotage, Steps};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::sync::oneshot;

use crate::{StoreError, schema};

/// How to open a journal.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The file. Its folder must exist.
    pub path: PathBuf,
    /// Name of a registered SQLite VFS; `None` for the platform's.
    pub vfs: Option<String>,
    /// Compare the whole file with the schema's rules before trusting it. Costs about 5 ms per MB.
    pub check: bool,
    /// Only look: nothing is created, migrated or written.
    pub read_only: bool,
}

/// Told when a writer has to wait for another process for more than a moment.
pub type WaitNotice = Arc<dyn Fn(Option<u32>) + Send + Sync>;

/// The journal. Clones share one connection.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    options: JournalOptions,
    blocking: Blocking,
    steps: Steps,
    connection: Mutex<Option<Connection>>,
    /// How often a connection was made or something was to be committed.
    own: AtomicU64,
    /// Writes that will be part of the next turn.
    queue: Mutex<VecDeque<Box<dyn QueuedWrite>>>,
    /// Held by whoever carries out a turn. Fair, so every writer gets to lead or is served by a leader.
    turn: tokio::sync::Mutex<()>,
    /// Somebody wants the file closed: no other process is waited for.
    suspending: AtomicBool,
    notice: Mutex<Option<WaitNotice>>,
    /// Where there is a folder for it.
    holder: Option<Holder>,
}

/// A state of the journal. It is equal to an earlier one if nothing was committed in between, by any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    own: u64,
    others: i64,
}

/// A write inside a turn's transaction, and the promise to tell its caller.
trait QueuedWrite: Send {
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    fn settle(self: Box<Self>, committed: Result<(), &StoreError>);
}

struct Queued<T, F> {
    write: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send> QueuedWrite for Queued<T, F> {
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let write = self.write.take().expect("a queued write runs once");
        let outcome = self.outcome.insert(write(tx));
        outcome.is_ok()
    }

    fn settle(mut self: Box<Self>, committed: Result<(), &StoreError>) {
        let outcome = match (self.outcome.take(), committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.clone()),
            (None, Ok(())) => unreachable!("a committed turn ran every write in it"),
        };
        // The caller may have gone; what it asked for is durable all the same.
        let _ = self.reply.send(outcome);
    }
}

/// A transaction, or a consistent view. The journal's whole vocabulary is methods of this type.
pub struct Tx<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) steps: &'c Steps,
}

impl Tx<'_> {
    /// Whether a test has taken this safety measure away.
    pub fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.steps.sabotaged(sabotage)
    }
}

/// What became of a look at the journal.
enum Look<T, V> {
    Done(Result<T, StoreError>),
    /// Another process is putting the log in order, after one died: the view saw nothing.
    Busy(V),
}

enum Turn {
    Settled,
    /// Another process is writing.
    Busy(VecDeque<Box<dyn QueuedWrite>>),
}

impl Journal {
    /// Opens the file, creating and migrating it as needed.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: set the file aside, rebuild from the vault. [`StoreError::Newer`]: use the newer
    /// Landfall. [`StoreError::Full`], [`StoreError::ReadOnly`]: mend the disk, or open read-only.
    pub async fn open(options: JournalOptions, env: &Env) -> Result<Self, StoreError> {
        let has_folder = options.vfs.is_none() && options.path.as_os_str() != ":memory:";
        let holder = has_folder.then(|| Holder::beside(&options.path));
        let inner = Arc::new(Inner {
            options,
            blocking: env.blocking,
            steps: env.steps.clone(),
            connection: Mutex::new(None),
            own: AtomicU64::new(0),
            queue: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            suspending: AtomicBool::new(false),
            notice: Mutex::default(),
            holder,
        });
        let journal = Self { inner };
        journal.resume().await?;
        Ok(journal)
    }

    /// Says whom to tell when another process holds the journal for long.
    pub fn on_wait(&self, notice: WaitNotice) {
        *lock(&self.inner.notice) = Some(notice);
    }

    /// Closes the file: when this returns no statement runs and no lock is held. Writes that were already queued are
    /// committed first, unless another process is writing: this does not wait for others. Calls made later fail with
    /// [`StoreError::Suspended`].
    pub async fn suspend(&self) {
        self.inner.suspending.store(true, Ordering::Release);
        let _turn = self.inner.turn.lock().await;
        lock(&self.inner.connection).take();
        self.inner.suspending.store(false, Ordering::Release);
    }

    /// Opens the file again after [`Journal::suspend`].
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub async fn resume(&self) -> Result<(), StoreError> {
        let mut waited = Wait::default();
        loop {
            let inner = Arc::clone(&self.inner);
            let opened = self.inner.blocking.run(move || inner.connect()).await;
            match opened {
                Err(StoreError::Sqlite(error)) if is_busy(&error) => waited.pause(&self.inner).await,
                other => return other,
            }
        }
    }

    /// Runs `view` on a consistent state of the journal. More than once if that cannot be had at first: another process
    /// is putting the log in order, after one died.
    ///
    /// # Errors
    /// What `view` returns, and damage.
    pub async fn read<T: Send + 'static>(
        &self,
        view: impl Fn(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut waited = Wait::default();
        let mut view = view;
        loop {
            let inner = Arc::clone(&self.inner);
            match self.inner.blocking.run(move || inner.look(view)).await {
                Look::Done(result) => return result,
                Look::Busy(again) => view = again,
            }
            waited.pause(&self.inner).await;
        }
    }

    /// The state of the journal at this moment. Costs far less than any view; whoever saw something at an equal version
    /// would see it again.
    ///
    /// # Errors
    /// The disk's. Also while another process puts the log in order: then something may have changed.
    pub async fn version(&self) -> Result<Version, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner.blocking.run(move || inner.version()).await
    }

    /// Runs `write` in a transaction, together with whatever other writes are waiting. When this returns `Ok`, all that
    /// `write` did is durable; on `Err` nothing of it happened. If the future is dropped, `write` may still happen.
    ///
    /// Waits for as long as another process is writing; [`Journal::on_wait`] says who is told.
    ///
    /// # Errors
    /// What `write` returns, and what the disk does.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        lock(&self.inner.queue).push_back(Box::new(Queued { write: Some(write), outcome: None, reply }));
        let lead = Arc::clone(&self.inner).lead();
        match self.inner.blocking {
            Blocking::Inline => lead.await,
            // On a task of its own: a caller that leads, or waits for its turn, and is not polled for a while because
            // what polls it waits for a write as well, would keep everyone waiting for ever.
            Blocking::Threads | Blocking::After(_) => match tokio::spawn(lead).await {
                Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
                _ => {}
            },
        }
        answer.try_recv().unwrap_or(Err(StoreError::Suspended)).map_err(|error| self.inner.sorted(error))
    }
}

/// Patience with another process that is writing.
#[derive(Default)]
struct Wait {
    pauses: u32,
    waited: Duration,
    told: bool,
}

impl Wait {
    async fn pause(&mut self, inner: &Inner) {
        let pause = Duration::from_millis(1 << self.pauses.min(6));
        self.pauses += 1;
        tokio::time::sleep(pause).await;
        self.waited += pause;
        if self.waited >= Duration::from_secs(2) && !self.told {
            self.told = true;
            let holder = inner.holder.as_ref().and_then(Holder::pid);
            if let Some(notice) = lock(&inner.notice).as_ref() {
                notice(holder);
            }
        }
    }
}

impl Inner {
    /// Sees to it that everything queued until now is carried out, by whoever has the turn.
    async fn lead(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        let mut waited = Wait::default();
        while !lock(&self.queue).is_empty() {
            let inner = Arc::clone(&self);
            match self.blocking.run(move || inner.take_turn()).await {
                Turn::Settled => return,
                Turn::Busy(queue) if self.suspending.load(Ordering::Acquire) => {
                    settle(queue, Err(&StoreError::Suspended));
                    return;
                }
                Turn::Busy(queue) => {
                    // The writes stay at the head of the queue even if this caller is dropped while it waits.
                    let mut waiting = lock(&self.queue);
                    for write in queue.into_iter().rev() {
                        waiting.push_front(write);
                    }
                }
            }
            waited.pause(&self).await;
        }
    }

    fn version(&self) -> Result<Version, StoreError> {
        let guard = lock(&self.connection);
        let connection = guard.as_ref().ok_or(StoreError::Suspended)?;
        let others = data_version(connection).map_err(|error| self.sorted(error.into()))?;
        Ok(Version { own: self.own.load(Ordering::Relaxed), others })
    }

    fn look<T, V: Fn(&Tx<'_>) -> Result<T, StoreError>>(&self, view: V) -> Look<T, V> {
        let guard = lock(&self.connection);
        let Some(connection) = guard.as_ref() else { return Look::Done(Err(StoreError::Suspended)) };
        let result = match run(connection, "BEGIN") {
            // The first statement takes the state of the journal that all others see.
            Ok(()) => view(&Tx { connection, steps: &self.steps }),
            Err(error) => Err(error.into()),
        };
        let _ = run(connection, "COMMIT");
        match result {
            Err(StoreError::Sqlite(error)) if is_busy(&error) => Look::Busy(view),
            result => Look::Done(result.map_err(|error| self.sorted(error))),
        }
    }

    fn connect(&self) -> Result<(), StoreError> {
        let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if self.options.read_only {
            flags |= OpenFlags::SQLITE_OPEN_READ_ONLY;
        } else {
            flags |= OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        }
        let path = &self.options.path;
        let opened = match &self.options.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str()),
            None => Connection::open_with_flags(path, flags),
        };
        let connection = opened.map_err(|error| self.sorted(error.into()))?;
        self.prepare(&connection).map_err(|error| self.sorted(error))?;
        let mut guard = lock(&self.connection);
        *guard = Some(connection);
        self.own.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn prepare(&self, connection: &Connection) -> Result<(), StoreError> {
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_prepared_statement_cache_capacity(128);
        // Otherwise a statement with ORDER BY is prepared anew for every value that is bound to it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let synchronous = if self.steps.sabotaged(Sabotage::SkipJournalSync) { "OFF" } else { "FULL" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        if self.options.read_only {
            let found = schema::version(connection)?;
            if found != schema::VERSION {
                return Err(StoreError::Newer { found, known: schema::VERSION });
            }
        } else {
            let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            if mode != "wal" && mode != "memory" {
                return Err(StoreError::ReadOnly(format!("SQLite keeps it in `{mode}` mode instead of WAL")));
            }
            if schema::version(connection)? != schema::VERSION {
                // Tables that others refer to are made anew.
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
                connection.execute_batch("BEGIN IMMEDIATE")?;
                if let Err(error) = schema::migrate(connection) {
                    let _ = connection.execute_batch("ROLLBACK");
                    return Err(error);
                }
                connection.execute_batch("COMMIT")?;
            }
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
        if self.options.check {
            let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if verdict != "ok" {
                return Err(StoreError::Damaged { path: self.options.path.clone(), detail: verdict });
            }
        }
        Ok(())
    }

    /// Carries out everything that is queued, as one transaction.
    fn take_turn(&self) -> Turn {
        let mut queue = std::mem::take(&mut *lock(&self.queue));
        if queue.is_empty() {
            return Turn::Settled;
        }
        let guard = lock(&self.connection);
        let Some(connection) = guard.as_ref() else {
            settle(queue, Err(&StoreError::Suspended));
            return Turn::Settled;
        };
        match run(connection, "BEGIN IMMEDIATE") {
            Ok(()) => {}
            Err(error) if is_busy(&error) => return Turn::Busy(queue),
            Err(error) => {
                settle(queue, Err(&self.sorted(error.into())));
                return Turn::Settled;
            }
        }
        if let Some(holder) = &self.holder {
            holder.is_this_process();
        }
        let committed = self.run_all(connection, &mut queue);
        if committed.is_err() && !connection.is_autocommit() {
            let _ = run(connection, "ROLLBACK");
        }
        drop(guard);
        settle(
            queue,
            match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(error),
            },
        );
        Turn::Settled
    }

    fn run_all(&self, connection: &Connection, queue: &mut VecDeque<Box<dyn QueuedWrite>>) -> Result<(), StoreError> {
        let tx = Tx { connection, steps: &self.steps };
        if let [write] = queue.make_contiguous() {
            // Alone, it needs no part of the transaction of its own.
            if !write.run(&tx) {
                return run(connection, "ROLLBACK").map_err(Into::into);
            }
        } else {
            self.run_each(connection, queue, &tx)?;
        }
        self.steps.reached("journal.commit");
        // Before: of a commit that fails nobody need know whether it is one.
        self.own.fetch_add(1, Ordering::Relaxed);
        run(connection, "COMMIT")?;
        self.steps.reached("journal.committed");
        Ok(())
    }

    /// Carries out each write so that one which fails is undone by itself.
    fn run_each(
        &self,
        connection: &Connection,
        queue: &mut VecDeque<Box<dyn QueuedWrite>>,
        tx: &Tx<'_>,
    ) -> Result<(), StoreError> {
        for write in queue.iter_mut() {
            run(connection, "SAVEPOINT one")?;
            if !write.run(tx) {
                run(connection, "ROLLBACK TO one")?;
            }
            run(connection, "RELEASE one")?;
        }
        Ok(())
    }

    fn sorted(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Sqlite(error) => StoreError::from_sqlite(error, &self.options.path),
            StoreError::Damaged { detail, .. } => StoreError::Damaged { path: self.options.path.clone(), detail },
            other => other,
        }
    }
}

/// Differs from an earlier one of the same connection if any other has committed something since
/// (<https://sqlite.org/pragma.html#pragma_data_version>).
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// One of the few statements that frame every transaction: each is prepared once.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

fn settle(queue: VecDeque<Box<dyn QueuedWrite>>, committed: Result<(), &StoreError>) {
    for write in queue {
        write.settle(committed);
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Sql;
    matches!(error.sqlite_error_code(), Some(Sql::DatabaseBusy | Sql::DatabaseLocked | Sql::FileLockingProtocolFailed))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a closure has rolled its transaction back or never begun one; the connection is sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
