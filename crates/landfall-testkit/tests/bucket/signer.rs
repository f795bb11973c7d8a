//! Signatures that have nothing in common with those of the server and of the engine.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Whoever signs, and what it believes of place and time.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) region: String,
    /// `20130524T000000Z`.
    pub(crate) time: String,
}

/// What is signed. Path and query are plain text.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: String,
}

impl Signer {
    /// The headers that a request has to carry besides its own.
    pub(crate) fn headers(&self, mut what: Signed<'_>) -> Vec<(String, String)> {
        let mut added = vec![("x-amz-content-sha256", what.payload.clone()), ("x-amz-date", self.time.clone())];
        added.extend(self.token.clone().map(|token| ("x-amz-security-token", token)));
        let added: Vec<_> = added.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        what.headers.extend(added.clone());
        what.headers.push(("host".into(), what.host.into()));
        let (names, signature) = self.sign(&mut what);
        let (id, scope) = (&self.id, self.scope());
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        added.into_iter().chain([("authorization".to_owned(), authorization)]).collect()
    }

    /// Path and query of a signed URL.
    pub(crate) fn url(&self, mut what: Signed<'_>, seconds: u64) -> String {
        what.headers.push(("host".into(), what.host.into()));
        what.headers.sort();
        let names = what.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let mut add = |name: &str, value: String| what.query.push((name.into(), value));
        add("X-Amz-Algorithm", "AWS4-HMAC-SHA256".into());
        add("X-Amz-Credential", format!("{}/{}", self.id, self.scope()));
        add("X-Amz-Date", self.time.clone());
        add("X-Amz-Expires", seconds.to_string());
        add("X-Amz-SignedHeaders", names);
        if let Some(token) = &self.token {
            add("X-Amz-Security-Token", token.clone());
        }
        what.payload = "UNSIGNED-PAYLOAD".into();
        let (_, signature) = self.sign(&mut what);
        format!("{}?{}&X-Amz-Signature={signature}", encode(what.path, "/"), query_text(&what.query))
    }

    fn sign(&self, what: &mut Signed<'_>) -> (String, String) {
        what.query.sort();
        what.headers.sort();
        let names = what.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let mut text = format!("{}\n{}\n{}\n", what.method, encode(what.path, "/"), query_text(&what.query));
        for (name, value) in &what.headers {
            text += &format!("{name}:{}\n", value.trim());
        }
        text += &format!("\n{names}\n{}", what.payload);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", self.time, self.scope(), sha256(text.as_bytes()));
        let day = mac(format!("AWS4{}", self.secret).as_bytes(), &self.time[..8]);
        let key = mac(&mac(&mac(&day, &self.region), "s3"), "aws4_request");
        (names, hex::encode(mac(&key, &text)))
    }

    fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", &self.time[..8], self.region)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Path and query as they are sent.
pub(crate) fn target(path: &str, query: &[(String, String)]) -> String {
    let mut query = query.to_vec();
    query.sort();
    let question = if query.is_empty() { "" } else { "?" };
    format!("{}{question}{}", encode(path, "/"), query_text(&query))
}

fn query_text(pairs: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| format!("{}={}", encode(name, ""), encode(value, ""));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn encode(text: &str, kept: &str) -> String {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.as_bytes().contains(&byte);
    text.bytes().map(|byte| if is_kept(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
