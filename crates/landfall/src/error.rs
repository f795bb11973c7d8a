//! How the engine fails.

use std::{io, path::PathBuf};

use landfall_core::{Code, Failure};
use landfall_store::StoreError;

/// Why a call failed as a whole. What goes wrong with one item is on that item instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal: see [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The destination: the failure says what to do.
    #[error("{0}")]
    Destination(Failure),
    /// The home is not there and cannot be made.
    #[error("cannot make the home `{}`: {source}", path.display())]
    Home {
        /// Its folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A folder or file of ours cannot be used.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No key is at hand.
    #[error("the keys are locked")]
    Locked,
    /// The password does not open the vault.
    #[error("the password does not open the keys")]
    WrongPassword,
    /// The recovery key does not open the vault.
    #[error("the recovery key does not open the keys")]
    WrongRecoveryKey,
    /// The vault has no keys: nothing was ever backed up to it.
    #[error("there are no keys: nothing has been sealed there yet")]
    NoKeys,
    /// What a vault or a bucket says does not hold together.
    #[error("what came does not hold together: {0}")]
    Tampered(String),
    /// The vault has no such content.
    #[error("the vault has no content {0}")]
    NoSuchContent(i64),
    /// Another process has found another vault where this session's was, and this home has forgotten the old one.
    #[error("another vault has been found in the place of this one, and this home goes on with that")]
    Superseded,
    /// Uploads are under way to another place under the name of a destination.
    #[error("{unfinished} uploads to `{name}` are not finished, and go to {known}")]
    Moved {
        /// The destination.
        name: String,
        /// Where they go.
        known: String,
        /// How many.
        unfinished: u64,
    },
    /// The key of a lane is sealed under the key of another host.
    #[error("the key of the lane `{0}` was sealed under another host key than the one in this home")]
    OtherHost(String),
    /// The caller asks for something that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(StoreError::Damaged { .. }) => "journal-damaged",
            Self::Store(StoreError::Newer { .. }) => "journal-newer",
            Self::Store(StoreError::Full) => "home-full",
            Self::Store(StoreError::ReadOnly(_)) => "home-read-only",
            Self::Store(StoreError::NoSuchItem(_)) => "no-such-item",
            Self::Store(_) => "internal",
            Self::Destination(failure) => failure.code.as_str(),
            Self::Home { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => "home-full",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "not-permitted",
                _ => "home-unusable",
            },
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => "home-full",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "not-permitted",
                io::ErrorKind::NotFound => "not-found",
                _ => "io",
            },
            Self::Locked | Self::OtherHost(_) => "locked",
            Self::WrongPassword => "wrong-password",
            Self::WrongRecoveryKey => "wrong-recovery-key",
            Self::NoKeys => "no-keys",
            Self::Tampered(_) => "tampered",
            Self::NoSuchContent(_) => "no-such-content",
            Self::Superseded => "superseded",
            Self::Moved { .. } => "destination-moved",
            Self::Invalid(_) => "invalid",
        }
    }

    /// What to do about it, without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::Store(StoreError::Damaged { .. }) => {
                "run `landfall backup PATH…` with the vault at hand: it sets the journal aside and rebuilds it".to_owned()
            }
            Self::Store(StoreError::Newer { .. }) => "use the newer version of landfall".to_owned(),
            Self::Store(StoreError::Full) => Code::HomeFull.advice().to_owned(),
            Self::Store(StoreError::ReadOnly(_)) => {
                "make the home writable, or choose another with `--home`; `status`, `ls` and `restore` work without"
                    .to_owned()
            }
            Self::Store(StoreError::NoSuchItem(_)) => "`landfall status` lists the items of the queue; the numbers of `landfall ls` are contents, for `restore` and `rm`"
                    .to_owned(),
            Self::Store(_) => "this is a bug, or a broken disk; `landfall doctor` tells more".to_owned(),
            Self::Destination(failure) => failure.code.advice().to_owned(),
            Self::Home { source, .. } | Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free space on that disk, then run the command again".to_owned()
            }
            Self::Home { .. } => "name a folder that you may write to with `--home DIR` or LANDFALL_HOME".to_owned(),
            Self::Io { .. } => "check that the path exists and may be used".to_owned(),
            Self::Locked => Code::Locked.advice().to_owned(),
            Self::OtherHost(_) => "put the file `host.key` of this home back".to_owned(),
            Self::WrongPassword => "try again, or use the recovery key with `--recovery-key-file`".to_owned(),
            Self::WrongRecoveryKey => "check the words, or use the password".to_owned(),
            Self::NoKeys => "check the address; the first `landfall backup`, or `put --seal`, makes keys".to_owned(),
            Self::Tampered(_) => Code::Tampered.advice().to_owned(),
            Self::NoSuchContent(_) => {
                "`landfall ls` lists the contents; the numbers of `landfall status` are items of the queue, for `show`"
                    .to_owned()
            }
            Self::Superseded => "run the command again".to_owned(),
            Self::Moved { .. } => {
                "put its endpoint, bucket and prefix back, or cancel them; or give the new place a name of its own".to_owned()
            }
            Self::Invalid(_) => "`landfall help` shows the usage".to_owned(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Destination(failure)
    }
}
