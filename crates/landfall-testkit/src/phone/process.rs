//! A process of the application: opened over a home, working, frozen, dead.

use std::{path::Path, sync::Arc, time::Duration};

use landfall::{
    Engine, Env, RetryPolicy, Settings,
    recipes::chat::{Chat, ChatHost, ChatRun, ChatSettings, Moves},
};
use landfall_crypto::HostKey;
use landfall_env::{Blocking, Steps};
use tokio::{task::JoinHandle, time::Instant};

use super::remote::{Remote, Way};
use crate::{
    ProcessId, SeededRandom, SimClock, SimDisk, SimVfs,
    process::{Done, Freezable, Frozen, run},
    trouble::{Trouble, Watcher},
};

/// What every process of a phone is made of.
pub(crate) struct Making {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) random: SeededRandom,
    pub(crate) remote: Arc<Remote>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) settings: ChatSettings,
    pub(crate) has_key: bool,
    pub(crate) by_platform: bool,
    /// How long each access to a disk takes.
    pub(crate) blocking: Blocking,
}

/// A living process.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) chat: Chat,
    engine: Engine,
    /// Works in the background.
    work: JoinHandle<()>,
    frozen: Frozen,
    _vfs: Arc<SimVfs>,
}

impl Making {
    /// Starts a process.
    pub(crate) async fn start(&self, home: &Path, session: &str) -> Done<Process> {
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
        let settings = Settings {
            vfs: Some(vfs.name().to_owned()),
            retry: RetryPolicy { cap: Duration::from_secs(30), ..RetryPolicy::default() },
            ..Settings::new(home)
        };
        let way = || Arc::new(Way(Arc::clone(&self.remote), id));
        let host = ChatHost {
            key: self.has_key.then(|| HostKey::from_bytes([7; 32])),
            granter: way(),
            publisher: way(),
            moves: if self.by_platform {
                Moves::ByPlatform { session: session.to_owned() }
            } else {
                Moves::InProcess(way())
            },
            decoder: None,
        };
        let chat_settings = self.settings.clone();
        let opened = run(&self.disk, id, async move {
            let engine = Engine::open(settings, env).await?;
            let chat = Chat::open(&engine, "chat:default", chat_settings, host).await?;
            Ok((engine, chat))
        });
        match opened.await {
            Done::Did((engine, chat)) => {
                let frozen = Frozen::default();
                let work = work(chat.clone(), random.fork("work"));
                let work = tokio::spawn(Freezable::new(work, frozen.clone()));
                Done::Did(Process { id, chat, engine, work, frozen, _vfs: vfs })
            }
            Done::Refused(error) => {
                self.disk.kill(id);
                Done::Refused(error)
            }
            Done::Died => Done::Died,
        }
    }
}

impl Process {
    /// Has it do something, while its work goes on.
    pub(crate) async fn perform<T: Send + 'static, F>(
        &self,
        disk: &Arc<SimDisk>,
        what: impl FnOnce(Chat) -> F,
    ) -> Done<T>
    where
        F: Future<Output = Result<T, landfall::Error>> + Send + 'static,
    {
        run(disk, self.id, what(self.chat.clone())).await
    }

    /// It stands still, as under SIGSTOP.
    pub(crate) fn freeze(&self, pause: Duration) {
        self.frozen.freeze(pause);
    }

    /// When it goes on, if it stands still.
    pub(crate) fn frozen_until(&self) -> Option<Instant> {
        self.frozen.until()
    }

    /// The engine is suspended, and goes on later.
    pub(crate) async fn suspend_for(&self, disk: &Arc<SimDisk>, pause: Duration) -> Done<()> {
        let engine = self.engine.clone();
        run(disk, self.id, async move {
            engine.suspend().await;
            tokio::time::sleep(pause).await;
            engine.resume().await
        })
        .await
    }

    /// It dies, here and now.
    pub(crate) async fn kill(self, disk: &SimDisk) {
        disk.kill(self.id);
        self.work.abort();
        let _ = self.work.await;
    }
}

/// Works on what there is, again and again.
async fn work(chat: Chat, random: SeededRandom) {
    loop {
        let budget = random.chance(0.5).then(|| Duration::from_secs(1 + random.below(30)));
        // What stopped it, a full disk or a suspension, may be over soon.
        let _ = chat.run(ChatRun { budget, ..ChatRun::default() }).await;
        tokio::time::sleep(Duration::from_millis(100 + random.below(3_000))).await;
    }
}
