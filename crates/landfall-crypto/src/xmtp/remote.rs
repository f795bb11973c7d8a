use std::fmt;

use zeroize::Zeroizing;

use super::{
    AttachmentSecrets, ContentDigest, ContentError, NotWritable, SECRET_LEN_MAX,
    content::check_message_len,
    content_type::KnownType,
    encoded_content::{CONTENT, EncodedContent, FALLBACK, PARAMETERS, put_parameter, start_message},
    header::{check_filename, check_payload_len},
    wire::put_bytes,
};

/// The longest URL that is read or written, in bytes.
pub const URL_LEN_MAX: usize = 8192;

/// Where a payload lies, and what opens it: the message that makes a file on any server an attachment.
///
/// Whoever has it can read the file. It is never printed but for its digest and length, and what is written of it is
/// wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteAttachment {
    url: String,
    digest: ContentDigest,
    secrets: AttachmentSecrets,
    payload_len: Option<u64>,
    filename: Option<String>,
}

impl RemoteAttachment {
    /// Makes the message for the payload of `payload_len` bytes that was uploaded to `url`.
    ///
    /// # Errors
    /// [`NotWritable`] says which argument other clients would not take; a URL is one that begins with `https://`.
    pub fn new(
        url: &str,
        digest: ContentDigest,
        secrets: AttachmentSecrets,
        payload_len: u64,
        filename: &str,
    ) -> Result<Self, NotWritable> {
        Self::with_urls(Urls::Https, url, digest, secrets, payload_len, filename)
    }

    /// As [`new`](Self::new), and takes `http://` as well if the host is `localhost`, `127.0.0.1` or `[::1]`.
    ///
    /// It is for tests against a server on the same machine. Other clients refuse such a message, and so does
    /// [`Content::decode`](super::Content::decode).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on_loopback(
        url: &str,
        digest: ContentDigest,
        secrets: AttachmentSecrets,
        payload_len: u64,
        filename: &str,
    ) -> Result<Self, NotWritable> {
        Self::with_urls(Urls::LoopbackToo, url, digest, secrets, payload_len, filename)
    }

    fn with_urls(
        urls: Urls,
        url: &str,
        digest: ContentDigest,
        secrets: AttachmentSecrets,
        payload_len: u64,
        filename: &str,
    ) -> Result<Self, NotWritable> {
        if !urls.allow(url) {
            return Err(NotWritable::Url);
        }
        check_payload_len(payload_len)?;
        check_filename(filename)?;
        let (url, filename) = (url.to_owned(), filename.to_owned());
        Ok(Self { url, digest, secrets, payload_len: Some(payload_len), filename: Some(filename) })
    }

    /// Writes the message. The same attachment gives the same bytes, in every release.
    ///
    /// # Errors
    /// [`NotWritable`] if it was read from a message that does not tell its length or name, without which some clients
    /// do not read it. One made by [`new`](Self::new) can always be written.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, NotWritable> {
        let (payload_len, filename) = self.known()?;
        let fallback = format!("“{filename}” is an attachment, which cannot be shown here.");
        let mut message = start_message(
            KnownType::RemoteAttachment,
            self.url.len() + filename.len() + fallback.len() + 2 * SECRET_LEN_MAX + 512,
        );
        let hex = |bytes: &[u8]| Zeroizing::new(hex::encode(bytes));
        let mut put = |name, value: &str| put_parameter(&mut message, PARAMETERS, name, value);
        put(DIGEST, &self.digest.to_string());
        put(SECRET, &hex(self.secrets.expose_secret()));
        put(SALT, &hex(self.secrets.expose_salt()));
        put(NONCE, &hex(self.secrets.expose_nonce()));
        put(SCHEME, self.scheme());
        put("contentLength", &payload_len.to_string());
        put("filename", filename);
        put_bytes(&mut message, FALLBACK, fallback.as_bytes());
        put_bytes(&mut message, CONTENT, self.url.as_bytes());
        check_message_len(&message)?;
        Ok(message)
    }

    pub(super) fn read(encoded: &EncodedContent<'_>, urls: Urls) -> Result<Self, ContentError> {
        let said = |name| encoded.parameter(name).ok_or(ContentError::Parameter { name, expected: "there" });
        let bytes = |name, expected| {
            let bytes = hex::decode(said(name)?).map_err(|_| ContentError::Parameter { name, expected })?;
            Ok::<_, ContentError>(Zeroizing::new(bytes))
        };
        let (secret, salt, nonce) = (bytes(SECRET, IN_DIGITS)?, bytes(SALT, IN_DIGITS)?, bytes(NONCE, IN_DIGITS)?);
        let url = str::from_utf8(encoded.content).map_err(|_| BAD_URL)?;
        // Some clients write `-1`, `null` or `NaN` when they do not know the length.
        let payload_len = encoded.parameter("contentLength").and_then(|len| len.parse().ok());
        let parts = Parts { url, digest: said(DIGEST)?, secret: &secret, salt: &salt, nonce: &nonce };
        let scheme = encoded.parameter(SCHEME).unwrap_or_default();
        parts.attachment(urls, scheme, payload_len, encoded.parameter("filename"))
    }

    /// Where the payload lies.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The digest of the payload.
    pub fn digest(&self) -> &ContentDigest {
        &self.digest
    }

    /// What opens the payload.
    pub fn secrets(&self) -> &AttachmentSecrets {
        &self.secrets
    }

    /// How many bytes the payload is said to have, if the message tells. It is not verified: clients have been seen to
    /// write other lengths.
    pub fn payload_len(&self) -> Option<u64> {
        self.payload_len
    }

    /// What the file is called, if the message tells. The sender chose it: it is shown, and never taken for a path.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// The length and the name, which every message that we write has.
    pub(super) fn known(&self) -> Result<(u64, &str), NotWritable> {
        let payload_len = self.payload_len.ok_or(NotWritable::Unknown("length"))?;
        let filename = self.filename.as_deref().ok_or(NotWritable::Unknown("file name"))?;
        check_payload_len(payload_len)?;
        check_filename(filename)?;
        Ok((payload_len, filename))
    }

    /// XIP-17 has `https://` and one client wrote `https:`; most write, and some insist on, the name alone.
    pub(super) fn scheme(&self) -> &'static str {
        if self.url.starts_with(HTTPS) { "https" } else { "http" }
    }
}

impl fmt::Debug for RemoteAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RemoteAttachment");
        shown.field("digest", &self.digest).field("payload_len", &self.payload_len).finish_non_exhaustive()
    }
}

/// What a message of one attachment and each attachment in a message of several have in common.
pub(super) struct Parts<'a> {
    pub(super) url: &'a str,
    pub(super) digest: &'a str,
    pub(super) secret: &'a [u8],
    pub(super) salt: &'a [u8],
    pub(super) nonce: &'a [u8],
}

impl Parts<'_> {
    pub(super) fn attachment(
        self,
        urls: Urls,
        scheme: &str,
        payload_len: Option<u64>,
        filename: Option<&str>,
    ) -> Result<RemoteAttachment, ContentError> {
        use super::NotSecrets::{Nonce, Salt, Secret};
        let digest = self.digest.parse().map_err(|_| ContentError::Parameter { name: DIGEST, expected: "a digest" })?;
        let secrets =
            AttachmentSecrets::from_parts(self.secret, self.salt, self.nonce).map_err(|error| match error {
                Secret(_) => ContentError::Parameter { name: SECRET, expected: "1 to 64 bytes" },
                Salt(_) => ContentError::Parameter { name: SALT, expected: "32 bytes" },
                Nonce(_) => ContentError::Parameter { name: NONCE, expected: "12 bytes" },
            })?;
        if !urls.allow(self.url) {
            return Err(BAD_URL);
        }
        let name = scheme.trim_end_matches('/').trim_end_matches(':');
        if !name.is_empty() && self.url.split_once(':').is_none_or(|(scheme, _)| scheme != name) {
            return Err(ContentError::Parameter { name: SCHEME, expected: "that of the URL" });
        }
        let (url, filename) = (self.url.to_owned(), filename.map(str::to_owned));
        Ok(RemoteAttachment { url, digest, secrets, payload_len, filename })
    }
}

/// Which URLs a payload may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urls {
    Https,
    LoopbackToo,
}

impl Urls {
    pub(super) fn allow(self, url: &str) -> bool {
        if url.len() > URL_LEN_MAX || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return false;
        }
        match (url.strip_prefix(HTTPS), url.strip_prefix("http://")) {
            (Some(rest), _) => !authority(rest).is_empty(),
            (_, Some(rest)) => self == Self::LoopbackToo && is_loopback(authority(rest)),
            _ => false,
        }
    }
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_loopback(authority: &str) -> bool {
    let port_of = |host| match authority.strip_prefix(host)? {
        "" => Some(""),
        port => port.strip_prefix(':'),
    };
    ["localhost", "127.0.0.1", "[::1]"]
        .into_iter()
        .find_map(port_of)
        .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

const HTTPS: &str = "https://";
const DIGEST: &str = "contentDigest";
const SECRET: &str = "secret";
const SALT: &str = "salt";
const NONCE: &str = "nonce";
const SCHEME: &str = "scheme";
const IN_DIGITS: &str = "hexadecimal digits";
const BAD_URL: ContentError = ContentError::Parameter { name: "url", expected: "one that begins with `https://`" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_other_clients_fetch_are_allowed() {
        for url in ["https://example.org/a", "https://example.org", "https://example.org:8443/a?b=c#d", "https://é/ü"]
        {
            assert!(Urls::Https.allow(url) && Urls::LoopbackToo.allow(url), "{url}");
        }
        let too_long = format!("https://{}", "a".repeat(URL_LEN_MAX - 7));
        let refused = [
            "",
            "https",
            "https:",
            "https:/a",
            "https://",
            "https:///a",
            "httpsfoo://a",
            "HTTPS://a",
            "ftp://a",
            "https://a b",
            "https://a\n",
            "http://",
            "http://example.org",
            "http://localhost.example.org",
            "http://localhost@example.org",
            "http://localhost:80@example.org",
            "http://localhost\\@example.org",
            &too_long,
        ];
        for url in refused {
            assert!(!Urls::Https.allow(url) && !Urls::LoopbackToo.allow(url), "{url}");
        }
        for url in ["http://localhost/a", "http://127.0.0.1:8642/a", "http://[::1]:1?a", "http://localhost"] {
            assert!(!Urls::Https.allow(url) && Urls::LoopbackToo.allow(url), "{url}");
        }
    }
}
