//! Work that holds its thread: ciphers, hashes, decoders, disks.

use std::time::Duration;

/// Where blocking work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On the runtime's pool of blocking threads.
    Threads,
    /// At once, on the caller's thread: one order of events in every run.
    Inline,
    /// On the caller's thread, after so long by the runtime's clock: what may come in between on threads does so here, in one
    /// order of events in every run.
    After(Duration),
}

impl Blocking {
    /// Runs `work` and returns its result. Dropping the future does not stop work that has begun on a thread; what it
    /// returns is then thrown away. A panic in `work` goes on in the caller.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Self::Inline => work(),
            Self::After(pause) => {
                tokio::time::sleep(pause).await;
                work()
            }
            Self::Threads => {
                #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
                let handle = tokio::task::spawn_blocking(work);
                match handle.await {
                    Ok(value) => value,
                    Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
                    // The runtime is shutting down and drops this future too.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }
}
