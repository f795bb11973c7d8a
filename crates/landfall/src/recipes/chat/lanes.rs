//! The lanes of a home, and their keys as the journal keeps them: sealed under the host's key.

use std::sync::Arc;

use landfall_core::Waits;
use landfall_crypto::{HostKey, LaneKey};
use landfall_store::{DestinationId, Lane, Tx};
use zeroize::Zeroizing;

use super::rest::AtRest;
use crate::{Engine, Error, engine::Inner};

/// The lanes of a home with one destination. Clones are the same.
///
/// Every process of the home asks the journal, so that a lane that one of them has made can be published in by all.
#[derive(Clone)]
pub struct Lanes {
    engine: Arc<Inner>,
    destination: DestinationId,
    at_rest: Arc<AtRest>,
}

impl Lanes {
    /// The lanes at a location, as [`super::Chat::open`] names it. `host` seals their keys.
    ///
    /// # Errors
    /// The journal's.
    pub async fn open(engine: &Engine, location: &str, host: HostKey) -> Result<Self, Error> {
        let destination = engine.destination(location).await?.id;
        Ok(Self { engine: Arc::clone(&engine.inner), destination, at_rest: Arc::new(AtRest::new(Some(host))) })
    }

    /// All of them, by name.
    pub async fn all(&self) -> Result<Vec<Lane>, Error> {
        let destination = self.destination;
        Ok(self.engine.journal.read(move |tx| tx.lanes(destination)).await?)
    }

    /// The lane of that name, if there is one.
    pub async fn find(&self, name: &str) -> Result<Option<Lane>, Error> {
        let (destination, name) = (self.destination, name.to_owned());
        Ok(self.engine.journal.read(move |tx| tx.find_lane(destination, &name)).await?)
    }

    /// The key of a lane, if it has one.
    ///
    /// # Errors
    /// [`Error::OtherHost`] if the key was sealed under another host's key.
    pub async fn key(&self, name: &str) -> Result<Option<LaneKey>, Error> {
        match self.find(name).await?.and_then(|lane| lane.key) {
            Some(sealed) => self.open_key(name, &sealed).map(Some),
            None => Ok(None),
        }
    }

    /// The key of a lane. The lane is made, and a key drawn, if there is none; it is durable when this returns.
    ///
    /// # Errors
    /// As [`Lanes::key`].
    pub async fn key_or_new(&self, name: &str) -> Result<LaneKey, Error> {
        match self.key(name).await? {
            Some(key) => Ok(key),
            None => self.keep(name, &LaneKey::from_bytes(self.engine.env.random.array())).await,
        }
    }

    /// Gives a lane the key that others have. `false` if it has another: what was said in it was sealed under that.
    ///
    /// # Errors
    /// As [`Lanes::key`].
    pub async fn join(&self, name: &str, key: &LaneKey) -> Result<bool, Error> {
        Ok(self.keep(name, key).await? == *key)
    }

    /// Keeps a key unless there is one, and returns the one that is kept.
    async fn keep(&self, name: &str, key: &LaneKey) -> Result<LaneKey, Error> {
        let sealed =
            self.at_rest.seal(&self.engine.env, key.expose()).ok_or_else(|| Error::OtherHost(name.to_owned()))?;
        let (destination, lane) = (self.destination, name.to_owned());
        let kept = self.engine.journal.write(move |tx| {
            let lane = tx.lane_named(destination, &lane)?;
            tx.keep_lane_key(lane.id, &sealed)
        });
        self.open_key(name, &kept.await?)
    }

    fn open_key(&self, name: &str, sealed: &[u8]) -> Result<LaneKey, Error> {
        let opened = self.at_rest.open(sealed).and_then(|key| key.first_chunk().copied().map(Zeroizing::new));
        opened.map(|key| LaneKey::from_bytes(*key)).ok_or_else(|| Error::OtherHost(name.to_owned()))
    }

    /// Notes how far what arrived in a lane was read.
    pub async fn read_up_to(&self, lane: &Lane, number: u64) -> Result<(), Error> {
        let (id, cursor) = (lane.id, i64::try_from(number).unwrap_or(i64::MAX));
        Ok(self.engine.journal.write(move |tx| tx.read_up_to(id, cursor)).await?)
    }

    /// Notes which vault the lanes are in, and lets messages go on that waited until somebody had logged in there. `false`
    /// if they are in another.
    pub async fn reached(&self, vault: &str) -> Result<bool, Error> {
        let (destination, name) = (self.destination, vault.to_owned());
        let read = move |tx: &Tx<'_>| Ok((tx.destination(destination)?.vault, tx.waits_for_secrets(destination)?));
        match self.engine.journal.read(read).await? {
            (Some(known), _) if known != name => return Ok(false),
            (Some(_), false) => return Ok(true),
            _ => {}
        }
        let noted = self.engine.journal.write(move |tx| {
            tx.wake_waiting(destination, Waits::Token)?;
            tx.note_vault(destination, &name)
        });
        Ok(noted.await?)
    }
}
