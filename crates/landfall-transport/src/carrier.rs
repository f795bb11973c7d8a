//! How a request is performed, whatever it says.

use std::{error::Error, fmt};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};

/// What is wrong with a body. One that came in an answer is always a [`Loss`].
pub type BodyError = Box<dyn Error + Send + Sync>;

/// The bytes of a request or an answer, as they come.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;

/// Performs requests.
pub trait Carrier: Send + Sync {
    /// Performs one request, at most once, and returns when the head of its answer is here.
    ///
    /// The request's URI is absolute. A redirect or a refusal is an answer like any other. The answer's body fails
    /// with a [`Loss`] if it does not arrive whole. Dropping the future, or the body, breaks the transfer off at once;
    /// what the destination makes of the bytes it has is then unknown.
    ///
    /// # Errors
    /// A [`Loss`], when there is no answer.
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>>;
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Loss {
    /// The request never reached the destination: refused, no such name, no route, no TLS.
    NotSent(String),
    /// At least a byte was handed over, and no answer came, or not a whole one. It may have happened.
    NoAnswer(String),
    /// The request's own body failed; here is what it said, as it said it.
    BodyFailed(BodyError),
    /// The transfer stood still for too long and was broken off. It may have happened.
    Stalled,
}

impl Loss {
    /// What the error of an answer's body means.
    pub fn of_answer(error: BodyError) -> Self {
        match error.downcast::<Self>() {
            Ok(loss) => *loss,
            Err(other) => Self::NoAnswer(chain(other.as_ref())),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "the destination was not reached: {why}"),
            Self::NoAnswer(why) => write!(f, "no whole answer came: {why}"),
            Self::BodyFailed(_) => f.write_str("the body to be sent failed"),
            Self::Stalled => f.write_str("the transfer stood still"),
        }
    }
}

impl Error for Loss {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::BodyFailed(error) => Some(error.as_ref()),
            Self::NotSent(_) | Self::NoAnswer(_) | Self::Stalled => None,
        }
    }
}

/// A body without bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of these bytes.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat the cause in their own message.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
