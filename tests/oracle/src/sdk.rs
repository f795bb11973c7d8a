//! The SDK, with a client in memory that catches what it would send.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Credentials, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
    presigning::{PresignedRequest, PresigningConfig},
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart, EncodingType},
};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use base64::{Engine, prelude::BASE64_STANDARD};
use landfall_core::{Algorithm, Checksum};
use landfall_transport::s3::{Condition, Style};

use crate::case::{Case, Object, Operation};

/// What was caught: a request that is signed in its headers or its URL.
#[derive(Debug)]
pub struct Caught {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

pub struct Sdk {
    runtime: tokio::runtime::Runtime,
    net: Net,
    clock: Clock,
}

impl Sdk {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { runtime, net: Net::default(), clock: Clock::default() }
    }

    /// The request that the SDK sends.
    pub fn request(&self, case: &Case) -> Caught {
        let client = self.client(case);
        let error = self.runtime.block_on(send(&client, case));
        let caught = self.net.0.lock().expect("one thread uses it").take();
        caught.unwrap_or_else(|| panic!("the SDK sent nothing: {error}\n{case:#?}"))
    }

    /// The request that the SDK makes a URL of, if it makes one of such an operation.
    pub fn presigned(&self, case: &Case) -> Option<Caught> {
        let client = self.client(case);
        let start = UNIX_EPOCH + Duration::from_secs(case.now);
        let config = PresigningConfig::builder().start_time(start).expires_in(case.expires).build().expect("a time");
        let presigned = self.runtime.block_on(presign(&client, case, config))?;
        Some(Caught {
            method: presigned.method().to_owned(),
            url: presigned.uri().to_owned(),
            headers: presigned.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: Vec::new(),
        })
    }

    fn client(&self, case: &Case) -> Client {
        self.clock.0.store(case.now, Ordering::Relaxed);
        let net = self.net.clone();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(case.region.clone()))
            .credentials_provider(Credentials::new(
                &case.access_key,
                &case.secret,
                case.session_token.clone(),
                None,
                "case",
            ))
            .force_path_style(case.style == Style::Path)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .identity_cache(IdentityCache::no_cache())
            .time_source(self.clock.clone())
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(net.clone())));
        if let Some(endpoint) = &case.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Client::from_conf(config.build())
    }
}

/// Remembers the last request, and refuses it.
#[derive(Debug, Clone, Default)]
struct Net(Arc<Mutex<Option<Caught>>>);

impl HttpConnector for Net {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let headers = request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let caught = Caught {
            method: request.method().to_owned(),
            url: request.uri().to_owned(),
            headers,
            body: request.body().bytes().expect("all bodies are in memory").to_vec(),
        };
        *self.0.lock().expect("one thread uses it") = Some(caught);
        let status = StatusCode::try_from(404).expect("a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::empty())))
    }
}

#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Sets an operation's fields for an object's bytes or description, whichever operation it is.
macro_rules! checksum {
    ($operation:expr, $checksum:expr) => {{
        let text = |algorithm| text_of($checksum, algorithm);
        $operation
            .set_checksum_crc64_nvme(text(Algorithm::Crc64Nvme))
            .set_checksum_crc32_c(text(Algorithm::Crc32c))
            .set_checksum_sha256(text(Algorithm::Sha256))
    }};
}
macro_rules! object {
    ($operation:expr, $object:expr) => {{
        let mut operation = $operation.set_content_type($object.content_type.clone());
        for (name, value) in metadata($object) {
            operation = operation.metadata(name, value);
        }
        operation
    }};
}
macro_rules! upload_part {
    ($client:expr, $bucket:expr, $key:expr, $upload_id:expr, $number:expr, $checksum:expr, $length:expr) => {
        checksum!($client.upload_part().bucket($bucket).key($key).upload_id($upload_id), $checksum)
            .part_number(*$number as i32)
            .content_length($length as i64)
    };
}
macro_rules! put {
    ($client:expr, $bucket:expr, $key:expr, $object:expr, $checksum:expr, $condition:expr, $length:expr) => {
        checksum!(object!($client.put_object().bucket($bucket).key($key), $object), $checksum)
            .set_if_none_match(absent($condition))
            .set_if_match(is($condition))
            .content_length($length as i64)
    };
}

fn absent(condition: &Condition) -> Option<String> {
    (*condition == Condition::Absent).then(|| "*".to_owned())
}

fn is(condition: &Condition) -> Option<String> {
    if let Condition::Is(etag) = condition { Some(format!("\"{etag}\"")) } else { None }
}

/// Everything is answered with 404; any other error means that nothing was sent.
async fn send(client: &Client, case: &Case) -> String {
    let bucket = &case.bucket;
    match &case.operation {
        Operation::HeadBucket => told(client.head_bucket().bucket(bucket).send().await),
        Operation::Create { key, object } => {
            let create = object!(client.create_multipart_upload().bucket(bucket).key(key), object)
                .set_checksum_algorithm(object.algorithm.map(named))
                .set_checksum_type(object.algorithm.map(kind));
            told(create.send().await)
        }
        Operation::UploadPart { key, upload_id, number, body, checksum, is_hashed } => {
            let part = upload_part!(client, bucket, key, upload_id, number, checksum.as_ref(), body.len());
            let part = part.body(ByteStream::from(body.clone())).customize();
            told(if *is_hashed { part } else { part.disable_payload_signing() }.send().await)
        }
        Operation::ListParts { key, upload_id, after } => {
            let after = after.map(|after| after.to_string());
            let parts = client.list_parts().bucket(bucket).key(key).upload_id(upload_id);
            told(parts.set_part_number_marker(after).send().await)
        }
        Operation::Complete { key, upload_id, parts, whole, size, condition } => {
            let mut list = CompletedMultipartUpload::builder();
            for part in parts {
                let one =
                    CompletedPart::builder().part_number(part.number.0 as i32).e_tag(format!("\"{}\"", part.etag));
                list = list.parts(checksum!(one, part.checksum.as_ref()).build());
            }
            let whole = whole.as_ref().filter(|whole| whole.algorithm() == Algorithm::Crc64Nvme);
            let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(upload_id);
            let complete = complete
                .multipart_upload(list.build())
                .set_checksum_type(whole.map(|whole| kind(whole.algorithm())))
                .set_checksum_crc64_nvme(text_of(whole, Algorithm::Crc64Nvme))
                .set_mpu_object_size(whole.map(|_| *size as i64))
                .set_if_none_match(absent(condition))
                .set_if_match(is(condition));
            told(complete.send().await)
        }
        Operation::Abort { key, upload_id } => {
            told(client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload_id).send().await)
        }
        Operation::ListUploads { prefix, after } => {
            let upload_id = after.as_ref().map(|after| after.upload_id.clone()).filter(|id| !id.is_empty());
            let uploads = client.list_multipart_uploads().bucket(bucket);
            let uploads = uploads
                .set_prefix(Some(prefix.clone()).filter(|prefix| !prefix.is_empty()))
                .set_key_marker(after.as_ref().map(|after| after.key.clone()))
                .set_upload_id_marker(upload_id);
            told(uploads.send().await)
        }
        Operation::Put { key, object, body, checksum, is_hashed, condition } => {
            let put = put!(client, bucket, key, object, checksum.as_ref(), condition, body.len());
            let put = put.body(ByteStream::from(body.clone())).customize();
            told(if *is_hashed { put } else { put.disable_payload_signing() }.send().await)
        }
        Operation::PutBytes { key, object, body, checksum, condition } => {
            let put = put!(client, bucket, key, object, checksum.as_ref(), condition, body.len());
            told(put.body(ByteStream::from(body.clone())).send().await)
        }
        Operation::Head { key } => {
            told(client.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled).send().await)
        }
        Operation::Get { key, from } => {
            let range = (*from > 0).then(|| format!("bytes={from}-"));
            told(client.get_object().bucket(bucket).key(key).set_range(range).send().await)
        }
        Operation::Delete { key } => told(client.delete_object().bucket(bucket).key(key).send().await),
        Operation::List { prefix, delimiter, after } => {
            let list = client.list_objects_v2().bucket(bucket).encoding_type(EncodingType::Url);
            let list = list
                .set_prefix(Some(prefix.clone()).filter(|prefix| !prefix.is_empty()))
                .set_delimiter(delimiter.clone())
                .set_continuation_token(after.clone());
            told(list.send().await)
        }
    }
}

async fn presign(client: &Client, case: &Case, config: PresigningConfig) -> Option<PresignedRequest> {
    let bucket = &case.bucket;
    let presigned = match &case.operation {
        Operation::UploadPart { key, upload_id, number, body, checksum, .. } => {
            let part = upload_part!(client, bucket, key, upload_id, number, checksum.as_ref(), body.len());
            part.presigned(config).await.map_err(|error| format!("{error:?}"))
        }
        Operation::Put { key, object, body, checksum, condition, .. }
        | Operation::PutBytes { key, object, body, checksum, condition } => {
            let put = put!(client, bucket, key, object, checksum.as_ref(), condition, body.len());
            put.presigned(config).await.map_err(|error| format!("{error:?}"))
        }
        Operation::Head { key } => {
            let head = client.head_object().bucket(bucket).key(key);
            head.presigned(config).await.map_err(|error| format!("{error:?}"))
        }
        Operation::Get { key, from } => {
            let get = client.get_object().bucket(bucket).key(key);
            let get = get.set_range((*from > 0).then(|| format!("bytes={from}-")));
            get.presigned(config).await.map_err(|error| format!("{error:?}"))
        }
        Operation::Delete { key } => {
            let delete = client.delete_object().bucket(bucket).key(key);
            delete.presigned(config).await.map_err(|error| format!("{error:?}"))
        }
        _ => return None,
    };
    Some(presigned.unwrap_or_else(|error| panic!("the SDK made no URL: {error}\n{case:#?}")))
}

fn told<T, E: fmt::Debug>(sent: Result<T, E>) -> String {
    sent.err().map(|error| format!("{error:?}")).unwrap_or_default()
}

fn metadata(object: &Object) -> impl Iterator<Item = (&str, &str)> {
    let tag = object.tag.as_deref().map(|tag| ("landfall-id", tag));
    tag.into_iter().chain(object.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn text_of(checksum: Option<&Checksum>, algorithm: Algorithm) -> Option<String> {
    let checksum = checksum.filter(|checksum| checksum.algorithm() == algorithm);
    checksum.map(|checksum| BASE64_STANDARD.encode(checksum.as_bytes()))
}

fn named(algorithm: Algorithm) -> ChecksumAlgorithm {
    match algorithm {
        Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
        Algorithm::Crc32c => ChecksumAlgorithm::Crc32C,
        Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
    }
}

fn kind(algorithm: Algorithm) -> ChecksumType {
    if algorithm == Algorithm::Crc64Nvme { ChecksumType::FullObject } else { ChecksumType::Composite }
}
