//! A vault's dialect joined to a carrier.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::BodyExt;
use landfall_core::{Code, Failure, Remedy};
use landfall_protocol::{JSON_BYTES_MAX, route};

use super::{Answer, Origin, Request, RequestBody, Target, Token, answer, loss, refusal};
use crate::{Body, BodyError, Carrier, Loss, Measured, empty, whole};

/// A vault that can be called: its server, our token, and a way to get there.
#[derive(Clone)]
pub struct Vault {
    carrier: Arc<dyn Carrier>,
    origin: Origin,
    token: Token,
}

impl Vault {
    /// The vault that `origin` serves to whoever holds `token`, reached by `carrier`.
    pub fn new(carrier: Arc<dyn Carrier>, origin: Origin, token: Token) -> Self {
        Self { carrier, origin, token }
    }

    /// Where it is served.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Performs a request and reads its answer whole, whatever its status. `body` is what a
    /// [`RequestBody::Stream`] sends; other requests take none.
    ///
    /// An answer's body is read up to [`JSON_BYTES_MAX`] and one byte more; the functions of [`super::answer`] refuse a
    /// longer one. No redirect is followed.
    ///
    /// # Errors
    /// [`CallError::Lost`] if there is no whole answer, [`CallError::Failed`] if the request cannot be made.
    pub async fn call(&self, request: Request, body: Option<Body>) -> Result<Answer, CallError> {
        let request = self.prepare(request, body)?;
        let (head, body) = self.carrier.carry(request).await?.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: read(body, JSON_BYTES_MAX).await? })
    }

    /// Performs a request whose answer is a file, and returns when its first bytes can be read: the status is 200, or
    /// 206 if a range was asked for, and [`answer::fetched`] tells which bytes they are.
    ///
    /// One redirect is followed, with the range and without the token.
    ///
    /// # Errors
    /// [`CallError::Lost`] if there is no answer, [`CallError::Failed`] if it is not a file; then its body was read and
    /// classified.
    pub async fn stream(&self, request: Request) -> Result<http::Response<Body>, CallError> {
        let range = request.headers.iter().find(|(name, _)| name == "range").cloned();
        let mut response = self.carrier.carry(self.prepare(request, None)?).await?;
        if response.status() == StatusCode::TEMPORARY_REDIRECT {
            let mut onward = answer::redirected(response.headers(), &self.origin)?;
            onward.headers.extend(range);
            response = self.carrier.carry(self.prepare(onward, None)?).await?;
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            status => {
                let (head, body) = response.into_parts();
                Err(refusal(status.as_u16(), &head.headers, &read(body, JSON_BYTES_MAX).await?).into())
            }
        }
    }

    /// The HTTP request with everything that makes it ours: address, token, lengths.
    ///
    /// # Errors
    /// A failure if the target or a header is none, or if a body is missing or not wanted.
    pub fn prepare(&self, request: Request, body: Option<Body>) -> Result<http::Request<Body>, Failure> {
        let Request { method, target, headers, body: kind } = request;
        let (uri, with_token) = match &target {
            Target::Path(path) => (self.origin.path(path)?, true),
            Target::Url(url) => (self.origin.resolve(url)?, false),
        };
        let (length, body) = match (&kind, body) {
            (RequestBody::Empty, None) => (None, empty()),
            (RequestBody::Json(text), None) => (Some(text.len() as u64), whole(text.clone())),
            (RequestBody::Stream { length }, Some(body)) => (Some(*length), Measured::new(body, *length).boxed()),
            (RequestBody::Stream { .. }, None) => return Err(misuse("a request that streams was given no body")),
            (_, Some(_)) => return Err(misuse("a request that does not stream was given a body")),
        };

        let mut request = http::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let all = request.headers_mut();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| misuse("a header's name is none"))?;
            let value = HeaderValue::try_from(value).map_err(|_| misuse("a header's value is none"))?;
            all.append(name, value);
        }
        // What is ours comes last and replaces what was there.
        all.remove(route::TOKEN_HEADER);
        if with_token {
            all.insert(route::TOKEN_HEADER, self.token.header());
        }
        if let Some(length) = length {
            all.insert(CONTENT_LENGTH, length.into());
        }
        if matches!(kind, RequestBody::Json(_)) {
            all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("landfall/", env!("CARGO_PKG_VERSION"))));
        Ok(request)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Why a call has no answer to interpret.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The carrier brought none.
    #[error(transparent)]
    Lost(#[from] Loss),
    /// It is clear already what to do.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl CallError {
    /// What to do about it, or the error of the caller's own body.
    ///
    /// # Errors
    /// The body's error, as the body gave it.
    pub fn into_failure(self) -> Result<Failure, BodyError> {
        match self {
            Self::Failed(failure) => Ok(failure),
            Self::Lost(Loss::BodyFailed(error)) => Err(error),
            Self::Lost(other) => Ok(loss(&other)),
        }
    }
}

/// Reads a body up to `bytes_max`, the longest that can be an answer, and one byte more.
pub(crate) async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, Loss> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Loss::of_answer)?.into_data() {
            let room = bytes_max + 1 - whole.len();
            whole.extend_from_slice(&data[..data.len().min(room)]);
            if whole.len() > bytes_max {
                break;
            }
        }
    }
    Ok(whole.freeze())
}

fn misuse(what: &str) -> Failure {
    Failure::new(Remedy::Block, Code::Refused, what)
}
