//! Removing what recorders left: sessions that were never finished.

use std::{io, path::Path, sync::Arc, time::Duration};

use landfall_core::Timestamp;
use landfall_env::{FileKind, Files};

use super::{Session, Sessions, state::Status};
use crate::Error;

/// A session that changed more recently may still be recorded.
pub(super) const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// A session that was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Its name.
    pub id: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Why it could not be removed, if it could not.
    pub problem: Option<String>,
}

impl Sessions {
    /// Removes the folders of sessions that are not exported, whose upload nobody asked for, and in which nothing changed
    /// for 24 hours; with `rehearsal` only names them. All else stays: whoever is not sure keeps a session.
    ///
    /// # Errors
    /// As [`Sessions::list`].
    pub async fn clean(&self, rehearsal: bool) -> Result<Vec<Cleaned>, Error> {
        let now = self.engine.now();
        let found = self.found().await?;
        let mut cleaned = Vec::new();
        for session in self.list().await? {
            let changed_at = found.iter().find(|found| found.id == session.id).map(|found| found.changed_at);
            if !changed_at.is_some_and(|changed_at| is_orphan(&session, changed_at, now)) {
                continue;
            }
            let problem = if rehearsal { None } else { self.remove(&session.id).await? };
            cleaned.push(Cleaned { id: session.id, bytes: session.size, problem });
        }
        Ok(cleaned)
    }

    async fn remove(&self, id: &str) -> Result<Option<String>, Error> {
        let (files, folder) = (Arc::clone(&self.engine.env.files), self.folder.clone());
        let away = folder.join(format!(".removing-{}", self.engine.env.random.name()));
        let path = folder.join(id);
        let remove = move || -> io::Result<()> {
            // First out of sight, so that nobody sees half a session.
            files.rename(&path, &away)?;
            if files.link_status(&away.join(".exported")).is_ok() {
                // It was finished this very moment.
                return files.rename(&away, &path);
            }
            remove_all(files.as_ref(), &away)
        };
        let removed = self.engine.env.blocking.run(remove).await;
        if removed.is_ok() {
            let (folder, name) = (self.folder_bytes(), id.to_owned());
            self.engine.journal.write(move |tx| tx.forget_session(&folder, &name)).await?;
        }
        Ok(removed.err().map(|error| error.to_string()))
    }
}

/// Whether nobody will ever want a session.
fn is_orphan(session: &Session, changed_at: Timestamp, now: Timestamp) -> bool {
    !session.is_exported
        && session.state.status == Status::NotUploaded
        && now.since(changed_at.max(session.created_at)) >= ORPHAN_AGE
}

/// Removes a folder and all that is in it; what links lead to stays.
fn remove_all(files: &dyn Files, folder: &Path) -> io::Result<()> {
    for entry in files.list(folder)? {
        let path = folder.join(&entry.name);
        match entry.kind {
            FileKind::Dir => remove_all(files, &path)?,
            _ => files.remove_file(&path)?,
        }
    }
    files.remove_dir(folder)
}
