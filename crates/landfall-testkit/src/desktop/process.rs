//! A process that uploads: opened over a home, working, frozen, dead.

use std::{path::Path, sync::Arc, time::Duration};

use landfall::{
    ClassLimits, Engine, Env, Origin, RetryPolicy, RunOptions, Settings,
    bucket::{Bucket, BucketOptions},
    s3::{Credentials, Place, Style},
};
use landfall_core::PartLimits;
use landfall_crypto::ChunkLen;
use landfall_env::{Blocking, Steps};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    observer::Observed,
    wire::{Network, Wire},
};
use crate::{
    ProcessId, SeededRandom, SimClock, SimDisk, SimVfs,
    bucket::{BucketServer, Credential},
    process::{Done, Freezable, Frozen, run},
    trouble::{Trouble, Watcher},
};

/// Length of a part: the shortest that the engine cuts.
pub(crate) const PART: u64 = 1 << 20;

/// What every process of a desktop is made of.
pub(crate) struct Making {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) random: SeededRandom,
    pub(crate) network: Arc<Network>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) observed: Arc<Observed>,
    pub(crate) region: String,
    pub(crate) prefix: &'static str,
    pub(crate) parts_in_flight_max: usize,
    pub(crate) uploads_at_once: usize,
    /// How long each access to a disk takes.
    pub(crate) blocking: Blocking,
}

/// A living process.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) engine: Engine,
    pub(crate) bucket: Bucket,
    /// Works in the background.
    work: JoinHandle<()>,
    frozen: Frozen,
    _vfs: Arc<SimVfs>,
}

impl Making {
    /// Starts a process.
    pub(crate) async fn start(&self, home: &Path) -> Done<Process> {
        let id = self.disk.spawn();
        let random = self.random.fork(&format!("{id}"));
        let vfs = Arc::new(SimVfs::register(&self.disk, id, random.fork("vfs")));
        let watcher = Watcher { trouble: Arc::clone(&self.trouble), process: id, disk: Arc::clone(&self.disk) };
        let env = Env {
            files: self.disk.process(id),
            clock: Arc::clone(&self.clock) as _,
            random: Arc::new(random.fork("env")),
            blocking: self.blocking,
            steps: Steps::with_hook(Arc::new(watcher)),
        };
        let quickly = RetryPolicy { cap: Duration::from_secs(30), ..RetryPolicy::default() };
        let settings = Settings {
            vfs: Some(vfs.name().to_owned()),
            retry: quickly,
            chunk_len: ChunkLen::new(256 << 10).expect("a power of two is a length"),
            limits: ClassLimits { upload: self.uploads_at_once, ..ClassLimits::default() },
            ..Settings::new(home)
        };
        let options = self.bucket(id, quickly);
        let opened = run(&self.disk, id, async move {
            let engine = Engine::open(settings, env).await?;
            let bucket = engine.bucket("media", options).await?;
            Ok((engine, bucket))
        });
        match opened.await {
            Done::Did((engine, bucket)) => {
                let frozen = Frozen::default();
                let work = work(bucket.clone(), Arc::clone(&self.observed), random.fork("work"));
                let work = tokio::spawn(Freezable::new(work, frozen.clone()));
                Done::Did(Process { id, engine, bucket, work, frozen, _vfs: vfs })
            }
            Done::Refused(error) => {
                self.disk.kill(id);
                Done::Refused(error)
            }
            Done::Died => Done::Died,
        }
    }

    fn bucket(&self, process: ProcessId, retry: RetryPolicy) -> BucketOptions {
        let key = Credential::default();
        let credentials = Credentials::new(key.access_key_id(), key.secret_access_key(), None);
        let place = Place::new(Some(Origin::in_process()), BucketServer::BUCKET, &self.region, Some(Style::Path));
        let wire = Wire { network: Arc::clone(&self.network), process };
        BucketOptions {
            prefix: self.prefix.to_owned(),
            part_size: PART,
            limits: PartLimits { part_min: PART, ..PartLimits::S3 },
            retry: RetryPolicy { attempts_max: 11, ..retry },
            parts_in_flight_max: self.parts_in_flight_max,
            ..BucketOptions::new(
                place.expect("a bucket of ours has a place"),
                credentials.expect("a key of ours is one"),
                Arc::new(wire),
            )
        }
    }
}

impl Process {
    /// Has it do something, while its work goes on.
    pub(crate) async fn perform<T: Send + 'static, F>(
        &self,
        disk: &Arc<SimDisk>,
        what: impl FnOnce(Engine, Bucket) -> F,
    ) -> Done<T>
    where
        F: Future<Output = Result<T, landfall::Error>> + Send + 'static,
    {
        run(disk, self.id, what(self.engine.clone(), self.bucket.clone())).await
    }

    /// It stands still, as under SIGSTOP.
    pub(crate) fn freeze(&self, pause: Duration) {
        self.frozen.freeze(pause);
    }

    /// When it goes on, if it stands still.
    pub(crate) fn frozen_until(&self) -> Option<Instant> {
        self.frozen.until()
    }

    /// It dies, here and now.
    pub(crate) async fn kill(self, disk: &SimDisk) {
        disk.kill(self.id);
        self.work.abort();
        let _ = self.work.await;
    }
}

/// Works on what there is, again and again.
async fn work(bucket: Bucket, observed: Arc<Observed>, random: SeededRandom) {
    loop {
        let budget = random.chance(0.5).then(|| Duration::from_secs(1 + random.below(30)));
        // What stopped it, a full disk or a network that is away, may be over soon.
        let _ = bucket.run(RunOptions { budget, ..RunOptions::default() }, Arc::clone(&observed) as _).await;
        tokio::time::sleep(Duration::from_millis(100 + random.below(3_000))).await;
    }
}
