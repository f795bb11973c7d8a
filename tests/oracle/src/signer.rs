//! The signer that the SDK uses, on our very requests.

use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_s3::config::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest, SignatureLocation,
        SigningInstructions, SigningParams, SigningSettings, UriPathNormalizationMode, sign as their_sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use landfall_transport::s3::{self, Payload};

use crate::case::Case;

/// Headers that only the signature brings, or that it leaves out.
const OF_SIGNATURES: [&str; 5] =
    ["authorization", "user-agent", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];

/// Our request, signed in its headers, is signed the same by them.
pub fn sign(case: &Case) -> Result<(), String> {
    let (place, credentials) = (case.place(), case.credentials());
    let request = case.request();
    let ours = s3::sign(&request, &place, &credentials, case.timestamp()).map_err(|error| error.to_string())?;
    let text = |name: &str| ours.headers.get(name).map(|value| value.to_str().expect("ASCII"));
    let headers = ours.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")));
    let headers = headers.filter(|(name, _)| !OF_SIGNATURES.contains(name));
    // The SDK does not say the length of nothing; we do, and do not sign it.
    let headers = headers.filter(|(name, _)| *name != "content-length" || request.payload != Payload::Empty);
    let body = match text("x-amz-content-sha256") {
        Some("UNSIGNED-PAYLOAD") => SignableBody::UnsignedPayload,
        Some(hash) => SignableBody::Precomputed(hash.to_owned()),
        None => return Err("we name no hash".to_owned()),
    };
    let theirs = instructions(case, ours.method.as_str(), &ours.uri.to_string(), headers, body, None)?;
    for name in OF_SIGNATURES.into_iter().filter(|name| *name != "user-agent") {
        let theirs = theirs.headers().find(|(theirs, _)| *theirs == name).map(|(_, value)| value);
        if text(name) != theirs {
            return Err(format!("{name} differ\n  ours:   {:?}\n  theirs: {theirs:?}", text(name)));
        }
    }
    Ok(())
}

/// The URL of our request is made the same by them.
pub fn presign(case: &Case) -> Result<(), String> {
    let (place, credentials) = (case.place(), case.credentials());
    // Whoever reads a checksum at a URL of theirs asks without having it signed.
    let mut request = case.request();
    request.headers.retain(|(name, _)| name != "x-amz-checksum-mode");
    let ours = s3::presign(&request, &place, &credentials, case.timestamp(), case.expires)
        .map_err(|error| error.to_string())?;
    let plain = s3::sign(&request, &place, &credentials, case.timestamp()).map_err(|error| error.to_string())?;
    let (method, url) = (plain.method.as_str(), plain.uri.to_string());
    let headers = ours.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers = headers.chain([("host", plain.headers["host"].to_str().expect("ASCII"))]);
    let theirs = instructions(case, method, &url, headers, SignableBody::UnsignedPayload, Some(case.expires))?;
    let (_, query) = ours.url.split_once('?').ok_or("we sign nothing")?;
    for (name, value) in theirs.params() {
        let encoded: String = value.bytes().map(encoded).collect();
        if !query.split('&').any(|pair| pair.split_once('=') == Some((name, &encoded))) {
            return Err(format!("{name} differ\n  ours:   {query}\n  theirs: {encoded}"));
        }
    }
    if query.matches("X-Amz-").count() == theirs.params().len() {
        Ok(())
    } else {
        Err("we say more than they".to_owned())
    }
}

/// The settings are those that the SDK has for S3.
fn instructions<'r>(
    case: &Case,
    method: &'r str,
    url: &'r str,
    headers: impl Iterator<Item = (&'r str, &'r str)>,
    body: SignableBody<'r>,
    expires: Option<Duration>,
) -> Result<SigningInstructions, String> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.session_token_mode = SessionTokenMode::Include;
    if expires.is_some() {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = expires;
    }
    let token = case.session_token.clone();
    let identity: Identity = Credentials::new(&case.access_key, &case.secret, token, None, "case").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&case.region)
        .name("s3")
        .time(UNIX_EPOCH + Duration::from_secs(case.now))
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?;
    let request = SignableRequest::new(method, url, headers, body).map_err(|error| error.to_string())?;
    let signed = their_sign(request, &SigningParams::V4(params)).map_err(|error| format!("{error:?}"))?;
    Ok(signed.into_parts().0)
}

fn encoded(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    }
}
