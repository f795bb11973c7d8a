//! Ctrl-C and SIGTERM: the first asks, the second insists.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use landfall::Stop;
use tokio::sync::watch;

use crate::{exit::Exit, failed::Failed, output::Output, secret};

/// Work that was asked to stop and has not after this long is left as it is; the journal is sound at every instant.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the process was asked to end.
#[derive(Clone)]
pub(crate) struct Signals {
    stop: Stop,
    said: watch::Sender<bool>,
    first: Arc<AtomicU8>,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen(out: &Arc<Output>) -> Self {
        let signals =
            Self { stop: Stop::default(), said: watch::Sender::new(false), first: Arc::new(AtomicU8::new(0)) };
        if let Some(ears) = Ears::open() {
            tokio::spawn(heed(ears, signals.clone(), Arc::clone(out)));
        }
        signals
    }

    /// Tells a run to stop.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// How the process ends if it was asked to.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.first.load(Ordering::Relaxed) {
            0 => None,
            143 => Some(Exit::Terminated),
            _ => Some(Exit::Interrupted),
        }
    }

    /// Ready once the process was asked to end.
    pub(crate) async fn said(&self) {
        let mut said = self.said.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = said.wait_for(|said| *said).await;
    }

    /// Does `work`, unless the process is asked to end first; then `work` is dropped.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        tokio::select! {
            biased;
            () = self.said() => Err(Failed::stopped(self.exit().unwrap_or(Exit::Interrupted))),
            done = work => done,
        }
    }
}

async fn heed(mut ears: Ears, signals: Signals, out: Arc<Output>) {
    let first = ears.next().await;
    signals.first.store(first.code(), Ordering::Relaxed);
    signals.stop.now();
    signals.said.send_replace(true);
    secret::show_typing_again();
    out.note("stopping; once more stops at once");
    tokio::select! {
        _ = ears.next() => {}
        () = tokio::time::sleep(PATIENCE) => {}
    }
    out.clear();
    std::process::exit(i32::from(first.code()));
}

#[cfg(unix)]
struct Ears {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Ears {
    fn open() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Ears;

#[cfg(not(unix))]
impl Ears {
    fn open() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) -> Exit {
        let _ = tokio::signal::ctrl_c().await;
        Exit::Interrupted
    }
}
