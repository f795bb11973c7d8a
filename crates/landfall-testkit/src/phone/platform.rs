//! The platform's own carrier: it moves files while no process of the application lives, and tells of it when it likes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use landfall::recipes::chat::Transfer;
use landfall_core::PutReport;
use landfall_transport::Loss;
use tokio::task::JoinHandle;

use super::remote::Remote;
use crate::{SeededRandom, SimDisk};

/// A platform.
pub(crate) struct Platform {
    disk: Arc<SimDisk>,
    home: PathBuf,
    remote: Arc<Remote>,
    random: SeededRandom,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By attempt, with the session that has it.
    running: BTreeMap<String, (&'static str, JoinHandle<()>)>,
    /// What nobody has been told yet.
    ended: Vec<(&'static str, String, PutReport)>,
    complaints: Vec<String>,
    /// How likely it says something else than what happened.
    oddity: f64,
}

impl Platform {
    pub(crate) fn new(disk: &Arc<SimDisk>, home: &Path, remote: &Arc<Remote>, random: SeededRandom) -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::clone(disk),
            home: home.to_owned(),
            remote: Arc::clone(remote),
            random,
            state: Mutex::default(),
        })
    }

    pub(crate) fn set_oddity(&self, oddity: f64) {
        self.lock().oddity = oddity;
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// A session takes a transfer, unless it has it.
    pub(crate) fn take(self: &Arc<Self>, session: &'static str, transfer: Transfer) {
        let mut state = self.lock();
        let attempt = transfer.attempt.clone();
        if state.running.contains_key(&attempt) || state.ended.iter().any(|(_, ended, _)| *ended == attempt) {
            return;
        }
        let platform = Arc::clone(self);
        let task = tokio::spawn(async move { platform.carry(session, transfer).await });
        state.running.insert(attempt, (session, task));
    }

    async fn carry(self: Arc<Self>, session: &'static str, transfer: Transfer) {
        // It begins when it likes.
        tokio::time::sleep(Duration::from_millis(self.random.below(8_000))).await;
        let path = self.home.join(&transfer.file);
        let Ok(body) = self.disk.read(&path) else {
            let missing = format!("the platform was given `{}`, which is not there", transfer.file.display());
            self.lock().complaints.push(missing);
            return self.ended(session, transfer.attempt, PutReport::NotSent);
        };
        if body.len() as u64 != transfer.bytes {
            self.lock().complaints.push(format!("`{}` is not as long as was said", transfer.file.display()));
        }
        let put = self.remote.put(&transfer.url, body.into()).await;
        if self.disk.read(&path).is_err() {
            let gone = format!("`{}` was removed while the platform read it", transfer.file.display());
            self.lock().complaints.push(gone);
        }
        let report = match put {
            Ok((status, said)) => {
                let retry_after = (status == 429).then_some(Duration::from_secs(3));
                PutReport::Answered { status, retry_after, says_expired: said.contains("AccessDenied") }
            }
            Err(Loss::NotSent(_) | Loss::BodyFailed(_)) => PutReport::NotSent,
            Err(_) => PutReport::Unknown,
        };
        let is_odd = {
            let oddity = self.lock().oddity;
            self.random.chance(oddity)
        };
        let report = match (&report, is_odd) {
            // A success that is told as a failure to read the file, as happens behind a locked screen.
            (PutReport::Answered { status: 200, .. }, true) => match self.random.below(2) {
                0 => PutReport::Unknown,
                _ => PutReport::Cancelled,
            },
            _ => report,
        };
        self.ended(session, transfer.attempt, report);
    }

    fn ended(&self, session: &'static str, attempt: String, report: PutReport) {
        let mut state = self.lock();
        state.running.remove(&attempt);
        let oddity = state.oddity;
        // Sometimes it forgets.
        if !self.random.chance(oddity / 3.0) {
            state.ended.push((session, attempt, report));
        }
    }

    /// Gives a transfer up; it may have succeeded.
    pub(crate) fn cancel(&self, attempt: &str) {
        let mut state = self.lock();
        if let Some((session, task)) = state.running.remove(attempt) {
            task.abort();
            state.ended.push((session, attempt.to_owned(), PutReport::Cancelled));
        }
    }

    /// One of those whose end nobody was told of, out of order.
    pub(crate) fn next_report(&self) -> Option<(String, PutReport)> {
        let state = self.lock();
        let count = state.ended.len() as u64;
        let at = usize::try_from(self.random.below(count)).unwrap_or(0);
        state.ended.get(at).map(|(_, attempt, report)| (attempt.clone(), report.clone()))
    }

    /// Somebody was told of it.
    pub(crate) fn told(&self, attempt: &str) {
        self.lock().ended.retain(|(_, ended, _)| ended != attempt);
    }

    /// What a session holds, by its own word. It may not count what it has done with.
    pub(crate) fn live(&self, session: &str, counts_ended: bool) -> Vec<String> {
        let state = self.lock();
        let running = state.running.iter().map(|(attempt, (session, _))| (*session, attempt));
        let ended = state.ended.iter().filter(|_| counts_ended).map(|(session, attempt, _)| (*session, attempt));
        running.chain(ended).filter(|(of, _)| *of == session).map(|(_, attempt)| attempt.clone()).collect()
    }

    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.running.is_empty() && state.ended.is_empty()
    }

    /// The machine loses power: what it was doing is forgotten.
    pub(crate) fn power_cut(&self) {
        let mut state = self.lock();
        for (_, (_, task)) in std::mem::take(&mut state.running) {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
