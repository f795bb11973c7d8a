//! How a bucket server says no.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{body::AnswerBody, xml::Xml};

/// What is answered, before it is known what becomes of it on the way.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Of a refusal.
    pub(super) code: Option<String>,
}

impl Reply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), code: None }
    }

    pub(super) fn xml(body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"))]);
        Self { headers, body: body.into(), ..Self::empty(StatusCode::OK) }
    }

    pub(super) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let name = HeaderName::try_from(name).expect("names of headers are tokens");
        // Metadata may be more than ASCII.
        let value = HeaderValue::from_bytes(value.as_ref().as_bytes()).expect("values of headers have one line");
        self.headers.append(name, value);
        self
    }

    /// Tells the length of the body, which an answer to HEAD has and does not bring.
    pub(super) fn with_length(self) -> Self {
        let length = self.body.len().to_string();
        self.with("content-length", length)
    }

    /// The answer itself. One to `HEAD` has no body, also if it is a refusal.
    pub(super) fn into_response(
        mut self,
        is_head: bool,
        body: impl FnOnce(Bytes) -> AnswerBody,
    ) -> http::Response<AnswerBody> {
        let is_without_body = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let has_length = !is_without_body && !self.headers.contains_key(header::CONTENT_LENGTH);
        if has_length && !(is_head && self.code.is_some()) {
            self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        let body = if is_head { AnswerBody::whole(Bytes::new()) } else { body(self.body) };
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A refusal, worded as S3 does: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>. The codes are
/// S3's, the messages are not.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: String,
    message: String,
    /// More elements of the body.
    more: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), more: Vec::new(), headers: Vec::new() }
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    pub(super) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    pub(super) fn access_denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDenied", message)
    }

    pub(super) fn no_such_upload() -> Self {
        Self::new(404, "NoSuchUpload", "there is no such upload; it may have been completed or aborted")
    }

    pub(super) fn saying(mut self, element: &'static str, value: impl Into<String>) -> Self {
        self.more.push((element, value.into()));
        self
    }

    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn into_reply(self, resource: &str) -> Reply {
        let mut xml = Xml::new().open("Error").text("Code", &self.code).text("Message", &self.message);
        for (element, value) in &self.more {
            xml = xml.text(element, value);
        }
        let xml = xml.text("Resource", resource).close("Error");
        let status = StatusCode::from_u16(self.status).expect("refusals have a status that exists");
        let reply = Reply { status, code: Some(self.code), ..Reply::xml(xml.finish()) };
        self.headers.into_iter().fold(reply, |reply, (name, value)| reply.with(name, value))
    }
}
