//! A process of a world: it works, stands still, dies.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use crate::{ProcessId, SimDisk, chaos::Crash};

/// What became of something that a process was told to do.
#[derive(Debug)]
pub(crate) enum Done<T> {
    /// It was done, and said so.
    Did(T),
    /// It said that it did not.
    Refused(landfall::Error),
    /// The process died: nobody knows.
    Died,
}

/// Longer than this nothing takes.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// Has a process do something.
pub(crate) async fn run<T: Send + 'static>(
    disk: &Arc<SimDisk>,
    id: ProcessId,
    what: impl Future<Output = Result<T, landfall::Error>> + Send + 'static,
) -> Done<T> {
    let task = tokio::spawn(tokio::time::timeout(PATIENCE, what));
    let ended = match task.await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) => panic!("{id} did not answer within {PATIENCE:?}"),
        Err(error) => match error.try_into_panic() {
            Ok(payload) if payload.is::<Crash>() => return Done::Died,
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(_) => return Done::Died,
        },
    };
    match ended {
        Ok(value) => Done::Did(value),
        Err(_) if !disk.is_alive(id) => Done::Died,
        Err(error) => Done::Refused(error),
    }
}

/// Until when a process stands still. Clones are of the same process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frozen(Arc<Mutex<Option<Instant>>>);

impl Frozen {
    /// It stands still, as under SIGSTOP.
    pub(crate) fn freeze(&self, pause: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + pause);
    }

    /// When it goes on, if it stands still.
    pub(crate) fn until(&self) -> Option<Instant> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }
}

/// A process's work, which may stand still between two of its steps.
pub(crate) struct Freezable<F> {
    work: Pin<Box<F>>,
    frozen: Frozen,
    thaw: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<F> Freezable<F> {
    pub(crate) fn new(work: F, frozen: Frozen) -> Self {
        Self { work: Box::pin(work), frozen, thaw: None }
    }
}

impl<F: Future> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            if let Some(thaw) = &mut self.thaw {
                if thaw.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.thaw = None;
            }
            match self.frozen.until() {
                Some(until) => self.thaw = Some(Box::pin(tokio::time::sleep_until(until))),
                None => return self.work.as_mut().poll(cx),
            }
        }
    }
}
