//! A vault with something in it, and engines that work with it.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use landfall::{
    Engine, Env, MasterKey, Observer, Origin, RunEnd, RunOptions, Secret, ServiceCarrier, Session, Settings, Silent,
    Token, Vault,
    recipes::vault::{self as recipe, RestoreOptions, RestoreReport, RestoreTarget, ScanOptions, ScanReport},
};
use landfall_env::{Blocking, Files, Steps};
use landfall_server::{Server, ServerConfig};
use landfall_testkit::{Seed, SimClock, SimDisk, SimVfs};

/// A vault, and a machine that backs up its folder `/photos` to it.
pub(crate) struct Held {
    pub(crate) server: Server,
    pub(crate) disk: Arc<SimDisk>,
    env: Env,
    vfs: SimVfs,
}

/// Takes small pictures of these names.
pub(crate) async fn held(names: &[&str]) -> Held {
    let pictures = names.iter().enumerate().map(|(number, name)| (*name, format!("picture {number}").into_bytes()));
    held_with(pictures.collect(), |settings| settings).await
}

/// Takes these files, with a JPEG's first bytes before each, with an engine of these settings.
pub(crate) async fn held_with(files: Vec<(&str, Vec<u8>)>, change: impl FnOnce(Settings) -> Settings) -> Held {
    let held = Held::empty(Blocking::Inline, |files| files).await;
    for (name, bytes) in &files {
        held.put(name, bytes);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (engine, session) = held.engine(change(held.settings())).await;
    held.backup(&engine, &session, &ScanOptions::default()).await;
    held
}

impl Held {
    /// A vault that holds nothing, and a machine whose processes see the disk as `seen` makes it appear.
    pub(crate) async fn empty(blocking: Blocking, seen: impl FnOnce(Arc<dyn Files>) -> Arc<dyn Files>) -> Self {
        let clock = Arc::new(SimClock::new(1_700_000_000_000));
        let disk = SimDisk::new(Arc::clone(&clock));
        let process = disk.spawn();
        let random = Seed(7).random();
        let env = Env {
            files: seen(disk.process(process)),
            clock,
            random: Arc::new(random.fork("env")),
            blocking,
            steps: Steps::default(),
        };
        disk.put_dir("/vault").unwrap();
        let vfs = SimVfs::register(&disk, process, random.fork("vfs"));
        let config = ServerConfig { sqlite_vfs: Some(vfs.name().to_owned()), ..ServerConfig::new("/vault") };
        let server = Server::open(config, env.clone()).await.unwrap();
        Self { server, disk, env, vfs }
    }

    /// The same machine's home, over a vault that was put in the place of the first.
    pub(crate) async fn exchanged(&self) -> (Engine, Session) {
        self.disk.put_dir("/other-vault").unwrap();
        let config = ServerConfig { sqlite_vfs: Some(self.vfs.name().to_owned()), ..ServerConfig::new("/other-vault") };
        let server = Server::open(config, self.env.clone()).await.unwrap();
        Self::engine_in(self.env.clone(), &server, server.router(), self.settings()).await
    }

    /// Puts a file into `/photos`, with a JPEG's first bytes.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let jpeg = [&[0xff, 0xd8, 0xff, 0xe0][..], bytes].concat();
        self.disk.put(PathBuf::from("/photos").join(name), &jpeg).unwrap();
    }

    /// Those of the machine's own home.
    pub(crate) fn settings(&self) -> Settings {
        Settings { vfs: Some(self.vfs.name().to_owned()), ..Settings::new("/home") }
    }

    /// Looks at `/photos` and takes in charge what is new.
    pub(crate) async fn scan(&self, engine: &Engine, session: &Session, options: &ScanOptions) -> ScanReport {
        let destination = engine.destination("default").await.unwrap().id;
        recipe::scan(engine, Some(session), destination, &["/photos".into()], options).await.unwrap()
    }

    /// Backs up `/photos`, until nothing is left to do.
    pub(crate) async fn backup(&self, engine: &Engine, session: &Session, options: &ScanOptions) -> ScanReport {
        let report = self.scan(engine, session, options).await;
        run(engine, session, Arc::new(Silent)).await;
        report
    }

    pub(crate) async fn engine(&self, settings: Settings) -> (Engine, Session) {
        self.engine_over(self.server.router(), settings).await
    }

    pub(crate) async fn engine_over(&self, router: axum::Router, settings: Settings) -> (Engine, Session) {
        Self::engine_in(self.env.clone(), &self.server, router, settings).await
    }

    async fn engine_in(env: Env, server: &Server, router: axum::Router, settings: Settings) -> (Engine, Session) {
        let token = server.embedded_token(None).await.unwrap();
        let carrier = Arc::new(ServiceCarrier::new(router));
        let vault = Vault::new(carrier, Origin::in_process(), Token::new(token.as_str()).unwrap());
        let engine = Engine::open(settings, env).await.unwrap();
        let keys = engine.unlock(&vault, Secret::MasterKey(MasterKey::from_bytes([42; 32]))).await.unwrap();
        let destination = engine.destination("default").await.unwrap();
        let session = engine.session(&destination, &vault, &keys).await.unwrap();
        (engine, session)
    }

    /// How many contents the vault has.
    pub(crate) async fn contents(&self) -> usize {
        let (engine, session) = self.engine(Settings { ephemeral: true, ..Settings::new("/nowhere") }).await;
        let mut count = 0;
        recipe::list(&engine, &session, |_| count += 1).await.unwrap();
        count
    }

    /// Restores to a machine of its own.
    pub(crate) async fn restore(&self, disk: &Arc<SimDisk>, overwrite: bool) -> RestoreReport {
        self.restore_over(self.server.router(), disk, overwrite).await
    }

    /// Restores to a machine of its own, through whatever passes the requests on.
    pub(crate) async fn restore_over(
        &self,
        router: axum::Router,
        disk: &Arc<SimDisk>,
        overwrite: bool,
    ) -> RestoreReport {
        self.restore_only(router, disk, RestoreOptions { overwrite, ..RestoreOptions::default() }).await
    }

    /// Restores what is asked for to a machine of its own.
    pub(crate) async fn restore_only(
        &self,
        router: axum::Router,
        disk: &Arc<SimDisk>,
        options: RestoreOptions,
    ) -> RestoreReport {
        let ephemeral = Settings { ephemeral: true, ..Settings::new("/nowhere") };
        let env = Env { files: disk.process(disk.spawn()), ..self.env.clone() };
        let (engine, session) = Self::engine_in(env, &self.server, router, ephemeral).await;
        let target = RestoreTarget { folder: "/out".into(), on_file: Arc::new(|_, _| {}) };
        recipe::restore(&engine, &session, &target, &options).await.unwrap()
    }
}

/// Works on everything that is queued, until nothing is left that could go on by itself.
pub(crate) async fn run(engine: &Engine, session: &Session, observer: Arc<dyn Observer>) {
    let run = engine.run(session, RunOptions::default(), observer);
    let report = tokio::time::timeout(Duration::from_secs(3600), run).await.expect("an hour is enough").unwrap();
    assert!(matches!(report.end, RunEnd::Drained), "{:?}", report.end);
}
