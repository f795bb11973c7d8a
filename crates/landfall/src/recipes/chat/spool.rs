//! Files of our own: copies of what was handed over, and payloads.
//!
//! A file is written in a folder of this process below `spool/incoming`, made durable, and moved to its place in `spool`
//! inside the transaction that writes its name down. So a name in the journal is a whole file, and a file in the spool
//! that no row names is of a process that died in between. What a process was still writing when it died is known by the
//! lock that it does not hold any more.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use landfall_env::{Env, Files, Incoming, Sabotage};
use landfall_store::StoreError;

use crate::{Error, engine::Inner, presence::Presence};

/// Bytes copied at once.
const PIECE: usize = 256 << 10;

/// The folder of a home that holds the files of its messages.
#[derive(Clone)]
pub(crate) struct Spool {
    engine: Arc<Inner>,
    own: Arc<Own>,
}

/// The folder in which this process writes, from the first file on.
struct Own {
    files: Arc<dyn Files>,
    presence: Mutex<Option<Presence>>,
}

impl Drop for Own {
    fn drop(&mut self) {
        let presence = self.presence.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A panic stands for a crash, and a crash removes nothing.
        if let Some(presence) = presence.filter(|_| !std::thread::panicking()) {
            // Whoever still writes there keeps the folder, and its lock's name stays with it until it is swept.
            if self.files.remove_dir(&presence.path.with_extension("")).is_ok() {
                let _ = self.files.remove_file(&presence.path);
            }
        }
    }
}

/// A whole, durable file that has no name in the journal yet. Removed when dropped.
pub(crate) struct Arrived {
    incoming: Incoming,
    /// The name it will have.
    pub(crate) name: String,
    /// Its length, in bytes.
    pub(crate) size: u64,
}

impl Spool {
    /// Makes the folders and their names durable.
    pub(crate) async fn open(engine: &Arc<Inner>) -> Result<Self, Error> {
        let spool = Self {
            engine: Arc::clone(engine),
            own: Arc::new(Own { files: Arc::clone(&engine.env.files), presence: Mutex::default() }),
        };
        let (files, all) = (engine.env.files.clone(), spool.all_incoming());
        let made = engine.env.blocking.run(move || files.create_dir_durable(&all)).await;
        made.map_err(|source| Error::Home { path: spool.all_incoming(), source })?;
        Ok(spool)
    }

    /// Where a file of that name is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Where a file of that name is, below the home.
    pub(crate) fn relative(name: &str) -> PathBuf {
        Path::new("spool").join(name)
    }

    fn folder(&self) -> PathBuf {
        self.engine.settings.home.join("spool")
    }

    fn all_incoming(&self) -> PathBuf {
        self.folder().join("incoming")
    }

    /// The folder in which this process writes. Another after each time that it was suspended: what was in the one before
    /// may have been taken for a dead one's.
    fn incoming(&self) -> io::Result<PathBuf> {
        let mut own = self.own.presence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(presence) = own.as_ref().filter(|presence| presence.is_held()) {
            return Ok(presence.path.with_extension(""));
        }
        let presence = Presence::enter(&self.engine.env, &self.all_incoming(), &self.engine.presences)?;
        let folder = presence.path.with_extension("");
        self.engine.env.files.create_dir_all(&folder)?;
        *own = Some(presence);
        Ok(folder)
    }

    /// Copies a file, however long, through a buffer of fixed length. When this returns the copy is durable; it is not in
    /// charge of anybody before it is placed.
    pub(crate) async fn copy(&self, from: &Path) -> io::Result<Arrived> {
        let (spool, from) = (self.clone(), from.to_owned());
        self.engine.env.blocking.run(move || copy(&spool.engine.env, &spool.incoming()?, &from)).await
    }

    /// Writes a file by `write`, which is handed the open file. When this returns it is durable.
    pub(crate) async fn write<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        write: impl FnOnce(&mut Incoming) -> Result<(T, u64), E> + Send + 'static,
    ) -> Result<(Arrived, T), E> {
        let spool = self.clone();
        self.engine
            .env
            .blocking
            .run(move || {
                let env = &spool.engine.env;
                let mut file = Incoming::create(env, &spool.incoming()?)?;
                let (value, size) = write(&mut file)?;
                sync(env, &mut file)?;
                Ok((Arrived { incoming: file, name: env.random.name(), size }, value))
            })
            .await
    }

    /// Moves a file to its place. Called inside the transaction that writes its name down.
    pub(crate) fn place(&self, arrived: Arrived) -> Result<(), StoreError> {
        let to = self.path(&arrived.name);
        let placed = arrived.incoming.place(&to).and_then(|()| self.engine.env.files.sync_dir(&self.folder()));
        placed.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            // It was swept while we were suspended: what wanted to place it is tried again.
            io::ErrorKind::NotFound => StoreError::Suspended,
            _ => StoreError::ReadOnly(format!("a file cannot be moved into `{}`: {error}", self.folder().display())),
        })
    }

    /// Removes what nothing needs. Returns how many files.
    ///
    /// A file goes only if no row needed it when all that was seen was durable, and none needs it now, while nobody else
    /// can write: of a transaction that has not come about neither what it gave up nor what it placed is believed.
    pub(crate) async fn sweep(&self) -> Result<usize, StoreError> {
        let spool = self.clone();
        let (swept, unnamed) = self
            .engine
            .env
            .blocking
            .run(move || (spool.engine.presences.amid(|| spool.sweep_incoming()).unwrap_or(0), spool.names()))
            .await;
        if unnamed.is_empty() {
            return Ok(swept);
        }
        let needed: BTreeSet<String> = self.engine.journal.read(|tx| tx.spool_files()).await?.into_iter().collect();
        let unneeded: Vec<String> = unnamed.into_iter().filter(|name| !needed.contains(name)).collect();
        if unneeded.is_empty() {
            return Ok(swept);
        }
        let spool = self.clone();
        let removed = self.engine.journal.write(move |tx| {
            let needed: BTreeSet<String> = tx.spool_files()?.into_iter().collect();
            let unneeded = unneeded.iter().filter(|name| !needed.contains(*name));
            // One that cannot be removed is tried again by the next.
            Ok(unneeded.filter(|name| spool.engine.env.files.remove_file(&spool.path(name)).is_ok()).count())
        });
        Ok(swept + removed.await?)
    }

    /// The files that are in nobody's way in.
    fn names(&self) -> Vec<String> {
        let entries = self.engine.env.files.list(&self.folder()).unwrap_or_default().into_iter();
        entries.filter_map(|entry| entry.name.into_string().ok()).filter(|name| name != "incoming").collect()
    }

    /// Removes what dead processes were writing. Returns how many files.
    fn sweep_incoming(&self) -> usize {
        let (files, all) = (&self.engine.env.files, self.all_incoming());
        let mut swept = 0;
        // A power cut may have left a folder without its lock.
        let entries = files.list(&all).unwrap_or_default().into_iter();
        let folders: BTreeSet<PathBuf> = entries.map(|entry| all.join(entry.name).with_extension("")).collect();
        for folder in folders {
            let lock = folder.with_extension("lock");
            // Held while all of it is removed: whoever made it sees that, and takes another.
            let Ok(Some(_dead)) = files.try_lock(&lock) else { continue };
            for left in files.list(&folder).unwrap_or_default() {
                swept += usize::from(files.remove_file(&folder.join(left.name)).is_ok());
            }
            let _ = files.remove_dir(&folder);
            let _ = files.remove_file(&lock);
        }
        swept
    }
}

fn copy(env: &Env, incoming: &Path, from: &Path) -> io::Result<Arrived> {
    let mut source = env.files.open(from)?;
    let before = source.status()?;
    let mut file = Incoming::create(env, incoming)?;
    let mut piece = vec![0; PIECE];
    let mut size = 0u64;
    loop {
        let count = source.read_at(size, &mut piece)?;
        if count == 0 {
            break;
        }
        file.append(&piece[..count])?;
        size += count as u64;
    }
    let after = source.status()?;
    if (before.len, before.modified_ns) != (after.len, after.modified_ns) || size != after.len {
        return Err(io::Error::other("it changed while it was copied; let whoever writes it finish"));
    }
    sync(env, &mut file)?;
    Ok(Arrived { incoming: file, name: env.random.name(), size })
}

fn sync(env: &Env, file: &mut Incoming) -> io::Result<()> {
    if env.steps.sabotaged(Sabotage::SkipSpoolSync) { Ok(()) } else { file.sync() }
}
