//! What a remote answered to a put: what it means, and what of it a person may read.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use landfall_core::PutReport;

/// Of an error's body, no more is read.
pub(crate) const ERROR_BYTES_MAX: usize = 16 << 10;
/// Of what an error says, a person is shown no more characters.
const SAID_MAX: usize = 160;
/// A longer word is no word: it may be a signature, or a key.
const WORD_MAX: usize = 24;
/// One with a digit, from this length on, is none either.
const NUMBERED_WORD_MAX: usize = 11;

/// Headers as a platform has them. Those that are none are left out.
pub(crate) fn header_map(headers: &[(String, String)]) -> HeaderMap {
    let read =
        |(name, value): &(String, String)| Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?));
    headers.iter().filter_map(read).collect()
}

/// Reads an answer, and what it says of an error.
pub(crate) fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> (PutReport, Option<String>) {
    let is_error = !(200..300).contains(&status);
    let body = &body[..body.len().min(ERROR_BYTES_MAX)];
    let retry_after: Option<Duration> = landfall_transport::retry_after(headers);
    let report = PutReport::Answered { status, retry_after, says_expired: is_error && has_word_of_expiry(body) };
    (report, if is_error { said(body) } else { None })
}

/// Whether an error has one of S3's words for a grant that is no longer good.
fn has_word_of_expiry(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    ["ExpiredToken", "RequestExpired", "SignatureDoesNotMatch", "AccessDenied"]
        .iter()
        .any(|word| text.contains(&format!("<Code>{word}</Code>")))
}

/// What an error says, for people: short, in one line, and without anything that may be a secret. An error of S3 repeats
/// what was signed; of it only its name and its sentence are taken.
fn said(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let words = match element(&text, "Code") {
        Some(code) => {
            let code: String = code.chars().filter(char::is_ascii_alphabetic).take(64).collect();
            let sentence = element(&text, "Message").map(plain).unwrap_or_default();
            if sentence.is_empty() { code } else { format!("{code}: {sentence}") }
        }
        None => plain(&text),
    };
    let short: String = words.chars().take(SAID_MAX).collect();
    match (short.is_empty(), short.len() < words.len()) {
        (true, _) => None,
        (false, true) => Some(format!("{short}…")),
        (false, false) => Some(short),
    }
}

fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, behind) = text.split_once(&format!("<{name}>"))?;
    behind.split_once(&format!("</{name}>")).map(|(within, _)| within)
}

/// The words of a text, without its tags and without what is no word.
fn plain(text: &str) -> String {
    let mut is_tag = false;
    let without_tags: String = text
        .chars()
        .map(|one| {
            let was_tag = is_tag;
            is_tag = one == '<' || is_tag && one != '>';
            if was_tag || is_tag || one.is_control() { ' ' } else { one }
        })
        .collect();
    let words: Vec<&str> = without_tags.split_whitespace().map(|word| if is_word(word) { word } else { "…" }).collect();
    words.join(" ")
}

fn is_word(word: &str) -> bool {
    let length = word.chars().count();
    let has_digit = word.chars().any(|one| one.is_ascii_digit());
    length <= WORD_MAX && !(has_digit && length > NUMBERED_WORD_MAX) && !word.contains(['/', '=', '?', '&', '%', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_a_person_reads_its_name_and_its_sentence_and_nothing_that_was_signed() {
        let body = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we \
                    calculated does not match for AKIAIOSFODNN7EXAMPLE</Message><AWSAccessKeyId>AKIAIOSFODNN7EXAMPLE\
                    </AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256</StringToSign></Error>";
        let (report, said) = read(403, &HeaderMap::new(), body.as_bytes());
        assert_eq!(report, PutReport::Answered { status: 403, retry_after: None, says_expired: true });
        let expected = "SignatureDoesNotMatch: The request signature we calculated does not match for …";
        assert_eq!(said.as_deref(), Some(expected));
    }

    #[test]
    fn what_an_error_says_is_short_and_without_secrets() {
        let says = |body: &str| read(500, &HeaderMap::new(), body.as_bytes()).1;
        assert_eq!(says("<html><b>Bad\r\n gateway</b></html>").as_deref(), Some("Bad gateway"));
        assert_eq!(
            says("no https://bucket.example/key?X-Amz-Signature=abc for token deadbeefdeadbeefdeadbeefdead").as_deref(),
            Some("no … for token …")
        );
        assert_eq!(says("key AKIAIOSFODNN7EXAMPLE in region 12").as_deref(), Some("key … in region 12"));
        assert_eq!(says(" \u{0}\u{7} <br>"), None);
        assert_eq!(says("ä word ".repeat(10_000).as_str()).unwrap().chars().count(), SAID_MAX + 1);
        assert_eq!(read(200, &HeaderMap::new(), b"fine").1, None, "nobody needs what a success says");
    }

    #[test]
    fn a_platforms_headers_are_read_whatever_case_they_come_in_and_bad_ones_left_out() {
        let headers = [("RETRY-after", "7"), ("no header", "x"), ("x", "no\nvalue")];
        let headers = header_map(&headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(headers.len(), 1);
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(read(503, &headers, b"").0, PutReport::Answered { status: 503, retry_after, says_expired: false });
    }
}
