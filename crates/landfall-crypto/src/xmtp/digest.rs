use std::{fmt, str::FromStr};

/// The SHA-256 of a whole payload, tag and all, by which a download is checked. It is shown as lower-case hexadecimal
/// digits, which is how messages have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// Takes a digest out of a record.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a record.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDigest({self})")
    }
}

impl FromStr for ContentDigest {
    type Err = NotAContentDigest;

    /// Other clients compare the digits as text with what they computed, so upper case, which none of them would open,
    /// is refused here as well.
    fn from_str(text: &str) -> Result<Self, NotAContentDigest> {
        let mut bytes = [0; 32];
        let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower_case => Ok(Self(bytes)),
            _ => Err(NotAContentDigest),
        }
    }
}

/// The text is not 64 lower-case hexadecimal digits. Ask for the message again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the 64 lower-case hexadecimal digits of a digest")]
pub struct NotAContentDigest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_digits_that_every_client_takes_are_a_digest() {
        let digits = "a0c648aeabde9758ecca6b2e0167617212caafc9f7d37aea28f75c0ff0c28a5a";
        let digest: ContentDigest = digits.parse().unwrap();
        assert_eq!(digest.to_string(), digits);
        for text in [&digits.to_uppercase(), &digits[1..], &format!("{digits}00"), "", &digits.replace('a', "g")] {
            assert_eq!(text.parse::<ContentDigest>(), Err(NotAContentDigest), "{text}");
        }
    }
}
