//! Restoring onto a file system that is unlike the one the files came from.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{path::PathBuf, sync::Arc};

use landfall::{
    Engine, Env, MasterKey, Origin, RunEnd, RunOptions, Secret, ServiceCarrier, Session, Settings, Silent, Token,
    Vault,
    recipes::vault::{self as recipe, RestoreOptions, RestoreReport, RestoreTarget, ScanOptions},
};
use landfall_env::{Blocking, Steps};
use landfall_server::{Server, ServerConfig};
use landfall_testkit::{Seed, SimClock, SimDisk, SimVfs};

/// A vault that holds what was in `/photos` of a machine that tells cases apart.
struct Held {
    server: Server,
    env: Env,
}

async fn held(names: &[&str]) -> Held {
    let clock = Arc::new(SimClock::new(1_700_000_000_000));
    let disk = SimDisk::new(Arc::clone(&clock));
    let process = disk.spawn();
    let random = Seed(7).random();
    let env = Env {
        files: disk.process(process),
        clock,
        random: Arc::new(random.fork("env")),
        blocking: Blocking::Inline,
        steps: Steps::default(),
    };
    for (number, name) in names.iter().enumerate() {
        let jpeg = [&[0xff, 0xd8, 0xff, 0xe0][..], format!("picture {number}").as_bytes()].concat();
        disk.put(PathBuf::from("/photos").join(name), &jpeg).unwrap();
    }
    disk.put_dir("/vault").unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let vfs = SimVfs::register(&disk, process, random.fork("vfs"));
    let config = ServerConfig { sqlite_vfs: Some(vfs.name().to_owned()), ..ServerConfig::new("/vault") };
    let server = Server::open(config, env.clone()).await.unwrap();
    let held = Held { server, env };
    let (engine, session) = held.engine(Settings { vfs: Some(vfs.name().to_owned()), ..Settings::new("/home") }).await;
    let destination = engine.destination("default").await.unwrap().id;
    let roots = [PathBuf::from("/photos")];
    recipe::scan(&engine, Some(&session), destination, &roots, &ScanOptions::default()).await.unwrap();
    let report = engine.run(&session, RunOptions::default(), Arc::new(Silent)).await.unwrap();
    assert!(matches!(report.end, RunEnd::Drained), "{:?}", report.end);
    held
}

impl Held {
    async fn engine(&self, settings: Settings) -> (Engine, Session) {
        let token = self.server.embedded_token(None).await.unwrap();
        let carrier = Arc::new(ServiceCarrier::new(self.server.router()));
        let vault = Vault::new(carrier, Origin::in_process(), Token::new(token.as_str()).unwrap());
        let engine = Engine::open(settings, self.env.clone()).await.unwrap();
        let keys = engine.unlock(&vault, Secret::MasterKey(MasterKey::from_bytes([42; 32]))).await.unwrap();
        let destination = engine.destination("default").await.unwrap();
        let session = engine.session(&destination, &vault, &keys).await.unwrap();
        (engine, session)
    }

    /// Restores to a machine of its own.
    async fn restore(&self, disk: &Arc<SimDisk>, overwrite: bool) -> RestoreReport {
        let ephemeral = Settings { ephemeral: true, ..Settings::new("/nowhere") };
        let env = Env { files: disk.process(disk.spawn()), ..self.env.clone() };
        let there = Held { server: self.server.clone(), env };
        let (engine, session) = there.engine(ephemeral).await;
        let target = RestoreTarget { folder: "/out".into(), on_file: Arc::new(|_, _| {}) };
        let options = RestoreOptions { overwrite, ..RestoreOptions::default() };
        recipe::restore(&engine, &session, &target, &options).await.unwrap()
    }
}

fn folding_disk() -> Arc<SimDisk> {
    let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
    disk.fold_names();
    disk
}

#[tokio::test(start_paused = true)]
async fn names_that_a_file_system_takes_for_one_do_not_replace_each_other() {
    let held = held(&["IMG_1.jpg", "img_1.jpg", "Img_1.JPG", "other.jpg"]).await;
    for overwrite in [false, true] {
        let disk = folding_disk();
        let report = held.restore(&disk, overwrite).await;
        assert_eq!((report.restored, report.problems.len()), (2, 2), "{:?}", report.problems);
        assert!(report.problems.iter().all(|(_, code, _)| *code == "name-collision"), "{:?}", report.problems);
        assert_eq!(disk.files().len(), 2, "{:?}", disk.files());
        // Once more: what is there stays.
        let before = disk.read("/out/photos/img_1.jpg").unwrap();
        let again = held.restore(&disk, false).await;
        assert_eq!((again.restored, again.unchanged, again.problems.len()), (0, 2, 2), "{:?}", again.problems);
        assert_eq!(disk.read("/out/photos/img_1.jpg").unwrap(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_there_before_is_replaced_if_asked_whatever_its_case() {
    let held = held(&["IMG_1.jpg"]).await;
    let disk = folding_disk();
    disk.put("/out/photos/img_1.JPG", b"somebody else's").unwrap();
    assert_eq!(held.restore(&disk, false).await.problems[0].1, "exists");
    assert_eq!(disk.read("/out/photos/IMG_1.jpg").unwrap(), b"somebody else's");
    assert_eq!(held.restore(&disk, true).await.restored, 1);
    assert_ne!(disk.read("/out/photos/IMG_1.jpg").unwrap(), b"somebody else's");
}
