//! The home, the default vault, and what a person has configured.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use landfall_env::{Env, FileLock};
use toml_edit::{DocumentMut, Item, Table};

use crate::failed::Failed;

/// What may be configured: a name in `config.toml`, the variable that overrides it, and what it means.
pub(crate) const KEYS: [(&str, &str, &str); 5] = [
    ("to", "LANDFALL_TO", "where `backup` sends to, unless `--to` says otherwise"),
    ("transfers", "LANDFALL_TRANSFERS", "how many files are worked on at once"),
    ("videos", "LANDFALL_VIDEOS", "of these, how many videos"),
    ("patience", "LANDFALL_PATIENCE", "how long an absent destination is waited for"),
    ("device", "LANDFALL_DEVICE", "name of this device, which tells its folders from those of others"),
];

/// The table of `config.toml` that holds those of destinations.
const DESTINATIONS: &str = "destination";

/// This device's folder of state.
pub(crate) struct Home {
    /// The folder.
    pub folder: PathBuf,
    /// The vault that is used when none is named.
    pub default_vault: PathBuf,
    config: DocumentMut,
    /// Why `config.toml` cannot be read.
    unread: Option<String>,
}

/// Keeps other processes from changing the configuration and the kept secrets while it lives. Whoever changes them reads,
/// decides and writes meanwhile: else of two changes one would be lost.
pub(crate) struct HomeLock {
    _lock: Box<dyn FileLock>,
}

/// A configured value and where it comes from.
pub(crate) struct Configured {
    /// The value, as text.
    pub value: String,
    /// `LANDFALL_…` or `config.toml`.
    pub origin: String,
}

impl Home {
    /// The home that `--home` or `LANDFALL_HOME` names, else the platform's.
    ///
    /// # Errors
    /// If there is no home folder. Whether its configuration can be used says [`Self::usable`].
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, Failed> {
        let named = named.map(Path::to_owned);
        let named = named.or_else(|| std::env::var_os("LANDFALL_HOME").filter(|home| !home.is_empty()).map(Into::into));
        let (folder, default_vault) = match named {
            Some(home) => {
                let folder = std::path::absolute(&home).map_err(|error| {
                    Failed::new("bad-config", format!("cannot use the home `{}`", home.display()), error.to_string())
                })?;
                let mut vault = folder.clone().into_os_string();
                vault.push("-vault");
                (folder, vault.into())
            }
            None => {
                let data = data_folder().ok_or_else(|| {
                    Failed::new("bad-config", "cannot find a home", "the platform names no folder for data")
                        .hint("choose one with `--home DIR`")
                })?;
                (data.join("landfall"), data.join("landfall-vault"))
            }
        };
        let (config, unread) = match read_config(&folder.join("config.toml")) {
            Ok(config) => (config, None),
            Err(why) => (DocumentMut::new(), Some(why)),
        };
        Ok(Self { folder, default_vault, config, unread })
    }

    /// Whether `config.toml` can be read and names nothing that is no setting.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn usable(&self) -> Result<(), Failed> {
        let bad =
            |why: String| Failed::new("bad-config", format!("cannot read `{}`", self.config_path().display()), why);
        if let Some(why) = &self.unread {
            let is_shut = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            if fs::symlink_metadata(self.config_path()).is_err_and(is_shut) {
                let what = format!("cannot use the home `{}`", self.folder.display());
                return Err(Failed::new("not-permitted", what, why.clone())
                    .hint("see to it that you may use that folder, or choose another with `--home DIR`"));
            }
            return Err(bad(why.clone()).hint("mend the file, or remove it: everything has a default"));
        }
        let is_setting = |key: &str| KEYS.iter().any(|(name, _, _)| *name == key);
        if self.config.get(DESTINATIONS).is_some_and(|item| !item.is_table()) {
            return Err(bad(format!("`{DESTINATIONS}` is not a table of destinations"))
                .hint("write `[destination.NAME]`, or `landfall destination add s3 NAME …`"));
        }
        match self.config.iter().find(|(key, _)| *key != DESTINATIONS && !is_setting(key)) {
            Some((unknown, _)) => Err(bad(format!("there is no setting `{unknown}`"))
                .hint(format!("`landfall config unset '{unknown}'` takes it out; everything has a default"))),
            None => Ok(()),
        }
    }

    /// The journal.
    pub(crate) fn journal(&self) -> PathBuf {
        landfall::Engine::journal_path(&self.folder)
    }

    /// What is configured under a name: the environment first, then `config.toml`.
    pub(crate) fn configured(&self, key: &str) -> Option<Configured> {
        let (_, variable, _) = KEYS.iter().find(|(name, _, _)| *name == key)?;
        if let Ok(value) = std::env::var(variable)
            && !value.is_empty()
        {
            return Some(Configured { value, origin: (*variable).to_owned() });
        }
        let item = self.config.get(key)?;
        let value = item.as_str().map_or_else(|| item.to_string().trim().to_owned(), str::to_owned);
        Some(Configured { value, origin: self.config_path().display().to_string() })
    }

    /// A configured number.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn number(&self, key: &str) -> Result<Option<usize>, Failed> {
        let Some(Configured { value, origin }) = self.configured(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            Failed::new("bad-config", format!("cannot use `{key}` of {origin}"), format!("`{value}` is not a number"))
                .hint(format!("`landfall config set {key} N`"))
        })
    }

    /// The file whose lock whoever changes the configuration or the kept secrets holds.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.folder.join("config.lock")
    }

    /// Reads what another process may have left, now that this one holds the lock.
    pub(crate) fn locked(&mut self, lock: Box<dyn FileLock>) -> HomeLock {
        (self.config, self.unread) = match read_config(&self.config_path()) {
            Ok(config) => (config, None),
            Err(why) => (DocumentMut::new(), Some(why)),
        };
        HomeLock { _lock: lock }
    }

    /// Writes a value to `config.toml`, whose other lines stay as they are. When this returns it is durable.
    ///
    /// # Errors
    /// If the file cannot be read, or the home cannot be written to.
    pub(crate) fn configure(&mut self, env: &Env, _: &HomeLock, key: &str, value: &str) -> Result<(), Failed> {
        if self.unread.is_some() {
            self.usable()?;
        }
        self.config[key] = match value.parse::<i64>() {
            Ok(number) => toml_edit::value(number),
            Err(_) => toml_edit::value(value),
        };
        self.write_config(env)
    }

    /// Takes a value out of `config.toml`, whose other lines stay as they are. Returns whether it was there.
    ///
    /// # Errors
    /// If the file cannot be read, or the home cannot be written to.
    pub(crate) fn unconfigure(&mut self, env: &Env, _: &HomeLock, key: &str) -> Result<bool, Failed> {
        if self.unread.is_some() {
            self.usable()?;
        }
        if self.config.remove(key).is_none() {
            return Ok(false);
        }
        self.write_config(env).map(|()| true)
    }

    /// The tables of configured destinations, by name.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = (&str, &Table)> {
        let all = self.config.get(DESTINATIONS).and_then(Item::as_table).into_iter().flat_map(Table::iter);
        all.filter_map(|(name, item)| Some((name, item.as_table()?)))
    }

    /// Puts the table of a destination into `config.toml`, or takes it out; the other lines stay as they are. When this
    /// returns it is durable.
    ///
    /// # Errors
    /// If the file cannot be read, or the home cannot be written to.
    pub(crate) fn set_destination(
        &mut self,
        env: &Env,
        _: &HomeLock,
        name: &str,
        table: Option<Table>,
    ) -> Result<(), Failed> {
        self.usable()?;
        let all = self.config.entry(DESTINATIONS).or_insert_with(|| {
            let mut all = Table::new();
            all.set_implicit(true);
            Item::Table(all)
        });
        if let Some(all) = all.as_table_mut() {
            match table {
                Some(table) => {
                    all.insert(name, Item::Table(table));
                }
                None => {
                    all.remove(name);
                }
            }
        }
        self.write_config(env)
    }

    fn write_config(&self, env: &Env) -> Result<(), Failed> {
        let (files, path) = (env.files.as_ref(), self.config_path());
        // A name of its own: what a kill has left is in nobody's way.
        let draft = path.with_extension(format!("{}.tmp", env.random.name()));
        let write = || -> io::Result<()> {
            let mut file = files.create_new(&draft)?;
            file.append(self.config.to_string().as_bytes())?;
            file.sync()?;
            drop(file);
            files.rename(&draft, &path)?;
            files.sync_dir(&self.folder)
        };
        write().map_err(|error| {
            let _ = files.remove_file(&draft);
            Failed::new("not-permitted", format!("cannot write `{}`", path.display()), error.to_string())
        })
    }

    /// The file of the configuration.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// Name of this device.
    pub(crate) fn device(&self) -> String {
        self.configured("device").map_or_else(host_name, |configured| configured.value)
    }
}

fn read_config(path: &Path) -> Result<DocumentMut, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => String::new(),
        Err(error) => return Err(error.to_string()),
    };
    text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())
}

fn data_folder() -> Option<PathBuf> {
    let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        return absolute("LOCALAPPDATA");
    }
    absolute("XDG_DATA_HOME").or_else(|| {
        let below = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
        absolute("HOME").map(|home| home.join(below))
    })
}

#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
