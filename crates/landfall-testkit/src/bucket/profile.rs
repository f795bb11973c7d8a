//! How servers that speak S3 differ.

/// What sets one server apart from another. [`Profile::s3`] is the one that all others are measured by.
///
/// Every field may be changed: `Profile { part_bytes_min: 1024, ..Profile::s3() }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The region that signatures must name.
    pub region: String,
    /// What becomes of a signature for another region.
    pub wrong_region: WrongRegion,
    /// Name of the server: a request to `bucket.NAME`, on any port, names its bucket in its host.
    pub host_name: String,
    /// How far a signature's time may be from the server's, in milliseconds.
    pub skew_max_ms: i64,
    /// How a signed URL is refused after its time.
    pub expired_url: ExpiredUrl,
    /// The least bytes of a part that is not the last. It is looked at when an upload is completed.
    pub part_bytes_min: u64,
    /// The most entries that any list has in one answer.
    pub page_max: usize,
    /// All parts but the last must be equally long, and the last no longer.
    pub equal_parts: bool,
    /// Parts must be named in their order when an upload is completed.
    pub ordered_parts: bool,
    /// A part that was sent again is listed twice, and an upload can be completed with either.
    pub keeps_replaced_parts: bool,
    /// `If-None-Match: *` on PutObject.
    pub put_if_none_match: IfNoneMatch,
    /// `If-None-Match: *` on CompleteMultipartUpload.
    pub complete_if_none_match: IfNoneMatch,
    /// An upload that is completed once more.
    pub complete_again: Again,
    /// An upload that is aborted once more.
    pub abort_again: Again,
    /// The answer to CompleteMultipartUpload has an empty ETag.
    pub complete_without_etag: bool,
    /// The hash of a body that a request names is compared with what arrived.
    pub payload_hash: bool,
    /// What becomes of checksums.
    pub checksums: Checksums,
    /// The code with which a wrong checksum is refused.
    pub bad_digest: &'static str,
    /// Objects that come without a checksum are given a CRC-64/NVME.
    pub adds_checksums: bool,
}

/// What becomes of a signature for another region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongRegion {
    /// 400 `AuthorizationHeaderMalformed`, which names the right one.
    Malformed,
    /// 301 `PermanentRedirect`, which names the right one.
    Redirect,
    /// Nobody looks at it.
    Accepted,
}

/// What `If-None-Match: *` does. `If-Match` on a write is obeyed, ignored or not implemented just like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfNoneMatch {
    /// 412 `PreconditionFailed` where there is an object.
    Obeyed,
    /// Nothing: the object is overwritten.
    Ignored,
    /// 501 `NotImplemented`, always.
    NotImplemented,
    /// 409 `ConditionalRequestConflict` where there is an object. An upload that was to be completed is gone then.
    Conflict,
}

/// What becomes of a request that was carried out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It succeeds again and changes nothing.
    Succeeds,
    /// 404 `NoSuchUpload`.
    NoSuchUpload,
}

/// What becomes of `x-amz-checksum-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// They are compared with what arrived, kept, and told on demand.
    Verified,
    /// Nobody looks at them.
    Ignored,
    /// 501 `NotImplemented`.
    NotImplemented,
}

/// How a signed URL is refused after its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiredUrl {
    /// 403 `AccessDenied`.
    AccessDenied,
    /// 400 `InvalidRequest`.
    InvalidRequest,
}

impl Profile {
    /// Amazon's.
    pub fn s3() -> Self {
        Self {
            region: "eu-central-1".to_owned(),
            wrong_region: WrongRegion::Malformed,
            host_name: "localhost".to_owned(),
            skew_max_ms: 15 * 60 * 1000,
            expired_url: ExpiredUrl::AccessDenied,
            part_bytes_min: 5 << 20,
            page_max: 1000,
            equal_parts: false,
            ordered_parts: true,
            keeps_replaced_parts: false,
            put_if_none_match: IfNoneMatch::Obeyed,
            complete_if_none_match: IfNoneMatch::Obeyed,
            complete_again: Again::Succeeds,
            abort_again: Again::NoSuchUpload,
            complete_without_etag: false,
            payload_hash: true,
            checksums: Checksums::Verified,
            bad_digest: "BadDigest",
            adds_checksums: true,
        }
    }

    /// Ceph's object gateway: no checksums, no ETag in the answer to CompleteMultipartUpload, and the condition is
    /// obeyed on PutObject alone.
    pub fn ceph() -> Self {
        Self {
            region: "default".to_owned(),
            wrong_region: WrongRegion::Accepted,
            ordered_parts: false,
            complete_if_none_match: IfNoneMatch::Ignored,
            complete_without_etag: true,
            checksums: Checksums::Ignored,
            adds_checksums: false,
            ..Self::s3()
        }
    }

    /// Garage: no conditions, parts of any size, and a completed upload is forgotten.
    pub fn garage() -> Self {
        Self {
            region: "garage".to_owned(),
            expired_url: ExpiredUrl::InvalidRequest,
            part_bytes_min: 0,
            put_if_none_match: IfNoneMatch::Ignored,
            complete_if_none_match: IfNoneMatch::Ignored,
            complete_again: Again::NoSuchUpload,
            bad_digest: "InvalidDigest",
            adds_checksums: false,
            ..Self::s3()
        }
    }

    /// SeaweedFS: a part that was sent again is there twice, and uploads can be aborted more than once.
    pub fn seaweed() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            wrong_region: WrongRegion::Accepted,
            keeps_replaced_parts: true,
            abort_again: Again::Succeeds,
            adds_checksums: false,
            ..Self::s3()
        }
    }

    /// Cloudflare's R2: equal parts, and checksums are refused, as they were when clients began to send them.
    pub fn r2() -> Self {
        Self {
            region: "auto".to_owned(),
            wrong_region: WrongRegion::Accepted,
            equal_parts: true,
            complete_if_none_match: IfNoneMatch::Ignored,
            complete_again: Again::NoSuchUpload,
            checksums: Checksums::NotImplemented,
            adds_checksums: false,
            ..Self::s3()
        }
    }
}
