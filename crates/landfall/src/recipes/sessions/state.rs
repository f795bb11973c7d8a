//! Where the upload of a session stands, in the words that recorders use.

use landfall_core::{Code, Timestamp};
use landfall_store::ItemSummary;
use serde::{Deserialize, Serialize};

use super::found::Found;

/// Where the upload of a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody asked for it, or somebody took it back.
    NotUploaded,
    /// It is in the queue, or waits to be tried again.
    Pending,
    /// It is being uploaded.
    Uploading,
    /// The bucket has it, whole.
    Done,
    /// Only a person can help.
    Failed,
}

impl Status {
    /// The word in `upload-state.json`, and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUploaded => "not_uploaded",
            Self::Pending => "pending",
            Self::Uploading => "uploading",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What `upload-state.json` says. Moments are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadState {
    /// The session.
    pub session_id: String,
    /// Where it stands.
    pub status: Status,
    /// Its key in the bucket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub s3_key: Option<String>,
    /// Bytes that the bucket has.
    pub bytes_uploaded: u64,
    /// Bytes there are.
    pub total_bytes: u64,
    /// Tries that failed since the last progress.
    pub retry_count: u32,
    /// After so many it fails for good.
    pub max_retries: u32,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// When something last happened to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_attempt_at: Option<i64>,
    /// When it was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<i64>,
    /// When the upload was asked for.
    pub created_at: i64,
    /// When this last changed.
    pub updated_at: i64,
}

impl UploadState {
    /// What the journal says, in these words.
    pub(super) fn of(
        found: &Found,
        item: Option<&ItemSummary>,
        before: Option<&(String, Timestamp)>,
        retries_max: u32,
    ) -> Self {
        let created_at = found.created_at().0;
        let state = Self {
            session_id: found.id.clone(),
            status: Status::NotUploaded,
            s3_key: None,
            bytes_uploaded: 0,
            total_bytes: found.size,
            retry_count: 0,
            max_retries: retries_max,
            last_error: None,
            last_attempt_at: None,
            completed_at: None,
            created_at,
            updated_at: created_at,
        };
        match (item, before) {
            (Some(item), _) => state.with_item(item),
            (None, Some((key, at))) => Self {
                status: Status::Done,
                s3_key: Some(key.clone()),
                bytes_uploaded: found.size,
                completed_at: Some(at.0),
                updated_at: at.0,
                ..state
            },
            (None, None) => state,
        }
    }

    /// What another program noted, before it is taken over.
    pub(super) fn noted_elsewhere(self, before: Option<&Before>) -> Self {
        match before {
            None | Some(Before::NotUploaded) => self,
            Some(Before::Queued) => Self { status: Status::Pending, ..self },
            Some(Before::Failed { error }) => {
                Self { status: Status::Failed, retry_count: self.max_retries, last_error: Some(error.clone()), ..self }
            }
            Some(Before::Done { key, at }) => Self {
                status: Status::Done,
                s3_key: Some(key.clone()),
                bytes_uploaded: self.total_bytes,
                completed_at: Some(at.0),
                ..self
            },
        }
    }

    fn with_item(self, item: &ItemSummary) -> Self {
        let status = match item.state.as_str() {
            "active" if item.is_held => Status::Uploading,
            "active" | "paused" | "staged" => Status::Pending,
            "blocked" => Status::Failed,
            "done" => Status::Done,
            _ => Status::NotUploaded,
        };
        let last_error = item.blocked.as_ref().map(|(_, message)| message.clone()).or_else(|| item.last_error.clone());
        let is_exhausted = item.blocked.as_ref().is_some_and(|(code, _)| *code == Some(Code::TooManyAttempts));
        Self {
            status,
            s3_key: item.objects.first().map(|object| object.location.clone()),
            bytes_uploaded: if status == Status::NotUploaded { 0 } else { item.bytes_sent },
            total_bytes: item.bytes_total,
            retry_count: if is_exhausted { self.max_retries } else { item.attempts },
            last_error: last_error.filter(|_| status != Status::Done),
            last_attempt_at: (item.attempts > 0).then_some(item.updated_at.0),
            completed_at: (status == Status::Done).then_some(item.updated_at.0),
            created_at: item.created_at.0,
            updated_at: item.updated_at.0,
            ..self
        }
    }

    /// Of a hundred, how much the bucket has.
    pub fn percent(&self) -> u8 {
        if self.status == Status::Done {
            return 100;
        }
        let share = u128::from(self.bytes_uploaded) * 100 / u128::from(self.total_bytes.max(1));
        // All bytes are there, and nobody has put them together yet.
        u8::try_from(share.min(99)).unwrap_or(99)
    }
}

/// What another program noted about an upload, before the journal knew of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// Nobody asked for it.
    NotUploaded,
    /// It was under way, or was to be tried again.
    Queued,
    /// It had failed for good.
    Failed { error: String },
    /// It was done.
    Done { key: String, at: Timestamp },
}

/// Reads an `upload-state.json`; `None` if it is none, or that of another session.
pub(super) fn before(text: &[u8], id: &str) -> Option<Before> {
    let state: UploadState = serde_json::from_slice(text).ok()?;
    if state.session_id != id {
        return None;
    }
    Some(match state.status {
        Status::NotUploaded => Before::NotUploaded,
        Status::Failed if state.retry_count >= state.max_retries => {
            Before::Failed { error: state.last_error.unwrap_or_else(|| "it failed too often".to_owned()) }
        }
        Status::Pending | Status::Uploading | Status::Failed => Before::Queued,
        Status::Done => Before::Done {
            key: state.s3_key.unwrap_or_default(),
            at: Timestamp(state.completed_at.unwrap_or(state.updated_at)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: &str, retries: u32) -> String {
        format!(
            r#"{{"sessionId":"s","status":"{status}","s3Key":"p/s.zip","bytesUploaded":1,"totalBytes":9,
                "retryCount":{retries},"maxRetries":10,"lastError":"no network","createdAt":5,"updatedAt":7,"more":1}}"#
        )
    }

    #[test]
    fn what_was_under_way_goes_on_and_what_failed_for_good_stays_so() {
        for (status, retries, expected) in [
            ("not_uploaded", 0, Before::NotUploaded),
            ("pending", 3, Before::Queued),
            ("uploading", 0, Before::Queued),
            ("failed", 9, Before::Queued),
            ("failed", 10, Before::Failed { error: "no network".into() }),
            ("done", 0, Before::Done { key: "p/s.zip".into(), at: Timestamp(7) }),
        ] {
            assert_eq!(before(written(status, retries).as_bytes(), "s"), Some(expected), "{status} after {retries}");
        }
        assert_eq!(before(written("lost", 0).as_bytes(), "s"), None);
        assert_eq!(before(b"{", "s"), None);
    }

    #[test]
    fn what_was_noted_of_another_session_says_nothing_of_this_one() {
        assert_eq!(before(written("done", 0).as_bytes(), "copy of s"), None);
    }
}
