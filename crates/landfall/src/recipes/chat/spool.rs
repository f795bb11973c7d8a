//! Files of our own: copies of what was handed over, and payloads.
//!
//! A file is written under `spool/incoming`, made durable, and moved to its place in `spool` inside the transaction that
//! writes its name down. So a name in the journal is a whole file, and a file in the spool that no row names is of a
//! process that died in between. Files are removed inside a transaction too: nobody can be about to need one.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use landfall_env::{Env, Incoming};
use landfall_store::{StoreError, Tx};

use crate::{Error, engine::Inner};

/// Bytes copied at once.
const PIECE: usize = 256 << 10;

/// The folder of a home that holds the files of its messages.
#[derive(Clone)]
pub(crate) struct Spool {
    engine: Arc<Inner>,
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
        let spool = Self { engine: Arc::clone(engine) };
        let (files, incoming) = (engine.env.files.clone(), spool.incoming());
        let made = engine.env.blocking.run(move || files.create_dir_durable(&incoming)).await;
        made.map_err(|source| Error::Home { path: spool.incoming(), source })?;
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

    fn incoming(&self) -> PathBuf {
        self.folder().join("incoming")
    }

    /// Copies a file, however long, through a buffer of fixed length. When this returns the copy is durable; it is not in
    /// charge of anybody before it is placed.
    pub(crate) async fn copy(&self, from: &Path) -> io::Result<Arrived> {
        let (env, incoming, from) = (self.engine.env.clone(), self.incoming(), from.to_owned());
        self.engine.env.blocking.run(move || copy(&env, &incoming, &from)).await
    }

    /// Writes a file by `write`, which is handed the open file. When this returns it is durable.
    pub(crate) async fn write<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        write: impl FnOnce(&mut Incoming) -> Result<(T, u64), E> + Send + 'static,
    ) -> Result<(Arrived, T), E> {
        let (env, incoming) = (self.engine.env.clone(), self.incoming());
        self.engine
            .env
            .blocking
            .run(move || {
                let mut file = Incoming::create(&env, &incoming)?;
                let (value, size) = write(&mut file)?;
                file.sync()?;
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
            _ => StoreError::ReadOnly(format!("a file cannot be moved into `{}`: {error}", self.folder().display())),
        })
    }

    /// Removes what nothing needs, inside a transaction. Returns how many files.
    pub(crate) fn sweep(&self, tx: &Tx<'_>) -> Result<usize, StoreError> {
        let files = &self.engine.env.files;
        let entries = files.list(&self.folder()).unwrap_or_default();
        let names: Vec<String> = entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect();
        let mut unnamed: Vec<String> = names.into_iter().filter(|name| name != "incoming").collect();
        if unnamed.is_empty() {
            return Ok(0);
        }
        let needed: BTreeSet<String> = tx.spool_files()?.into_iter().collect();
        unnamed.retain(|name| !needed.contains(name));
        // One that cannot be removed is tried again by the next.
        Ok(unnamed.iter().filter(|name| files.remove_file(&self.path(name)).is_ok()).count())
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
    file.sync()?;
    Ok(Arrived { incoming: file, name: env.random.name(), size })
}
