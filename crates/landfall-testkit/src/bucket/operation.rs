//! Which operation of S3 a request asks for, and at what.

use http::{Method, header, request::Parts};
use percent_encoding::percent_decode_str;

/// An operation of S3, by its name in AWS's API reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it, and AWS's reference the rest")]
pub enum Operation {
    HeadBucket,
    ListObjectsV2,
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    ListParts,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListMultipartUploads,
    /// Anything else. It is refused as not implemented, once its signature was found right.
    Other,
}

impl Operation {
    /// Those that need leave to write: AWS has one permission for them, `s3:PutObject`.
    pub const WRITES: [Self; 4] =
        [Self::PutObject, Self::CreateMultipartUpload, Self::UploadPart, Self::CompleteMultipartUpload];
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) bucket: String,
    /// Decoded; empty if the bucket itself is meant.
    pub(super) key: String,
    pub(super) query: Query,
}

impl Asked {
    /// Reads a request's head. A bucket is named by the host, as `bucket.NAME`, or by the first segment of the path.
    pub(super) fn of(head: &Parts, host_name: &str) -> Self {
        let path = head.uri.path().strip_prefix('/').unwrap_or_default();
        let host = host(head);
        let domain = host.rsplit_once(':').map_or(host.as_str(), |(domain, _)| domain);
        let (bucket, key) = match domain.strip_suffix(host_name).and_then(|label| label.strip_suffix('.')) {
            Some(bucket) => (bucket, path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let query = Query::of(head.uri.query().unwrap_or_default());
        let operation = operation(&head.method, key.is_empty(), &query, head.headers.contains_key("x-amz-copy-source"));
        Self { operation, bucket: decoded(bucket), key: decoded(key), query }
    }

    pub(super) fn upload_id(&self) -> Option<&str> {
        self.query.get("uploadId")
    }

    pub(super) fn part_number(&self) -> Option<u32> {
        self.query.get("partNumber")?.parse().ok()
    }
}

/// The `Host` of a request; within one process it is that of its URI.
pub(super) fn host(head: &Parts) -> String {
    let named = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    named.or(head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default().to_owned()
}

/// Names and values of a query, decoded, in their order.
#[derive(Debug, Clone)]
pub(super) struct Query(pub(super) Vec<(String, String)>);

impl Query {
    fn of(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let plain = |text: &str| decoded(&text.replace('+', "%20"));
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (plain(name), plain(value)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn operation(method: &Method, is_bucket: bool, query: &Query, is_copy: bool) -> Operation {
    use Operation as Op;
    let is_plain = !query.0.iter().any(|(name, _)| SUBRESOURCES.contains(&name.as_str())) && !is_copy;
    match (method.as_str(), is_bucket) {
        _ if !is_plain => Op::Other,
        ("HEAD", true) => Op::HeadBucket,
        ("GET", true) if query.get("list-type") == Some("2") => Op::ListObjectsV2,
        ("GET", true) if query.has("uploads") => Op::ListMultipartUploads,
        ("PUT", false) if query.has("uploadId") && query.has("partNumber") => Op::UploadPart,
        ("PUT", false) if !query.has("uploadId") && !query.has("partNumber") => Op::PutObject,
        ("GET", false) if query.has("uploadId") => Op::ListParts,
        ("GET" | "HEAD", false) if query.has("partNumber") => Op::Other,
        ("GET", false) => Op::GetObject,
        ("HEAD", false) => Op::HeadObject,
        ("POST", false) if query.has("uploads") => Op::CreateMultipartUpload,
        ("POST", false) if query.has("uploadId") => Op::CompleteMultipartUpload,
        ("DELETE", false) if query.has("uploadId") => Op::AbortMultipartUpload,
        ("DELETE", false) => Op::DeleteObject,
        _ => Op::Other,
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Names in a query that make it another operation than the ones here.
const SUBRESOURCES: [&str; 22] = [
    "accelerate",
    "acl",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "object-lock",
    "policy",
    "replication",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "versionId",
    "versioning",
    "versions",
];
