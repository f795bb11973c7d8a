//! The host's key: `host.key` in the home, under which the journal keeps what it knows of messages.
//!
//! It is drawn on first need, and only its owner may read it. Whoever reads it and the journal reads the lanes of this home.

use std::{io, path::PathBuf};

use landfall::recipes::chat::HostKey;
use landfall_env::{Env, Incoming};
use zeroize::Zeroizing;

use crate::{command::Command, failed::Failed};

/// The file of the host's key.
pub(crate) struct HostKeyFile {
    path: PathBuf,
    env: Env,
}

impl HostKeyFile {
    /// The one of the command's home.
    pub(crate) fn of(command: &Command) -> Self {
        Self { path: command.home.folder.join("host.key"), env: command.env.clone() }
    }

    /// The key, if it is there.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(crate) fn find(&self) -> Result<Option<HostKey>, Failed> {
        let text = match std::fs::read(&self.path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(&error.to_string())),
        };
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii(), &mut *bytes)
            .map_err(|_| self.unreadable("it does not hold 64 hexadecimal digits"))?;
        Ok(Some(HostKey::from_bytes(*bytes)))
    }

    /// The key, drawn if there is none: whoever asks has seen that nothing is sealed under one that is gone. When this returns it is durable, and the same for every process of the home.
    ///
    /// # Errors
    /// If the file cannot be read, or the home cannot be written to.
    pub(crate) fn find_or_draw(&self) -> Result<HostKey, Failed> {
        if let Some(key) = self.find()? {
            return Ok(key);
        }
        self.draw().map_err(|error| {
            Failed::new("not-permitted", format!("cannot write `{}`", self.path.display()), error.to_string())
                .hint("make the home writable, or choose another with `--home`")
        })?;
        self.find()?.ok_or_else(|| self.unreadable("it is gone again"))
    }

    /// Puts a new key there, unless another process is first.
    fn draw(&self) -> io::Result<()> {
        let files = self.env.files.as_ref();
        let home = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        files.create_dir_durable(home)?;
        let mut draft = Incoming::create(&self.env, home)?;
        let key = Zeroizing::new(self.env.random.array::<32>());
        let mut digits = Zeroizing::new([0; 64]);
        hex::encode_to_slice(*key, &mut *digits).expect("32 bytes are 64 digits");
        draft.append(&*digits)?;
        draft.append(b"\n")?;
        draft.sync()?;
        match files.hard_link(draft.path(), &self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Ok(()) => {}
            // A file system without hard links: two processes at once on a new home are not told apart there.
            Err(_) => draft.place(&self.path)?,
        }
        files.sync_dir(home)
    }

    /// What is said where the key is gone under which lanes are sealed.
    pub(crate) fn lost(&self) -> Failed {
        let what = "cannot open the lanes of this home";
        Failed::new("locked", what, format!("its host key `{}` is gone", self.path.display())).hint(
            "put the file back; if it is lost, join the lanes in another home (`--home DIR`) by the keys of others",
        )
    }

    fn unreadable(&self, why: &str) -> Failed {
        Failed::new("bad-config", format!("cannot read the host key in `{}`", self.path.display()), why)
            .hint("put the file back as it was; without it the lanes of this home cannot be opened")
    }
}
