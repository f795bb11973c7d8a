//! Keys and values as they stand in a URL.
//!
//! A signature covers the encoded form, so that a store which encodes otherwise refuses it. The rules are those of
//! `UriEncode` in <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.

use std::fmt::Write;

/// A key as a path: its slashes are kept, also several in a row, and nothing is made of dots.
pub(super) fn path(key: &str) -> String {
    encoded(key, |byte| is_unreserved(byte) || byte == b'/')
}

/// A name or a value of a query.
pub(super) fn component(text: &str) -> String {
    encoded(text, is_unreserved)
}

/// A key as a listing writes it when it was asked for `encoding-type=url`: a space is a plus there.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn encoded(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_kept(byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    encoded
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_keeps_its_slashes_and_dots() {
        for (key, expected) in [
            ("a/../b", "a/../b"),
            ("//a//", "//a//"),
            ("./a", "./a"),
            ("a b+c", "a%20b%2Bc"),
            ("100%41", "100%2541"),
            ("ü~*'()!", "%C3%BC~%2A%27%28%29%21"),
            ("a?b#c&d=e\0\n", "a%3Fb%23c%26d%3De%00%0A"),
        ] {
            assert_eq!(path(key), expected);
        }
        assert_eq!(component("a/b c"), "a%2Fb%20c");
    }

    #[test]
    fn a_listing_is_decoded_or_not_at_all() {
        assert_eq!(decoded("a+b%2Bc%2fd/e").as_deref(), Some("a b+c/d/e"));
        for torn in ["%", "%2", "%zz", "%+1", "%FF"] {
            assert_eq!(decoded(torn), None, "{torn}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(key in any::<String>()) {
            prop_assert_eq!(decoded(&path(&key)), Some(key.clone()));
            prop_assert_eq!(decoded(&component(&key)), Some(key));
        }
    }
}
