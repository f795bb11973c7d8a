//! This process among the others that work on the same journal.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landfall_core::{BEAT_EVERY, Verdict, Watch};
use landfall_env::Sabotage;
use landfall_store::{Tx, WorkerRow};

use crate::{Error, Observer, Progress, engine::Inner, presence::Presence};

/// A process instance that may hold leases. While it lives it holds the lock of its own file; dropping it lets go of
/// the lock, and its leases are then free for anyone.
pub(crate) struct Worker {
    engine: Arc<Inner>,
    pub(crate) id: String,
    presence: Presence,
    watch: Mutex<Watch>,
    /// Monotonic time of the last beat.
    beat_at: Mutex<Duration>,
}

impl Worker {
    /// Enters the journal under a fresh name, takes items from workers that died, and removes what they left.
    pub(crate) async fn enter(engine: &Arc<Inner>, observer: &dyn Observer) -> Result<Self, Error> {
        let folder = engine.settings.home.join("workers");
        let (inner, entered) = (Arc::clone(engine), folder.clone());
        let presence = engine.env.blocking.run(move || Presence::enter(&inner.env, &entered, &inner.presences)).await;
        let presence = presence.map_err(|source| Error::Io { action: "lock", path: folder, source })?;
        let id = presence.name.clone();
        let name = id.clone();
        let enter = move |tx: &Tx<'_>| {
            tx.enter_worker(&name, std::process::id())?;
            tx.workers()
        };
        let workers = engine.journal.write(enter).await?;
        let beat_at = Mutex::new(engine.env.clock.monotonic());
        let worker = Self { engine: Arc::clone(engine), id, presence, watch: Mutex::default(), beat_at };
        worker.look_at(&workers, observer).await?;
        worker.sweep(workers.into_iter().map(|other| format!("{}.lock", other.id)).collect()).await;
        Ok(worker)
    }

    /// Raises the beat if it is time, and takes items from workers that died or stand still. `false` if this worker was
    /// itself taken for dead, or may have been while it was suspended.
    pub(crate) async fn tend(&self, observer: &dyn Observer) -> Result<bool, Error> {
        if !self.presence.is_held() {
            return Ok(false);
        }
        let now = self.engine.env.clock.monotonic();
        {
            let mut beat_at = self.beat_at.lock().unwrap_or_else(PoisonError::into_inner);
            if now.saturating_sub(*beat_at) < BEAT_EVERY {
                return Ok(true);
            }
            *beat_at = now;
        }
        let id = self.id.clone();
        let beat = self.engine.journal.write(move |tx| Ok(if tx.beat(&id)? { Some(tx.workers()?) } else { None }));
        let Some(workers) = beat.await? else { return Ok(false) };
        self.look_at(&workers, observer).await?;
        Ok(true)
    }

    /// Takes items from workers that died or stand still.
    async fn look_at(&self, workers: &[WorkerRow], observer: &dyn Observer) -> Result<(), Error> {
        let engine = &self.engine;
        let others: Vec<_> = workers.iter().filter(|row| row.id != self.id).collect();
        let now = engine.env.clock.monotonic();
        for other in &others {
            let path = engine.settings.home.join("workers").join(format!("{}.lock", other.id));
            let (inner, lock_path) = (Arc::clone(engine), path.clone());
            let is_free = move || inner.env.files.try_lock(&lock_path).is_ok_and(|lock| lock.is_some());
            let inner = Arc::clone(engine);
            let free = engine.env.blocking.run(move || inner.presences.amid(is_free).unwrap_or(false)).await;
            let verdict = {
                let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
                let now = if engine.env.steps.sabotaged(Sabotage::WallClockLease) {
                    Duration::from_millis(u64::try_from(engine.env.clock.wall_ms()).unwrap_or(0))
                } else {
                    now
                };
                watch.observe(&other.id, other.beat, free, now)
            };
            if verdict == Verdict::Alive {
                continue;
            }
            let id = other.id.clone();
            let items = engine.journal.write(move |tx| tx.release_worker(&id)).await?;
            if verdict == Verdict::Dead {
                let files = engine.env.files.clone();
                // Only its name is lost if this fails, and the next look-around finds no row for it.
                let _ = engine.env.blocking.run(move || files.remove_file(&path)).await;
            }
            if items > 0 {
                observer.saw(Progress::TookOver { pid: other.pid, items });
            }
        }
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.retain(|id| others.iter().any(|other| other.id == id));
        Ok(())
    }

    /// Removes lock files of workers that died before they entered the journal, or after somebody took them out of it.
    async fn sweep(&self, known: Vec<String>) {
        let (inner, own) = (Arc::clone(&self.engine), self.presence.path.clone());
        let folder = self.engine.settings.home.join("workers");
        let sweep = move || {
            let files = &inner.env.files;
            for entry in files.list(&folder).unwrap_or_default() {
                let path = folder.join(&entry.name);
                if path == own || known.iter().any(|name| entry.name == name.as_str()) {
                    continue;
                }
                // Held while the name is removed: whoever made it sees that, and takes another.
                if let Ok(Some(_lock)) = files.try_lock(&path) {
                    let _ = files.remove_file(&path);
                }
            }
        };
        let inner = Arc::clone(&self.engine);
        self.engine.env.blocking.run(move || inner.presences.amid(sweep)).await;
    }

    /// Gives back all leases and leaves.
    pub(crate) async fn leave(self) -> Result<(), Error> {
        let id = self.id.clone();
        self.engine.journal.write(move |tx| tx.release_worker(&id)).await?;
        let (files, path) = (self.engine.env.files.clone(), self.presence.path.clone());
        let _ = self.engine.env.blocking.run(move || files.remove_file(&path)).await;
        Ok(())
    }
}
