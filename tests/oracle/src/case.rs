//! What is compared: one operation, at one place, by one account, at one time.

use std::time::Duration;

use landfall_core::{Algorithm, Checksum, PartNumber, Timestamp};
use landfall_transport::{
    s3::{CompletedPart, Condition, Credentials, NewObject, Place, Request, Style, UploadMarker, request},
    vault::Origin,
};

use crate::random::Random;

/// How many operations there are; cases take them in turn.
pub const OPERATIONS: u64 = 13;

#[derive(Debug)]
pub struct Case {
    pub operation: Operation,
    pub bucket: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub style: Style,
    pub access_key: String,
    pub secret: String,
    pub session_token: Option<String>,
    /// In seconds since 1970.
    pub now: u64,
    pub expires: Duration,
}

#[derive(Debug)]
pub enum Operation {
    HeadBucket,
    Create {
        key: String,
        object: Object,
    },
    UploadPart {
        key: String,
        upload_id: String,
        number: u32,
        body: Vec<u8>,
        checksum: Option<Checksum>,
        is_hashed: bool,
    },
    ListParts {
        key: String,
        upload_id: String,
        after: Option<u32>,
    },
    Complete {
        key: String,
        upload_id: String,
        parts: Vec<CompletedPart>,
        whole: Option<Checksum>,
        size: u64,
        condition: Condition,
    },
    Abort {
        key: String,
        upload_id: String,
    },
    ListUploads {
        prefix: String,
        after: Option<UploadMarker>,
    },
    Put {
        key: String,
        object: Object,
        body: Vec<u8>,
        checksum: Option<Checksum>,
        is_hashed: bool,
        condition: Condition,
    },
    PutBytes {
        key: String,
        object: Object,
        body: Vec<u8>,
        checksum: Option<Checksum>,
        condition: Condition,
    },
    Head {
        key: String,
    },
    Get {
        key: String,
        from: u64,
    },
    Delete {
        key: String,
    },
    List {
        prefix: String,
        delimiter: Option<String>,
        after: Option<String>,
    },
}

#[derive(Debug, Clone)]
pub struct Object {
    pub content_type: Option<String>,
    pub tag: Option<String>,
    pub algorithm: Option<Algorithm>,
    pub metadata: Vec<(String, String)>,
}

impl Case {
    pub fn new(number: u64, seed: u64) -> Self {
        let random = &mut Random::new(
            seed.wrapping_mul(0x1000_0000_0000).wrapping_add(number).wrapping_mul(0x2545_f491_4f6c_dd1d),
        );
        let (endpoint, style, region) = place(random);
        // The SDK puts a name with dots into the path by itself.
        let separators: &[&str] = if style == Style::Path { &["-", ".", ""] } else { &["-", ""] };
        let bucket = format!("b{}{}{}", random.below(1 << 20), random.one(separators), random.below(1 << 20));
        Self {
            operation: operation(number % OPERATIONS, random),
            bucket,
            region,
            endpoint,
            style,
            access_key: format!("AKIA{}", random.word(16)),
            secret: random.line().trim().to_owned() + &random.word(20),
            session_token: random.chance(2).then(|| format!("{}//+{}==", random.word(60), random.word(9))),
            now: 946_684_800 + random.below(2_000_000_000),
            expires: Duration::from_secs(1 + random.below(604_800)),
        }
    }

    pub fn place(&self) -> Place {
        let endpoint = self.endpoint.as_ref().map(|text| Origin::parse(text).expect("an origin"));
        Place::new(endpoint, &self.bucket, &self.region, Some(self.style)).expect("a place")
    }

    pub fn credentials(&self) -> Credentials {
        let token = self.session_token.clone();
        Credentials::new(&self.access_key, &self.secret, token).expect("credentials")
    }

    pub fn timestamp(&self) -> Timestamp {
        Timestamp(i64::try_from(self.now * 1000).expect("a moment"))
    }

    /// Our request.
    pub fn request(&self) -> Request {
        match &self.operation {
            Operation::HeadBucket => request::head_bucket(),
            Operation::Create { key, object } => object.with(|object| request::create(key, object)),
            Operation::UploadPart { key, upload_id, number, body, checksum, is_hashed } => request::upload_part(
                key,
                upload_id,
                PartNumber(*number),
                body.len() as u64,
                checksum.as_ref(),
                is_hashed.then(|| sha256(body)),
            ),
            Operation::ListParts { key, upload_id, after } => request::list_parts(key, upload_id, *after),
            Operation::Complete { key, upload_id, parts, whole, size, condition } => {
                request::complete(key, upload_id, parts, whole.as_ref(), *size, condition)
            }
            Operation::Abort { key, upload_id } => request::abort(key, upload_id),
            Operation::ListUploads { prefix, after } => request::list_uploads(prefix, after.as_ref()),
            Operation::Put { key, object, body, checksum, is_hashed, condition } => object.with(|object| {
                let hash = is_hashed.then(|| sha256(body));
                request::put(key, object, body.len() as u64, checksum.as_ref(), hash, condition)
            }),
            Operation::PutBytes { key, object, body, checksum, condition } => {
                object.with(|object| request::put_bytes(key, object, body.clone().into(), checksum.as_ref(), condition))
            }
            Operation::Head { key } => request::head(key),
            Operation::Get { key, from } => request::get(key, *from),
            Operation::Delete { key } => request::delete(key),
            Operation::List { prefix, delimiter, after } => {
                request::list(prefix, delimiter.as_deref(), after.as_deref())
            }
        }
    }
}

impl Operation {
    pub fn name(&self) -> &'static str {
        match self {
            Self::HeadBucket => "HeadBucket",
            Self::Create { .. } => "CreateMultipartUpload",
            Self::UploadPart { .. } => "UploadPart",
            Self::ListParts { .. } => "ListParts",
            Self::Complete { .. } => "CompleteMultipartUpload",
            Self::Abort { .. } => "AbortMultipartUpload",
            Self::ListUploads { .. } => "ListMultipartUploads",
            Self::Put { .. } | Self::PutBytes { .. } => "PutObject",
            Self::Head { .. } => "HeadObject",
            Self::Get { .. } => "GetObject",
            Self::Delete { .. } => "DeleteObject",
            Self::List { .. } => "ListObjectsV2",
        }
    }
}

impl Object {
    fn with(&self, make: impl FnOnce(&NewObject<'_>) -> Request) -> Request {
        let metadata: Vec<_> = self.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        make(&NewObject {
            content_type: self.content_type.as_deref(),
            tag: self.tag.as_deref(),
            algorithm: self.algorithm,
            metadata: &metadata,
        })
    }
}

/// Endpoint, style and region.
fn place(random: &mut Random) -> (Option<String>, Style, String) {
    let style = random.one(&[Style::Path, Style::VirtualHost]);
    if random.chance(2) {
        let regions =
            ["us-east-1", "us-west-2", "eu-central-1", "ap-southeast-2", "cn-north-1", "us-gov-west-1", "me-south-1"];
        return (None, style, random.one(&regions).to_owned());
    }
    let named =
        ["http://store.test:9000", "https://s3.example.com", "http://localhost:3900", "https://a.b.c.example:8443"];
    let endpoints: &[&str] = if style == Style::Path {
        &["http://127.0.0.1:8333", "http://store.test", "https://store.test:443"]
    } else {
        &named
    };
    let region = random.one(&["garage", "auto", "us-east-1", "eu-1"]);
    (Some(random.one(endpoints).to_owned()), style, region.to_owned())
}

fn operation(which: u64, random: &mut Random) -> Operation {
    let key = random.key();
    let length = random.below(300) as usize;
    let body = random.bytes(length);
    let upload_id = if random.chance(4) { random.key() } else { random.word(120) };
    let condition = match random.below(4) {
        0 => Condition::Is(random.word(40)),
        1 => Condition::Absent,
        _ => Condition::Always,
    };
    let is_hashed = random.chance(2);
    let checksum = checksum(random);
    match which {
        0 => Operation::HeadBucket,
        1 => Operation::Create { key, object: object(random) },
        2 => {
            let number = 1 + random.below(10_000) as u32;
            Operation::UploadPart { key, upload_id, number, body, checksum, is_hashed }
        }
        3 => Operation::ListParts { key, upload_id, after: random.chance(2).then(|| random.below(10_000) as u32) },
        4 => {
            let algorithm =
                random.one(&[None, Some(Algorithm::Crc64Nvme), Some(Algorithm::Crc32c), Some(Algorithm::Sha256)]);
            let parts = (1..=1 + random.below(5)).map(|number| part(number as u32, algorithm, random)).collect();
            let whole = algorithm.filter(|_| is_hashed).map(|algorithm| checksum_of(algorithm, random));
            Operation::Complete { key, upload_id, parts, whole, size: random.below(1 << 40), condition }
        }
        5 => Operation::Abort { key, upload_id },
        6 => {
            let upload_id = if random.chance(3) { String::new() } else { upload_id };
            let after = random.chance(2).then_some(UploadMarker { key, upload_id });
            Operation::ListUploads { prefix: maybe(random), after }
        }
        7 => Operation::Put { key, object: object(random), body, checksum, is_hashed, condition },
        8 => Operation::PutBytes { key, object: object(random), body, checksum, condition },
        9 => Operation::Head { key },
        10 => Operation::Get { key, from: if random.chance(2) { 0 } else { random.below(1 << 40) } },
        11 => Operation::Delete { key },
        _ => {
            let delimiter = random.chance(2).then(|| random.key());
            Operation::List { prefix: maybe(random), delimiter, after: random.chance(2).then(|| random.key()) }
        }
    }
}

fn maybe(random: &mut Random) -> String {
    if random.chance(4) { String::new() } else { random.key() }
}

fn object(random: &mut Random) -> Object {
    let types = [None, Some("image/heic"), Some("application/octet-stream"), Some("text/plain; charset=\"utf-8\"")];
    let metadata = (0..random.below(4)).map(|number| {
        let length = 1 + random.below(8) as usize;
        (format!("{}-{number}", random.word(length).to_ascii_lowercase()), random.line())
    });
    Object {
        metadata: metadata.collect(),
        content_type: random.one(&types).map(str::to_owned),
        tag: random.chance(2).then(|| random.word(22)),
        algorithm: random.chance(2).then(|| random.one(&Algorithm::ALL)),
    }
}

fn part(number: u32, algorithm: Option<Algorithm>, random: &mut Random) -> CompletedPart {
    let etag = if random.chance(10) { "a<b>&'c".to_owned() } else { hex::encode(random.bytes(16)) };
    let checksum = algorithm.map(|algorithm| checksum_of(algorithm, random));
    CompletedPart { number: PartNumber(number), etag, checksum }
}

fn checksum(random: &mut Random) -> Option<Checksum> {
    let algorithm = random.chance(2).then(|| random.one(&Algorithm::ALL));
    algorithm.map(|algorithm| checksum_of(algorithm, random))
}

fn checksum_of(algorithm: Algorithm, random: &mut Random) -> Checksum {
    Checksum::new(algorithm, random.bytes(algorithm.bytes())).expect("as long as its algorithm says")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
