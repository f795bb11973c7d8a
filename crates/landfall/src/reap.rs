//! Deleting remote uploads that nobody wants any more.

use std::sync::Arc;

use landfall_core::{Failure, Remedy};

use crate::{Error, Session, engine::Inner};

/// How many are deleted in one go.
const BATCH: usize = 32;

/// Deletes what the journal marks as abandoning, one after the other. Done twice, by whomever, it does the same. Returns
/// how many are gone.
pub(crate) async fn reap(engine: &Arc<Inner>, session: &Session) -> Result<usize, Error> {
    let destination = session.inner.destination;
    let mut gone = 0;
    loop {
        let abandoning = engine.journal.read(move |tx| tx.abandoning(destination, BATCH)).await?;
        if abandoning.is_empty() {
            return Ok(gone);
        }
        for (object, key) in abandoning {
            match session.inner.remote.abandon(&key).await {
                // In use: the object was registered after all, and stays.
                Ok(_) => {}
                Err(Failure { remedy: Remedy::Wait { .. } | Remedy::Retry | Remedy::Ask, .. }) => return Ok(gone),
                Err(failure) => return Err(failure.into()),
            }
            engine.env.steps.reached("abandon.answered");
            engine.journal.write(move |tx| tx.abandoned(object)).await?;
            gone += 1;
        }
    }
}
