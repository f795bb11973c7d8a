//! JSON bodies, both ways, and the other things a request carries.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use landfall_protocol::{ErrorCode, JSON_BYTES_MAX};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Server, refusal::Refusal};

/// A JSON body: of a request, at most [`JSON_BYTES_MAX`] long and whole within
/// [`crate::ServerConfig::json_time_max`], or of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Server> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, server: &Server) -> Result<Self, Refusal> {
        let too_large = || Refusal::too_large(format!("a body has at most {JSON_BYTES_MAX} bytes"));
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > JSON_BYTES_MAX) {
            return Err(too_large());
        }
        let body = Limited::new(request.into_body(), JSON_BYTES_MAX).collect();
        let bytes = match tokio::time::timeout(server.inner.config.json_time_max, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Err(_)) => return Err(Refusal::invalid("the body was cut off")),
            // The line is slow, nothing is wrong with the request: so not the code of one that is never taken.
            Err(_) => {
                let detail = "the body did not come whole in time; send it again";
                return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Unavailable, detail));
            }
        };
        serde_json::from_slice(&bytes)
            .map(Self)
            // The position says enough; the message may quote the body.
            .map_err(|error| Refusal::invalid(format!("not the JSON expected here (column {})", error.column())))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Err(error) => Refusal::internal(error).into_response(),
        }
    }
}

/// The object key in a path, checked.
#[derive(Debug, Clone)]
pub(crate) struct ObjectKey(pub(crate) String);

impl ObjectKey {
    pub(crate) fn is_valid(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl FromRequestParts<Server> for ObjectKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, server).await {
            Ok(Path(key)) if Self::is_valid(&key) => Ok(Self(key)),
            _ => Err(Refusal::no_such_upload()),
        }
    }
}

/// The number of a file in a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileId(pub(crate) i64);

impl FromRequestParts<Server> for FileId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Refusal> {
        match Path::<i64>::from_request_parts(parts, server).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Refusal::not_found("no such file")),
        }
    }
}
