//! What a carrier is told, and what it tells: the way to a platform that moves bytes while no process of ours lives.
//!
//! A *transfer* is one request with a file for its body. The platform's carrier takes those that are ready
//! ([`Chat::take_transfers`]), says that they began, how far they are and how they ended, from whatever process hears of
//! it. After a start it says which it still holds ([`Chat::reconcile`]): the others are asked about. What it holds and
//! nobody wants is named by [`Chat::take_cancellations`].

use std::path::PathBuf;

use landfall_core::{ItemId, PutReport, Timestamp, put_outcome};
use landfall_store::{Attempt, AttemptState, CarrierName, Reported, Tx};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Chat, ChatInner, Moves, answer, grant::PutGrant, spool::Spool};
use crate::Error;

/// A request to be carried out by the platform.
#[derive(Clone)]
pub struct Transfer {
    /// Opaque, ASCII: goes with the platform's task, and comes back with its outcome.
    pub attempt: String,
    /// Whose payload it is.
    pub item: ItemId,
    /// HTTP method.
    pub method: String,
    /// Absolute URL. A secret for as long as it is good.
    pub url: String,
    /// Every header that must be sent, in order.
    pub headers: Vec<(String, String)>,
    /// The body: a file below the home. It stays until the transfer is reported as ended.
    pub file: PathBuf,
    /// Length of the body, in bytes.
    pub bytes: u64,
    /// SHA-256 of the body.
    pub digest: Vec<u8>,
    /// A transfer that has not ended by then will be refused: the platform should give it up.
    pub deadline: Option<Timestamp>,
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfer")
            .field("attempt", &self.attempt)
            .field("file", &self.file)
            .field("bytes", &self.bytes)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A request as the journal keeps it, sealed.
#[derive(Serialize, Deserialize)]
struct KeptRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
}

/// A carrier slower than this is not expected to finish before its grant ends, in bytes per second.
const BYTES_PER_SECOND_MIN: u64 = 20_000;

impl Chat {
    /// Transfers for the platform's carrier, most urgent first, at most `most`. Asked again, it names the same ones until
    /// [`Chat::transfer_started`] or [`Chat::transfer_finished`] is told of them: what it returned to a process that died
    /// is not lost.
    ///
    /// # Errors
    /// The journal's.
    pub async fn take_transfers(&self, most: usize) -> Result<Vec<Transfer>, Error> {
        match self.session() {
            Some(session) => self.take_for(CarrierName::Session(session), most).await,
            None => Ok(Vec::new()),
        }
    }

    /// The platform's session that this process speaks for; `None` if it carries transfers itself.
    fn session(&self) -> Option<String> {
        match &self.inner.moves {
            Moves::ByPlatform { session } => Some(session.clone()),
            Moves::InProcess(_) => None,
        }
    }

    pub(crate) async fn take_for(&self, carrier: CarrierName, most: usize) -> Result<Vec<Transfer>, Error> {
        let inner = &self.inner;
        let (destination, now) = (inner.destination, inner.engine.now());
        let attempts = inner.engine.journal.write(move |tx| {
            tx.expire_attempts(destination, BYTES_PER_SECOND_MIN, now)?;
            tx.take_attempts(destination, &carrier, most)
        });
        let mut transfers = Vec::new();
        for attempt in attempts.await? {
            match inner.transfer(&attempt) {
                Some(transfer) => transfers.push(transfer),
                // Its request was in the memory of a process that is gone: whether it was sent is to be asked.
                None => drop(self.clone().report(attempt.id, PutReport::Unknown, None).await?),
            }
        }
        Ok(transfers)
    }

    /// The platform has begun with a transfer, under a name of its own. `false`: it is not wanted any more, and should be
    /// cancelled.
    pub async fn transfer_started(&self, attempt: &str, platform: &str) -> Result<bool, Error> {
        let (attempt, platform) = (attempt.to_owned(), platform.to_owned());
        Ok(self.inner.engine.journal.write(move |tx| tx.attempt_began(&attempt, &platform)).await?)
    }

    /// How far a transfer is, in bytes. Nothing is written; a `total` that is not known may be anything.
    pub async fn transfer_progress(&self, attempt: &str, sent: u64, _total: i64) -> Result<(), Error> {
        let id = attempt.to_owned();
        let known = self.inner.engine.journal.read(move |tx| tx.attempt(&id)).await?;
        // One that is over may be told of late.
        let is_live =
            |known: &Attempt| matches!(known.state, AttemptState::Ready | AttemptState::Out | AttemptState::Unknown);
        if let Some(known) = known.filter(is_live) {
            self.inner.progress.saw(known.item, attempt, sent, known.size);
        }
        Ok(())
    }

    /// How a transfer ended. When this returns, the outcome is durable: the platform may forget the transfer. Told twice,
    /// late, by whatever process, or of a transfer that nobody knows: only the one that a message waits for counts, once.
    pub async fn transfer_finished(&self, attempt: &str, report: &PutReport) -> Result<Reported, Error> {
        self.clone().report(attempt.to_owned(), report.clone(), None).await
    }

    /// A transfer ended with an answer: [`Chat::transfer_finished`] for a platform that hands over what it got. Of the
    /// headers `Retry-After` counts; of an error's body the first few kilobytes are enough. What it says is noted with the
    /// message, without anything that may be a secret.
    ///
    /// # Errors
    /// The journal's.
    pub async fn transfer_answered(
        &self,
        attempt: &str,
        status: u16,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<Reported, Error> {
        let (report, said) = answer::read(status, &answer::header_map(headers), body);
        self.clone().report(attempt.to_owned(), report, said).await
    }

    pub(crate) async fn report(
        self,
        attempt: String,
        report: PutReport,
        said: Option<String>,
    ) -> Result<Reported, Error> {
        let inner = &self.inner;
        let (id, outcome) = (attempt.clone(), put_outcome(&report));
        let (policy, fraction, now) =
            (inner.engine.settings.retry, inner.engine.env.random.fraction(), inner.engine.now());
        inner.engine.env.steps.reached("chat.transfer.answered");
        let ended = move |tx: &Tx<'_>| tx.attempt_ended(&id, outcome, said.as_deref(), &policy, fraction, now);
        let reported = inner.engine.journal.write(ended).await?;
        inner.engine.env.steps.reached("chat.transfer.committed");
        inner.progress.ended(&attempt);
        inner.at_rest.forget_request(&attempt);
        Ok(reported)
    }

    /// What this process's session of the platform holds, after a start: transfers that it should hold and does not are
    /// asked about. Returns those that it holds and nobody wants; it should cancel them.
    pub async fn reconcile(&self, live: Vec<String>) -> Result<Vec<String>, Error> {
        let Some(session) = self.session() else { return Ok(Vec::new()) };
        let (destination, now) = (self.inner.destination, self.inner.engine.now());
        Ok(self.inner.engine.journal.write(move |tx| tx.reconcile(destination, &session, &live, now)).await?)
    }

    /// Transfers that this process's session may hold and nobody wants. Named until they are reported as ended.
    pub async fn take_cancellations(&self) -> Result<Vec<String>, Error> {
        let Some(session) = self.session() else { return Ok(Vec::new()) };
        let destination = self.inner.destination;
        Ok(self.inner.engine.journal.read(move |tx| tx.unwanted_attempts(destination, &session)).await?)
    }
}

impl ChatInner {
    /// A grant's request, for the journal.
    pub(crate) fn keep_request(&self, attempt: &str, grant: &PutGrant) -> Option<Vec<u8>> {
        let request =
            KeptRequest { method: grant.method.clone(), url: grant.url.clone(), headers: grant.headers.clone() };
        let json = Zeroizing::new(serde_json::to_vec(&request).expect("a request is plain data"));
        self.at_rest.keep_request(&self.engine.env, attempt, json)
    }

    fn transfer(&self, attempt: &Attempt) -> Option<Transfer> {
        let json = self.at_rest.request(&attempt.id, attempt.request.as_deref())?;
        let request: KeptRequest = serde_json::from_slice(&json).ok()?;
        Some(Transfer {
            attempt: attempt.id.clone(),
            item: attempt.item,
            method: request.method,
            url: request.url,
            headers: request.headers,
            file: Spool::relative(&attempt.file),
            bytes: attempt.size,
            digest: attempt.digest.clone(),
            deadline: attempt.deadline,
        })
    }
}
