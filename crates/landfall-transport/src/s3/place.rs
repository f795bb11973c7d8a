//! Where a bucket is.

use std::net::Ipv4Addr;

use crate::vault::Origin;

/// Where a bucket is: the server that has it, its name, its region, and how the two are written in a URL. Nothing in it
/// is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    endpoint: Origin,
    is_amazon: bool,
    bucket: String,
    region: String,
    style: Style,
}

/// How a URL names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As the first segment of the path: `https://host/bucket/key`.
    Path,
    /// As a part of the host: `https://bucket.host/key`.
    VirtualHost,
}

impl Place {
    /// The bucket of that name.
    ///
    /// Without an endpoint it is Amazon's, in that region. Without a style, Amazon's buckets stand in the host, unless
    /// their names have dots, which no certificate covers; all others stand in the path, which every store understands.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do.
    pub fn new(endpoint: Option<Origin>, bucket: &str, region: &str, style: Option<Style>) -> Result<Self, BadPlace> {
        check_bucket(bucket)?;
        check_region(region)?;
        let is_amazon = endpoint.is_none();
        let endpoint = match endpoint {
            Some(endpoint) => endpoint,
            None => amazons(region)?,
        };
        let by_itself = if is_amazon && !bucket.contains('.') { Style::VirtualHost } else { Style::Path };
        let style = style.unwrap_or(by_itself);
        if style == Style::VirtualHost && endpoint.is_address() {
            return Err(BadPlace("an endpoint that is an IP address has no room for the bucket; use path style"));
        }
        Ok(Self { endpoint, is_amazon, bucket: bucket.to_owned(), region: region.to_owned(), style })
    }

    /// The same bucket in another region. Amazon's endpoint follows the region, any other stays.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the region.
    pub fn with_region(&self, region: &str) -> Result<Self, BadPlace> {
        check_region(region)?;
        let endpoint = if self.is_amazon { amazons(region)? } else { self.endpoint.clone() };
        Ok(Self { endpoint, region: region.to_owned(), ..self.clone() })
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// How a URL names it.
    pub fn style(&self) -> Style {
        self.style
    }

    /// The server that has it, without the bucket.
    pub fn endpoint(&self) -> &Origin {
        &self.endpoint
    }

    /// Nobody named an endpoint: it is Amazon's.
    pub fn is_amazon(&self) -> bool {
        self.is_amazon
    }
}

/// Why a [`Place`] is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPlace(&'static str);

/// The rules of <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>, as far as every store
/// shares them.
fn check_bucket(name: &str) -> Result<(), BadPlace> {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(3..=63).contains(&name.len()) {
        return Err(BadPlace("a bucket's name has 3 to 63 characters; correct it"));
    }
    if !name.bytes().all(|byte| is_end(byte) || byte == b'-' || byte == b'.') {
        return Err(BadPlace("a bucket's name has only small letters, digits, hyphens and dots; correct it"));
    }
    if !name.starts_with(|char: char| char.is_ascii_alphanumeric())
        || !name.ends_with(|char: char| char.is_ascii_alphanumeric())
        || name.contains("..")
    {
        return Err(BadPlace(
            "a bucket's name begins and ends with a letter or digit, with no two dots in a row; correct it",
        ));
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Err(BadPlace("a bucket's name is not an IP address; give the address as the endpoint"));
    }
    Ok(())
}

fn check_region(region: &str) -> Result<(), BadPlace> {
    if !is_region(region) {
        let why = "a region has up to 64 letters, digits, hyphens and underscores, as in us-east-1; correct it";
        return Err(BadPlace(why));
    }
    Ok(())
}

/// A text that may be a region: it stands in every signature, between slashes.
pub(super) fn is_region(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_sign)
}

/// Amazon's endpoint of a region, see <https://docs.aws.amazon.com/general/latest/gr/s3.html>.
fn amazons(region: &str) -> Result<Origin, BadPlace> {
    let domain = match region.split('-').next() {
        Some("cn") => "amazonaws.com.cn",
        Some("eusc") => "amazonaws.eu",
        _ => "amazonaws.com",
    };
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let endpoint = Origin::parse(&format!("https://s3.{region}.{domain}")).ok();
    endpoint
        .filter(|_| region.bytes().all(is_label))
        .ok_or(BadPlace("Amazon has no such region; correct it, as in us-east-1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_endpoint_follows_the_region_and_a_given_one_stays() {
        let place = Place::new(None, "media", "us-east-1", None).unwrap();
        assert_eq!(place.endpoint().to_string(), "https://s3.us-east-1.amazonaws.com");
        assert_eq!((place.style(), place.is_amazon()), (Style::VirtualHost, true));
        let moved = place.with_region("cn-north-1").unwrap();
        assert_eq!(moved.endpoint().to_string(), "https://s3.cn-north-1.amazonaws.com.cn");
        assert_eq!((moved.bucket(), moved.region()), ("media", "cn-north-1"));

        let own = Place::new(Some(origin("http://10.0.0.1:9000")), "media", "RegionOne", None).unwrap();
        assert_eq!((own.style(), own.is_amazon()), (Style::Path, false));
        assert_eq!(own.with_region("garage").unwrap().endpoint(), own.endpoint());
        let dotted = Place::new(None, "my.media", "eu-central-1", None).unwrap();
        assert_eq!(dotted.style(), Style::Path);
    }

    #[test]
    fn a_place_that_cannot_be_is_refused_with_what_to_do() {
        let place = |bucket: &str, region: &str| Place::new(None, bucket, region, None).map(drop);
        for bucket in ["ab", "Media", "a_b", "-ab", "ab-", "a..b", ".ab", "10.0.0.1", "a/b", "müll", &"a".repeat(64)] {
            let why = place(bucket, "us-east-1").unwrap_err().to_string();
            assert!(why.contains("a bucket's name"), "{bucket}: {why}");
        }
        for region in ["", "us/east", "us east", "a.evil.example", "ü", &"a".repeat(65), "RegionOne"] {
            let why = place("media", region).unwrap_err().to_string();
            assert!(why.contains("region"), "{region}: {why}");
        }
        place("123", "us-east-1").unwrap();
        for address in ["http://10.0.0.1:9000", "http://[::1]:9000"] {
            assert!(Place::new(Some(origin(address)), "media", "x", Some(Style::VirtualHost)).is_err(), "{address}");
        }
        Place::new(Some(origin("http://s3.localhost:3900")), "media", "garage", Some(Style::VirtualHost)).unwrap();
    }

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }
}
