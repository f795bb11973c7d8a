//! A device, a vault, and everything that can go wrong between them, from one seed.
//!
//! The engine, the journal's SQLite and the server's router are the real ones. Clock, disks, network and power switch
//! are simulated. One number decides everything that happens: two runs of one seed give one trace.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use landfall::{
    ClassLimits, Engine, Env, MasterKey, Origin, RunEnd, RunOptions, Secret, Session, Settings, Silent, Token,
    UnlockedKeys, Vault,
    recipes::vault::{self as recipe, RestoreOptions, RestoreTarget, ScanOptions},
};
use landfall_crypto::ChunkLen;
use landfall_env::{Blocking, Sabotage, Steps};
use landfall_server::{Server, ServerConfig};

use crate::{
    ProcessId, Seed, SeededRandom, SimClock, SimDisk, SimVfs,
    audit::audit,
    chaos::{Chaos, Crash, FaultTable, Watcher},
    network::{Port, Tap, Wire},
};

/// Length of a chunk of plaintext in simulated worlds.
pub const CHUNK: u32 = 1024;
const PHOTOS: &str = "/photos";
const HOME: &str = "/home";
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
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { faults: 20, sabotage: None }
    }
}

/// What a world came to.
#[derive(Debug)]
pub struct Outcome {
    /// What must hold and does not; empty if all is well.
    pub complaints: Vec<String>,
    /// Faults by phase.
    pub table: FaultTable,
    /// Files, parts and workers of this world.
    pub files: usize,
    /// The same for two runs of one seed.
    pub trace: u64,
    /// The last steps, for whoever has to understand a complaint.
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

pub(crate) struct World {
    random: SeededRandom,
    pub(crate) clock: Arc<SimClock>,
    /// The device: sources and home.
    pub(crate) device: Arc<SimDisk>,
    /// The vault's machine.
    pub(crate) store: Arc<SimDisk>,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) tap: Arc<Tap>,
    port: Arc<Port>,
    server: Option<ServerProcess>,
    token: Option<Token>,
    pub(crate) sources: BTreeMap<PathBuf, Source>,
    workers: usize,
    made: u64,
    sabotage: Option<Sabotage>,
}

struct ServerProcess {
    process: ProcessId,
    _vfs: SimVfs,
    server: Option<Server>,
}

impl World {
    async fn new(seed: u64, options: &WorldOptions) -> Self {
        let seed = Seed(seed);
        let random = seed.fork("world").random();
        let clock = Arc::new(SimClock::new(1_700_000_000_000));
        let items = 2 + random.below(11);
        let chaos = Chaos::new(seed.fork("chaos").random(), options.faults, 0.1, options.sabotage);
        let mut world = Self {
            workers: 1 + usize::try_from(random.below(3)).unwrap_or(0),
            random,
            device: SimDisk::new(Arc::clone(&clock)),
            store: SimDisk::new(Arc::clone(&clock)),
            clock,
            chaos,
            tap: Arc::default(),
            port: Arc::default(),
            server: None,
            token: None,
            sources: BTreeMap::new(),
            made: 0,
            sabotage: options.sabotage,
        };
        world.device.put_dir(PHOTOS).expect("a fresh disk has room");
        world.store.put_dir(VAULT).expect("a fresh disk has room");
        // One of several parts, one duplicate, the rest as it comes.
        world.add_source(9 * usize::try_from(CHUNK).unwrap_or(0) + 17);
        let first = world.sources.values().next().map(|source| source.bytes.clone()).unwrap_or_default();
        world.put_source("twin.jpg", first);
        for _ in 2..items {
            let length = match world.random.below(4) {
                0 => 4 + world.random.below(60),
                1 => 4 + world.random.below(u64::from(CHUNK)),
                2 => u64::from(CHUNK) * (1 + world.random.below(6)),
                _ => 4 + world.random.below(u64::from(CHUNK) * 12),
            };
            world.add_source(usize::try_from(length).unwrap_or(0));
        }
        world.device.settle();
        // Nobody has just written these.
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.start_server().await;
        world
    }

    fn add_source(&mut self, length: usize) {
        self.made += 1;
        let name = format!("IMG_{:04}.jpg", self.made);
        let bytes = self.fresh_bytes(length);
        self.put_source(&name, bytes);
    }

    fn fresh_bytes(&mut self, length: usize) -> Vec<u8> {
        self.made += 1;
        let mut bytes = vec![0; length.max(12)];
        landfall_env::Random::fill(&self.random, &mut bytes);
        // What a scan takes for a JPEG, and no decoder gets far with.
        bytes[..4].copy_from_slice(&[0xff, 0xd8, 0xff, 0xe0]);
        bytes[4..12].copy_from_slice(&self.made.to_le_bytes());
        bytes
    }

    fn put_source(&mut self, name: &str, bytes: Vec<u8>) {
        let path = Path::new(PHOTOS).join(name);
        // Whoever writes here cleared the room for it.
        self.device.set_free(u64::MAX);
        self.device.put(&path, &bytes).expect("the outside world writes whatever the engine does");
        self.sources.insert(path.clone(), Source { path, bytes });
    }

    async fn start_server(&mut self) {
        let process = self.store.spawn();
        let vfs = SimVfs::register(&self.store, process, self.random.fork("server-vfs"));
        let env = self.env(&self.store, process, true);
        let config = ServerConfig {
            grant_ttl: Duration::from_secs(20),
            sqlite_vfs: Some(vfs.name().to_owned()),
            ..ServerConfig::new(VAULT)
        };
        let opened = AssertUnwindSafe(Server::open(config, env)).catch_unwind().await;
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

    fn env(&self, disk: &Arc<SimDisk>, process: ProcessId, is_server: bool) -> Env {
        let hook = Watcher {
            chaos: Arc::clone(&self.chaos),
            process,
            disk: Arc::clone(disk),
            clock: Arc::clone(&self.clock),
            is_server,
        };
        Env {
            files: disk.process(process),
            clock: Arc::clone(&self.clock) as Arc<dyn landfall_env::Clock>,
            random: Arc::new(self.random.fork(&format!("{process:?}{is_server}"))),
            blocking: Blocking::Inline,
            steps: Steps::with_hook(Arc::new(hook)),
        }
    }

    fn settings(&self, home: &str, vfs: &str) -> Settings {
        Settings {
            vfs: Some(vfs.to_owned()),
            limits: ClassLimits { total: 3, video: 2 },
            chunk_len: ChunkLen::new(CHUNK).expect("1 KiB is a length"),
            chunks_per_part: 2,
            memory_bytes: 64 << 10,
            ..Settings::new(home)
        }
    }

    /// A process that takes everything in charge and works until nothing is left.
    fn worker(&self) -> Worker {
        let process = self.device.spawn();
        let vfs = SimVfs::register(&self.device, process, self.random.fork("worker-vfs"));
        let settings = self.settings(HOME, vfs.name());
        let env = self.env(&self.device, process, false);
        let vault = self.vault();
        let token = self.token.clone();
        let frozen_chaos = Arc::clone(&self.chaos);
        let work = async move {
            let Some(token) = token else { return Err("no account yet".to_owned()) };
            let engine = Engine::open(settings, env).await.map_err(|error| format!("open: {error}"))?;
            let session = open_session(&engine, &vault(token)).await?;
            let id = engine.destination("default").await.map_err(|error| error.to_string())?.id;
            recipe::learn(&engine, &session, &Silent).await.map_err(|error| format!("learn: {error}"))?;
            let roots = [PathBuf::from(PHOTOS)];
            let scanned = recipe::scan(&engine, Some(&session), id, &roots, &ScanOptions::default()).await;
            scanned.map_err(|error| format!("scan: {error}"))?;
            let options = RunOptions { patience: Some(Duration::from_secs(120)), ..RunOptions::default() };
            let report =
                engine.run(&session, options, Arc::new(Silent)).await.map_err(|error| format!("run: {error}"))?;
            match report.end {
                RunEnd::Drained => Ok(()),
                other => Err(format!("{other:?}")),
            }
        };
        let stoppable = Stoppable { work: Box::pin(work), chaos: frozen_chaos, process, pause: None };
        Worker { process, task: tokio::spawn(stoppable), _vfs: vfs }
    }

    fn vault(&self) -> impl FnOnce(Token) -> Vault + Send + use<> {
        let wire = Wire { port: Arc::clone(&self.port), chaos: Arc::clone(&self.chaos), tap: Arc::clone(&self.tap) };
        move |token| Vault::new(Arc::new(wire), Origin::in_process(), token)
    }

    async fn live(&mut self) -> Outcome {
        let mut complaints = Vec::new();
        let mut restarts = 0;
        while self.chaos.state_left() > 0 && restarts < 400 {
            restarts += 1;
            self.storm().await;
            if self.chaos.state_left() > 0 {
                // All is done and not enough went wrong: more work.
                let length = 4 + self.random.below(u64::from(CHUNK) * 8);
                self.add_source(usize::try_from(length).unwrap_or(0));
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
        let table = self.chaos.table();
        self.heal().await;
        match tokio::time::timeout(SETTLE_WITHIN, self.settle()).await {
            Ok(Ok(())) => complaints.extend(self.examine().await),
            Ok(Err(error)) => complaints.push(format!("it does not settle: {error}")),
            Err(_) => complaints.push("it does not settle within an hour".to_owned()),
        }
        let panics = self.chaos.trace().into_iter().filter(|line| line.ends_with("PANICKED"));
        complaints.extend(panics);
        self.kill_server();
        Outcome {
            complaints,
            table,
            files: self.sources.len(),
            trace: self.chaos.trace_hash() ^ self.device.trace() ^ self.store.trace().rotate_left(1),
            history: self.chaos.trace(),
        }
    }

    /// Some workers at once, until all have ended one way or another, while faults strike.
    async fn storm(&mut self) {
        if self.server.as_ref().is_none_or(|server| server.server.is_none()) {
            self.kill_server();
            self.start_server().await;
        }
        let mut workers: Vec<Worker> = (0..self.workers).map(|_| self.worker()).collect();
        let deadline = tokio::time::Instant::now() + SETTLE_WITHIN;
        let mut full_until: Option<tokio::time::Instant> = None;
        while !workers.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let pending = self.chaos.take_pending();
            if let Some(pause) = pending.disk_full_ms {
                let disk = if self.random.chance(0.5) { &self.device } else { &self.store };
                disk.set_free(0);
                full_until = Some(tokio::time::Instant::now() + Duration::from_millis(pause));
            }
            if full_until.is_some_and(|until| until <= tokio::time::Instant::now()) {
                full_until = None;
                self.device.set_free(u64::MAX);
                self.store.set_free(u64::MAX);
            }
            if pending.clock_jump {
                let jumps = [-3_600_000, 0, 3_600_000];
                let jump = jumps[usize::try_from(self.random.below(3)).unwrap_or(0)];
                self.clock.set_jump_ms(jump);
            }
            if pending.source_change {
                self.change_source();
            }
            if pending.power_cut {
                if self.random.chance(0.5) {
                    self.kill_server();
                    self.store.power_cut(&self.random);
                } else {
                    for worker in &workers {
                        self.device.kill(worker.process);
                        worker.task.abort();
                    }
                    self.device.power_cut(&self.random);
                    self.restore_sources();
                }
            }
            if pending.server_crash {
                self.kill_server();
            }
            if self.server.as_ref().is_none_or(|server| server.server.is_none() || !self.store.is_alive(server.process))
            {
                self.kill_server();
                self.start_server().await;
            }
            let mut alive = Vec::new();
            for worker in workers {
                if worker.task.is_finished() {
                    self.device.kill(worker.process);
                    match worker.task.await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => self.chaos.note(|| format!("{:?} ended: {error}", worker.process)),
                        Err(error) => {
                            if error.is_panic() && !error_is_crash(error) {
                                self.chaos.note(|| format!("{:?} PANICKED", worker.process));
                            }
                        }
                    }
                } else {
                    alive.push(worker);
                }
            }
            workers = alive;
        }
        for worker in workers {
            self.device.kill(worker.process);
            worker.task.abort();
            let _ = worker.task.await;
        }
        self.device.set_free(u64::MAX);
        self.store.set_free(u64::MAX);
    }

    fn change_source(&mut self) {
        let paths: Vec<PathBuf> = self.sources.keys().cloned().collect();
        let at = usize::try_from(self.random.below(paths.len() as u64)).unwrap_or(0);
        let length = 12 + usize::try_from(self.random.below(u64::from(CHUNK) * 6)).unwrap_or(0);
        let bytes = self.fresh_bytes(length);
        let name = paths[at].file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.put_source(&name, bytes);
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

    async fn heal(&mut self) {
        self.chaos.heal();
        self.clock.set_jump_ms(0);
        self.device.set_free(u64::MAX);
        self.store.set_free(u64::MAX);
        if self.server.as_ref().is_none_or(|server| server.server.is_none() || !self.store.is_alive(server.process)) {
            self.kill_server();
            self.start_server().await;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    async fn settle(&mut self) -> Result<(), String> {
        // The second finds nothing to do, if the first did its work.
        for _ in 0..2 {
            let worker = self.worker();
            let ended = worker.task.await;
            self.device.kill(worker.process);
            match ended {
                Ok(result) => result?,
                Err(error) => return Err(format!("a worker left in peace died: {error}")),
            }
        }
        Ok(())
    }

    /// Looks at everything, from outside.
    async fn examine(&mut self) -> Vec<String> {
        let process = self.device.spawn();
        let vfs = SimVfs::register(&self.device, process, self.random.fork("auditor-vfs"));
        let env = self.env(&self.device, process, false);
        let token = self.token.clone();
        let vault = self.vault();
        let mut complaints = Vec::new();
        let Some(token) = token else { return vec!["there is no account".to_owned()] };
        let vault = vault(token);
        let opened = Engine::open(self.settings(HOME, vfs.name()), env.clone()).await;
        let Ok(engine) = opened else { return vec!["the journal does not open".to_owned()] };
        let session = match open_session(&engine, &vault).await {
            Ok(session) => session,
            Err(error) => return vec![format!("no session: {error}")],
        };
        // Restored on a machine that has only the vault and the keys.
        let fresh = Settings { ephemeral: true, vfs: None, ..self.settings("/nowhere", "") };
        let restored = match Engine::open(fresh, env).await {
            Err(error) => Err(error.to_string()),
            Ok(fresh) => match open_session(&fresh, &vault).await {
                Err(error) => Err(error),
                Ok(session) => {
                    let target = RestoreTarget { folder: "/restored".into(), on_file: Arc::new(|_, _| {}) };
                    let report = recipe::restore(&fresh, &session, &target, &RestoreOptions::default()).await;
                    report.map_err(|error| error.to_string())
                }
            },
        };
        match restored {
            Err(error) => complaints.push(format!("restore fails: {error}")),
            Ok(report) => {
                complaints.extend(report.problems.iter().map(|(place, code, message)| {
                    format!("restore of {}: {code}: {message}", String::from_utf8_lossy(place))
                }));
                complaints.extend(self.compare());
            }
        }
        complaints.extend(audit(self, &engine, &session).await);
        drop((session, engine));
        self.device.kill(process);
        self.kill_server();
        let auditor = self.store.spawn();
        let vfs = SimVfs::register(&self.store, auditor, self.random.fork("server-auditor"));
        let config = ServerConfig { sqlite_vfs: Some(vfs.name().to_owned()), ..ServerConfig::new(VAULT) };
        let env = self.env(&self.store, auditor, true);
        // A server that opens sweeps what dead ones left; then nothing may be left.
        match Server::open(config.clone(), env.clone()).await {
            Err(error) => complaints.push(format!("the vault does not open: {error}")),
            Ok(server) => {
                let _ = server.maintain().await;
                drop(server);
                complaints
                    .extend(landfall_server::audit_in(&config, &env).into_iter().map(|line| format!("vault: {line}")));
            }
        }
        self.store.kill(auditor);
        complaints
    }

    fn compare(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for source in self.sources.values() {
            let name = source.path.file_name().map(PathBuf::from).unwrap_or_default();
            let path = Path::new("/restored/photos").join(&name);
            match self.device.read(&path) {
                Ok(bytes) if bytes == source.bytes => {}
                Ok(bytes) => {
                    complaints.push(format!("{} came back with other bytes ({})", name.display(), bytes.len()))
                }
                Err(error) => complaints.push(format!("{} did not come back: {error}", name.display())),
            }
        }
        complaints
    }

    pub(crate) fn is_sabotaged(&self) -> bool {
        self.sabotage.is_some()
    }
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
    _vfs: SimVfs,
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
                Some(pause) => self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(pause)))),
                None => return Poll::Pending,
            }
        }
    }
}
