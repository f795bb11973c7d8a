//! The conversations of this home with one destination: taken in charge without it, and carried on with it.

use std::{path::Path, pin::Pin, sync::Arc};

use landfall::{
    Carrier, Code, Destination, Engine, Failure, HttpCarrier, ServiceCarrier,
    recipes::chat::{
        Chat, ChatHost, ChatServer, ChatSettings, Granter, HostKey, Lane, LanePublisher, Lanes, Moves, Publication,
        Published, Publisher, PutGrant, PutIntent,
    },
};
use landfall_core::Remedy;
use landfall_server::Server;

use crate::{
    command::Command,
    destination::{self, Place},
    failed::{During as _, Failed},
    hostkey::HostKeyFile,
};

/// What the journal calls the conversations at a place: `chat:` and what it calls the place.
pub(crate) fn location(place: &Place) -> String {
    format!("chat:{}", place.location())
}

/// The place of conversations that the journal knows; `None` if it is a destination of something else.
pub(crate) fn place_of_location(location: &str, default_vault: &Path) -> Option<Place> {
    Place::of_location(location.strip_prefix("chat:")?, default_vault)
}

/// The conversations of this home with a destination.
pub(crate) struct Conversations {
    /// The home.
    pub engine: Engine,
    /// The lanes and their keys.
    pub lanes: Lanes,
    /// Where they are.
    pub place: Place,
    host: HostKey,
}

/// Conversations whose destination was reached.
pub(crate) struct Connected {
    /// To be run.
    pub chat: Chat,
    /// To be read.
    pub server: ChatServer,
    /// The server in this process, if the destination is a folder.
    _folder: Option<Server>,
}

impl Conversations {
    /// Opens those with a place. The host's key is drawn if there never was one.
    ///
    /// # Errors
    /// If the home cannot be used; `locked` if its host key is gone.
    pub(crate) async fn open(command: &Command, engine: Engine, place: Place) -> Result<Self, Failed> {
        let file = HostKeyFile::of(command);
        let host = match file.find()? {
            Some(host) => host,
            None => {
                refuse_lost_key(&file, &engine).await?;
                file.find_or_draw()?
            }
        };
        Self::with(host, engine, place).await
    }

    /// Opens those with a place, if this home ever had any.
    ///
    /// # Errors
    /// If the home cannot be used; `locked` if its host key is gone.
    pub(crate) async fn find(command: &Command, place: Place) -> Result<Option<Self>, Failed> {
        let file = HostKeyFile::of(command);
        if let Some(host) = file.find()? {
            return Self::with(host, command.engine().await?, place).await.map(Some);
        }
        if let Some(engine) = command.engine_to_look().await? {
            refuse_lost_key(&file, &engine).await?;
        }
        Ok(None)
    }

    /// Gives up what was staged with any destination too long ago, and removes files that no message needs any more. What a
    /// command did is done whether or not this succeeds: if it does not, that is told, and the next one does it.
    pub(crate) async fn tidy_all(command: &Command, engine: &Engine) {
        if let Err(failed) = Self::tidy_each(command, engine).await {
            command
                .out
                .warn(&format!("what is left over was not removed: {}", failed.message()), failed.hint.as_deref());
        }
    }

    async fn tidy_each(command: &Command, engine: &Engine) -> Result<(), Failed> {
        let Some(host) = HostKeyFile::of(command).find()? else { return Ok(()) };
        for destination in engine.destinations().await.during("cannot read the journal")? {
            let place = place_of_location(&destination.location, &command.home.default_vault);
            if let Some(place) = place.filter(|place| !is_in_the_open(place)) {
                let conversations = Self::with(host.clone(), engine.clone(), place).await?;
                conversations.to_take().await?.tidy().await.during("cannot tidy up the home")?;
            }
        }
        Ok(())
    }

    async fn with(host: HostKey, engine: Engine, place: Place) -> Result<Self, Failed> {
        if is_in_the_open(&place) {
            // Said before anything is taken in charge for it, and before a token goes there in the open.
            let what = format!("cannot use {place} for conversations");
            return Err(Failed::usage(what, "the way there is not encrypted")
                .hint("put TLS before the server, and name it by `https://`"));
        }
        let lanes = Lanes::open(&engine, &location(&place), host.clone()).await;
        let lanes = lanes.during("cannot open the conversations")?;
        Ok(Self { engine, lanes, place, host })
    }

    /// Those with a place, to take messages in charge: the destination need not be there.
    ///
    /// # Errors
    /// If the home cannot be used.
    pub(crate) async fn to_take(&self) -> Result<Chat, Failed> {
        let host = ChatHost {
            key: Some(self.host.clone()),
            granter: Arc::new(Unreached),
            publisher: Arc::new(Unreached),
            moves: Moves::ByPlatform { session: String::new() },
            decoder: None,
        };
        let opened = Chat::open(&self.engine, &location(&self.place), ChatSettings::default(), host).await;
        opened.during("cannot open the conversations")
    }

    /// Reaches the destination, with the token that `login` kept, of the environment, or of the folder.
    ///
    /// # Errors
    /// Why it cannot be reached; `another-vault`.
    pub(crate) async fn connect(&self, command: &Command) -> Result<Connected, Failed> {
        let known = self.known().await?;
        let reached = destination::connect(command, &self.engine, &known, &self.place).await;
        let (vault, folder, name) = reached.map_err(|failed| self.unset_token(failed))?;
        if !self.lanes.reached(&name).await.during("cannot write to the journal")? {
            let what = format!("cannot use the vault at {}", self.place);
            return Err(Failed::new("another-vault", what, "it is not the one that the lanes of this home are in")
                .hint("attach the disk, or name the server, that has it"));
        }
        let server = ChatServer::new(vault.clone());
        let carrier: Arc<dyn Carrier> = match &folder {
            Some(folder) => Arc::new(ServiceCarrier::new(folder.router())),
            None => Arc::new(HttpCarrier::default()),
        };
        let host = ChatHost {
            key: Some(self.host.clone()),
            granter: Arc::new(server.clone()),
            publisher: Arc::new(LanePublisher::of_home(server.clone(), self.lanes.clone())),
            moves: Moves::InProcess(carrier),
            decoder: None,
        };
        let settings = ChatSettings { allows_loopback: vault.origin().is_loopback(), ..ChatSettings::default() };
        let opened = Chat::open(&self.engine, &location(&self.place), settings, host).await;
        Ok(Connected { chat: opened.during("cannot open the conversations")?, server, _folder: folder })
    }

    /// In a folder nobody gave out a token of a server.
    fn unset_token(&self, failed: Failed) -> Failed {
        let is_set = destination::token_of_environment().is_ok_and(|token| token.is_some());
        if failed.code == "unauthorized" && self.place.folder().is_some() && is_set {
            return failed.hint("LANDFALL_TOKEN is set, and this vault does not know that token: unset it");
        }
        failed
    }

    /// What is known of the destination: what the backups of this home know of the vault serves here as well.
    async fn known(&self) -> Result<Destination, Failed> {
        let own = self.engine.destination(&location(&self.place)).await.during("cannot read the journal")?;
        let all = self.engine.destinations().await.during("cannot read the journal")?;
        let backups = all.into_iter().find(|other| other.location == self.place.location());
        Ok(match backups {
            Some(backups) => {
                let vault = own.vault.or(backups.vault);
                Destination { id: own.id, location: own.location, vault, cursor: own.cursor, ..backups }
            }
            None => own,
        })
    }

    /// A lane that is to be there.
    ///
    /// # Errors
    /// `no-such-lane` if it is not, or has no key.
    pub(crate) async fn lane(&self, name: &str) -> Result<Lane, Failed> {
        let found = self.lanes.find(name).await.during("cannot read the journal")?;
        found.filter(|lane| lane.key.is_some()).ok_or_else(|| no_lane(name, &self.place))
    }
}

/// A key that is gone must not be replaced in silence: what is sealed under it would never open again, and nobody would
/// know why.
async fn refuse_lost_key(file: &HostKeyFile, engine: &Engine) -> Result<(), Failed> {
    if engine.has_lane_keys().await.during("cannot read the journal")? { Err(file.lost()) } else { Ok(()) }
}

/// What is said where a lane is to be there and is not.
pub(crate) fn no_lane(name: &str, place: &Place) -> Failed {
    let why = format!("this home has no key of it at {place}");
    Failed::new("not-found", format!("cannot open the lane `{name}`"), why).hint(format!(
        "`landfall lane join '{name}' --key-file FILE --to '{place}'` takes the key of others; `landfall lane ls` lists those \
         that are here"
    ))
}

/// Whether the way there is a network, and not encrypted.
fn is_in_the_open(place: &Place) -> bool {
    matches!(place, Place::Server(origin) if origin.to_string().starts_with("http://") && !origin.is_loopback())
}

/// Stands for a destination that nobody has asked yet.
struct Unreached;

type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Unreached {
    fn away() -> Failure {
        Failure::new(Remedy::Wait { retry_after: None }, Code::Offline, "the destination was not asked yet")
    }
}

impl Granter for Unreached {
    fn grant(&self, _: PutIntent) -> Asked<'_, Result<PutGrant, Failure>> {
        Box::pin(async { Err(Self::away()) })
    }

    fn is_there<'a>(&'a self, _: &'a str, _: &'a PutIntent) -> Asked<'a, Result<Option<bool>, Failure>> {
        Box::pin(async { Err(Self::away()) })
    }
}

impl Publisher for Unreached {
    fn publish(&self, _: Publication) -> Asked<'_, Published> {
        Box::pin(async { Published::NotReady { retry_after: std::time::Duration::from_secs(1) } })
    }
}
