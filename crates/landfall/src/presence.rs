//! Locks that say that this process lives. All of them are let go of while the engine is suspended: a system that
//! freezes an application does not let it hold locks of files that others use.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use landfall_env::{Env, FileLock};

type Held = Mutex<Option<Box<dyn FileLock>>>;

/// The locks of one engine.
#[derive(Default)]
pub(crate) struct Presences {
    known: Mutex<Known>,
    /// Held while a lock is taken that may turn out not to be ours to hold.
    trying: RwLock<()>,
}

#[derive(Default)]
struct Known {
    held: Vec<Weak<Held>>,
    is_suspended: bool,
}

/// A file under a drawn name whose lock is held while its owner lives and is not suspended. Whoever finds the lock free
/// may take the owner for dead.
pub(crate) struct Presence {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    held: Arc<Held>,
}

impl Presence {
    /// Makes `folder/NAME.lock` and locks it.
    ///
    /// # Errors
    /// The disk's; any while the engine is suspended.
    pub(crate) fn enter(env: &Env, folder: &Path, all: &Presences) -> io::Result<Self> {
        let _trying = all.trying.read().unwrap_or_else(PoisonError::into_inner);
        loop {
            if guard(&all.known).is_suspended {
                return Err(io::Error::other("the engine is suspended"));
            }
            let name = env.random.name();
            let path = folder.join(format!("{name}.lock"));
            let Some(lock) = env.files.try_lock(&path)? else { continue };
            // Somebody who sweeps leftovers may have removed the name between making and locking it.
            if env.files.status(&path).is_err() {
                continue;
            }
            let held = Arc::new(Mutex::new(Some(lock)));
            let mut known = guard(&all.known);
            if known.is_suspended {
                return Err(io::Error::other("the engine is suspended"));
            }
            known.held.retain(|other| other.strong_count() > 0);
            known.held.push(Arc::downgrade(&held));
            return Ok(Self { name, path, held });
        }
    }

    /// Not any more once the engine was suspended: others may have taken what was ours.
    pub(crate) fn is_held(&self) -> bool {
        guard(&self.held).is_some()
    }
}

impl Presences {
    /// Lets go of every lock, and lets nobody take another before [`Presences::resume`].
    pub(crate) fn suspend(&self) {
        let _nobody_tries = self.trying.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = guard(&self.known);
        known.is_suspended = true;
        for held in known.held.drain(..).filter_map(|held| held.upgrade()) {
            guard(&held).take();
        }
    }

    /// Does something for which locks of others are tried; `None` if the engine is suspended.
    pub(crate) fn amid<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let _trying = self.trying.read().unwrap_or_else(PoisonError::into_inner);
        let is_suspended = guard(&self.known).is_suspended;
        (!is_suspended).then(work)
    }

    pub(crate) fn resume(&self) {
        guard(&self.known).is_suspended = false;
    }
}

fn guard<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
