//! Photos and texts of a conversation: sent at once, moved by whoever can, published in order, once.
//!
//! A person chooses a photo: it is *staged*, and its bytes begin to move. A person sends a batch, photos and texts: from
//! that moment all of it is durable, in its order, and shown as *echoes*. A payload is made in one pass, sealed as XMTP's
//! clients seal attachments, and put where a [`Granter`] gives leave to, by a carrier in this process or by the platform's
//! own ([`Transfer`]), which may do so while the app is dead. When a message's turn has come, its bytes are fixed and a
//! [`Publisher`] tells the others, as often as it takes, always the same bytes under the same key.
//!
//! Nothing here holds a lease while bytes move: see `docs/decisions/0006-conversations.md`.

mod answer;
mod compose;
mod decoder;
mod echo;
mod found;
mod grant;
mod inbox;
mod lanes;
mod mover;
mod outage;
mod overall;
mod payload;
mod progress;
mod publisher;
mod rest;
mod run;
mod server;
mod spool;
mod transfer;
mod under_way;
mod work;

use std::{sync::Arc, time::Duration};

use landfall_store::{DestinationId, MessageLimits};
use landfall_transport::Carrier;

pub use landfall_crypto::{
    HostKey, LaneKey, NotALaneKey, lane_key_text,
    xmtp::{Content, RemoteAttachment},
};
pub use landfall_images::{MediaKind, PhotoLimits};
pub use landfall_store::Lane;

pub use self::{
    compose::{NewFile, Part, Treatment},
    decoder::PictureDecoder,
    echo::{Changes, Echo, EchoContent, Events, Snapshot, Stage, Uploaded},
    grant::{Granter, PutGrant, PutIntent},
    inbox::{Inbox, Received},
    lanes::Lanes,
    overall::Overall,
    publisher::{Publication, Published, Publisher},
    run::{ChatReport, ChatRun},
    server::{Arrived, ChatServer, LanePublisher},
    transfer::Transfer,
};
use self::{outage::Outage, overall::Burst, progress::Transfers, rest::AtRest, spool::Spool};
use crate::{Engine, Error, engine::Inner};

/// How conversations are kept. Plain data.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// How many messages are worked on at once, over all processes of the home.
    pub limits: MessageLimits,
    /// How many transfers this process carries at once.
    pub transfers_max: usize,
    /// How large photos are sent.
    pub photos: PhotoLimits,
    /// What is staged and not sent for so long is collected.
    pub staged_ttl: Duration,
    /// A payload that was put longer ago than this is put again before it is published for the first time.
    pub reuse: Duration,
    /// A publisher that does not answer for so long may have published or not.
    pub publish_timeout: Duration,
    /// A run waits for a message whose moment comes within this, instead of ending.
    pub linger: Duration,
    /// Messages may name payloads on this machine without TLS: for a server that is reached over loopback alone.
    pub allows_loopback: bool,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self {
            limits: MessageLimits::default(),
            transfers_max: 4,
            photos: PhotoLimits::default(),
            staged_ttl: Duration::from_secs(7 * 24 * 3600),
            reuse: Duration::from_secs(20 * 24 * 3600),
            publish_timeout: Duration::from_secs(60),
            linger: Duration::from_secs(30),
            allows_loopback: false,
        }
    }
}

/// Who moves bytes.
#[derive(Clone)]
pub enum Moves {
    /// This process, while it runs.
    InProcess(Arc<dyn Carrier>),
    /// The platform: see [`Chat::take_transfers`].
    ByPlatform {
        /// Which of its sessions this process speaks for: the same name after every start. Where an application and its
        /// extensions have sessions of their own, each knows its own transfers alone.
        session: String,
    },
}

/// What conversations need of their host.
pub struct ChatHost {
    /// Seals what the journal keeps of messages. Without it secrets are in memory alone, and a restart makes payloads
    /// anew. So does a second process, which cannot read what the first one made: without a key let one alone run.
    pub key: Option<HostKey>,
    /// Gives leave to put payloads.
    pub granter: Arc<dyn Granter>,
    /// Tells the others.
    pub publisher: Arc<dyn Publisher>,
    /// Moves bytes.
    pub moves: Moves,
    /// Draws photos of kinds that nothing here draws. Every process that works on the messages of this home needs one that
    /// draws the same: where it is missing such a photo needs a person.
    pub decoder: Option<Arc<dyn PictureDecoder>>,
}

/// The conversations of a home with one destination. Clones are the same.
#[derive(Clone)]
pub struct Chat {
    pub(crate) inner: Arc<ChatInner>,
}

pub(crate) struct ChatInner {
    pub(crate) engine: Arc<Inner>,
    pub(crate) destination: DestinationId,
    pub(crate) settings: ChatSettings,
    pub(crate) at_rest: AtRest,
    pub(crate) granter: Arc<dyn Granter>,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) moves: Moves,
    pub(crate) decoder: Option<Arc<dyn PictureDecoder>>,
    pub(crate) spool: Spool,
    pub(crate) progress: Transfers,
    pub(crate) burst: Burst,
    pub(crate) outage: Outage,
}

impl Chat {
    /// Opens the conversations of a home. `location` tells their destination from others: `chat:` and a name.
    ///
    /// # Errors
    /// The journal's; [`Error::Home`] if the folder for files cannot be made.
    pub async fn open(engine: &Engine, location: &str, settings: ChatSettings, host: ChatHost) -> Result<Self, Error> {
        let destination = engine.destination(location).await?.id;
        let spool = Spool::open(&engine.inner).await?;
        let ChatHost { key, granter, publisher, moves, decoder } = host;
        let inner = ChatInner {
            engine: Arc::clone(&engine.inner),
            destination,
            settings,
            at_rest: AtRest::new(key),
            granter,
            publisher,
            moves,
            decoder,
            spool,
            progress: Transfers::default(),
            burst: Burst::default(),
            outage: Outage::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Bytes handed over, and bytes in all, of the transfers under way. It goes back when one of them ends: a bar over
    /// everything shows [`Chat::overall`].
    pub fn progress(&self) -> (u64, u64) {
        self.inner.progress.sum()
    }

    /// How far everything is that is sent or staged and not finished, together with what ended since the last moment at
    /// which nothing was: what a lock screen shows. What ended before this process first asked is not known to it.
    ///
    /// # Errors
    /// The journal's.
    pub async fn overall(&self) -> Result<Overall, Error> {
        let _turn = self.inner.burst.turn().await;
        let (destination, known) = (self.inner.destination, self.inner.burst.unfinished());
        let read = move |tx: &landfall_store::Tx<'_>| Ok((tx.message_bytes(destination)?, tx.last_end(&known)?));
        let (unfinished, last_end) = self.inner.engine.journal.read(read).await?;
        Ok(self.inner.burst.look(&unfinished, last_end, &self.inner.progress))
    }

    /// Changes whenever a transfer gets further.
    pub fn progress_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.progress.changes()
    }
}
