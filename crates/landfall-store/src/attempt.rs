//! Attempts: requests handed to a carrier that may outlive this process, and how they ended.

use std::time::Duration;

use landfall_core::{BlockReason, Code, ItemId, PutOutcome, RetryPolicy, Timestamp};
use landfall_env::Sabotage;
use rusqlite::{OptionalExtension as _, Row};

use crate::{DestinationId, Lease, StoreError, Tx};

/// An attempt to be written down before a carrier hears of it.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// Opaque, drawn, ASCII.
    pub id: String,
    /// Method, URL and headers, sealed; `None` if they are in memory alone.
    pub request: Option<Vec<u8>>,
    /// Where the payload will be.
    pub asset_url: String,
    /// When the grant ends.
    pub deadline: Option<Timestamp>,
    /// The process that carries it, if it is one of ours; `None` for a platform's carrier.
    pub worker: Option<String>,
}

/// An attempt as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Opaque.
    pub id: String,
    /// Whose payload it puts.
    pub item: ItemId,
    /// The payload's file: a name in the spool.
    pub file: String,
    /// Its length, in bytes.
    pub size: u64,
    /// SHA-256 of it.
    pub digest: Vec<u8>,
    /// Method, URL and headers, sealed.
    pub request: Option<Vec<u8>>,
    /// Where the payload will be.
    pub asset_url: String,
    /// When the grant ends.
    pub deadline: Option<Timestamp>,
    /// Where it stands.
    pub state: AttemptState,
    /// The process that carries it, if it is one of ours; empty if that is gone.
    pub worker: Option<String>,
    /// The platform's own name for it.
    pub platform: Option<String>,
    /// When it was granted.
    pub created_at: Timestamp,
}

/// Who carries attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierName {
    /// A process of ours, by the name of its worker.
    Worker(String),
    /// A session of the platform: on some there is one for each process of an application, and none knows the tasks of
    /// another.
    Session(String),
}

impl CarrierName {
    fn columns(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Worker(worker) => (Some(worker), None),
            Self::Session(session) => (None, Some(session)),
        }
    }
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptState {
    /// No carrier has it.
    Ready,
    /// A carrier has it.
    Out,
    /// A carrier had it; what became of it is not known.
    Unknown,
    /// A carrier may have it; nobody wants it any more.
    Unwanted,
    /// It is over.
    Ended,
}

impl AttemptState {
    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "ready" => Self::Ready,
            "out" => Self::Out,
            "unknown" => Self::Unknown,
            "unwanted" => Self::Unwanted,
            _ => Self::Ended,
        }
    }
}

/// What a report about an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It was awaited, and its message goes on from it.
    Taken(ItemId),
    /// It was of an attempt that nobody waits for: another is, or its message is not wanted any more.
    Late,
    /// Nothing is known of such an attempt, or it had been told before.
    Unknown,
}

impl Tx<'_> {
    /// Writes an attempt down, ready for a carrier; the message waits for what becomes of it.
    pub fn granted(&self, lease: &Lease, attempt: &NewAttempt, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.end_present_attempt(lease.item, "failed", now)?;
        self.connection
            .prepare_cached(
                "INSERT INTO attempt (id, item, sealing, file, size, digest, request, asset_url, deadline, state, worker, created_at)
                 SELECT ?2, item, sealing, sealed, payload_size, payload_digest, ?3, ?4, ?5, 'ready', ?6, ?7
                   FROM message WHERE item = ?1",
            )?
            .execute((
                lease.item.0,
                &attempt.id,
                &attempt.request,
                &attempt.asset_url,
                attempt.deadline.map(|deadline| deadline.0),
                &attempt.worker,
                now.0,
            ))?;
        self.connection
            .prepare_cached("UPDATE message SET asset_url = NULL, stored_at = NULL WHERE item = ?1")?
            .execute([lease.item.0])?;
        self.connection.prepare_cached("UPDATE item SET phase = 'upload' WHERE id = ?1")?.execute([lease.item.0])?;
        self.note(lease.item, "granted", None, now)?;
        self.release(lease, landfall_core::Waits::Transfer, now)
    }

    /// The attempt that owns a message's outcome, if there is one.
    pub fn present_attempt(&self, item: ItemId) -> Result<Option<Attempt>, StoreError> {
        self.one_attempt("item = ?1 AND (state = 'ready' OR state = 'out' OR state = 'unknown')", item.0)
    }

    /// The attempt of that name.
    pub fn attempt(&self, id: &str) -> Result<Option<Attempt>, StoreError> {
        self.one_attempt("id = ?1", id)
    }

    /// Attempts that no carrier is known to have, most urgent first. For a session of the platform also those that it was
    /// given and of which nobody has said that they began. From now on they count as given out.
    pub fn take_attempts(
        &self,
        destination: DestinationId,
        carrier: &CarrierName,
        most: usize,
    ) -> Result<Vec<Attempt>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM attempt
              WHERE state <> 'ended' AND worker IS ?2 AND (state = 'ready' OR state = 'out' AND session = ?4 AND platform IS NULL)
                AND (SELECT destination FROM item WHERE item.id = attempt.item) = ?1
              ORDER BY (SELECT priority FROM item WHERE item.id = attempt.item), item, created_at LIMIT ?3"
        ))?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let (worker, session) = carrier.columns();
        let rows = statement.query_map((destination.0, worker, most, session), read_attempt)?;
        let attempts = rows.collect::<Result<Vec<_>, _>>()?;
        let mut out = self.connection.prepare_cached("UPDATE attempt SET state = 'out', session = ?2 WHERE id = ?1")?;
        for attempt in &attempts {
            out.execute((&attempt.id, session))?;
        }
        Ok(attempts.into_iter().map(|attempt| Attempt { state: AttemptState::Out, ..attempt }).collect())
    }

    /// A carrier has begun with an attempt. `false` if it is not wanted (any more).
    pub fn attempt_began(&self, id: &str, platform: &str) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE attempt SET platform = ?2, state = CASE state WHEN 'ready' THEN 'out' WHEN 'unknown' THEN 'out' ELSE state END
                  WHERE id = ?1 AND state <> 'ended'",
            )?
            .execute((id, platform))?;
        Ok(changed > 0 && self.attempt(id)?.is_some_and(|attempt| attempt.state == AttemptState::Out))
    }

    /// Writes how an attempt ended. Whoever says so, however late and however often: only the attempt that owns its
    /// message's outcome changes the message, and only once. What the remote said of a failure is for people, who read it
    /// with the message.
    pub fn attempt_ended(
        &self,
        id: &str,
        outcome: PutOutcome,
        said: Option<&str>,
        policy: &RetryPolicy,
        fraction: f64,
        now: Timestamp,
    ) -> Result<Reported, StoreError> {
        let Some(attempt) = self.attempt(id)? else { return Ok(Reported::Unknown) };
        match attempt.state {
            _ if self.sabotaged(Sabotage::SkipAttemptFence) => {}
            AttemptState::Ended => return Ok(Reported::Unknown),
            // However it ended: the carrier has let go of it.
            AttemptState::Unwanted => {
                self.end_attempt(id, "unwanted", now)?;
                return Ok(Reported::Late);
            }
            AttemptState::Ready | AttemptState::Out | AttemptState::Unknown => {}
        }
        let item = attempt.item;
        let with_said = |what: &str| said.map_or_else(|| what.to_owned(), |said| format!("{what}: {said}"));
        let outcome = match outcome {
            PutOutcome::Ask if self.sabotaged(Sabotage::UnknownIsFailure) => {
                PutOutcome::Later { retry_after: None, is_charged: false }
            }
            outcome => outcome,
        };
        match outcome {
            PutOutcome::Stored => self.payload_stored(&attempt, now)?,
            // Its time had come: that is nobody's fault.
            PutOutcome::Expired if attempt.deadline.is_some_and(|deadline| deadline <= now) => {
                self.end_attempt(id, "expired", now)?;
                self.set_free(item, None, now)?;
            }
            PutOutcome::Expired => {
                self.end_attempt(id, "expired", now)?;
                let error = with_said("the grant was refused before its time");
                self.again_later(item, None, true, &error, policy, fraction, now)?;
            }
            PutOutcome::Later { retry_after, is_charged } => {
                self.end_attempt(id, "failed", now)?;
                // Nobody is believed who asks for more: whoever waits longer is taken for a victim of a wrong clock.
                let after = retry_after.map(|pause| now.after(pause.min(Duration::from_secs(3600))));
                self.again_later(item, after, is_charged, &with_said("the transfer failed"), policy, fraction, now)?;
            }
            PutOutcome::Ask => {
                self.connection
                    .prepare_cached("UPDATE attempt SET state = 'unknown', platform = NULL WHERE id = ?1")?
                    .execute([id])?;
                self.set_free(item, None, now)?;
            }
            PutOutcome::Refused(status) => {
                self.end_attempt(id, "refused", now)?;
                let message = with_said(&format!("the destination refuses the upload ({status})"));
                self.block_message(item, &BlockReason { code: Code::Refused, message }, now)?;
            }
        }
        Ok(Reported::Taken(item))
    }

    /// Writes what the remote said when it was asked whether it has a payload.
    pub fn payload_asked(
        &self,
        lease: &Lease,
        attempt: &str,
        is_there: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        match self.attempt(attempt)? {
            Some(attempt) if attempt.state == AttemptState::Unknown && is_there => self.payload_stored(&attempt, now),
            Some(known) if known.state == AttemptState::Unknown => self.end_attempt(attempt, "gone", now),
            // Whoever carried it has told meanwhile.
            _ => Ok(()),
        }
    }

    /// What a session of the platform holds by its own word, of all that the journal believes it has: the rest is unknown,
    /// and asked about. Returns those that it holds and nobody wants.
    pub fn reconcile(
        &self,
        destination: DestinationId,
        session: &str,
        live: &[String],
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM attempt
              WHERE state <> 'ended' AND session = ?2 AND (SELECT destination FROM item WHERE item.id = attempt.item) = ?1"
        ))?;
        let known = statement.query_map((destination.0, session), read_attempt)?.collect::<Result<Vec<_>, _>>()?;
        for attempt in &known {
            if live.contains(&attempt.id) {
                continue;
            }
            match attempt.state {
                AttemptState::Out => {
                    self.connection
                        .prepare_cached("UPDATE attempt SET state = 'unknown', platform = NULL WHERE id = ?1")?
                        .execute([&attempt.id])?;
                    self.set_free(attempt.item, None, now)?;
                }
                AttemptState::Unwanted => self.end_attempt(&attempt.id, "unwanted", now)?,
                AttemptState::Ready | AttemptState::Unknown | AttemptState::Ended => {}
            }
        }
        let is_wanted =
            |id: &&String| known.iter().any(|attempt| attempt.id == **id && attempt.state != AttemptState::Unwanted);
        Ok(live.iter().filter(|id| !is_wanted(id)).cloned().collect())
    }

    /// Attempts that a session of the platform may hold and nobody wants.
    pub fn unwanted_attempts(&self, destination: DestinationId, session: &str) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM attempt WHERE state = 'unwanted' AND session = ?2
                AND (SELECT destination FROM item WHERE item.id = attempt.item) = ?1 ORDER BY id",
        )?;
        let rows = statement.query_map((destination.0, session), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Ends attempts that no carrier has begun with and whose grants leave no time for their bytes. Their messages get
    /// new grants.
    pub fn expire_attempts(
        &self,
        destination: DestinationId,
        bytes_per_second_min: u64,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM attempt
              WHERE state = 'ready' AND deadline IS NOT NULL AND (SELECT destination FROM item WHERE item.id = attempt.item) = ?1"
        ))?;
        let ready = statement.query_map([destination.0], read_attempt)?.collect::<Result<Vec<_>, _>>()?;
        let mut expired = 0;
        for attempt in ready {
            let deadline = attempt.deadline.unwrap_or(now);
            let latest = landfall_core::latest_start(attempt.created_at, deadline, attempt.size, bytes_per_second_min);
            if latest <= now {
                self.end_attempt(&attempt.id, "expired", now)?;
                self.set_free(attempt.item, None, now)?;
                expired += 1;
            }
        }
        Ok(expired + self.doubt_expired(destination, bytes_per_second_min, now)?)
    }

    /// Attempts that a session was given, and whose grants have ended: if nobody has said that they began, whoever was to
    /// begin with them may be dead; if they began long ago, it may be that nobody opens that session again. They are asked
    /// about.
    fn doubt_expired(
        &self,
        destination: DestinationId,
        bytes_per_second_min: u64,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let speed = i64::try_from(bytes_per_second_min).unwrap_or(i64::MAX).max(1);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM attempt
              WHERE state = 'out' AND session IS NOT NULL AND deadline <= iif(platform IS NULL, ?2, ?2 - ?3 - size * 1000 / ?4)
                AND (SELECT destination FROM item WHERE item.id = attempt.item) = ?1"
        ))?;
        let given = statement
            .query_map((destination.0, now.0, BEGUN_LATE_MS, speed), read_attempt)?
            .collect::<Result<Vec<_>, _>>()?;
        for attempt in &given {
            self.connection
                .prepare_cached("UPDATE attempt SET state = 'unknown' WHERE id = ?1")?
                .execute([&attempt.id])?;
            self.set_free(attempt.item, None, now)?;
        }
        Ok(given.len())
    }

    /// A process that carried attempts itself is gone: what became of them is unknown. One that it had not begun with is
    /// given up.
    pub(crate) fn release_attempts_of(&self, worker: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE item SET waits = 'nothing' WHERE waits = 'transfer'
                    AND id IN (SELECT item FROM attempt WHERE worker = ?1 AND (state = 'ready' OR state = 'out'))",
            )?
            .execute([worker])?;
        self.connection
            .prepare_cached(
                "UPDATE attempt SET state = 'unknown', worker = '', platform = NULL
                  WHERE worker = ?1 AND (state = 'ready' OR state = 'out')",
            )?
            .execute([worker])?;
        self.connection
            .prepare_cached(
                "UPDATE attempt SET state = 'ended', outcome = 'unwanted', ended_at = created_at WHERE worker = ?1 AND state = 'unwanted'",
            )?
            .execute([worker])?;
        Ok(())
    }

    /// Nobody waits for a message's attempt any more. One that no carrier has heard of is over, and one whose process is
    /// gone; of another the carrier has to be told, and its file kept until it has let go.
    pub(crate) fn end_present_attempt(&self, item: ItemId, why: &str, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE attempt SET state = 'ended', outcome = ?2, ended_at = ?3
                  WHERE item = ?1 AND (state = 'ready' OR state = 'unknown' AND worker IS NOT NULL)",
            )?
            .execute((item.0, why, now.0))?;
        self.connection
            .prepare_cached(
                "UPDATE attempt SET state = 'unwanted' WHERE item = ?1 AND (state = 'out' OR state = 'unknown')",
            )?
            .execute([item.0])?;
        Ok(())
    }

    fn end_attempt(&self, id: &str, outcome: &str, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE attempt SET state = 'ended', outcome = ?2, ended_at = ?3, request = NULL WHERE id = ?1",
            )?
            .execute((id, outcome, now.0))?;
        Ok(())
    }

    fn payload_stored(&self, attempt: &Attempt, now: Timestamp) -> Result<(), StoreError> {
        self.end_attempt(&attempt.id, "stored", now)?;
        self.connection
            .prepare_cached("UPDATE message SET asset_url = ?2, stored_at = ?3 WHERE item = ?1")?
            .execute((attempt.item.0, &attempt.asset_url, now.0))?;
        self.after_upload(attempt.item, now)
    }

    fn one_attempt(&self, filter: &str, bound: impl rusqlite::ToSql) -> Result<Option<Attempt>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("SELECT {COLUMNS} FROM attempt WHERE {filter}"))?;
        Ok(statement.query_row([bound], read_attempt).optional()?)
    }
}

/// A transfer that began in time may go on for so long after its grant has ended, in milliseconds, and for as long as a slow
/// one takes for its bytes.
const BEGUN_LATE_MS: i64 = 3_600_000;

const COLUMNS: &str = "id, item, file, size, digest, request, asset_url, deadline, state, worker, platform, created_at";

fn read_attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let state = AttemptState::parse(&row.get::<_, String>(8)?);
    Ok(Attempt {
        id: row.get(0)?,
        item: ItemId(row.get(1)?),
        file: row.get(2)?,
        size: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
        digest: row.get(4)?,
        request: row.get(5)?,
        asset_url: row.get(6)?,
        deadline: row.get::<_, Option<i64>>(7)?.map(Timestamp),
        state,
        worker: row.get(9)?,
        platform: row.get(10)?,
        created_at: Timestamp(row.get(11)?),
    })
}
