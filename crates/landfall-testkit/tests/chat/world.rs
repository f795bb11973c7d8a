//! A server, and devices that talk to each other over it.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use landfall::{
    Carrier, Engine, Env, ItemId, Origin, ServiceCarrier, Settings, Token, Vault,
    recipes::chat::{
        Arrived, Chat, ChatHost, ChatRun, ChatServer, ChatSettings, Echo, Granter, LanePublisher, Moves, NewFile, Part,
        PictureDecoder, Publication, Published, Publisher, Stage, Transfer, Treatment,
    },
};
use landfall_crypto::{HostKey, LaneKey, xmtp::Content};
use landfall_env::{Blocking, Steps};
use landfall_server::{Server, ServerConfig};
use landfall_store::Lane;
use landfall_testkit::{ProcessId, Seed, SeededRandom, SimClock, SimDisk, SimVfs};
use landfall_transport::{Body, Loss};
use rusqlite::{Connection, OpenFlags};

/// A server, and a disk with the homes of devices.
pub(crate) struct World {
    pub(crate) disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    random: SeededRandom,
    _server: Server,
    token: Token,
    pub(crate) wire: Arc<Wire>,
}

/// One process of a device.
pub(crate) struct Device {
    pub(crate) chat: Chat,
    pub(crate) lane: Lane,
    pub(crate) server: ChatServer,
    _engine: Engine,
    disk: Arc<SimDisk>,
    wire: Arc<Wire>,
    process: ProcessId,
    _vfs: SimVfs,
}

/// Somebody else who writes to a journal.
pub(crate) struct Writer {
    connection: Connection,
    _vfs: SimVfs,
}

impl Writer {
    /// Begins a write, and does not go on.
    pub(crate) fn begin(&self) {
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.connection.execute_batch("ROLLBACK").unwrap();
    }
}

/// How a device's process is made.
pub(crate) struct Made {
    pub(crate) home: &'static str,
    pub(crate) key: Option<u8>,
    pub(crate) is_platform: bool,
    pub(crate) publisher: Option<Arc<dyn Publisher>>,
    pub(crate) granter: Option<Arc<dyn Granter>>,
    pub(crate) decoder: Option<Arc<dyn PictureDecoder>>,
}

impl Default for Made {
    fn default() -> Self {
        Self { home: "/home", key: Some(7), is_platform: false, publisher: None, granter: None, decoder: None }
    }
}

pub(crate) fn lane_key() -> LaneKey {
    LaneKey::from_bytes([9; 32])
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(SimClock::new(1_700_000_000_000));
        let disk = SimDisk::new(Arc::clone(&clock));
        let random = Seed(7).random();
        disk.put_dir("/vault").unwrap();
        let process = disk.spawn();
        let env = Env {
            files: disk.process(process),
            clock: Arc::clone(&clock) as _,
            random: Arc::new(random.fork("server")),
            blocking: Blocking::Inline,
            steps: Steps::default(),
        };
        let vfs = SimVfs::register(&disk, process, random.fork("server vfs"));
        let config = ServerConfig { sqlite_vfs: Some(vfs.name().to_owned()), ..ServerConfig::new("/vault") };
        let server = Server::open(config, env).await.unwrap();
        // It lives as long as the test.
        std::mem::forget(vfs);
        let token = Token::new(server.embedded_token(None).await.unwrap().as_str()).unwrap();
        let wire = Arc::new(Wire {
            service: Arc::new(ServiceCarrier::new(server.router())),
            puts: AtomicUsize::new(0),
            pace: Mutex::default(),
            refusals: Mutex::default(),
            is_down: AtomicBool::default(),
            lost_behind_a_gateway: AtomicUsize::default(),
            piece_takes: Mutex::default(),
        });
        Self { disk, clock, random, _server: server, token, wire }
    }

    /// Starts a process over a home.
    pub(crate) async fn device(&self, made: Made) -> Device {
        let process = self.disk.spawn();
        let random = self.random.fork(&format!("process {process:?}"));
        let vfs = SimVfs::register(&self.disk, process, random.fork("vfs"));
        let env = Env {
            files: self.disk.process(process),
            clock: Arc::clone(&self.clock) as _,
            random: Arc::new(random.fork("env")),
            blocking: Blocking::Inline,
            steps: Steps::default(),
        };
        let settings = Settings { vfs: Some(vfs.name().to_owned()), ..Settings::new(made.home) };
        let engine = Engine::open(settings, env).await.unwrap();
        let server = self.server();
        let keys = BTreeMap::from([("family".to_owned(), lane_key())]);
        let publisher =
            made.publisher.unwrap_or_else(|| Arc::new(LanePublisher::new(server.clone(), keys)) as Arc<dyn Publisher>);
        let host = ChatHost {
            key: made.key.map(|byte| HostKey::from_bytes([byte; 32])),
            granter: made.granter.unwrap_or_else(|| Arc::new(server.clone()) as _),
            publisher,
            moves: if made.is_platform {
                Moves::ByPlatform { session: "app".to_owned() }
            } else {
                Moves::InProcess(Arc::clone(&self.wire) as _)
            },
            decoder: made.decoder,
        };
        let chat = Chat::open(&engine, "chat:default", ChatSettings::default(), host).await.unwrap();
        let lane = chat.lane("family").await.unwrap();
        Device {
            chat,
            lane,
            server,
            _engine: engine,
            disk: Arc::clone(&self.disk),
            wire: Arc::clone(&self.wire),
            process,
            _vfs: vfs,
        }
    }

    /// The way to the server, as every device has it.
    pub(crate) fn server(&self) -> ChatServer {
        ChatServer::new(Vault::new(Arc::clone(&self.wire) as _, Origin::in_process(), self.token.clone()))
    }

    /// Another process, that can write to the journal of the home.
    pub(crate) fn writer(&self) -> Writer {
        let process = self.disk.spawn();
        let vfs = SimVfs::register(&self.disk, process, self.random.fork("writer"));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs("/home/journal.db", flags, vfs.name()).unwrap();
        Writer { connection, _vfs: vfs }
    }

    /// The power fails.
    pub(crate) fn power_cut(&self, seed: u64) {
        self.disk.power_cut(&Seed(seed).random());
    }

    /// Puts a photo on the disk and says where it is.
    pub(crate) fn photo(&self, name: &str) -> PathBuf {
        let path = Path::new("/photos").join(name);
        let seed = name.bytes().map(u64::from).sum();
        self.disk.put(&path, &landfall_images::fixture::jpeg(seed, 64, 48)).unwrap();
        path
    }

    /// Everything in the lane, by whoever has its key.
    pub(crate) async fn lane(&self) -> Vec<Arrived> {
        self.server().read_lane(&lane_key(), 0).await.unwrap()
    }

    /// What the lane says, in short: texts as they are, photos by their names.
    pub(crate) async fn told(&self) -> Vec<String> {
        self.lane().await.into_iter().map(|arrived| short(arrived.content.as_ref())).collect()
    }
}

pub(crate) fn short(content: Option<&Content>) -> String {
    match content {
        Some(Content::Text(text)) => text.clone(),
        Some(Content::RemoteAttachment(remote)) => remote.filename().unwrap_or("?").to_owned(),
        other => format!("{other:?}"),
    }
}

impl Device {
    /// Takes a photo in charge that nobody has sent yet.
    pub(crate) async fn stage(&self, path: &Path) -> ItemId {
        self.chat.stage(file(path), None).await.unwrap()
    }

    /// Sends a photo and a text that goes with it. Returns the photo's number.
    pub(crate) async fn send_photo(&self, photo: &Path, caption: &str) -> ItemId {
        let photo = self.stage(photo).await;
        self.send(vec![Part::Staged(photo), text(caption)]).await;
        photo
    }

    pub(crate) async fn send(&self, batch: Vec<Part>) -> Vec<ItemId> {
        self.chat.send(&self.lane, batch).await.unwrap()
    }

    /// Works until nothing is left.
    pub(crate) async fn run(&self) {
        let report = tokio::time::timeout(Duration::from_secs(3600), self.chat.run(ChatRun::default())).await;
        report.expect("an hour is enough").unwrap();
    }

    pub(crate) async fn echoes(&self) -> Vec<Echo> {
        self.chat.echoes(&self.lane).await.unwrap().echoes
    }

    pub(crate) async fn stages(&self) -> Vec<Stage> {
        self.echoes().await.into_iter().map(|echo| echo.stage).collect()
    }

    /// Files of the home's spool, but for the locks of those who write there.
    pub(crate) fn spool(&self, home: &str) -> Vec<PathBuf> {
        let spool = Path::new(home).join("spool");
        let files = self.disk.files().into_iter().filter(|path| path.starts_with(&spool));
        files.filter(|path| path.extension().is_none_or(|extension| extension != "lock")).collect()
    }

    /// The platform puts a transfer's body.
    pub(crate) async fn put(&self, transfer: &Transfer, body: Vec<u8>) -> u16 {
        let mut request = Request::builder().method(transfer.method.as_str()).uri(&transfer.url);
        for (name, value) in &transfer.headers {
            request = request.header(name, value);
        }
        let request = request.header("content-length", body.len()).body(landfall_transport::whole(body)).unwrap();
        self.wire.carry(request).await.unwrap().status().as_u16()
    }

    /// The process dies before its next write but so many.
    pub(crate) fn dies_after(&self, writes: u64) {
        self.disk.kill_after(self.process, writes);
    }

    /// The process dies, here and now. What it still does when it is dropped changes nothing.
    pub(crate) fn kill(self) {
        self.disk.kill(self.process);
    }
}

pub(crate) fn file(path: &Path) -> NewFile {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    NewFile { path: path.to_owned(), name, mime: "image/jpeg".to_owned(), treatment: Treatment::Photo }
}

pub(crate) fn text(says: &str) -> Part {
    Part::Text(says.to_owned())
}

/// The way to the server, which counts what it carries, may take its time, and may fail.
pub(crate) struct Wire {
    service: Arc<dyn Carrier>,
    pub(crate) puts: AtomicUsize,
    /// How long each put takes, in the order in which they come.
    pub(crate) pace: Mutex<Vec<Duration>>,
    /// The statuses that puts are answered with instead of being carried, in the order in which they come.
    pub(crate) refusals: Mutex<Vec<u16>>,
    /// How many messages the server takes while a gateway before it answers that it is away.
    pub(crate) lost_behind_a_gateway: AtomicUsize,
    /// There is no network.
    pub(crate) is_down: AtomicBool,
    /// How long each piece of a put takes.
    piece_takes: Mutex<Duration>,
}

impl Wire {
    pub(crate) fn puts(&self) -> usize {
        self.puts.load(Ordering::Relaxed)
    }

    /// From now on each piece of a put takes so long.
    pub(crate) fn goes_slowly(&self, piece_takes: Duration) {
        *self.piece_takes.lock().unwrap() = piece_takes;
    }
}

fn slowly(body: Body, piece_takes: Duration) -> Body {
    let pieces = futures_util::stream::unfold(body, move |mut body| async move {
        let piece = body.frame().await?;
        tokio::time::sleep(piece_takes).await;
        Some((piece, body))
    });
    http_body_util::StreamBody::new(pieces).boxed_unsync()
}

impl Carrier for Wire {
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        Box::pin(async move {
            if self.is_down.load(Ordering::Relaxed) {
                return Err(Loss::NotSent("there is no network".to_owned()));
            }
            if request.method() == Method::PUT {
                self.puts.fetch_add(1, Ordering::Relaxed);
                let pace = {
                    let mut pace = self.pace.lock().unwrap();
                    if pace.is_empty() { Duration::ZERO } else { pace.remove(0) }
                };
                tokio::time::sleep(pace).await;
                let refusal = {
                    let mut refusals = self.refusals.lock().unwrap();
                    if refusals.is_empty() { None } else { Some(refusals.remove(0)) }
                };
                if let Some(status) = refusal {
                    let page = landfall_transport::whole(b"<html>no</html>".to_vec());
                    return Ok(Response::builder().status(status).body(page).unwrap());
                }
            }
            let is_left = |left: usize| left.checked_sub(1);
            if request.method() == Method::POST
                && self.lost_behind_a_gateway.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_ok()
            {
                self.service.carry(request).await?;
                let page = landfall_transport::whole(b"<html>Bad Gateway</html>".to_vec());
                return Ok(Response::builder().status(502).body(page).unwrap());
            }
            let piece_takes = *self.piece_takes.lock().unwrap();
            let is_slow = request.method() == Method::PUT && !piece_takes.is_zero();
            let request = if is_slow { request.map(|body| slowly(body, piece_takes)) } else { request };
            self.service.carry(request).await
        })
    }
}

/// Answers what it is told to, once each, and then accepts; remembers what it was asked to publish.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) answers: Mutex<Vec<Published>>,
    pub(crate) asked: Mutex<Vec<Publication>>,
    /// How long it takes for each.
    pub(crate) takes: Duration,
}

impl Publisher for Scripted {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, Published> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(publication);
            tokio::time::sleep(self.takes).await;
            let mut answers = self.answers.lock().unwrap();
            if answers.is_empty() { Published::Accepted } else { answers.remove(0) }
        })
    }
}

impl Scripted {
    pub(crate) fn answering(answers: Vec<Published>) -> Arc<Self> {
        Self::slowly(Duration::ZERO, answers)
    }

    pub(crate) fn slowly(takes: Duration, answers: Vec<Published>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default(), takes })
    }

    pub(crate) fn said(&self) -> Vec<(String, String)> {
        let asked = self.asked.lock().unwrap();
        let said = |publication: &Publication| {
            (
                publication.idempotency_key.clone(),
                short(Content::decode_on_loopback(&publication.content).ok().as_ref()),
            )
        };
        asked.iter().map(said).collect()
    }
}
