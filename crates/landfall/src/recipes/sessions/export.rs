//! `upload-state.json` beside each session, for tools that look there.

use std::{io, path::Path, sync::Arc, time::Duration};

use landfall_env::Files;

use super::{Sessions, found, state::Status};
use crate::{Error, Observer, RunOptions, RunReport};

/// States are written at most so often while a run goes on.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

impl Sessions {
    /// Works on uploads to the destination of these sessions, and writes their states beside them as they change.
    ///
    /// # Errors
    /// As [`crate::bucket::Bucket::run`]; [`Error::Invalid`] without a destination. States that cannot be written end nothing.
    pub async fn run(&self, options: RunOptions, observer: Arc<dyn Observer>) -> Result<RunReport, Error> {
        let Some(bucket) = &self.bucket else {
            return Err(Error::Invalid("sessions without a destination cannot be uploaded".to_owned()));
        };
        let run = bucket.run(options, observer);
        tokio::pin!(run);
        let report = loop {
            tokio::select! {
                biased;
                report = &mut run => break report,
                () = tokio::time::sleep(EXPORT_EVERY) => {}
            }
            // Not in the middle of a poll of the run: whoever waits for the journal there must go on.
            let export = self.try_to_export();
            tokio::pin!(export);
            tokio::select! {
                biased;
                () = &mut export => {}
                report = &mut run => break report,
            }
        };
        self.try_to_export().await;
        report
    }

    /// As [`Sessions::export`], for whoever does something that matters more.
    pub(super) async fn try_to_export(&self) {
        if let Err(error) = self.export().await {
            tracing::debug!("The states of uploads cannot be written: {error}");
        }
    }

    /// Writes the state of each session whose upload was asked for beside it, where that says something else.
    ///
    /// # Errors
    /// As [`Sessions::list`]. A state that cannot be written is left out: it says nothing that the journal does not.
    pub async fn export(&self) -> Result<(), Error> {
        let sessions = self.list().await?;
        let (files, folder, random) =
            (Arc::clone(&self.engine.env.files), self.folder.clone(), self.engine.env.random.clone());
        let export = move || {
            for session in sessions {
                let path = folder.join(&session.id).join("upload-state.json");
                let there = found::read(files.as_ref(), &path);
                // What another program noted is its own until it is taken over.
                if !session.is_noted {
                    continue;
                }
                // Where nobody asked for anything, nothing is left behind.
                if session.state.status == Status::NotUploaded && there.is_none() {
                    continue;
                }
                let text = serde_json::to_vec_pretty(&session.state).expect("a state is plain data");
                if there.as_ref() != Some(&text)
                    && let Err(error) = replace(files.as_ref(), &path, &random.name(), &text)
                {
                    tracing::debug!("The state of an upload cannot be written: {error}");
                }
            }
        };
        self.engine.env.blocking.run(export).await;
        Ok(())
    }
}

/// Puts a text in the place of a file, all of it or nothing. It need not survive the power: the journal does.
fn replace(files: &dyn Files, path: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let draft = path.with_file_name(format!(".upload-state-{name}.tmp"));
    let write = || -> io::Result<()> {
        let mut file = files.create_new(&draft)?;
        file.append(text)?;
        file.sync()?;
        drop(file);
        files.rename(&draft, path)
    };
    write().inspect_err(|_| drop(files.remove_file(&draft)))
}
