//! What goes wrong, and when.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Operation, operation::Asked};

/// Which requests a fault strikes. Requests are counted from the moment the rule was made, each rule for itself.
#[derive(Debug, Clone)]
pub struct On {
    operation: Option<Operation>,
    key: Option<String>,
    part: Option<u32>,
    times: Times,
}

#[derive(Debug, Clone, Copy)]
enum Times {
    Nth(u64),
    First(u64),
    Every,
}

impl On {
    /// The first request for an operation.
    pub fn first(operation: Operation) -> Self {
        Self::nth(operation, 1)
    }

    /// The nth request for an operation, from 1.
    pub fn nth(operation: Operation, n: u64) -> Self {
        Self { operation: Some(operation), key: None, part: None, times: Times::Nth(n) }
    }

    /// The first `n` requests for an operation.
    pub fn first_of(operation: Operation, n: u64) -> Self {
        Self { times: Times::First(n), ..Self::nth(operation, n) }
    }

    /// Every request for an operation.
    pub fn every(operation: Operation) -> Self {
        Self { times: Times::Every, ..Self::nth(operation, 0) }
    }

    /// The nth of all requests, from 1.
    pub fn nth_of_all(n: u64) -> Self {
        Self { operation: None, ..Self::nth(Operation::Other, n) }
    }

    /// Every request.
    pub fn all() -> Self {
        Self { operation: None, ..Self::every(Operation::Other) }
    }

    /// Only requests for this key; others are not counted.
    pub fn key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    /// Only requests for this part; others are not counted.
    pub fn part(self, number: u32) -> Self {
        Self { part: Some(number), ..self }
    }

    fn is_about(&self, asked: &Asked) -> bool {
        self.operation.is_none_or(|operation| operation == asked.operation)
            && self.key.as_ref().is_none_or(|key| *key == asked.key)
            && self.part.is_none_or(|part| Some(part) == asked.part_number())
    }

    fn strikes_at(&self, count: u64) -> bool {
        match self.times {
            Times::Nth(n) => count == n,
            Times::First(n) => count <= n,
            Times::Every => true,
        }
    }
}

/// What goes wrong with a request.
///
/// Bodies are read to their end before anything is answered, so that no answer is lost on a socket because its client
/// was still sending; what a fault loses is lost on purpose.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers this, and nothing happens.
    Answer(Answer),
    /// Answers 200 with an `<Error>` in the body, and nothing happens.
    ErrorInOk {
        /// Of the error.
        code: String,
    },
    /// Does what was asked and answers something else.
    EffectThenAnswer(Answer),
    /// Does what was asked and breaks the connection off instead of answering.
    EffectThenLoseAnswer,
    /// Breaks the connection off before anything of the body is read, and nothing happens.
    LoseRequest,
    /// Breaks the connection off when so many bytes of the request's body are here, and nothing happens.
    CutRequestAfter(u64),
    /// Takes so many bytes of the request's body, then nothing more, and never answers. Nothing happens.
    StallRequestAfter(u64),
    /// Waits at a gate with the whole request, before anything happens.
    HoldRequest(Gate),
    /// Does what was asked and waits at a gate with the answer.
    HoldAnswer(Gate),
    /// Does what was asked and breaks the connection off after so many bytes of the answer's body. One that is no
    /// longer arrives whole.
    CutBodyAfter(u64),
    /// Does what was asked and stops for ever after so many bytes of the answer's body. One that is no longer arrives
    /// whole.
    StallBodyAfter(u64),
    /// Flips a bit in the middle of the request's body, before it is looked at, or else of the answer's.
    Damage,
}

/// An answer that a script gives.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) code: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Bytes>,
}

impl Answer {
    /// A refusal as S3 words it: a status, and an `<Error>` with this code.
    ///
    /// # Panics
    /// If there is no such status.
    pub fn error(status: u16, code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..Self::empty(status) }
    }

    /// A status without a body, as from something in between that knows nothing of S3.
    ///
    /// # Panics
    /// If there is no such status.
    pub fn empty(status: u16) -> Self {
        assert!((200..1000).contains(&status), "{status} is not the status of an answer");
        Self { status, code: None, headers: Vec::new(), body: None }
    }

    /// The same with a header, such as `retry-after` or `date`.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with this body.
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..self }
    }
}

/// Holds requests until it is opened. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets all through that wait, and all that come.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // The gate is here, so the other end cannot be gone.
        let _ = self.0.subscribe().wait_for(|is_open| *is_open).await;
    }
}

/// Rules in their order. The first that strikes decides; all that are about a request count it.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    on: On,
    fault: Fault,
    count: u64,
}

impl Script {
    pub(super) fn add(&mut self, on: On, fault: Fault) {
        self.0.push(Rule { on, fault, count: 0 });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What strikes this request.
    pub(super) fn take(&mut self, asked: &Asked) -> Option<Fault> {
        let mut struck = None;
        for rule in self.0.iter_mut().filter(|rule| rule.on.is_about(asked)) {
            rule.count += 1;
            if struck.is_none() && rule.on.strikes_at(rule.count) {
                struck = Some(rule.fault.clone());
            }
        }
        struck
    }
}
