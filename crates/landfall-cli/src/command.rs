//! What every command has at hand.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landfall::{Bandwidth, Engine, Settings};
use landfall_env::Env;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::{
    arguments::Global,
    failed::{During as _, Failed},
    home::{Home, HomeLock},
    human,
    keystore::KeyStore,
    output::Output,
    secret::Sources,
    signals::Signals,
};

/// A journal up to this size is compared with its rules whenever it is opened; that costs about 5 ms per MB.
const CHECKED_BYTES_MAX: u64 = 256 << 20;

/// A command that is being carried out.
pub(crate) struct Command {
    /// This device's state.
    pub home: Home,
    /// Where everything that is said goes.
    pub out: Arc<Output>,
    /// The outside world.
    pub env: Env,
    /// Where secrets come from.
    pub secrets: Sources,
    /// Whether the process was asked to end.
    pub signals: Signals,
    /// How long an absent destination is waited for.
    pub patience: Duration,
    /// How long the whole may take, from the start.
    pub budget: Option<Duration>,
    /// How fast uploads to buckets may be, if the command line says so.
    pub bandwidth: Option<Bandwidth>,
    /// Says that the destination is waited for.
    pub away: Notify,
    /// Whether another vault may take the place of the known one.
    pub takes_new_vault: bool,
    started: Duration,
    recovery_key: Mutex<Option<Zeroizing<String>>>,
}

impl Command {
    /// A command with these global options. One that `mends` the configuration makes do with a wrong one.
    ///
    /// # Errors
    /// If the home or its configuration cannot be used.
    pub(crate) fn new(global: &Global, out: Arc<Output>, signals: Signals, mends: bool) -> Result<Self, Failed> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let env = Env::real();
        let home = Home::find(global.home.as_deref())?;
        if !mends {
            home.usable()?;
        }
        let patience = match home.configured("patience") {
            None => PATIENCE,
            Some(configured) => match human::parse_duration(&configured.value) {
                Ok(patience) => patience,
                Err(_) if mends => PATIENCE,
                Err(why) => {
                    let what = format!("cannot use `patience` of {}", configured.origin);
                    return Err(Failed::new("bad-config", what, why));
                }
            },
        };
        let secrets = Sources {
            password_file: global.password_file.clone(),
            recovery_key_file: global.recovery_key_file.clone(),
        };
        let started = env.clock.monotonic();
        Ok(Self {
            home,
            out,
            env,
            secrets,
            signals,
            patience,
            budget: None,
            bandwidth: None,
            away: Notify::new(),
            takes_new_vault: false,
            started,
            recovery_key: Mutex::default(),
        })
    }

    /// How long it has taken so far.
    pub(crate) fn took(&self) -> Duration {
        self.env.clock.monotonic().saturating_sub(self.started)
    }

    /// Whether to wait (on) for a process that holds a vault folder: it ends by somebody's hand, so that this has no limit
    /// but the budget. Who is to wait for nothing does not.
    pub(crate) fn waits_for_holder(&self) -> bool {
        !self.patience.is_zero() && self.budget.is_none_or(|budget| self.took() < budget)
    }

    /// Waits until no other process changes the configuration or the kept secrets, and reads what it left. Makes the home
    /// if need be.
    ///
    /// # Errors
    /// If the home cannot be written to.
    pub(crate) async fn lock_home(&mut self) -> Result<HomeLock, Failed> {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        let (files, path) = (&self.env.files, self.home.lock_path());
        let cannot = |error: std::io::Error| {
            let what = format!("cannot write to the home `{}`", self.home.folder.display());
            Failed::new("not-permitted", what, error.to_string())
                .hint("make the home writable, or choose another with `--home`")
        };
        files.create_dir_durable(&self.home.folder).map_err(cannot)?;
        let lock = self.signals.unless_stopped(async {
            loop {
                if let Some(lock) = files.try_lock(&path).map_err(cannot)? {
                    return Ok(lock);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        let lock = lock.await?;
        Ok(self.home.locked(lock))
    }

    /// Where keys are kept.
    pub(crate) fn keystore(&self) -> KeyStore {
        KeyStore::of(&self.home.folder, &self.env)
    }

    /// The engine's settings over this home.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new(&self.home.folder);
        settings.patience = self.patience;
        settings.device = self.home.device();
        let journal = self.home.journal();
        settings.check = std::fs::metadata(journal).is_ok_and(|status| status.len() < CHECKED_BYTES_MAX);
        settings
    }

    /// The home, opened for changes.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) async fn engine(&self) -> Result<Engine, Failed> {
        self.open(self.settings()).await
    }

    /// An engine with a journal in memory, which touches no home.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) async fn ephemeral_engine(&self) -> Result<Engine, Failed> {
        self.open(Settings { ephemeral: true, ..self.settings() }).await
    }

    /// The home, opened only to look. `None` if there is no journal, or an empty file.
    ///
    /// SQLite cannot read a journal in WAL mode where it may not write, or has no room to; then a copy is looked at.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) async fn engine_to_look(&self) -> Result<Option<Engine>, Failed> {
        let journal = self.home.journal();
        if !journal.exists() {
            return Ok(None);
        }
        let settings = Settings { read_only: true, check: false, ..self.settings() };
        let opened = Engine::open(settings.clone(), self.env.clone()).await;
        if let Ok(engine) = opened {
            // Opening reads nothing that a look would not: try one before trusting it.
            match engine.destinations().await {
                Err(error) if cannot_be_looked_at(&error) => {}
                Err(error) => return Err(error).during("cannot read the journal"),
                Ok(_) => return Ok(Some(engine)),
            }
        } else if opened.as_ref().is_err_and(is_unbegun) {
            return Ok(None);
        } else if !opened.as_ref().is_err_and(cannot_be_looked_at) {
            return opened.map(Some).during("cannot read the journal");
        }
        let copy = std::env::temp_dir().join(format!("landfall-{}", self.env.random.name()));
        let copied = || -> std::io::Result<()> {
            self.env.files.create_dir_all(&copy)?;
            for ending in ["", "-wal"] {
                let name = format!("journal.db{ending}");
                match std::fs::copy(self.home.folder.join(&name), copy.join(&name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        };
        let copied = copied().map_err(|source| landfall::Error::Io { action: "copy", path: journal, source });
        let opened = match copied {
            Ok(()) => {
                Engine::open(Settings { home: copy.clone(), read_only: false, ..settings }, self.env.clone()).await
            }
            Err(error) => Err(error),
        };
        // The open file lives on without its name.
        let _ = std::fs::remove_dir_all(&copy);
        opened.map(Some).during("cannot read a copy of the journal")
    }

    /// Puts a recovery key that was just made into the document, where programs find it.
    pub(crate) fn put_recovery_key(&self, document: &mut Map<String, Value>) {
        if let Some(phrase) = self.recovery_key.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            document.insert("recovery_key".to_owned(), phrase.as_str().into());
        }
    }

    /// Keeps a recovery key for the document.
    pub(crate) fn remember_recovery_key(&self, phrase: &str) {
        *self.recovery_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(Zeroizing::new(phrase.to_owned()));
    }

    async fn open(&self, settings: Settings) -> Result<Engine, Failed> {
        Engine::open(settings, self.env.clone()).await.during("cannot open the home")
    }
}

/// Whether a journal that was only to be looked at is empty: whoever made the file died before the schema was in it.
pub(crate) fn is_unbegun(error: &landfall::Error) -> bool {
    matches!(error, landfall::Error::Store(landfall::StoreError::Newer { found: 0, .. }))
}

fn cannot_be_looked_at(error: &landfall::Error) -> bool {
    use landfall::StoreError::{Full, ReadOnly};
    matches!(error, landfall::Error::Store(ReadOnly(_) | Full))
}
