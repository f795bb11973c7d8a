//! A file on its way in: nobody sees it before it is whole, and durable.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Env, File, Files};

/// A file that is being written under a name of its own. Removed when dropped, unless it was placed: also when whoever
/// writes it is dropped in the middle.
pub struct Incoming {
    path: PathBuf,
    file: Option<Box<dyn File>>,
    files: Arc<dyn Files>,
    placed: bool,
}

impl Incoming {
    /// Begins a file in `folder`, under a name that is drawn.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(env: &Env, folder: &Path) -> io::Result<Self> {
        let path = folder.join(env.random.name());
        let file = env.files.create_new(&path)?;
        Ok(Self { path, file: Some(file), files: Arc::clone(&env.files), placed: false })
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes bytes after those written before.
    ///
    /// # Errors
    /// The disk's.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().expect("an incoming file is open until it is synced").append(bytes)
    }

    /// Makes the bytes durable and closes the file.
    ///
    /// # Errors
    /// The disk's; then the bytes may be anything.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |mut file| file.sync())
    }

    /// Gives it its name, in place of whatever has it. The name is durable once `to`'s folder is synced.
    ///
    /// # Errors
    /// The disk's; the file is then removed.
    pub fn place(mut self, to: &Path) -> io::Result<()> {
        self.files.rename(&self.path, to)?;
        self.placed = true;
        Ok(())
    }

    /// Somebody else gave it its name: there is nothing left to remove.
    pub fn was_placed(&mut self) {
        self.placed = true;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // A panic stands for a crash, and a crash removes nothing: the next to open the folder does.
        if !self.placed && !std::thread::panicking() {
            self.file = None;
            // One that stays is removed by whoever sweeps the folder.
            let _ = self.files.remove_file(&self.path);
        }
    }
}
