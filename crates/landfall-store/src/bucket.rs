//! What was learned of buckets.

use landfall_core::Proof;
use rusqlite::OptionalExtension as _;

use crate::{DestinationId, StoreError, Tx};

/// What is known of a bucket. All of it may be forgotten, and is then found out again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketFacts {
    /// The region it turned out to be in.
    pub region: Option<String>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_offset_ms: i64,
    /// What vouches for parts there.
    pub proof: Option<Proof>,
    /// Whether it refuses to overwrite with what is put at once, when it is asked to.
    pub guards_put: Option<bool>,
    /// Whether it refuses to overwrite with what is made of parts, when it is asked to.
    pub guards_complete: Option<bool>,
}

impl Tx<'_> {
    /// What is known of the bucket of a destination, if that is still at `place`.
    pub fn bucket_facts(&self, destination: DestinationId, place: &str) -> Result<BucketFacts, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT region, clock_offset_ms, proof, guards_put, guards_complete FROM bucket WHERE destination = ?1 AND place = ?2",
        )?;
        let facts = statement.query_row((destination.0, place), |row| {
            Ok(BucketFacts {
                region: row.get(0)?,
                clock_offset_ms: row.get(1)?,
                proof: row.get::<_, Option<String>>(2)?.and_then(|text| Proof::parse(&text)),
                guards_put: row.get(3)?,
                guards_complete: row.get(4)?,
            })
        });
        Ok(facts.optional()?.unwrap_or_default())
    }

    /// Where the bucket of a destination was when something was learned of it.
    pub fn bucket_place(&self, destination: DestinationId) -> Result<Option<String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT place FROM bucket WHERE destination = ?1")?;
        Ok(statement.query_row([destination.0], |row| row.get(0)).optional()?)
    }

    /// From here on what is queued for a destination goes to `place`: what was learned of another is forgotten.
    pub fn settle_bucket(&self, destination: DestinationId, place: &str) -> Result<(), StoreError> {
        if self.bucket_place(destination)?.as_deref() == Some(place) {
            return Ok(());
        }
        self.learn_bucket(destination, place, &BucketFacts::default())
    }

    /// Keeps what was learned of a bucket in place of all that was known before.
    pub fn learn_bucket(&self, destination: DestinationId, place: &str, facts: &BucketFacts) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO bucket (destination, place, region, clock_offset_ms, proof, guards_put, guards_complete)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                destination.0,
                place,
                &facts.region,
                facts.clock_offset_ms,
                facts.proof.map(Proof::as_str),
                facts.guards_put,
                facts.guards_complete,
            ))?;
        Ok(())
    }
}
