//! The key store: `unlock.key` in the home, which holds master keys by the name of their vault.
//!
//! It is written only when a person says `landfall unlock --remember`, and only its owner may read it. Whoever reads it
//! reads the vaults; `landfall doctor` says so.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use landfall::MasterKey;
use landfall_env::Env;
use zeroize::{Zeroize as _, Zeroizing};

use crate::failed::Failed;

/// The file of kept keys.
pub(crate) struct KeyStore {
    path: PathBuf,
    env: Env,
}

impl KeyStore {
    /// The key store of a home.
    pub(crate) fn of(home: &Path, env: &Env) -> Self {
        Self { path: home.join("unlock.key"), env: env.clone() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The master key of a vault, if it is kept.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(crate) fn get(&self, vault: &str) -> Result<Option<MasterKey>, Failed> {
        let keys = self.load()?;
        let Some(text) = keys.get(vault) else { return Ok(None) };
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.as_bytes(), &mut bytes).map_err(|_| self.unreadable("a key in it is not a key"))?;
        let key = MasterKey::from_bytes(bytes);
        bytes.zeroize();
        Ok(Some(key))
    }

    /// How many keys are kept.
    pub(crate) fn count(&self) -> Result<usize, Failed> {
        Ok(self.load()?.len())
    }

    /// Keeps a vault's master key. When this returns it is durable.
    ///
    /// # Errors
    /// If the home cannot be written to.
    pub(crate) fn keep(&self, vault: &str, key: &MasterKey) -> Result<(), Failed> {
        let mut keys = self.load()?;
        keys.insert(vault.to_owned(), Zeroizing::new(hex::encode(key.expose())));
        self.store(&keys)
    }

    /// Forgets all keys. Returns whether there were any.
    ///
    /// # Errors
    /// If the file is there and cannot be removed.
    pub(crate) fn forget(&self) -> Result<bool, Failed> {
        let files = self.env.files.as_ref();
        match files.remove_file(&self.path) {
            Ok(()) => {
                if let Some(home) = self.path.parent() {
                    files.sync_dir(home).map_err(|error| self.unwritable(&error))?;
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.unwritable(&error)),
        }
    }

    fn load(&self) -> Result<BTreeMap<String, Zeroizing<String>>, Failed> {
        let text = match std::fs::read(&self.path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.unreadable(&error.to_string())),
        };
        let keys: BTreeMap<String, String> =
            serde_json::from_slice(&text).map_err(|_| self.unreadable("it is not what `unlock --remember` writes"))?;
        Ok(keys.into_iter().map(|(vault, key)| (vault, Zeroizing::new(key))).collect())
    }

    fn store(&self, keys: &BTreeMap<String, Zeroizing<String>>) -> Result<(), Failed> {
        let plain: BTreeMap<&str, &str> = keys.iter().map(|(vault, key)| (vault.as_str(), key.as_str())).collect();
        let text = Zeroizing::new(serde_json::to_vec(&plain).expect("names and hex digits are plain data"));
        let files = self.env.files.as_ref();
        let draft = self.path.with_extension(format!("{}.tmp", self.env.random.name()));
        let write = || -> io::Result<()> {
            let home = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
            files.create_dir_all(home)?;
            let mut file = files.create_new(&draft)?;
            file.append(&text)?;
            file.sync()?;
            drop(file);
            files.rename(&draft, &self.path)?;
            files.sync_dir(home)
        };
        write().map_err(|error| {
            let _ = files.remove_file(&draft);
            self.unwritable(&error)
        })
    }

    fn unreadable(&self, why: &str) -> Failed {
        Failed::new("bad-config", format!("cannot read the keys kept in `{}`", self.path.display()), why)
            .hint("`landfall lock` removes the file; then `landfall unlock --remember` writes it anew")
    }

    fn unwritable(&self, error: &io::Error) -> Failed {
        Failed::new("not-permitted", format!("cannot write `{}`", self.path.display()), error.to_string())
            .hint("make the home writable, or choose another with `--home`")
    }
}
