//! Devices, a vault, and everything that can go wrong between them, from one seed.
//!
//! The engine, the journal's SQLite and the server's router are the real ones. Clock, disks, network and power switch
//! are simulated. One number decides everything that happens: two runs of one seed give one trace.
//!
//! A world has one *home* or two over one vault, and one to three *workers* at once, each a process that scans, uploads
//! and ends. The vault is behind a server of its own on a machine of its own, or every worker brings its own router to
//! the folder, as the command line does. A *storm* is workers under faults; storms follow each other until enough has gone wrong.
//! Then the world is left in peace, has to settle, and is looked at from outside.

mod course;
mod image;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use landfall::{
    ClassLimits, Engine, Env, MasterKey, Origin, RetryPolicy, RunEnd, RunOptions, Secret, Session, Settings, Silent,
    Token, UnlockedKeys, Vault,
    recipes::vault::{self as recipe, RestoreOptions, RestoreTarget, ScanOptions},
};
use landfall_crypto::ChunkLen;
use landfall_env::{Blocking, Sabotage, Steps};
use landfall_server::{Server, ServerConfig};

pub(crate) use self::image::put_journal;
use crate::{
    ProcessId, Seed, SeededRandom, SimClock, SimDisk, SimVfs,
    audit::audit,
    chaos::{Chaos, Crash, FaultTable, Watcher},
    network::{Port, Route, Wire},
    tap::{Tap, Witness},
};

/// Length of a chunk of plaintext in simulated worlds.
pub const CHUNK: u32 = 1024;
/// Length of every sealed thumbnail: no decoder gets far with these sources, so each has the placeholder.
pub(crate) const THUMBNAIL_SEALED: u64 = 262;
/// Files of a world at most.
const FILES_MAX: usize = 12;
const VAULT: &str = "/vault";
/// Longer than this, in simulated time, and a world that is left in peace has not settled.
const SETTLE_WITHIN: Duration = Duration::from_secs(3600);

/// How a world is made.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Faults to strike at least.
    pub faults: u32,
    /// Safety measure to take away.
    pub sabotage: Option<Sabotage>,
    /// Keep what happened, to be read.
    pub history: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { faults: 20, sabotage: None, history: false }
    }
}

/// What a world came to.
#[derive(Debug)]
pub struct Outcome {
    /// What must hold and does not; empty if all is well.
    pub complaints: Vec<String>,
    /// Faults by phase.
    pub table: FaultTable,
    /// Files at the end.
    pub files: usize,
    /// Workers at once.
    pub workers: usize,
    /// Homes over the one vault.
    pub homes: usize,
    /// Every worker brought its own router to the vault's folder.
    pub is_embedded: bool,
    /// The same for two runs of one seed.
    pub trace: u64,
    /// What happened, if [`WorldOptions::history`] asks for it.
    pub history: Vec<String>,
}

/// Runs one world to its end.
pub fn run(seed: u64, options: &WorldOptions) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can always be built").block_on(async {
        let mut world = World::new(seed, options).await;
        world.live().await
    })
}

/// A source as it must come back.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// A home and the folder it backs up.
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    pub(crate) photos: PathBuf,
    /// When somebody lets paused items go on.
    unpause_at: Option<tokio::time::Instant>,
    /// Somebody paused something.
    was_paused: bool,
}

pub(crate) struct World {
    random: SeededRandom,
    pub(crate) clock: Arc<SimClock>,
    /// The device: sources and homes.
    pub(crate) device: Arc<SimDisk>,
    /// The vault's machine; the device itself if the vault is embedded.
    pub(crate) store: Arc<SimDisk>,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) tap: Arc<Tap>,
    pub(crate) homes: Vec<Home>,
    is_embedded: bool,
    /// The wall clock is not at the true time.
    jumped: bool,
    port: Arc<Port>,
    server: Option<ServerProcess>,
    token: Option<Token>,
    pub(crate) sources: BTreeMap<PathBuf, Source>,
    /// Lengths of contents that were ever at a path.
    pub(crate) lengths: BTreeMap<PathBuf, BTreeSet<usize>>,
    /// How many contents of a length there ever were.
    pub(crate) contents: BTreeMap<usize, usize>,
    /// How often somebody removed contents from the vault.
    pub(crate) removals: usize,
    workers: usize,
    made: u64,
}

struct ServerProcess {
    process: ProcessId,
    _vfs: SimVfs,
    server: Option<Server>,
}

/// What a person does to the queue or to the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    /// Cancels an unfinished item.
    Cancel(u64),
    /// Pauses an unfinished item, or all.
    Pause(Option<u64>),
    /// Has blocked items tried again, and lets paused ones go on.
    GoOn,
    /// Removes a content from the vault.
    Remove(u64),
}

/// Making a world, and what is in it.
impl World {
    async fn new(seed: u64, options: &WorldOptions) -> Self {
        let seed = Seed(seed);
        let random = seed.fork("world").random();
        let clock = Arc::new(SimClock::new(1_700_000_000_000));
        // Few files and workers more often than many: each number of them is met, and most worlds are quick.
        let draws = if random.chance(0.05) { 1 } else { 8 };
        let items = 2 + (0..draws).map(|_| below(&random, FILES_MAX - 1)).min().unwrap_or(0);
        let workers = 1 + below(&random, 3).min(below(&random, 3));
        let is_embedded = random.chance(0.25);
        let is_used = random.chance(0.9);
        let home_count = if random.chance(0.1) { 2 } else { 1 };
        let chaos = Chaos::new(seed.fork("chaos").random(), options.faults, options.sabotage, options.history);
        let device = SimDisk::new(Arc::clone(&clock));
        let names = [("/home", "/photos"), ("/second-home", "/camera")];
        let homes = names.into_iter().take(home_count).map(|(path, photos)| Home {
            path: path.into(),
            photos: photos.into(),
            unpause_at: None,
            was_paused: false,
        });
        let mut world = Self {
            homes: homes.collect(),
            store: if is_embedded { Arc::clone(&device) } else { SimDisk::new(Arc::clone(&clock)) },
            device,
            clock,
            chaos,
            tap: Arc::default(),
            is_embedded,
            jumped: false,
            port: Arc::default(),
            server: None,
            token: None,
            sources: BTreeMap::new(),
            lengths: BTreeMap::new(),
            contents: BTreeMap::new(),
            removals: 0,
            workers: workers.max(home_count),
            made: 0,
            random,
        };
        world.store.put_dir(VAULT).expect("a fresh disk has room");
        Self::put_vault(&world.store, is_used);
        for home in &world.homes {
            world.device.put_dir(home.path.join("workers")).expect("a fresh disk has room");
            put_journal(&world.device, &home.path, is_used);
            world.device.put_dir(&home.photos).expect("a fresh disk has room");
            world.tap.watch(&world.device, &home.path, world.random.fork("tap"), &world.chaos);
        }
        world.first_sources(items);
        world.device.settle();
        // Nobody has just written these.
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.start_server().await;
        world
    }

    /// One of several parts, one duplicate, the rest as it comes.
    fn first_sources(&mut self, items: usize) {
        let first = self.fresh_bytes(5 * CHUNK as usize + 17);
        let twin_home = self.homes.len() - 1;
        self.put_source(0, "first.jpg", first.clone());
        self.put_source(twin_home, "twin.jpg", first);
        for number in 2..items {
            let length = match self.random.below(4) {
                0 => 12 + below(&self.random, 60),
                1 => 12 + below(&self.random, CHUNK as usize),
                2 => CHUNK as usize * (1 + below(&self.random, 6)),
                _ => 12 + below(&self.random, CHUNK as usize * 9),
            };
            let bytes = self.fresh_bytes(length);
            let home = number % self.homes.len();
            if self.homes.len() > 1 && self.random.chance(0.4) && self.sources.len() + 1 < FILES_MAX {
                self.put_source(1 - home, &format!("both-{number}.jpg"), bytes.clone());
            }
            if self.sources.len() < FILES_MAX {
                self.put_source(home, &format!("IMG_{number:04}.jpg"), bytes);
            }
        }
    }

    /// A content that never was, of a length that none had before, at least this long.
    fn fresh_bytes(&mut self, length: usize) -> Vec<u8> {
        let mut length = length.max(12);
        while self.contents.contains_key(&length) || sealed(length) == THUMBNAIL_SEALED {
            length += 1;
        }
        self.bytes_of_length(length)
    }

    fn bytes_of_length(&mut self, length: usize) -> Vec<u8> {
        self.made += 1;
        *self.contents.entry(length).or_default() += 1;
        let mut bytes = vec![0; length];
        landfall_env::Random::fill(&self.random, &mut bytes);
        // What a scan takes for a JPEG, and no decoder gets far with.
        bytes[..4].copy_from_slice(&[0xff, 0xd8, 0xff, 0xe0]);
        bytes[4..12].copy_from_slice(&self.made.to_le_bytes());
        bytes
    }

    fn put_source(&mut self, home: usize, name: &str, bytes: Vec<u8>) {
        let path = self.homes[home].photos.join(name);
        self.write_source(path, bytes);
    }

    fn write_source(&mut self, path: PathBuf, bytes: Vec<u8>) {
        // Whoever writes here cleared the room for it.
        self.device.set_free(u64::MAX);
        self.device.put(&path, &bytes).expect("the outside world writes whatever the engine does");
        self.lengths.entry(path.clone()).or_default().insert(bytes.len());
        self.sources.insert(path.clone(), Source { path, bytes });
    }

    /// More to do: another file, or another content in one that is there.
    fn add_work(&mut self) {
        if self.sources.len() >= FILES_MAX {
            return self.change_source();
        }
        let length = 12 + below(&self.random, CHUNK as usize * 8);
        let bytes = self.fresh_bytes(length);
        let home = below(&self.random, self.homes.len());
        self.put_source(home, &format!("IMG_{:04}.jpg", 100 + self.made), bytes);
    }

    /// Somebody saves a file again: with another content, with as many other bytes in place, or as it was.
    fn change_source(&mut self) {
        let paths: Vec<PathBuf> = self.sources.keys().cloned().collect();
        let path = paths[below(&self.random, paths.len())].clone();
        let bytes = match self.random.below(4) {
            0 | 1 => {
                let length = 12 + below(&self.random, CHUNK as usize * 6);
                self.fresh_bytes(length)
            }
            2 => self.bytes_of_length(self.sources[&path].bytes.len()),
            _ => self.sources[&path].bytes.clone(),
        };
        self.write_source(path, bytes);
    }

    /// What somebody else wrote is durable, whatever happens to the device.
    fn restore_sources(&self) {
        self.device.set_free(u64::MAX);
        for source in self.sources.values() {
            if self.device.read(&source.path).ok().as_deref() != Some(&source.bytes[..]) {
                self.device
                    .put(&source.path, &source.bytes)
                    .expect("the outside world writes whatever the engine does");
            }
        }
    }
}

/// Processes.
impl World {
    fn env(&self, disk: &Arc<SimDisk>, process: ProcessId, is_server: bool) -> Env {
        let hook = Watcher { chaos: Arc::clone(&self.chaos), process, disk: Arc::clone(disk), is_server };
        Env {
            files: disk.process(process),
            clock: Arc::clone(&self.clock) as Arc<dyn landfall_env::Clock>,
            random: Arc::new(self.random.fork(&format!("{process}{is_server}"))),
            blocking: Blocking::Inline,
            steps: Steps::with_hook(Arc::new(hook)),
        }
    }

    fn settings(&self, home: &Path, vfs: &str) -> Settings {
        Settings {
            vfs: Some(vfs.to_owned()),
            limits: ClassLimits { total: 3, video: 2, upload: 2 },
            chunk_len: ChunkLen::new(CHUNK).expect("1 KiB is a length"),
            chunks_per_part: 2,
            memory_bytes: 64 << 10,
            // Shorter than a person's: what nobody waits for costs only time.
            retry: RetryPolicy { cap: Duration::from_secs(10), ..RetryPolicy::default() },
            reach: RetryPolicy { cap: Duration::from_secs(5), ..Settings::new(home).reach },
            ..Settings::new(home)
        }
    }

    fn server_config(vfs: &SimVfs) -> ServerConfig {
        ServerConfig { grant_ttl: GRANT_TTL, sqlite_vfs: Some(vfs.name().to_owned()), ..ServerConfig::new(VAULT) }
    }

    async fn start_server(&mut self) {
        if self.is_embedded {
            return;
        }
        let process = self.store.spawn();
        let vfs = SimVfs::register(&self.store, process, self.random.fork("server-vfs"));
        let env = self.env(&self.store, process, true);
        let opened = AssertUnwindSafe(Server::open(Self::server_config(&vfs), env)).catch_unwind().await;
        let server = match opened {
            Ok(Ok(server)) => Some(server),
            // A disk that is full, a step it died at: it is started again later.
            Ok(Err(_)) | Err(_) => None,
        };
        if let Some(server) = &server {
            if self.token.is_none()
                && let Ok(account) = server.account_add("alice").await
            {
                self.token = Token::new(account.token.as_str()).ok();
            }
            self.port.listen(server.router());
        }
        self.server = Some(ServerProcess { process, _vfs: vfs, server });
    }

    fn kill_server(&mut self) {
        self.port.close();
        if let Some(server) = self.server.take() {
            self.store.kill(server.process);
            drop(server.server);
        }
    }

    /// Whether the server lives, if there is one.
    fn has_server(&self) -> bool {
        let lives = |server: &ServerProcess| server.server.is_some() && self.store.is_alive(server.process);
        self.is_embedded || self.server.as_ref().is_some_and(lives)
    }

    async fn mend_server(&mut self) {
        if !self.has_server() {
            self.kill_server();
            self.start_server().await;
        }
    }

    /// The vault as a process sees it.
    fn reach(&self, process: ProcessId, home: usize, vfs: &SimVfs) -> Reach {
        Reach {
            embedded: self.is_embedded.then(|| (Self::server_config(vfs), self.env(&self.device, process, true))),
            token: self.token.clone(),
            port: Arc::clone(&self.port),
            chaos: Arc::clone(&self.chaos),
            tap: Arc::clone(&self.tap),
            process,
            home,
        }
    }

    fn start<F: Future<Output = Result<(), String>> + Send + 'static>(
        &self,
        process: ProcessId,
        vfs: Arc<SimVfs>,
        work: F,
    ) -> Worker {
        let end = End(Arc::clone(&self.chaos));
        let work = Box::pin(async move {
            let _end = end;
            work.await
        });
        let stoppable = Stoppable { work, chaos: Arc::clone(&self.chaos), process, pause: None };
        Worker { process, task: tokio::spawn(stoppable), _vfs: vfs }
    }

    /// A process that takes everything in charge and works until nothing is left.
    fn worker(&self, home: usize) -> Worker {
        let device = self.device(home);
        let (process, vfs) = (device.process, Arc::clone(&device.vfs));
        self.start(process, vfs, async move { device.open().await?.work().await })
    }

    /// A process at a home, before it has opened anything.
    fn device(&self, home: usize) -> Device {
        let process = self.device.spawn();
        let vfs = SimVfs::register(&self.device, process, self.random.fork("worker-vfs"));
        Device {
            process,
            settings: self.settings(&self.homes[home].path, vfs.name()),
            env: self.env(&self.device, process, false),
            reach: self.reach(process, home, &vfs),
            vfs: Arc::new(vfs),
            roots: [self.homes[home].photos.clone()],
            witness: Arc::new(Witness { tap: Arc::clone(&self.tap), home }),
            chaos: Arc::clone(&self.chaos),
        }
    }

    /// A process that somebody starts to change the queue, or the vault.
    fn errand(&self, home: usize, errand: Errand) -> Worker {
        let process = self.device.spawn();
        self.chaos.note(|| format!("{process}: {errand:?} in home {home}"));
        let vfs = SimVfs::register(&self.device, process, self.random.fork("errand-vfs"));
        let settings = self.settings(&self.homes[home].path, vfs.name());
        let env = self.env(&self.device, process, false);
        let reach = self.reach(process, home, &vfs);
        self.start(process, Arc::new(vfs), async move {
            let engine = Engine::open(settings, env).await.map_err(|error| format!("open: {error}"))?;
            run_errand(&engine, reach, errand).await
        })
    }
}

async fn run_errand(engine: &Engine, reach: Reach, errand: Errand) -> Result<(), String> {
    let failed = |error: landfall::Error| error.to_string();
    let choose = |number: u64, count: usize| usize::try_from(number % count.max(1) as u64).unwrap_or(0);
    match errand {
        Errand::Cancel(number) => {
            let items = engine.items(None, 100).await.map_err(failed)?;
            let Some(item) = items.get(choose(number, items.len())) else { return Ok(()) };
            engine.cancel(vec![item.id]).await.map_err(failed)?;
        }
        Errand::Pause(None) => drop(engine.pause(None).await.map_err(failed)?),
        Errand::Pause(Some(number)) => {
            let items = engine.items(None, 100).await.map_err(failed)?;
            let Some(item) = items.get(choose(number, items.len())) else { return Ok(()) };
            engine.pause(Some(vec![item.id])).await.map_err(failed)?;
        }
        Errand::GoOn => {
            engine.unpause(None).await.map_err(failed)?;
            engine.retry(None).await.map_err(failed)?;
        }
        Errand::Remove(number) => {
            let (vault, _server) = reach.vault().await?;
            let session = open_session(engine, &vault).await?;
            // The vault counts from 1. Without such a content nothing is removed.
            let id = 1 + i64::try_from(number % 16).unwrap_or(0);
            recipe::remove(engine, &session, &[id]).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// How a process comes to the vault.
struct Reach {
    embedded: Option<(ServerConfig, Env)>,
    token: Option<Token>,
    port: Arc<Port>,
    chaos: Arc<Chaos>,
    tap: Arc<Tap>,
    process: ProcessId,
    home: usize,
}

impl Reach {
    /// The vault, and the server that must live as long as it is used.
    async fn vault(self) -> Result<(Vault, Option<Server>), String> {
        let Self { embedded, token, port, chaos, tap, process, home } = self;
        let (route, token, server) = match embedded {
            None => (Route::Port(port), token.ok_or("no account yet")?, None),
            Some((config, env)) => {
                let server = Server::open(config, env).await.map_err(|error| format!("vault: {error}"))?;
                let token = server.embedded_token(None).await.map_err(|error| format!("account: {error}"))?;
                let token = Token::new(token.as_str()).map_err(|error| format!("{error:?}"))?;
                (Route::Own(server.router()), token, Some(server))
            }
        };
        let wire = Wire { route, chaos, tap, process, home };
        Ok((Vault::new(Arc::new(wire), Origin::in_process(), token), server))
    }
}

/// How long a signed URL is good.
pub(crate) const GRANT_TTL: Duration = Duration::from_secs(8);

fn below(random: &SeededRandom, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}

/// Length of a content's ciphertext.
pub(crate) fn sealed(length: usize) -> u64 {
    landfall_crypto::sealed_len(length as u64, ChunkLen::new(CHUNK).expect("1 KiB is a length"))
}

fn error_is_crash(error: tokio::task::JoinError) -> bool {
    error.try_into_panic().is_ok_and(|payload| payload.is::<Crash>())
}

async fn open_session(engine: &Engine, vault: &Vault) -> Result<Session, String> {
    // Ready-made keys: the expensive derivation has its own tests.
    let keys = engine.unlock(vault, Secret::MasterKey(MasterKey::from_bytes([42; 32]))).await;
    let keys: UnlockedKeys = keys.map_err(|error| format!("unlock: {error}"))?;
    let destination = engine.destination("default").await.map_err(|error| format!("destination: {error}"))?;
    engine.session(&destination, vault, &keys).await.map_err(|error| format!("session: {error}"))
}

struct Worker {
    process: ProcessId,
    task: tokio::task::JoinHandle<Result<(), String>>,
    _vfs: Arc<SimVfs>,
}

/// A process at a home.
struct Device {
    process: ProcessId,
    vfs: Arc<SimVfs>,
    settings: Settings,
    env: Env,
    reach: Reach,
    roots: [PathBuf; 1],
    witness: Arc<Witness>,
    chaos: Arc<Chaos>,
}

impl Device {
    async fn open(self) -> Result<OpenDevice, String> {
        let Self { process, vfs, settings, env, reach, roots, witness, chaos } = self;
        let (vault, server) = reach.vault().await?;
        let engine = Engine::open(settings, env).await.map_err(|error| format!("open: {error}"))?;
        let session = open_session(&engine, &vault).await?;
        Ok(OpenDevice { engine, session, vault, server, roots, witness, chaos, process, _vfs: vfs })
    }
}

/// A process that has opened its home and the vault.
struct OpenDevice {
    engine: Engine,
    session: Session,
    vault: Vault,
    /// Its own router to the vault's folder.
    server: Option<Server>,
    roots: [PathBuf; 1],
    witness: Arc<Witness>,
    chaos: Arc<Chaos>,
    process: ProcessId,
    _vfs: Arc<SimVfs>,
}

impl OpenDevice {
    /// Takes everything in charge and works until nothing is left.
    async fn work(&self) -> Result<(), String> {
        let Self { engine, session, chaos, .. } = self;
        let id = engine.destination("default").await.map_err(|error| error.to_string())?.id;
        recipe::learn(engine, session, &Silent).await.map_err(|error| format!("learn: {error}"))?;
        let (scan_options, options) =
            (ScanOptions::default(), RunOptions { patience: Some(Duration::from_secs(120)), ..RunOptions::default() });
        // What was queued before may have been read before its file changed: then there is a second time.
        let mut is_second = false;
        loop {
            let scanned = recipe::scan(engine, Some(session), id, &self.roots, &scan_options).await;
            let scanned = scanned.map_err(|error| format!("scan: {error}"))?;
            let report = engine.run(session, options.clone(), Arc::clone(&self.witness) as _).await;
            match report.map_err(|error| format!("run: {error}"))?.end {
                RunEnd::Drained if scanned.queued > 0 && !is_second => is_second = true,
                // Somebody saves another file, and some time later it is looked for.
                RunEnd::Drained if chaos.idle() => {
                    is_second = false;
                    tokio::time::sleep(Duration::from_secs(6)).await;
                }
                RunEnd::Drained => return Ok(()),
                other => return Err(format!("{other:?}")),
            }
        }
    }
}

/// Tells the world that a process has ended, however it did.
struct End(Arc<Chaos>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stir();
    }
}

/// A process that may be stopped for a while, between two of its steps.
struct Stoppable<F> {
    work: Pin<Box<F>>,
    chaos: Arc<Chaos>,
    process: ProcessId,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<F: Future> Future for Stoppable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            let polled = self.work.as_mut().poll(cx);
            if polled.is_ready() {
                return polled;
            }
            match self.chaos.stopped_for_ms(self.process) {
                Some(pause) => {
                    self.chaos.stood_still(self.process);
                    self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(pause))));
                }
                None => return Poll::Pending,
            }
        }
    }
}
