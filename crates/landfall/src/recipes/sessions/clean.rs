//! Removing what recorders left: sessions that were never finished.

use std::{io, path::Path, sync::Arc, time::Duration};

use landfall_core::Timestamp;
use landfall_env::{FileKind, Files};

use super::{Session, Sessions, found, found::Found, state::Before, state::Status};
use crate::Error;

/// A session that changed more recently may still be recorded.
pub(super) const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);
/// What is out of sight, and may be put back, is called this and 32 hexadecimal digits. It is whole.
const REMOVING: &str = ".removing-";
/// What is certainly removed is called this. Some of it may be gone already; it is never put back.
const REMOVED: &str = ".removed-";

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
    /// for 24 hours; with `rehearsal` only names them. All else stays: whoever is not sure keeps a session, and a folder
    /// whose `session-meta.json` does not name it is none.
    ///
    /// # Errors
    /// As [`Sessions::list`].
    pub async fn clean(&self, rehearsal: bool) -> Result<Vec<Cleaned>, Error> {
        let now = self.engine.now();
        let mut cleaned = if rehearsal { Vec::new() } else { self.finish_removals(now).await? };
        let (found, _) = self.found().await?;
        for session in self.list().await? {
            let Some(found) = found.iter().find(|found| found.id == session.id) else { continue };
            if session.state.status != Status::NotUploaded || !is_orphan(found, now) {
                continue;
            }
            let removal = if rehearsal { Removal::Done } else { self.remove(&session, now).await? };
            let problem = match removal {
                Removal::Done => None,
                Removal::PutBack => continue,
                Removal::Failed(why) => Some(why),
            };
            cleaned.push(Cleaned { id: session.id, bytes: session.size, problem });
        }
        Ok(cleaned)
    }

    async fn remove(&self, session: &Session, now: Timestamp) -> Result<Removal, Error> {
        let (files, folder, id) = (Arc::clone(&self.engine.env.files), self.folder.clone(), session.id.clone());
        let away = folder.join(format!("{REMOVING}{}", self.engine.env.random.name()));
        let remove = move || -> io::Result<Removal> {
            // First out of sight, so that nobody sees half a session.
            files.rename(&folder.join(&id), &away)?;
            finish(files.as_ref(), &folder, &away, &id, now)
        };
        let removal =
            self.engine.env.blocking.run(remove).await.unwrap_or_else(|error| Removal::Failed(error.to_string()));
        if removal == Removal::Done {
            let (folder, name) = (self.folder_bytes(), session.id.clone());
            self.engine.journal.write(move |tx| tx.forget_session(&folder, &name)).await?;
        }
        Ok(removal)
    }

    /// Ends what a kill has left of earlier removals.
    async fn finish_removals(&self, now: Timestamp) -> Result<Vec<Cleaned>, Error> {
        let (files, folder) = (Arc::clone(&self.engine.env.files), self.folder.clone());
        let finish_all = move || -> io::Result<Vec<Cleaned>> {
            let mut cleaned = Vec::new();
            for entry in files.list(&folder)? {
                let Some(name) = entry.name.to_str().filter(|_| entry.kind == FileKind::Dir) else { continue };
                let away = folder.join(name);
                let removal = if is_called(name, REMOVED) {
                    remove_all(files.as_ref(), &away).map(|()| Removal::Done)
                } else if is_called(name, REMOVING) {
                    match found::meta(files.as_ref(), &away) {
                        Some(meta) => finish(files.as_ref(), &folder, &away, &meta.session_id, now),
                        None => {
                            Ok(Removal::Failed("nothing in it says whose session it is; give it its name".to_owned()))
                        }
                    }
                } else {
                    continue;
                };
                let problem = match removal {
                    Ok(Removal::Failed(why)) => why,
                    Ok(_) => continue,
                    // Somebody else was at it.
                    Err(_) if found::is_absent(files.as_ref(), &away) => continue,
                    Err(error) => error.to_string(),
                };
                cleaned.push(Cleaned { id: name.to_owned(), bytes: 0, problem: Some(problem) });
            }
            Ok(cleaned)
        };
        let finished = self.engine.env.blocking.run(finish_all).await;
        finished.map_err(|source| Error::Io { action: "read", path: self.folder.clone(), source })
    }
}

/// What became of a session that was to be removed.
#[derive(Debug, PartialEq, Eq)]
enum Removal {
    Done,
    /// It is one that stays after all.
    PutBack,
    Failed(String),
}

/// Removes what is out of sight already, if it still is what nobody wants; else puts it back. Blocks.
fn finish(files: &dyn Files, folder: &Path, away: &Path, id: &str, now: Timestamp) -> io::Result<Removal> {
    // It may have been finished this very moment.
    if found::one(files, away, id).is_ok_and(|found| is_orphan(&found, now)) {
        let name = away.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let removed = folder.join(name.replacen(REMOVING, REMOVED, 1));
        // From here on nobody puts it back, whatever is left of it.
        files.rename(away, &removed)?;
        files.sync_dir(folder)?;
        return remove_all(files, &removed).map(|()| Removal::Done);
    }
    let path = folder.join(id);
    if !found::is_absent(files, &path) {
        let (away, path) = (away.display(), path.display());
        return Ok(Removal::Failed(format!("it cannot be put back from `{away}`: there is another `{path}`")));
    }
    files.rename(away, &path).map(|()| Removal::PutBack)
}

/// Whether nobody will ever want a session, as far as its folder tells.
fn is_orphan(found: &Found, now: Timestamp) -> bool {
    found.meta.is_some()
        && !found.is_exported
        && !found.has_bad_state
        && matches!(found.before, None | Some(Before::NotUploaded))
        && now.since(found.changed_at.max(found.created_at())) >= ORPHAN_AGE
}

fn is_called(name: &str, begin: &str) -> bool {
    let digits = name.strip_prefix(begin);
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Removes a folder and all that is in it; what links lead to stays. Another process may be at it as well.
fn remove_all(files: &dyn Files, folder: &Path) -> io::Result<()> {
    let unless_gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let entries = match files.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for entry in entries {
        let path = folder.join(&entry.name);
        match entry.kind {
            FileKind::Dir => remove_all(files, &path)?,
            _ => unless_gone(files.remove_file(&path))?,
        }
    }
    unless_gone(files.remove_dir(folder))
}
