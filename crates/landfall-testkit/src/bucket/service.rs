//! How a request is answered: seen, struck by a fault or not, carried out, told of.

use std::{
    future::pending,
    pin::pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::BodyExt as _;
use landfall_transport::{BodyError, Loss};
use tower_service::Service;

use super::{
    BucketServer, Operation, Outcome, RequestSeen, State,
    body::AnswerBody,
    moment,
    operation::Asked,
    refusal::{Refusal, Reply},
    script::{Answer, Fault},
    signature,
};

/// A request whose body is here.
pub(super) struct Call<'a> {
    pub(super) asked: &'a Asked,
    pub(super) head: &'a Parts,
    pub(super) body: Bytes,
    pub(super) now_ms: i64,
    pub(super) may_list: bool,
}

impl Call<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    pub(super) fn place(&self) -> (String, String) {
        (self.asked.bucket.clone(), self.asked.key.clone())
    }
}

impl<B> Service<Request<B>> for BucketServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response<AnswerBody>;
    /// An answer that was lost. A socket's connection is broken off.
    type Error = Loss;
    type Future = BoxFuture<'static, Result<Response<AnswerBody>, Loss>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Loss>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move { server.answer(request).await })
    }
}

impl BucketServer {
    async fn answer<B>(self, request: Request<B>) -> Result<Response<AnswerBody>, Loss>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let (asked, fault, ticket) = self.arrived(&head);
        let promised = promised_length(&head, &body);
        let body = ticket.take(body, fault.as_ref()).await?;
        if let Some(Fault::HoldRequest(gate)) = &fault {
            gate.passed().await;
        }
        let is_damaged = matches!(fault, Some(Fault::Damage));
        let has_body = !body.is_empty();
        let body = if is_damaged { damaged(&body) } else { body };
        let reply = match &fault {
            Some(Fault::Answer(answer)) => scripted(answer, &head),
            Some(Fault::ErrorInOk { code }) => scripted(&Answer::error(200, code), &head),
            _ => self.carry_out(&asked, &head, body, promised),
        };
        let reply = match &fault {
            Some(Fault::EffectThenLoseAnswer) => return Err(broken_off("after the request was carried out")),
            Some(Fault::EffectThenAnswer(answer)) => scripted(answer, &head),
            Some(Fault::HoldAnswer(gate)) => {
                gate.passed().await;
                reply
            }
            _ => reply,
        };
        let reply = self.dated(reply);
        ticket.settle(&reply);
        Ok(reply.into_response(head.method == Method::HEAD, |bytes| match fault {
            Some(Fault::CutBodyAfter(after)) => AnswerBody::cut(bytes, after),
            Some(Fault::StallBodyAfter(after)) => AnswerBody::stalling(bytes, after),
            Some(Fault::Damage) if !has_body => AnswerBody::whole(damaged(&bytes)),
            _ => AnswerBody::whole(bytes),
        }))
    }

    fn arrived(&self, head: &Parts) -> (Asked, Option<Fault>, Ticket) {
        let (asked, fault, index) = self.change(|state| {
            let asked = Asked::of(head, &state.profile.host_name);
            let fault = state.script.take(&asked);
            state.requests.push(RequestSeen {
                operation: asked.operation,
                bucket: asked.bucket.clone(),
                key: asked.key.clone(),
                part_number: asked.part_number(),
                upload_id: asked.upload_id().map(str::to_owned),
                headers: head.headers.clone(),
                body_bytes: 0,
                signed_at: signature::signed_at(head, &asked.query),
                outcome: Outcome::UnderWay,
            });
            (asked, fault, state.requests.len() - 1)
        });
        (asked, fault, Ticket { server: self.clone(), index })
    }

    fn carry_out(&self, asked: &Asked, head: &Parts, body: Bytes, promised: Option<u64>) -> Reply {
        let now_ms = self.now_ms();
        let done = self.change(|state| state.carry_out(asked, head, body, promised, now_ms));
        done.unwrap_or_else(|refusal| refusal.into_reply(head.uri.path()))
    }

    /// What every answer has. A script that gives a date of its own means it.
    fn dated(&self, reply: Reply) -> Reply {
        let number = self.change(State::next_number);
        let reply = reply.with("x-amz-request-id", format!("{number:016X}"));
        if reply.headers.contains_key(header::DATE) { reply } else { reply.with("date", moment::http(self.now_ms())) }
    }
}

impl State {
    fn carry_out(
        &mut self,
        asked: &Asked,
        head: &Parts,
        body: Bytes,
        promised: Option<u64>,
        now_ms: i64,
    ) -> Result<Reply, Refusal> {
        let credential = signature::verify(self, asked, head, now_ms)?;
        // Not every operation that is not known here is about a bucket.
        if asked.operation != Operation::Other && !self.buckets.contains(&asked.bucket) {
            let refusal = Refusal::new(404, "NoSuchBucket", "there is no such bucket");
            return Err(refusal.saying("BucketName", &asked.bucket));
        }
        let below = if asked.key.is_empty() { asked.query.get("prefix").unwrap_or_default() } else { &asked.key };
        if !credential.may(asked.operation, below) {
            return Err(Refusal::access_denied("the key has no leave to do this"));
        }
        let may_list = credential.may(Operation::ListObjectsV2, &asked.key);
        check_length(asked.operation, promised, &body)?;
        if self.profile.payload_hash {
            signature::verify_payload(asked, head, &body)?;
        }
        let call = Call { asked, head, body, now_ms, may_list };
        match asked.operation {
            Operation::HeadBucket => Ok(Reply::empty(StatusCode::OK).with("x-amz-bucket-region", &self.profile.region)),
            Operation::ListObjectsV2 => self.list_objects(&call),
            Operation::PutObject => self.put_object(&call),
            Operation::GetObject | Operation::HeadObject => self.get_object(&call),
            Operation::DeleteObject => self.delete_object(&call),
            Operation::CreateMultipartUpload => self.create_upload(&call),
            Operation::UploadPart => self.upload_part(&call),
            Operation::ListParts => self.list_parts(&call),
            Operation::CompleteMultipartUpload => self.complete_upload(&call),
            Operation::AbortMultipartUpload => self.abort_upload(&call),
            Operation::ListMultipartUploads => self.list_uploads(&call),
            Operation::Other => Err(Refusal::not_implemented("this operation is not known here")),
        }
    }
}

/// A request on its way. When it is dropped without an answer, it is lost.
struct Ticket {
    server: BucketServer,
    index: usize,
}

impl Ticket {
    /// Takes the request's body, as far as the script lets it come.
    async fn take<B>(&self, body: B, fault: Option<&Fault>) -> Result<Bytes, Loss>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let most = match fault {
            Some(Fault::LoseRequest) => return Err(broken_off("before the request was read")),
            Some(Fault::CutRequestAfter(bytes) | Fault::StallRequestAfter(bytes)) => *bytes,
            _ => u64::MAX,
        };
        let mut body = pin!(body);
        let mut taken = BytesMut::new();
        while (taken.len() as u64) < most {
            let Some(frame) = body.frame().await else { break };
            let frame = frame.map_err(|_| broken_off("by the client"))?;
            let Ok(bytes) = frame.into_data() else { continue };
            taken.extend_from_slice(&bytes);
            self.server.change(|state| state.requests[self.index].body_bytes = most.min(taken.len() as u64));
        }
        match fault {
            Some(Fault::CutRequestAfter(_)) => Err(broken_off("in the middle of the request")),
            Some(Fault::StallRequestAfter(_)) => pending().await,
            _ => Ok(taken.freeze()),
        }
    }

    fn settle(&self, reply: &Reply) {
        let outcome = Outcome::Answered { status: reply.status.as_u16(), code: reply.code.clone() };
        self.server.change(|state| state.requests[self.index].outcome = outcome);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.server.change(|state| {
            let outcome = &mut state.requests[self.index].outcome;
            if *outcome == Outcome::UnderWay {
                *outcome = Outcome::Lost;
            }
        });
    }
}

fn scripted(answer: &Answer, head: &Parts) -> Reply {
    let status = StatusCode::from_u16(answer.status).expect("it was looked at when the answer was made");
    let reply = match (&answer.code, &answer.body) {
        (Some(code), None) => Refusal::new(answer.status, code, "the script says so").into_reply(head.uri.path()),
        (code, body) => Reply { code: code.clone(), body: body.clone().unwrap_or_default(), ..Reply::empty(status) },
    };
    answer.headers.iter().fold(reply, |reply, (name, value)| reply.with(name, value))
}

/// How long the request's body is to be: by its header or, within one process, by itself.
fn promised_length(head: &Parts, body: &impl http_body::Body) -> Option<u64> {
    let header = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    header.or(body.size_hint().exact())
}

fn check_length(operation: Operation, promised: Option<u64>, body: &Bytes) -> Result<(), Refusal> {
    let needs_length = matches!(operation, Operation::PutObject | Operation::UploadPart);
    match promised {
        None if needs_length => Err(Refusal::new(411, "MissingContentLength", "send Content-Length")),
        Some(promised) if promised != body.len() as u64 => {
            Err(Refusal::new(400, "IncompleteBody", "the body is not as long as Content-Length says"))
        }
        _ => Ok(()),
    }
}

/// The bytes with a bit flipped in the middle.
fn damaged(bytes: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(bytes.as_ref());
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.freeze()
}

fn broken_off(when: &str) -> Loss {
    Loss::NoAnswer(format!("the connection was broken off {when}"))
}
