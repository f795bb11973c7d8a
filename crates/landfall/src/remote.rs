//! The vault as the engine calls it: every call passes the gate, and every failure is classified.

use std::time::Duration;

use bytes::Bytes;
use landfall_core::{Code, Failure, Remedy};
use landfall_protocol::{
    AccountInfo, Collection, CompletePart, CompleteUpload, Diff, FileRecord, Grant, KeyAttributes, MagicUpdates,
    NewCollection, NewFile, NewUpload, PartChecksum, TrashRequest, UploadStatus,
};
use landfall_transport::{
    Body, BodyError,
    vault::{
        Answer, CallError, Origin, Plan, Request, Vault,
        answer::{self, Abandoned, MagicUpdated, Registered},
        request,
    },
};

use crate::{
    engine::Inner,
    reach::{Kind, Reach},
};

/// A vault, with a memory of whether it can be reached.
#[derive(Clone)]
pub(crate) struct Remote {
    vault: Vault,
    patience: Duration,
    reach: Reach,
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
        Self { vault, patience: engine.settings.patience, reach: Reach::new(engine) }
    }

    /// How long the vault has been out of reach or has taken nothing, and why.
    pub(crate) fn away(&self) -> Option<(Duration, Failure)> {
        self.reach.away()
    }

    pub(crate) fn hopeless(&self) -> Option<(Duration, Failure)> {
        self.reach.hopeless()
    }

    pub(crate) fn try_anew(&self) {
        self.reach.try_anew();
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
        self.repeat(Kind::Store, || request::open(upload), |answer| answer::opened(answer, upload, origin)).await
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
        let answer = self.once(Kind::Store, request::complete(&plan.object_key, &body)).await?;
        self.judge(Kind::Store, answer::completed(&answer, plan, &body.parts))
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn register(&self, frozen: Bytes, sent: &NewFile) -> Result<Registered, Failure> {
        let answer = self.once(Kind::Store, request::register(frozen)).await?;
        self.judge(Kind::Store, answer::registered(&answer, sent))
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn magic_update(&self, updates: &MagicUpdates) -> Result<MagicUpdated, Failure> {
        let answer = self.once(Kind::Store, request::magic_update(updates)).await?;
        self.judge(Kind::Store, answer::magic_updated(&answer))
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn put_part(&self, grant: &Grant, part: &PartChecksum, body: Body) -> Result<(), CallFailure> {
        let passage = self.reach.pass(Kind::Store).await;
        let body = passage.watch(body);
        let request = request::put_part(grant, part).map_err(CallFailure::Failed)?;
        match self.vault.call(request, Some(body)).await {
            Ok(answer) => self.judge(Kind::Store, answer::part_stored(&answer, part)).map_err(CallFailure::Failed),
            Err(error) => match error.into_failure() {
                Ok(failure) => Err(CallFailure::Failed(self.note(Kind::Store, failure))),
                Err(body) => {
                    self.reach.came_through(Kind::Ask);
                    Err(CallFailure::Body(body))
                }
            },
        }
    }

    /// Starts reading a file's content from a byte on; the thumbnail's with `preview`.
    pub(crate) async fn fetch(&self, id: i64, preview: bool, from: u64) -> Result<http::Response<Body>, Failure> {
        let _passage = self.reach.pass(Kind::Ask).await;
        let request = if preview { request::preview(id) } else { request::download(id) };
        match self.vault.stream(request.from_byte(from)).await {
            Ok(response) => {
                self.reach.came_through(Kind::Ask);
                Ok(response)
            }
            Err(error) => Err(self.note(Kind::Ask, failure_of(error))),
        }
    }

    /// Repeats a question that somebody waits for, until the vault has been away, or did not answer it, for longer than
    /// patience lasts.
    pub(crate) async fn patiently<T, F>(&self, question: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.reach.patiently(self.patience, question).await
    }

    /// Whether the vault has been away for longer than patience lasts.
    pub(crate) fn is_given_up(&self) -> bool {
        self.reach.is_given_up(self.patience)
    }

    /// A question: harmless however often it is sent.
    async fn ask<T>(
        &self,
        request: impl Fn() -> Request,
        read: impl Fn(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.repeat(Kind::Ask, request, read).await
    }

    /// A call that changes nothing more when it is sent again: a lost answer means to try again later.
    async fn repeat<T>(
        &self,
        kind: Kind,
        request: impl Fn() -> Request,
        read: impl Fn(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let answer = self.once(kind, request()).await.map_err(|failure| match failure.remedy {
            Remedy::Ask => Failure { remedy: Remedy::Wait { retry_after: None }, ..failure },
            _ => failure,
        })?;
        self.judge(kind, read(&answer))
    }

    async fn once(&self, kind: Kind, request: Request) -> Result<Answer, Failure> {
        let _passage = self.reach.pass(kind).await;
        self.vault.call(request, None).await.map_err(|error| self.note(kind, failure_of(error)))
    }

    /// What an answer means for the gates.
    fn judge<T>(&self, kind: Kind, result: Result<T, Failure>) -> Result<T, Failure> {
        match result {
            Ok(value) => {
                self.reach.came_through(kind);
                Ok(value)
            }
            Err(failure) => Err(self.note(kind, failure)),
        }
    }

    fn note(&self, kind: Kind, failure: Failure) -> Failure {
        let failure = match failure.code {
            // Whoever holds it is on another machine: only who is there can see to it.
            Code::VaultHeld if *self.vault.origin() != Origin::in_process() => {
                Failure { code: Code::ServerError, ..failure }
            }
            _ => failure,
        };
        self.reach.note(kind, failure)
    }
}

fn failure_of(error: CallError) -> Failure {
    error.into_failure().unwrap_or_else(|body| {
        Failure::new(Remedy::Retry, Code::BadAnswer, format!("the request's body failed: {body}"))
    })
}
