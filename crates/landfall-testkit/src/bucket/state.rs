//! What a bucket server holds, and what it has seen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::HeaderMap;

use super::{Credential, Operation, Profile, checksum::Kept, multipart::Part, script::Script};

/// Everything that a bucket server holds and has seen, at one moment.
#[derive(Debug)]
pub struct State {
    pub(super) profile: Profile,
    pub(super) script: Script,
    pub(super) credentials: BTreeMap<String, Credential>,
    pub(super) buckets: BTreeSet<String>,
    pub(super) objects: BTreeMap<(String, String), Object>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) completed: BTreeMap<String, Completed>,
    pub(super) aborted: BTreeSet<String>,
    pub(super) requests: Vec<RequestSeen>,
    /// Numbers everything that needs a name.
    pub(super) count: u64,
}

/// An object as it was stored.
#[derive(Debug, Clone)]
pub struct Object {
    /// Where it is.
    pub bucket: String,
    /// Its name there.
    pub key: String,
    /// Its content.
    pub bytes: Bytes,
    /// Without quotes.
    pub etag: String,
    /// Headers that were given to it and come back with it, such as `content-type` and `x-amz-meta-…`; names are in
    /// lower case.
    pub headers: BTreeMap<String, String>,
    /// Bytes of each part, if it came in parts.
    pub parts: Vec<u64>,
    /// When it was stored, in Unix milliseconds.
    pub modified_ms: i64,
    pub(super) checksum: Option<Kept>,
}

/// An upload in parts that is neither completed nor aborted.
#[derive(Debug, Clone)]
pub struct IncompleteUpload {
    /// Where it is to be.
    pub bucket: String,
    /// Its name there.
    pub key: String,
    /// What identifies it.
    pub upload_id: String,
    /// Headers that were given to it, as [`Object::headers`].
    pub headers: BTreeMap<String, String>,
    /// Bytes of the parts that are here, by their numbers.
    pub parts: BTreeMap<u32, u64>,
}

#[derive(Debug)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) initiated_ms: i64,
    pub(super) checksum: super::checksum::Plan,
    /// By their numbers, the last that came last.
    pub(super) parts: BTreeMap<u32, Vec<Part>>,
}

/// What a completed upload was completed with, and what was answered.
#[derive(Debug)]
pub(super) struct Completed {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) parts: Vec<(u32, String)>,
    pub(super) answer: Bytes,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct RequestSeen {
    /// What it asked for.
    pub operation: Operation,
    /// In which bucket.
    pub bucket: String,
    /// Empty if the bucket itself was meant.
    pub key: String,
    /// Of a part.
    pub part_number: Option<u32>,
    /// Of an upload in parts.
    pub upload_id: Option<String>,
    /// As they arrived.
    pub headers: HeaderMap,
    /// Bytes of its body that have arrived.
    pub body_bytes: u64,
    /// The time that it was signed at, as `20130524T000000Z`.
    pub signed_at: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is being carried out, stands still, or waits at a gate.
    UnderWay,
    /// Its answer was handed out.
    Answered {
        /// Of the answer.
        status: u16,
        /// Of the refusal, if it is one.
        code: Option<String>,
    },
    /// Nobody is left to answer: the connection was broken off, by the script or by the client.
    Lost,
}

impl RequestSeen {
    /// The status it was answered with.
    pub fn status(&self) -> Option<u16> {
        match &self.outcome {
            Outcome::Answered { status, .. } => Some(*status),
            Outcome::UnderWay | Outcome::Lost => None,
        }
    }

    /// The code it was refused with.
    pub fn code(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Answered { code, .. } => code.as_deref(),
            Outcome::UnderWay | Outcome::Lost => None,
        }
    }
}

impl State {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            script: Script::default(),
            credentials: BTreeMap::new(),
            buckets: BTreeSet::new(),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            completed: BTreeMap::new(),
            aborted: BTreeSet::new(),
            requests: Vec::new(),
            count: 0,
        }
    }

    /// All requests, in the order in which they arrived.
    pub fn requests(&self) -> &[RequestSeen] {
        &self.requests
    }

    /// The requests for one operation, in the order in which they arrived.
    pub fn requests_for(&self, operation: Operation) -> impl Iterator<Item = &RequestSeen> {
        self.requests.iter().filter(move |seen| seen.operation == operation)
    }

    /// All objects, by bucket and key.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// The object of this key, in whichever bucket.
    pub fn object(&self, key: &str) -> Option<&Object> {
        self.objects.values().find(|object| object.key == key)
    }

    /// All uploads in parts that are neither completed nor aborted, in the order in which they began.
    pub fn incomplete_uploads(&self) -> impl Iterator<Item = IncompleteUpload> {
        self.uploads.iter().map(|(upload_id, upload)| IncompleteUpload {
            bucket: upload.bucket.clone(),
            key: upload.key.clone(),
            upload_id: upload_id.clone(),
            headers: upload.headers.clone(),
            parts: upload.parts.iter().map(|(number, sent)| (*number, sent.last().map_or(0, Part::len))).collect(),
        })
    }

    /// Bytes of bodies that have arrived with requests for one operation, also of those that came to nothing.
    pub fn bytes_received(&self, operation: Operation) -> u64 {
        self.requests_for(operation).map(|seen| seen.body_bytes).sum()
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}
