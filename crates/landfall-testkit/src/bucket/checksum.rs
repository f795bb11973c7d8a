//! Checksums of parts and objects:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::{profile::Checksums, profile::Profile, refusal::Refusal};

/// How a checksum is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc64Nvme,
    Crc32c,
    Crc32,
    Sha256,
}

/// What the checksum of an object of several parts covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// All its bytes.
    FullObject,
    /// The checksums of its parts.
    Composite,
}

/// A checksum that is kept with an object or a part, as it is written on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) algorithm: Algorithm,
    pub(super) cover: Cover,
    pub(super) text: String,
}

/// Which checksums an upload in parts has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// `None`: objects have no checksums here.
    pub(super) kind: Option<(Algorithm, Cover)>,
    /// Whoever opened the upload said so.
    pub(super) is_declared: bool,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Crc64Nvme, Self::Crc32c, Self::Crc32, Self::Sha256];

    /// As in the names of headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
            Self::Sha256 => "sha256",
        }
    }

    /// As in the names of elements and the values of headers.
    pub(super) fn upper(self) -> String {
        self.name().to_uppercase()
    }

    pub(super) fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name())
    }

    pub(super) fn element(self) -> String {
        format!("Checksum{}", self.upper())
    }

    pub(super) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let crc = |algorithm| crc_fast::checksum(algorithm, bytes).to_be_bytes();
        match self {
            Self::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme).to_vec(),
            Self::Crc32c => crc(CrcAlgorithm::Crc32Iscsi)[4..].to_vec(),
            Self::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc)[4..].to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }

    pub(super) fn text(self, bytes: &[u8]) -> String {
        STANDARD.encode(self.digest(bytes))
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn allows(self, cover: Cover) -> bool {
        match self {
            Self::Crc64Nvme => cover == Cover::FullObject,
            Self::Crc32c | Self::Crc32 => true,
            Self::Sha256 => cover == Cover::Composite,
        }
    }
}

impl Cover {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// The checksum that a request claims for its body or, when an upload is completed, for the object.
pub(super) fn claimed(headers: &HeaderMap, profile: &Profile) -> Result<Option<(Algorithm, String)>, Refusal> {
    let about = |name: &&str| name.starts_with(HEADERS) && !NO_CHECKSUMS.contains(name);
    let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).filter(about).collect();
    match profile.checksums {
        Checksums::Ignored => return Ok(None),
        Checksums::NotImplemented => refuse_all(headers)?,
        Checksums::Verified => {}
    }
    let [name] = names.as_slice() else {
        return if names.is_empty() {
            Ok(None)
        } else {
            Err(Refusal::invalid_request("send one checksum, not several"))
        };
    };
    let algorithm = Algorithm::of(&name[HEADERS.len()..])
        .ok_or_else(|| Refusal::not_implemented(format!("`{name}` is not known here")))?;
    let text = headers[*name].to_str().unwrap_or_default().to_owned();
    Ok(Some((algorithm, text)))
}

/// Compares a body with all that is claimed of it; the checksum is returned as it is.
pub(super) fn verify(
    headers: &HeaderMap,
    body: &[u8],
    profile: &Profile,
) -> Result<Option<(Algorithm, String)>, Refusal> {
    if let Some(claim) = headers.get("content-md5") {
        let claim = STANDARD.decode(claim.as_bytes()).ok().filter(|md5| md5.len() == 16);
        let claim = claim.ok_or_else(|| Refusal::new(400, "InvalidDigest", "the Content-MD5 is none"))?;
        if claim != Md5::digest(body).as_slice() {
            return Err(Refusal::new(400, "BadDigest", "the body has another MD5 than its Content-MD5 says"));
        }
    }
    let Some((algorithm, text)) = claimed(headers, profile)? else { return Ok(None) };
    let claim = STANDARD.decode(&text).unwrap_or_default();
    let digest = algorithm.digest(body);
    if claim.len() != digest.len() {
        return Err(Refusal::invalid_request(format!("the value of {} is none", algorithm.header())));
    }
    if claim != digest { Err(bad_digest(algorithm, profile)) } else { Ok(Some((algorithm, text))) }
}

pub(super) fn bad_digest(algorithm: Algorithm, profile: &Profile) -> Refusal {
    Refusal::new(400, profile.bad_digest, format!("the {} is another than was claimed", algorithm.upper()))
}

impl Plan {
    /// Reads what CreateMultipartUpload says of checksums.
    pub(super) fn of(headers: &HeaderMap, profile: &Profile) -> Result<Self, Refusal> {
        match profile.checksums {
            Checksums::Ignored => return Ok(Self { kind: None, is_declared: false }),
            Checksums::NotImplemented => refuse_all(headers)?,
            Checksums::Verified => {}
        }
        let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let cover = match value("x-amz-checksum-type") {
            None => None,
            Some("FULL_OBJECT") => Some(Cover::FullObject),
            Some("COMPOSITE") => Some(Cover::Composite),
            Some(other) => return Err(Refusal::invalid_request(format!("`{other}` is no type of checksum"))),
        };
        let Some(name) = value("x-amz-checksum-algorithm") else {
            let kind = profile.adds_checksums.then_some((Algorithm::Crc64Nvme, Cover::FullObject));
            let refused = Refusal::invalid_request("a type of checksum needs an algorithm");
            return if cover.is_some() { Err(refused) } else { Ok(Self { kind, is_declared: false }) };
        };
        let algorithm = Algorithm::of(name)
            .ok_or_else(|| Refusal::not_implemented(format!("the checksum `{name}` is not known here")))?;
        let usual = if algorithm == Algorithm::Crc64Nvme { Cover::FullObject } else { Cover::Composite };
        let cover = cover.unwrap_or(usual);
        if !algorithm.allows(cover) {
            let (cover, name) = (cover.name(), algorithm.name());
            return Err(Refusal::invalid_request(format!("a {name} cannot be of the type {cover}")));
        }
        Ok(Self { kind: Some((algorithm, cover)), is_declared: true })
    }

    /// Refuses a part that came with this kind of checksum, or without any, if the upload was opened for another. An
    /// upload that was opened for none takes all kinds, and forgets them.
    pub(super) fn check_part(&self, claim: Option<Algorithm>) -> Result<(), Refusal> {
        let Some((algorithm, cover)) = self.kind.filter(|_| self.is_declared) else { return Ok(()) };
        match claim {
            Some(claim) if claim != algorithm => Err(other_kind(algorithm.name(), claim.name())),
            // Nothing else could vouch for the part in a checksum of checksums.
            None if cover == Cover::Composite => Err(other_kind(algorithm.name(), "null")),
            _ => Ok(()),
        }
    }

    /// The checksum that is answered for a part.
    pub(super) fn of_part(&self, claim: Option<(Algorithm, String)>, bytes: &[u8]) -> Option<Kept> {
        let made = || self.kind.map(|(algorithm, _)| (algorithm, algorithm.text(bytes)));
        let (algorithm, text) = claim.or_else(made)?;
        Some(Kept { algorithm, cover: Cover::FullObject, text })
    }

    /// The checksum of an object of these parts.
    pub(super) fn of_object<'a>(&self, parts: impl Iterator<Item = &'a [u8]>, bytes: &[u8]) -> Option<Kept> {
        let (algorithm, cover) = self.kind?;
        let text = match cover {
            Cover::FullObject => algorithm.text(bytes),
            Cover::Composite => {
                let digests: Vec<Vec<u8>> = parts.map(|part| algorithm.digest(part)).collect();
                format!("{}-{}", algorithm.text(&digests.concat()), digests.len())
            }
        };
        Some(Kept { algorithm, cover, text })
    }
}

pub(super) fn other_kind(expected: &str, actual: &str) -> Refusal {
    Refusal::invalid_request(format!("the upload has checksums of the kind {expected}, this is {actual}"))
}

/// Refuses anything that has to do with checksums.
fn refuse_all(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_about = |name: &&str| name.starts_with(HEADERS) && *name != "x-amz-checksum-mode";
    match headers.keys().map(http::HeaderName::as_str).find(is_about) {
        Some(name) => Err(Refusal::not_implemented(format!("the header `{name}` is not implemented"))),
        None => Ok(()),
    }
}

const HEADERS: &str = "x-amz-checksum-";
/// Headers about checksums that have none.
const NO_CHECKSUMS: [&str; 3] = ["x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"];
