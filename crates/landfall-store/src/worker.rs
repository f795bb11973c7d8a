//! Process instances that work on this journal.

use crate::{StoreError, Tx};

/// A process instance as the journal shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its random name, also of its lock file.
    pub id: String,
    /// Its process number, for people.
    pub pid: u32,
    /// Rises while it lives.
    pub beat: i64,
}

impl Tx<'_> {
    /// Enters a worker. Its lock file must be held already, so that nobody takes it for dead.
    pub fn enter_worker(&self, id: &str, pid: u32) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT INTO worker (id, pid) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING")?
            .execute((id, pid))?;
        Ok(())
    }

    /// Raises a worker's beat. `false` if somebody has declared it dead meanwhile: it must enter again under another
    /// name.
    pub fn beat(&self, id: &str) -> Result<bool, StoreError> {
        let changed =
            self.connection.prepare_cached("UPDATE worker SET beat = beat + 1 WHERE id = ?1")?.execute([id])?;
        Ok(changed > 0)
    }

    /// All workers, by name.
    pub fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT id, pid, beat FROM worker ORDER BY id")?;
        let rows =
            statement.query_map([], |row| Ok(WorkerRow { id: row.get(0)?, pid: row.get(1)?, beat: row.get(2)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Takes all leases from a worker and forgets it: it left, it died, or it has stood still for too long. The
    /// generation of each item rises, so whatever the worker still writes misses. Returns how many items are free
    /// again.
    pub fn release_worker(&self, id: &str) -> Result<usize, StoreError> {
        const LEFT: &str = "DELETE FROM worker WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM item WHERE item.worker = ?1)
                AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.worker = ?1 AND state <> 'ended')";
        if self.connection.prepare_cached(LEFT)?.execute([id])? > 0 {
            return Ok(0);
        }
        self.release_attempts_of(id)?;
        self.end_withdrawn_of(id)?;
        let freed = self
            .connection
            .prepare_cached("UPDATE item SET worker = NULL, generation = generation + 1 WHERE worker = ?1")?
            .execute([id])?;
        self.connection.prepare_cached("DELETE FROM worker WHERE id = ?1")?.execute([id])?;
        Ok(freed)
    }
}
