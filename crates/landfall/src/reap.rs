//! Deleting remote uploads that nobody wants any more.

use std::sync::Arc;

use landfall_core::{Failure, Remedy};

use crate::{Error, Session, engine::Inner};

/// How many are deleted in one go.
const BATCH: usize = 32;

/// How far a go went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaped {
    /// All of these are gone.
    Gone,
    /// The vault asks to wait, or is away: whoever talks to it next finds out when it is back.
    Waits,
    /// Some could not be deleted; the others are gone.
    Failed,
    /// The vault refuses the token.
    LoggedOut(Failure),
}

/// Deletes some of what the journal marks as abandoning, one after the other. Done twice, by whomever, it does the same.
///
/// # Errors
/// The journal's.
pub(crate) async fn reap(engine: &Arc<Inner>, session: &Session) -> Result<Reaped, Error> {
    let destination = session.inner.destination;
    let abandoning = engine.journal.read(move |tx| tx.abandoning(destination, BATCH)).await?;
    let mut reaped = Reaped::Gone;
    for (object, key) in abandoning {
        match session.inner.remote.abandon(&key).await {
            // In use: the object was registered after all, and stays.
            Ok(_) => {}
            Err(Failure { remedy: Remedy::Wait { .. }, .. }) => return Ok(Reaped::Waits),
            Err(failure @ Failure { remedy: Remedy::LogIn, .. }) => return Ok(Reaped::LoggedOut(failure)),
            Err(failure) => {
                tracing::debug!(object.key = key, code = %failure.code, "An upload could not be deleted: {failure}");
                reaped = Reaped::Failed;
                continue;
            }
        }
        engine.env.steps.reached("abandon.answered");
        engine.journal.write(move |tx| tx.abandoned(object)).await?;
    }
    Ok(reaped)
}
