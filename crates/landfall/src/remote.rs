//! The vault as the engine calls it: every call passes the gate, and every failure is classified.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use landfall_core::{Code, Failure, Gate, Remedy, RetryPolicy};
use landfall_env::Env;
use landfall_protocol::{
    AccountInfo, Collection, CompletePart, CompleteUpload, Diff, FileRecord, Grant, KeyAttributes, MagicUpdates,
    NewCollection, NewFile, NewUpload, PartChecksum, TrashRequest, UploadStatus,
};
use landfall_transport::{
    Body, BodyError,
    vault::{
        Answer, CallError, Plan, Request, Vault,
        answer::{self, Abandoned, MagicUpdated, Registered},
        request,
    },
};

use crate::engine::Inner;

/// A vault, with a memory of whether it can be reached.
#[derive(Clone)]
pub(crate) struct Remote {
    vault: Vault,
    env: Env,
    policy: RetryPolicy,
    gate: Arc<Mutex<GateState>>,
}

/// How long the request that finds out whether the vault is back keeps the others waiting.
const PROBE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct GateState {
    gate: Gate,
    /// Why it is shut.
    last: Option<Failure>,
}

/// What a call came to, when it was not an answer that can be used.
pub(crate) enum CallFailure {
    /// Classified.
    Failed(Failure),
    /// The body that was to be sent failed by itself.
    Body(BodyError),
}

impl Remote {
    pub(crate) fn new(vault: Vault, engine: &Inner) -> Self {
        Self { vault, env: engine.env.clone(), policy: engine.settings.reach, gate: Arc::default() }
    }

    /// How long the vault has been out of reach, and why.
    pub(crate) fn away(&self) -> Option<(Duration, Failure)> {
        let state = self.state();
        let away = state.gate.away_for(self.env.clock.monotonic())?;
        Some((away, state.last.clone()?))
    }

    pub(crate) async fn account(&self) -> Result<AccountInfo, Failure> {
        self.ask(request::account, answer::account).await
    }

    pub(crate) async fn keys(&self) -> Result<Option<KeyAttributes>, Failure> {
        self.ask(request::keys, answer::keys).await
    }

    /// `false` if there are keys already.
    pub(crate) async fn create_keys(&self, keys: &KeyAttributes) -> Result<bool, Failure> {
        self.ask(|| request::create_keys(keys), answer::keys_stored).await
    }

    /// `false` if the version is not the present one.
    pub(crate) async fn replace_keys(&self, keys: &KeyAttributes, version: u32) -> Result<bool, Failure> {
        self.ask(|| request::replace_keys(keys, version), answer::keys_stored).await
    }

    pub(crate) async fn collections(&self) -> Result<Vec<Collection>, Failure> {
        self.ask(request::collections, answer::collections).await
    }

    pub(crate) async fn create_collection(&self, new: &NewCollection) -> Result<Collection, Failure> {
        self.ask(|| request::create_collection(new), |answer| answer::collection_created(answer, new)).await
    }

    pub(crate) async fn diff(&self, since: i64, limit: u32) -> Result<Diff, Failure> {
        self.ask(|| request::diff(since, limit), |answer| answer::diff(answer, since)).await
    }

    pub(crate) async fn file(&self, id: i64) -> Result<Option<FileRecord>, Failure> {
        self.ask(|| request::file(id), |answer| answer::file(answer, id)).await
    }

    pub(crate) async fn open(&self, upload: &NewUpload) -> Result<UploadStatus, Failure> {
        let origin = self.vault.origin();
        self.ask(|| request::open(upload), |answer| answer::opened(answer, upload, origin)).await
    }

    pub(crate) async fn sign(&self, key: &str, parts: &[PartChecksum]) -> Result<Vec<Grant>, Failure> {
        let origin = self.vault.origin();
        self.ask(|| request::sign(key, parts), |answer| answer::signed(answer, parts, origin)).await
    }

    pub(crate) async fn status(&self, plan: &Plan) -> Result<Option<UploadStatus>, Failure> {
        self.ask(|| request::status(&plan.object_key), |answer| answer::status_of(answer, plan)).await
    }

    pub(crate) async fn abandon(&self, key: &str) -> Result<Abandoned, Failure> {
        self.ask(|| request::abandon(key), answer::abandoned).await
    }

    pub(crate) async fn trash(&self, what: &TrashRequest) -> Result<(), Failure> {
        self.ask(|| request::trash(what), answer::trashed).await
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn complete(&self, plan: &Plan, parts: Vec<CompletePart>) -> Result<(), Failure> {
        let body = CompleteUpload { parts };
        let answer = self.once(request::complete(&plan.object_key, &body)).await?;
        self.judge(answer::completed(&answer, plan, &body.parts))
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn register(&self, frozen: Bytes, sent: &NewFile) -> Result<Registered, Failure> {
        let answer = self.once(request::register(frozen)).await?;
        self.judge(answer::registered(&answer, sent))
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn magic_update(&self, updates: &MagicUpdates) -> Result<MagicUpdated, Failure> {
        let answer = self.once(request::magic_update(updates)).await?;
        self.judge(answer::magic_updated(&answer))
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn put_part(&self, grant: &Grant, part: &PartChecksum, body: Body) -> Result<(), CallFailure> {
        self.pass().await;
        let request = request::put_part(grant, part).map_err(CallFailure::Failed)?;
        match self.vault.call(request, Some(body)).await {
            Ok(answer) => self.judge(answer::part_stored(&answer, part)).map_err(CallFailure::Failed),
            Err(error) => match error.into_failure() {
                Ok(failure) => Err(CallFailure::Failed(self.note(failure))),
                Err(body) => {
                    self.open_gate();
                    Err(CallFailure::Body(body))
                }
            },
        }
    }

    /// Starts reading a file's content from a byte on; the thumbnail's with `preview`.
    pub(crate) async fn fetch(&self, id: i64, preview: bool, from: u64) -> Result<http::Response<Body>, Failure> {
        self.pass().await;
        let request = if preview { request::preview(id) } else { request::download(id) };
        match self.vault.stream(request.from_byte(from)).await {
            Ok(response) => {
                self.open_gate();
                Ok(response)
            }
            Err(error) => Err(self.note(failure_of(error))),
        }
    }

    /// A call that is harmless however often it is sent: a lost answer means to try again later.
    async fn ask<T>(
        &self,
        request: impl Fn() -> Request,
        read: impl Fn(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let answer = self.once(request()).await.map_err(|failure| match failure.remedy {
            // Nothing that asks changes anything by being lost.
            Remedy::Ask => Failure { remedy: Remedy::Wait { retry_after: None }, ..failure },
            _ => failure,
        })?;
        self.judge(read(&answer))
    }

    async fn once(&self, request: Request) -> Result<Answer, Failure> {
        self.pass().await;
        self.vault.call(request, None).await.map_err(|error| self.note(failure_of(error)))
    }

    /// What an answer means for the gate.
    fn judge<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        match result {
            Ok(value) => {
                self.open_gate();
                Ok(value)
            }
            Err(failure) => Err(self.note(failure)),
        }
    }

    fn note(&self, failure: Failure) -> Failure {
        let wait = match failure.remedy {
            Remedy::Wait { retry_after } => Some(retry_after),
            // A lost answer is a network that may be going away: the next request is not sent at once.
            Remedy::Ask => Some(None),
            _ => None,
        };
        let now = self.env.clock.monotonic();
        let mut state = self.state();
        match wait {
            Some(retry_after) => {
                state.gate.on_failure(&self.policy, now, retry_after, self.env.random.fraction());
                state.last = Some(failure.clone());
            }
            None if failure.code != Code::BadAnswer => state.gate.on_success(now),
            None => {}
        }
        failure
    }

    fn open_gate(&self) {
        let now = self.env.clock.monotonic();
        let mut state = self.state();
        state.gate.on_success(now);
        if state.gate == Gate::Open {
            state.last = None;
        }
    }

    /// Waits until the vault may be tried. While it is away one caller at a time finds out.
    async fn pass(&self) {
        loop {
            let now = self.env.clock.monotonic();
            let Err(until) = self.state().gate.pass(now, PROBE) else { return };
            tokio::time::sleep(until.saturating_sub(now).max(Duration::from_millis(5))).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure_of(error: CallError) -> Failure {
    error.into_failure().unwrap_or_else(|body| {
        Failure::new(Remedy::Retry, Code::BadAnswer, format!("the request's body failed: {body}"))
    })
}
