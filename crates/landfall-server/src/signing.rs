//! Signed URLs: leave to put one part or one attachment, or to read one object, without a token, until they expire.

use hmac::{Hmac, KeyInit as _, Mac as _};
use landfall_protocol::route;
use serde::Deserialize;
use sha2::Sha256;

use crate::folder::PartName;

/// Signs and checks URLs. All processes over one vault share the key.
pub(crate) struct Signer {
    key: [u8; 32],
}

/// What a signature of a part's URL binds, besides the part's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PutGrant {
    pub(crate) length: u64,
    /// Eight hex digits.
    pub(crate) crc32c: String,
    /// Wall clock, milliseconds.
    pub(crate) expires: i64,
    pub(crate) signature: String,
}

/// What a signature of an object's URL binds, besides the object's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct GetGrant {
    /// Wall clock, milliseconds.
    pub(crate) expires: i64,
    pub(crate) signature: String,
}

/// What a signature of an attachment's URL binds, besides its key and its media type. That is not in the URL: it is the
/// one that comes with the request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct AssetGrant {
    /// If there is one, no other is taken.
    pub(crate) length: Option<u64>,
    /// Wall clock, milliseconds.
    pub(crate) expires: i64,
    pub(crate) signature: String,
}

/// What is wrong with a signed URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untrusted {
    Forged,
    Expired,
}

impl Signer {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Path and query that put a part.
    pub(crate) fn put_url(&self, part: &PartName, length: u64, crc32c: u32, expires: i64) -> String {
        let crc32c = route::crc32c_text(crc32c);
        let signature = hex(&self.mac(&put_text(part, length, &crc32c, expires)).finalize().into_bytes());
        let PartName { account, object_key, number } = part;
        format!(
            "/blobs/{account}/{object_key}/{number}?length={length}&crc32c={crc32c}&expires={expires}&signature={signature}"
        )
    }

    /// Path and query that read an object.
    pub(crate) fn get_url(&self, account: i64, object_key: &str, expires: i64) -> String {
        let signature = hex(&self.mac(&get_text(account, object_key, expires)).finalize().into_bytes());
        format!("/blobs/{account}/{object_key}?expires={expires}&signature={signature}")
    }

    /// Path and query that put an attachment.
    pub(crate) fn asset_url(&self, asset_key: &str, content_type: &str, length: Option<u64>, expires: i64) -> String {
        let signature = hex(&self.mac(&asset_text(asset_key, content_type, length, expires)).finalize().into_bytes());
        let bound = length.map(|length| format!("length={length}&")).unwrap_or_default();
        format!("{}?{bound}expires={expires}&signature={signature}", route::asset(asset_key))
    }

    pub(crate) fn check_asset(
        &self,
        asset_key: &str,
        content_type: &str,
        grant: &AssetGrant,
        now_ms: i64,
    ) -> Result<(), Untrusted> {
        self.check(&asset_text(asset_key, content_type, grant.length, grant.expires), &grant.signature)?;
        if grant.expires <= now_ms { Err(Untrusted::Expired) } else { Ok(()) }
    }

    pub(crate) fn check_put(&self, part: &PartName, grant: &PutGrant, now_ms: i64) -> Result<(), Untrusted> {
        self.check(&put_text(part, grant.length, &grant.crc32c, grant.expires), &grant.signature)?;
        if grant.expires <= now_ms { Err(Untrusted::Expired) } else { Ok(()) }
    }

    pub(crate) fn check_get(
        &self,
        account: i64,
        object_key: &str,
        grant: &GetGrant,
        now_ms: i64,
    ) -> Result<(), Untrusted> {
        self.check(&get_text(account, object_key, grant.expires), &grant.signature)?;
        if grant.expires <= now_ms { Err(Untrusted::Expired) } else { Ok(()) }
    }

    /// Compares in constant time.
    fn check(&self, text: &str, signature: &str) -> Result<(), Untrusted> {
        let signature = unhex::<32>(signature).ok_or(Untrusted::Forged)?;
        self.mac(text).verify_slice(&signature).map_err(|_| Untrusted::Forged)
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        mac
    }
}

fn put_text(part: &PartName, length: u64, crc32c: &str, expires: i64) -> String {
    format!("landfall1\nPUT\n{}\n{}\n{}\n{length}\n{crc32c}\n{expires}", part.account, part.object_key, part.number)
}

fn get_text(account: i64, object_key: &str, expires: i64) -> String {
    format!("landfall1\nGET\n{account}\n{object_key}\n{expires}")
}

fn asset_text(asset_key: &str, content_type: &str, length: Option<u64>, expires: i64) -> String {
    let length = length.map(|length| length.to_string()).unwrap_or_default();
    format!("landfall1\nPUT\nasset\n{asset_key}\n{content_type}\n{length}\n{expires}")
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `N` bytes from exactly `2 N` lower-case hex digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A CRC32C as it travels: exactly eight lower-case hex digits.
pub(crate) fn parse_crc32c(text: &str) -> Option<u32> {
    unhex::<4>(text).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> PartName {
        PartName { account: 1, object_key: "ab".repeat(16), number: 2 }
    }

    fn grant(url: &str) -> PutGrant {
        let value = |name: &str| url.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)).unwrap().to_owned();
        PutGrant {
            length: value("length=").parse().unwrap(),
            crc32c: value("crc32c="),
            expires: value("expires=").parse().unwrap(),
            signature: value("signature="),
        }
    }

    #[test]
    fn a_signature_binds_everything_it_says() {
        let signer = Signer::new([7; 32]);
        let signed = grant(&signer.put_url(&part(), 10, 0xe306_9283, 1000));
        assert_eq!(signer.check_put(&part(), &signed, 999), Ok(()));
        assert_eq!(signer.check_put(&part(), &signed, 1000), Err(Untrusted::Expired));
        let forged = [
            (part(), PutGrant { length: 11, ..signed.clone() }),
            (part(), PutGrant { crc32c: "00000000".into(), ..signed.clone() }),
            (part(), PutGrant { expires: 2000, ..signed.clone() }),
            (part(), PutGrant { signature: "x".into(), ..signed.clone() }),
            (PartName { account: 2, ..part() }, signed.clone()),
            (PartName { number: 3, ..part() }, signed.clone()),
            (PartName { object_key: "cd".repeat(16), ..part() }, signed.clone()),
        ];
        for (part, grant) in forged {
            assert_eq!(signer.check_put(&part, &grant, 0), Err(Untrusted::Forged), "{grant:?}");
        }
        assert_eq!(Signer::new([8; 32]).check_put(&part(), &signed, 0), Err(Untrusted::Forged));
    }

    #[test]
    fn a_signature_of_an_attachment_binds_its_type_and_its_length_if_it_has_one() {
        let signer = Signer::new([7; 32]);
        let key = "ab".repeat(16);
        for length in [None, Some(10)] {
            let url = signer.asset_url(&key, "image/jpeg", length, 1000);
            let signature = url.split("signature=").nth(1).unwrap().to_owned();
            assert_eq!(url.contains("length=10&"), length.is_some());
            let signed = AssetGrant { length, expires: 1000, signature };
            let check =
                |key: &str, content_type, grant: &AssetGrant, now| signer.check_asset(key, content_type, grant, now);
            assert_eq!(check(&key, "image/jpeg", &signed, 999), Ok(()));
            assert_eq!(check(&key, "image/jpeg", &signed, 1000), Err(Untrusted::Expired));
            assert_eq!(check(&key, "text/html", &signed, 0), Err(Untrusted::Forged));
            assert_eq!(check(&"cd".repeat(16), "image/jpeg", &signed, 0), Err(Untrusted::Forged));
            for forged in [
                AssetGrant { length: Some(11), ..signed.clone() },
                AssetGrant { length: length.xor(Some(10)), ..signed.clone() },
                AssetGrant { expires: 2000, ..signed.clone() },
            ] {
                assert_eq!(check(&key, "image/jpeg", &forged, 0), Err(Untrusted::Forged), "{forged:?}");
            }
        }
    }
}
