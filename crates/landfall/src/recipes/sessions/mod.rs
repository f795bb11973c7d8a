//! Recorded sessions: uploaded on a person's word, each as one archive, whatever happens meanwhile.
//!
//! A recorder writes each *session* into a folder of its own, with `session-meta.json` about it, and marks it `.exported`
//! when it is whole. A person says *upload*: the session becomes an item of the journal, and goes to
//! `<prefix><session>.zip`, the archive that the recorder made or one that is packed on the way. It is `pending`, then
//! `uploading`, then `done`; or `failed`, until a person says *retry*. *Cancel* takes it back. The journal is the truth; for
//! tools that look there, what it says is also written to `upload-state.json` beside the session, and one that another
//! program left is read once, when the session is first seen.

mod clean;
mod export;
mod found;
mod state;

use std::{path::PathBuf, sync::Arc};

use landfall_core::{BlockReason, Code, ItemId, Timestamp, UploadKind};
use landfall_store::{Enqueued, ItemSummary, NewUpload, SessionRow, Tx};

pub use self::{
    clean::Cleaned,
    found::{Meta, Unread},
    state::{Status, UploadState},
};
use self::{found::Found, state::Before};
use crate::{Engine, Error, Silent, bucket::Bucket, engine::Inner, source::bytes_of, worker::Worker};

/// The sessions of one folder. Clones are the same.
#[derive(Clone)]
pub struct Sessions {
    engine: Arc<Inner>,
    folder: PathBuf,
    /// Where they go, if that is configured.
    bucket: Option<Bucket>,
    retries_max: u32,
}

/// A recorded session and its upload.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its name: that of its folder.
    pub id: String,
    /// What the recorder wrote of it; `None` if it wrote nothing that can be read.
    pub meta: Option<Meta>,
    /// When it was made: what the recorder wrote, else when its folder was last changed.
    pub created_at: Timestamp,
    /// The recorder marked it as whole.
    pub is_exported: bool,
    /// Bytes of its archive, or of what is packed; 0 if that is not known.
    pub size: u64,
    /// Where its upload stands.
    pub state: UploadState,
    /// The item of the journal that is its upload.
    pub item: Option<ItemId>,
    has_bad_meta: bool,
    /// The journal knows where it stands; else only what another program noted is known.
    is_noted: bool,
}

/// What is to be done for whoever wants a session uploaded.
enum Wanted {
    New(NewUpload),
    InCharge(ItemId),
}

/// Why a session cannot be uploaded: what is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such session.
    #[error("there is no session `{0}`")]
    NoSession(String),
    /// Its folder cannot be read.
    #[error("the session `{0}` cannot be read: {1}")]
    Unread(String, String),
    /// The recorder has not finished it.
    #[error("the session `{0}` is not exported: its folder has no `.exported`")]
    NotExported(String),
    /// What the recorder wrote of it cannot be read.
    #[error("the `session-meta.json` of the session `{0}` cannot be read, or is of another one")]
    BadMeta(String),
    /// Its archive is not there, or is none.
    #[error("the archive of the session `{id}` is not there, or is no zip archive: `{}`", path.display())]
    NoArchive {
        /// The session.
        id: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// Nobody said where sessions go.
    #[error("no destination is configured for the sessions of `{}`", .0.display())]
    NoDestination(PathBuf),
    /// It is uploaded, or on its way.
    #[error("the session `{id}` is {status} already")]
    Already {
        /// The session.
        id: String,
        /// Where it stands.
        status: &'static str,
    },
    /// Something else is on its way to its key.
    #[error("item {1} is on its way to the key of the session `{0}`")]
    KeyTaken(String, ItemId),
}

impl Refusal {
    /// What to do about it, without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::NoSession(_) => "`landfall sessions ls` lists them".to_owned(),
            Self::Unread(..) => "see to it that its folder may be read".to_owned(),
            Self::NotExported(_) => "let the recorder finish it".to_owned(),
            Self::NoArchive { .. } | Self::BadMeta(_) => "export the session again".to_owned(),
            Self::NoDestination(folder) => {
                format!("`landfall sessions add '{}' --to NAME` says where they go", folder.display())
            }
            Self::Already { id, status: "failed" } => format!("`landfall sessions retry {id}` tries it again"),
            Self::Already { .. } => "nothing; `landfall sessions ls` shows it".to_owned(),
            Self::KeyTaken(_, item) => format!("let it finish, or `landfall cancel {item}`"),
        }
    }
}

impl Sessions {
    /// The sessions of a folder, and where they go. What another program noted about uploads is taken over from each
    /// session that is seen for the first time: what was under way goes on, what had failed for good stays so.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read; the journal's.
    pub async fn open(
        engine: &Engine,
        folder: PathBuf,
        bucket: Option<Bucket>,
        retries_max: u32,
    ) -> Result<Self, Error> {
        let sessions = Self { engine: Arc::clone(&engine.inner), folder, bucket, retries_max };
        sessions.take_over().await?;
        Ok(sessions)
    }

    /// Whether it is known where they go.
    pub fn can_upload(&self) -> bool {
        self.bucket.is_some()
    }

    /// The folder.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// All sessions that can be read, newest first.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be read; the journal's.
    pub async fn list(&self) -> Result<Vec<Session>, Error> {
        Ok(self.look().await?.0)
    }

    /// All sessions that can be read, newest first; and those that cannot.
    ///
    /// # Errors
    /// As [`Sessions::list`].
    pub async fn look(&self) -> Result<(Vec<Session>, Vec<Unread>), Error> {
        let (found, unread) = self.found().await?;
        let folder = self.folder_bytes();
        let rows = self.engine.journal.read(move |tx| uploads_of(tx, &folder)).await?;
        let mut sessions: Vec<Session> = found
            .into_iter()
            .map(|found| {
                let row = rows.iter().find(|(row, _)| row.name == found.id);
                self.session(found, row.map(|(row, item)| (row, item.as_ref())))
            })
            .collect();
        sessions.sort_by(|one, other| other.created_at.cmp(&one.created_at).then_with(|| one.id.cmp(&other.id)));
        Ok((sessions, unread))
    }

    /// One session.
    ///
    /// # Errors
    /// As [`Sessions::list`]; [`Refusal::NoSession`], [`Refusal::Unread`].
    pub async fn get(&self, id: &str) -> Result<Result<Session, Refusal>, Error> {
        let (sessions, unread) = self.look().await?;
        let found = sessions.into_iter().find(|session| session.id == id);
        Ok(found.ok_or_else(|| match unread.into_iter().find(|unread| unread.id == id) {
            Some(unread) => Refusal::Unread(unread.id, unread.why),
            None => Refusal::NoSession(id.to_owned()),
        }))
    }

    /// Takes a session in charge: when this returns its upload is in the journal. Nothing was sent. One that is in charge
    /// already stays as it is.
    ///
    /// # Errors
    /// The inner one says what is missing; the outer ones are the folder's and the journal's.
    pub async fn upload(&self, id: &str) -> Result<Result<ItemId, Refusal>, Error> {
        let new = match self.wanted(id).await? {
            Ok(Wanted::New(new)) => new,
            Ok(Wanted::InCharge(item)) => return Ok(Ok(item)),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let enqueued = self.enqueue(id, new, None).await?;
        self.try_to_export().await;
        Ok(match enqueued {
            Enqueued::New(item) | Enqueued::Same(item) => Ok(item),
            Enqueued::Taken(item) => Err(Refusal::KeyTaken(id.to_owned(), item)),
        })
    }

    /// Whether [`Sessions::upload`] would take a session in charge now.
    ///
    /// # Errors
    /// As [`Sessions::upload`].
    pub async fn check(&self, id: &str) -> Result<Result<(), Refusal>, Error> {
        Ok(self.wanted(id).await?.map(drop))
    }

    async fn wanted(&self, id: &str) -> Result<Result<Wanted, Refusal>, Error> {
        let session = match self.get(id).await? {
            Ok(session) => session,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match (session.state.status, session.item) {
            (Status::Pending | Status::Uploading, Some(item)) => Ok(Ok(Wanted::InCharge(item))),
            (status, _) if session.is_noted && status != Status::NotUploaded => {
                Ok(Err(Refusal::Already { id: id.to_owned(), status: status.as_str() }))
            }
            _ => Ok(self.new_upload(&session).await?.map(Wanted::New)),
        }
    }

    /// Has a failed upload tried again, from the first of its tries. Returns whether it had failed.
    ///
    /// # Errors
    /// As [`Sessions::upload`].
    pub async fn retry(&self, id: &str) -> Result<Result<bool, Refusal>, Error> {
        self.change(id, |tx, item, now| tx.retry(item, now)).await
    }

    /// Takes an upload back: it is not uploaded then. What was sent of it is removed before this returns, if the bucket can
    /// be reached; else by a later run. Returns whether there was something to take back.
    ///
    /// # Errors
    /// As [`Sessions::upload`].
    pub async fn cancel(&self, id: &str) -> Result<Result<bool, Refusal>, Error> {
        let cancelled = self.change(id, |tx, item, now| tx.cancel(item, now)).await?;
        if let (Ok(true), Some(bucket)) = (&cancelled, &self.bucket) {
            bucket.abort_abandoned(false).await?;
        }
        Ok(cancelled)
    }

    async fn change(
        &self,
        id: &str,
        change: fn(&Tx<'_>, ItemId, Timestamp) -> Result<bool, landfall_store::StoreError>,
    ) -> Result<Result<bool, Refusal>, Error> {
        let session = match self.get(id).await? {
            Ok(session) => session,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(item) = session.item else { return Ok(Ok(false)) };
        let now = self.engine.now();
        let changed = self.engine.journal.write(move |tx| change(tx, item, now)).await?;
        self.try_to_export().await;
        Ok(Ok(changed))
    }

    /// What is to be uploaded of a session, if nothing is missing.
    async fn new_upload(&self, session: &Session) -> Result<Result<NewUpload, Refusal>, Error> {
        let id = &session.id;
        let Some(bucket) = &self.bucket else { return Ok(Err(Refusal::NoDestination(self.folder.clone()))) };
        if !session.is_exported {
            return Ok(Err(Refusal::NotExported(id.clone())));
        }
        if session.has_bad_meta {
            return Ok(Err(Refusal::BadMeta(id.clone())));
        }
        let folder = self.folder.join(id);
        let (kind, source) = match session.meta.as_ref().and_then(|meta| meta.zip_path.as_ref()) {
            Some(path) => {
                // One that is relative is so to the session.
                let path = folder.join(path);
                let (files, at) = (Arc::clone(&self.engine.env.files), path.clone());
                if !self.engine.env.blocking.run(move || found::is_archive(files.as_ref(), &at)).await {
                    return Ok(Err(Refusal::NoArchive { id: id.clone(), path }));
                }
                (UploadKind::File, path)
            }
            None => (UploadKind::Bundle, folder),
        };
        Ok(Ok(NewUpload {
            kind,
            source: bytes_of(source.as_os_str()),
            size: session.size,
            object_key: bucket.key(&format!("{id}.zip")),
            content_type: Some("application/zip".to_owned()),
            overwrites: false,
            is_sealed: false,
            recipe: "sessions",
        }))
    }

    /// Puts an upload into the journal, and notes whose it is, at once.
    async fn enqueue(&self, id: &str, new: NewUpload, blocked: Option<BlockReason>) -> Result<Enqueued, Error> {
        let Some(bucket) = &self.bucket else {
            return Err(Error::Invalid("sessions without a destination cannot be uploaded".to_owned()));
        };
        let (destination, place) = (bucket.destination(), bucket.place());
        let (folder, name, now) = (self.folder_bytes(), id.to_owned(), self.engine.now());
        let enqueue = move |tx: &Tx<'_>| {
            tx.settle_bucket(destination, &place)?;
            let enqueued = tx.enqueue_upload(destination, &new, now)?;
            if !matches!(enqueued, Enqueued::Taken(_)) {
                let item = Some(enqueued.item());
                tx.note_session(&SessionRow { folder, name, item, uploaded_before: None })?;
            }
            if let (Enqueued::New(item), Some(reason)) = (&enqueued, &blocked) {
                tx.block_taken_over(*item, reason, now)?;
            }
            Ok(enqueued)
        };
        Ok(self.engine.journal.write(enqueue).await?)
    }

    /// Takes over what another program noted about sessions that are seen for the first time.
    async fn take_over(&self) -> Result<(), Error> {
        let folder = self.folder_bytes();
        let known = self.engine.journal.read(move |tx| uploads_of(tx, &folder)).await?;
        if known.iter().any(|(_, item)| item.as_ref().is_some_and(|item| item.is_held)) {
            // Whoever is at them may be dead.
            Worker::enter(&self.engine, &Silent).await?.leave().await?;
        }
        for found in self.found().await?.0 {
            if known.iter().any(|(row, _)| row.name == found.id) {
                continue;
            }
            let Some(before) = &found.before else { continue };
            let id = found.id.clone();
            let mut row =
                SessionRow { folder: self.folder_bytes(), name: id.clone(), item: None, uploaded_before: None };
            match before {
                Before::Done { key, at } => row.uploaded_before = Some((key.clone(), *at)),
                Before::NotUploaded => {}
                Before::Queued | Before::Failed { .. } => {
                    let session = self.session(found.clone(), None);
                    // While something is missing it stays as the other program left it, and is looked at again.
                    let Ok(new) = self.new_upload(&session).await? else { continue };
                    let reason = match before {
                        Before::Failed { error } => {
                            Some(BlockReason { code: Code::TooManyAttempts, message: error.clone() })
                        }
                        _ => None,
                    };
                    self.enqueue(&id, new, reason).await?;
                    continue;
                }
            }
            self.engine.journal.write(move |tx| tx.note_session(&row)).await?;
        }
        Ok(())
    }

    async fn found(&self) -> Result<(Vec<Found>, Vec<Unread>), Error> {
        let (files, folder) = (Arc::clone(&self.engine.env.files), self.folder.clone());
        let found = self.engine.env.blocking.run(move || found::all(files.as_ref(), &folder)).await;
        found.map_err(|source| Error::Io { action: "read", path: self.folder.clone(), source })
    }

    fn session(&self, found: Found, row: Option<(&SessionRow, Option<&ItemSummary>)>) -> Session {
        // What was done is of the session that had this name then.
        let item = row.and_then(|(_, item)| item).filter(|item| !self.is_of_an_earlier_one(item, &found));
        let before = row.and_then(|(row, _)| row.uploaded_before.as_ref());
        let mut state = UploadState::of(&found, item, before, self.retries_max);
        if row.is_none() {
            state = state.noted_elsewhere(found.before.as_ref());
        }
        Session {
            item: item.map(|item| item.id),
            created_at: found.created_at(),
            is_exported: found.is_exported,
            has_bad_meta: found.has_bad_meta,
            is_noted: row.is_some(),
            size: found.size,
            meta: found.meta,
            id: found.id,
            state,
        }
    }

    /// Whether a finished upload is of another session of that name: this one was begun after it was asked for.
    fn is_of_an_earlier_one(&self, item: &ItemSummary, found: &Found) -> bool {
        let begun = found.meta.as_ref().map(|meta| Timestamp(meta.created_at));
        // One that is yet to begin was written by a clock that says nothing.
        item.state == "done" && begun.is_some_and(|begun| item.created_at < begun && begun <= self.engine.now())
    }

    fn folder_bytes(&self) -> Vec<u8> {
        bytes_of(self.folder.as_os_str())
    }
}

/// The sessions of a folder and their uploads.
fn uploads_of(
    tx: &Tx<'_>,
    folder: &[u8],
) -> Result<Vec<(SessionRow, Option<ItemSummary>)>, landfall_store::StoreError> {
    let rows = tx.sessions(folder)?;
    rows.into_iter()
        .map(|row| {
            let item = row.item.map(|item| tx.summary(item)).transpose()?;
            Ok((row, item))
        })
        .collect()
}
