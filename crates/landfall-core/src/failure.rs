//! What went wrong, sorted by what to do about it.
//!
//! Every failure of a step is classified exactly once, where it is first seen; from then on only its [`Remedy`]
//! matters. A lost answer is not a failure of the step but an unknown outcome, and is settled by asking.

use std::{fmt, time::Duration};

/// A step that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What to do.
    pub remedy: Remedy,
    /// Stable name of the cause, for programs.
    pub code: Code,
    /// What happened, as one sentence for people, without secrets or file names.
    pub message: String,
}

impl Failure {
    /// A failure of this cause.
    pub fn new(remedy: Remedy, code: Code, message: impl Into<String>) -> Self {
        Self { remedy, code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The destination is out of reach, or busy: everything for it waits. No attempt is charged.
    Wait {
        /// For how long, if the destination said.
        retry_after: Option<Duration>,
    },
    /// The request was handed over and no answer came: it may or may not have happened. Ask.
    Ask,
    /// The grant is no longer good. Get a new one; no attempt is charged.
    Renew,
    /// The remote upload is gone, or never was. Open it again.
    Reopen,
    /// Try again after a pause; one attempt is charged.
    Retry,
    /// The source is not what was prepared: begin again with a new revision and new keys.
    NewRevision,
    /// The destination does not accept our token: nothing more can be done there until someone logs in.
    LogIn,
    /// Only a person can help; the reason says how.
    Block,
}

/// Stable names of causes. They appear in `--json` and are never renamed or reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The destination cannot be reached.
    Offline,
    /// The destination asked us to slow down.
    Throttled,
    /// The vault's disk or quota is full.
    VaultFull,
    /// The disk of the home is full.
    HomeFull,
    /// Another process on this machine is in the middle of a write to the vault, and does not go on.
    VaultHeld,
    /// The destination failed on its side.
    ServerError,
    /// No answer came.
    AnswerLost,
    /// The transfer stood still for too long.
    Stalled,
    /// A signed URL is no longer valid.
    GrantExpired,
    /// The remote upload is not there.
    NoSuchUpload,
    /// Bytes arrived damaged.
    DamagedInTransit,
    /// The token is refused.
    Unauthorized,
    /// The destination refuses this for good.
    Refused,
    /// An answer that the protocol does not allow.
    BadAnswer,
    /// What the vault returned is not what was stored there.
    Tampered,
    /// The source is gone.
    SourceVanished,
    /// The source may not be read.
    SourceUnreadable,
    /// The source changed while it was read.
    SourceChanged,
    /// The source gave no byte for too long.
    SourceStalled,
    /// The source is larger than the destination takes.
    SourceTooLarge,
    /// The source is empty.
    SourceEmpty,
    /// The content is at more places than its record has room for.
    TooManyPlaces,
    /// Too many attempts failed.
    TooManyAttempts,
    /// The keys are locked.
    Locked,
    /// The credentials are good, and what was asked is not theirs to do.
    AccessDenied,
    /// The destination knows no such key, or the secret is not its own.
    BadCredentials,
    /// The credentials were good for a time that is over.
    CredentialsExpired,
    /// There is no such bucket.
    NoSuchBucket,
    /// The bucket is in another region.
    WrongRegion,
    /// The clock of this device and that of the destination differ too much.
    ClockSkewed,
    /// Something else is where this was to go.
    KeyTaken,
}

impl Code {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 31] = [
        Self::Offline,
        Self::Throttled,
        Self::VaultFull,
        Self::HomeFull,
        Self::VaultHeld,
        Self::ServerError,
        Self::AnswerLost,
        Self::Stalled,
        Self::GrantExpired,
        Self::NoSuchUpload,
        Self::DamagedInTransit,
        Self::Unauthorized,
        Self::Refused,
        Self::BadAnswer,
        Self::Tampered,
        Self::SourceVanished,
        Self::SourceUnreadable,
        Self::SourceChanged,
        Self::SourceStalled,
        Self::SourceTooLarge,
        Self::SourceEmpty,
        Self::TooManyPlaces,
        Self::TooManyAttempts,
        Self::Locked,
        Self::AccessDenied,
        Self::BadCredentials,
        Self::CredentialsExpired,
        Self::NoSuchBucket,
        Self::WrongRegion,
        Self::ClockSkewed,
        Self::KeyTaken,
    ];

    /// The name in JSON and in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Throttled => "throttled",
            Self::VaultFull => "vault-full",
            Self::HomeFull => "home-full",
            Self::VaultHeld => "vault-held",
            Self::ServerError => "server-error",
            Self::AnswerLost => "answer-lost",
            Self::Stalled => "stalled",
            Self::GrantExpired => "grant-expired",
            Self::NoSuchUpload => "no-such-upload",
            Self::DamagedInTransit => "damaged-in-transit",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::BadAnswer => "bad-answer",
            Self::Tampered => "tampered",
            Self::SourceVanished => "source-vanished",
            Self::SourceUnreadable => "source-unreadable",
            Self::SourceChanged => "source-changed",
            Self::SourceStalled => "source-stalled",
            Self::SourceTooLarge => "source-too-large",
            Self::SourceEmpty => "source-empty",
            Self::TooManyPlaces => "too-many-places",
            Self::TooManyAttempts => "too-many-attempts",
            Self::Locked => "locked",
            Self::AccessDenied => "access-denied",
            Self::BadCredentials => "bad-credentials",
            Self::CredentialsExpired => "credentials-expired",
            Self::NoSuchBucket => "no-such-bucket",
            Self::WrongRegion => "wrong-region",
            Self::ClockSkewed => "clock-skewed",
            Self::KeyTaken => "key-taken",
        }
    }

    /// The code of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// What a person can do about it, as an instruction without a full stop.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Offline => "check the network and the destination's address; what is queued is safe",
            Self::Throttled => "nothing; it goes on when the destination allows",
            Self::VaultFull => "free space at the destination; what is queued is safe",
            Self::HomeFull => "free space on the disk of the home, then run the command again",
            Self::VaultHeld => "continue the process that is named, or end it; what is queued is safe",
            Self::ServerError => "look into the server's log; what is queued is safe",
            Self::AnswerLost | Self::Stalled => "nothing; the destination is asked what it has",
            Self::GrantExpired | Self::NoSuchUpload => "nothing; a new one is obtained",
            Self::DamagedInTransit => "check the network path if it happens again",
            Self::Unauthorized => "run `landfall login` with a fresh token",
            Self::Refused => "read the message, mend the cause, then `landfall retry`",
            Self::BadAnswer => {
                "check the address: what answers there is no server of the kind and version that is meant"
            }
            Self::Tampered => "do not trust what is there; keep the originals and check the server",
            Self::SourceVanished => "put the file back and `landfall retry`, or `landfall cancel` it",
            Self::SourceUnreadable => "make the file readable, then `landfall retry`",
            Self::SourceChanged => "let whoever writes the file finish, then `landfall retry`",
            Self::SourceStalled => "check the disk or share the file is on, then `landfall retry`",
            Self::SourceTooLarge => "raise the server's limit, or `landfall cancel` it",
            Self::SourceEmpty => "nothing; there is nothing in it",
            Self::TooManyPlaces => {
                "leave some of its copies out with `--exclude`, then `landfall cancel` them; the content is in the vault"
            }
            Self::TooManyAttempts => "read the last error, mend the cause, then `landfall retry`",
            Self::Locked => "set LANDFALL_PASSWORD, or give `--password-file FILE`",
            Self::AccessDenied => {
                "give these keys the rights of the policy in docs/sessions.md (s3:PutObject to upload, s3:GetObject to read), then `landfall retry`"
            }
            Self::BadCredentials => {
                "correct the keys with `landfall destination add s3 NAME --replace --access-key KEY --secret-file FILE`, then `landfall retry`"
            }
            Self::CredentialsExpired => {
                "give fresh ones with `landfall destination add s3 NAME --replace --access-key KEY --secret-file FILE --session-token-file FILE`, then `landfall retry`"
            }
            Self::NoSuchBucket => {
                "make the bucket, or correct its name with `landfall destination add s3 NAME --replace --bucket BUCKET`, then `landfall retry`"
            }
            Self::WrongRegion => {
                "correct the region with `landfall destination add s3 NAME --replace --region REGION`, then `landfall retry`"
            }
            Self::ClockSkewed => "set the clock of this device",
            Self::KeyTaken => "choose another name, or replace what is there with `--overwrite`",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
