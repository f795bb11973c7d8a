//! Whether a request was signed by whom it says, for here and now: signature version 4, in headers or in a signed URL
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>).

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest as _, Sha256};

use super::{
    Credential, Profile, State, moment,
    operation::{Asked, Query, host},
    profile::{ExpiredUrl, WrongRegion},
    refusal::Refusal,
};

/// Finds whose request this is.
///
/// The order is S3's: what is malformed or for another region is refused before the key is looked at, and the time is
/// looked at before the signature.
pub(super) fn verify<'a>(
    state: &'a State,
    asked: &Asked,
    head: &Parts,
    now_ms: i64,
) -> Result<&'a Credential, Refusal> {
    let signed = Signed::of(head, &asked.query)?;
    signed.check_region(&state.profile, &asked.bucket)?;
    let credential = state.credentials.get(&signed.access_key_id).ok_or_else(|| {
        Refusal::new(403, "InvalidAccessKeyId", "nobody has this access key")
            .saying("AWSAccessKeyId", &signed.access_key_id)
    })?;
    signed.check_token(credential, now_ms)?;
    signed.check_time(&state.profile, now_ms)?;
    signed.check_headers(head)?;
    let canonical = signed.canonical_request(head, &asked.query);
    let to_sign = signed.string_to_sign(&canonical);
    if hex(&signed.signature(&credential.secret_access_key, &to_sign)) != signed.signature {
        let refusal = Refusal::new(403, "SignatureDoesNotMatch", "compare what was to be signed with what you signed");
        return Err(refusal.saying("StringToSign", to_sign).saying("CanonicalRequest", canonical));
    }
    Ok(credential)
}

/// Compares a body with the digest that was signed for it.
pub(super) fn verify_payload(asked: &Asked, head: &Parts, body: &[u8]) -> Result<(), Refusal> {
    let payload = payload(head, &asked.query);
    if payload == UNSIGNED {
        return Ok(());
    }
    if payload.starts_with("STREAMING-") {
        return Err(Refusal::not_implemented("bodies that are signed in pieces are not known here"));
    }
    let digest = hex(&Sha256::digest(body));
    if payload != digest {
        let refusal = Refusal::new(400, "XAmzContentSHA256Mismatch", "the body is another than was signed");
        return Err(refusal.saying("ClientComputedContentSHA256", payload).saying("S3ComputedContentSHA256", digest));
    }
    Ok(())
}

/// The time that a request says it was signed at, as it stands there.
pub(super) fn signed_at(head: &Parts, query: &Query) -> Option<String> {
    header(head, "x-amz-date").or_else(|| query.get("X-Amz-Date").map(str::to_owned)).or_else(|| header(head, "date"))
}

/// What a signature says of itself.
struct Signed {
    access_key_id: String,
    /// Date, region, service and the closing word.
    scope: [String; 4],
    headers: Vec<String>,
    signature: String,
    at_ms: i64,
    token: Option<String>,
    payload: String,
    /// Of a signed URL, in seconds.
    lifetime: Option<i64>,
}

impl Signed {
    fn of(head: &Parts, query: &Query) -> Result<Self, Refusal> {
        let value = |name: &str| query.get(name).map(str::to_owned);
        if let Some(algorithm) = value("X-Amz-Algorithm") {
            let bad = || Refusal::new(400, "AuthorizationQueryParametersError", "a parameter of the signature is bad");
            let lifetime: i64 = value("X-Amz-Expires").and_then(|text| text.parse().ok()).ok_or_else(bad)?;
            if algorithm != ALGORITHM || !(0..=LIFETIME_MAX).contains(&lifetime) {
                return Err(bad());
            }
            let credential = value("X-Amz-Credential").ok_or_else(bad)?;
            let names = value("X-Amz-SignedHeaders").ok_or_else(bad)?;
            let at_ms = value("X-Amz-Date").and_then(|text| moment::parse_basic(&text)).ok_or_else(bad)?;
            let signature = value("X-Amz-Signature").ok_or_else(bad)?;
            let signed = Self::assemble(head, query, &credential, &names, signature, at_ms).ok_or_else(bad)?;
            return Ok(Self { token: value("X-Amz-Security-Token"), lifetime: Some(lifetime), ..signed });
        }
        let authorization = header(head, "authorization").ok_or_else(|| Refusal::access_denied("sign the request"))?;
        let bad = || Refusal::new(400, "AuthorizationHeaderMalformed", "the Authorization header is malformed");
        let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(bad)?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| field.trim().strip_prefix(name)).map(str::to_owned).ok_or_else(bad)
        };
        let (credential, names) = (field("Credential=")?, field("SignedHeaders=")?);
        let date = header(head, "x-amz-date").and_then(|text| moment::parse_basic(&text));
        let date = date.or_else(|| moment::parse_http(&header(head, "date")?));
        let at_ms = date.ok_or_else(|| Refusal::access_denied("send x-amz-date, or Date"))?;
        if header(head, CONTENT_SHA256).is_none() {
            return Err(Refusal::invalid_request("send x-amz-content-sha256"));
        }
        Self::assemble(head, query, &credential, &names, field("Signature=")?, at_ms).ok_or_else(bad)
    }

    fn assemble(
        head: &Parts,
        query: &Query,
        credential: &str,
        names: &str,
        signature: String,
        at_ms: i64,
    ) -> Option<Self> {
        let mut words: Vec<String> = credential.rsplitn(5, '/').map(str::to_owned).collect();
        let access_key_id = if words.len() == 5 { words.pop()? } else { return None };
        words.reverse();
        let scope: [String; 4] = words.try_into().ok()?;
        let is_sound = scope[2] == "s3" && scope[3] == "aws4_request" && moment::basic(at_ms).starts_with(&scope[0]);
        (is_sound && scope[0].len() == 8).then(|| Self {
            access_key_id,
            scope,
            headers: names.split(';').map(str::to_owned).collect(),
            signature,
            at_ms,
            token: header(head, "x-amz-security-token"),
            payload: payload(head, query),
            lifetime: None,
        })
    }

    fn check_region(&self, profile: &Profile, bucket: &str) -> Result<(), Refusal> {
        let (asked, right) = (&self.scope[1], &profile.region);
        if asked == right || profile.wrong_region == WrongRegion::Accepted {
            return Ok(());
        }
        let refusal = match profile.wrong_region {
            WrongRegion::Redirect => Refusal::new(301, "PermanentRedirect", "the bucket is served elsewhere")
                .saying("Endpoint", format!("{bucket}.{}", profile.host_name))
                .saying("Bucket", bucket),
            _ => {
                let code = match self.lifetime {
                    Some(_) => "AuthorizationQueryParametersError",
                    None => "AuthorizationHeaderMalformed",
                };
                let message = format!("the signature is for the region '{asked}'; expecting '{right}'");
                Refusal::new(400, code, message).saying("Region", right)
            }
        };
        Err(refusal.with_header("x-amz-bucket-region", right))
    }

    fn check_token(&self, credential: &Credential, now_ms: i64) -> Result<(), Refusal> {
        match (&credential.session_token, &self.token) {
            (Some(right), Some(shown)) if right != shown => {
                return Err(Refusal::new(400, "InvalidToken", "the session token is not the key's"));
            }
            (None, Some(_)) => return Err(Refusal::new(400, "InvalidToken", "the key has no session token")),
            // S3 does not know keys of sessions by themselves.
            (Some(_), None) => return Err(Refusal::new(403, "InvalidAccessKeyId", "nobody has this access key")),
            _ => {}
        }
        if credential.expires_at_ms.is_some_and(|end| end <= now_ms) {
            return Err(Refusal::new(400, "ExpiredToken", "the session is over; get new credentials"));
        }
        Ok(())
    }

    fn check_time(&self, profile: &Profile, now_ms: i64) -> Result<(), Refusal> {
        let server_time = moment::extended(now_ms);
        let Some(lifetime) = self.lifetime else {
            if (now_ms - self.at_ms).abs() <= profile.skew_max_ms {
                return Ok(());
            }
            let refusal = Refusal::new(403, "RequestTimeTooSkewed", "the clock of the client is too far from ours");
            return Err(refusal
                .saying("RequestTime", moment::basic(self.at_ms))
                .saying("ServerTime", server_time)
                .saying("MaxAllowedSkewMilliseconds", profile.skew_max_ms.to_string()));
        };
        let end_ms = self.at_ms + lifetime * 1000;
        if self.at_ms - now_ms > profile.skew_max_ms {
            return Err(Refusal::access_denied("Request is not valid yet").saying("ServerTime", server_time));
        }
        if now_ms < end_ms {
            return Ok(());
        }
        let refusal = match profile.expired_url {
            ExpiredUrl::AccessDenied => Refusal::access_denied("Request has expired"),
            ExpiredUrl::InvalidRequest => Refusal::invalid_request("the URL has expired"),
        };
        Err(refusal
            .saying("X-Amz-Expires", lifetime.to_string())
            .saying("Expires", moment::extended(end_ms))
            .saying("ServerTime", server_time))
    }

    /// The host and everything that is Amazon's must be signed.
    fn check_headers(&self, head: &Parts) -> Result<(), Refusal> {
        let is_signed = |name: &str| self.headers.iter().any(|signed| signed == name);
        let amazons = head.headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
        match std::iter::once("host").chain(amazons).find(|name| !is_signed(name)) {
            Some(name) => Err(Refusal::access_denied("there are headers that must be signed and are not")
                .saying("HeadersNotSigned", name)),
            None => Ok(()),
        }
    }

    fn canonical_request(&self, head: &Parts, query: &Query) -> String {
        let path: Vec<u8> = percent_decode_str(head.uri.path()).collect();
        let mut pairs: Vec<String> = (query.0.iter())
            .filter(|(name, _)| name != "X-Amz-Signature")
            .map(|(name, value)| format!("{}={}", encoded(name, QUERY), encoded(value, QUERY)))
            .collect();
        pairs.sort();
        let mut headers = String::new();
        for name in &self.headers {
            headers += &format!("{name}:{}\n", signed_value(head, name));
        }
        let (method, path, query, names) =
            (&head.method, percent_encode(&path, PATH), pairs.join("&"), self.headers.join(";"));
        format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{}", self.payload)
    }

    fn string_to_sign(&self, canonical: &str) -> String {
        let digest = hex(&Sha256::digest(canonical));
        format!("{ALGORITHM}\n{}\n{}\n{digest}", moment::basic(self.at_ms), self.scope.join("/"))
    }

    fn signature(&self, secret: &str, to_sign: &str) -> Vec<u8> {
        let key = format!("AWS4{secret}").into_bytes();
        let key = self.scope.iter().fold(key, |key, word| mac(&key, word));
        mac(&key, to_sign)
    }
}

/// The digest that was signed for the body.
fn payload(head: &Parts, query: &Query) -> String {
    let named = header(head, CONTENT_SHA256).or_else(|| query.get("X-Amz-Content-Sha256").map(str::to_owned));
    named.unwrap_or_else(|| UNSIGNED.to_owned())
}

/// All values of a header, without the spaces around them and with one for several.
fn signed_value(head: &Parts, name: &str) -> String {
    if name == "host" {
        return host(head);
    }
    let values = head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let trimmed = values.map(|value| value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    trimmed.collect::<Vec<_>>().join(",")
}

fn header(head: &Parts, name: &str) -> Option<String> {
    Some(head.headers.get(name)?.to_str().ok()?.to_owned())
}

fn encoded(text: &str, set: &'static AsciiSet) -> String {
    percent_encode(text.as_bytes(), set).to_string()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Seconds; a week.
const LIFETIME_MAX: i64 = 7 * 24 * 3600;
/// All but the unreserved characters of RFC 3986 are encoded.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');
