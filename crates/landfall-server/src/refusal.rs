//! What a handler answers when it does not do what was asked.

use std::{borrow::Cow, error::Error, io};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use landfall_protocol::{ErrorCode, FileRecord, Problem};

/// A refusal of any route outside `/blobs/` and `/assets/`, answered as `application/problem+json`.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) winner: Option<Box<FileRecord>>,
    /// Which process is in the way, with [`ErrorCode::VaultHeld`].
    pub(crate) holder: Option<u32>,
    /// What went wrong on our side. For the log, never for the client.
    pub(crate) source: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), winner: None, holder: None, source: None }
    }

    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Invalid, detail)
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, detail)
    }

    pub(crate) fn conflict(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub(crate) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge, detail)
    }

    pub(crate) fn no_such_upload() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NoSuchUpload, "no such upload; open it again")
    }

    pub(crate) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, detail)
    }

    pub(crate) fn throttled(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::Throttled, detail)
    }

    /// Another process is in the middle of a write for longer than a request waits.
    pub(crate) fn held(by: Option<u32>) -> Self {
        let who = by.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        let detail = format!("{who} is writing to the vault and does not go on; continue it or end it");
        Self { holder: by, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::VaultHeld, detail) }
    }

    pub(crate) fn storage_full() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            ErrorCode::StorageFull,
            "the vault's disk is full; free space there and try again",
        )
    }

    pub(crate) fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, "the server failed; its log says more")
        }
    }

    /// Says once, in the log, what the client is not told.
    pub(crate) fn log(&self) {
        if let Some(source) = &self.source {
            if self.status == StatusCode::INTERNAL_SERVER_ERROR {
                tracing::error!(status = self.status.as_u16(), error = chain(source.as_ref()), "Failed to answer");
            } else {
                tracing::warn!(status = self.status.as_u16(), error = chain(source.as_ref()), "Refused for now");
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.log();
        let problem = Problem {
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail.into_owned(),
            winner: self.winner,
        };
        let body = serde_json::to_vec(&problem).expect("a problem has only text keys and writes to memory");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self { source: Some(error.into()), ..Self::storage_full() },
            Some(Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed) => {
                Self { source: Some(error.into()), ..Self::held(None) }
            }
            _ => Self::internal(error),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        if is_disk_full(&error) {
            Self { source: Some(error.into()), ..Self::storage_full() }
        } else {
            Self::internal(error)
        }
    }
}

/// A refusal of a route below `/blobs/` or `/assets/`, answered as S3 does.
#[derive(Debug)]
pub(crate) struct BlobRefusal {
    pub(crate) status: StatusCode,
    /// S3's word for it.
    pub(crate) word: &'static str,
    pub(crate) message: Cow<'static, str>,
}

impl BlobRefusal {
    pub(crate) fn new(status: StatusCode, word: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, word, message: message.into() }
    }
}

impl From<Refusal> for BlobRefusal {
    fn from(refusal: Refusal) -> Self {
        refusal.log();
        let word = match refusal.code {
            ErrorCode::NotFound => "NoSuchKey",
            ErrorCode::NoSuchUpload => "NoSuchUpload",
            ErrorCode::TooLarge => "EntityTooLarge",
            ErrorCode::VaultHeld => "VaultHeld",
            ErrorCode::Throttled | ErrorCode::Unavailable => "SlowDown",
            ErrorCode::StorageFull => "InsufficientStorage",
            ErrorCode::Internal => "InternalError",
            ErrorCode::UploadDiffers => "PartDiffers",
            _ => "InvalidRequest",
        };
        Self { status: refusal.status, word, message: refusal.detail }
    }
}

impl IntoResponse for BlobRefusal {
    fn into_response(self) -> Response {
        // Words and messages are our own constants; none holds a character that XML would have to escape.
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>",
            self.word, self.message
        );
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        // What is not there may come, and what is gone may be put again.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Whether the disk, or the user's share of it, is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
