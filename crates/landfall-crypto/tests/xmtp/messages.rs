use landfall_crypto::xmtp::{
    ATTACHMENTS_MAX, AttachmentSecrets, Content, ContentDigest, ContentError, FILENAME_LEN_MAX, MESSAGE_LEN_MAX,
    MultiRemoteAttachment, NotWritable, PAYLOAD_LEN_MAX, RemoteAttachment, URL_LEN_MAX, encode_text,
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert_eq, proptest},
    sample::Index,
};

use crate::{field, parameter, secrets, type_field};

const DIGEST: &str = "a0c648aeabde9758ecca6b2e0167617212caafc9f7d37aea28f75c0ff0c28a5a";
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SALT: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";
const NONCE: &str = "404142434445464748494a4b";
const URL: &str = "https://example.org/a?b=c";

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, max_shrink_iters: 500, ..Default::default() })]

    #[test]
    fn any_message_comes_back(
        path in "[!-~]{0,200}", filename in "\\PC{1,80}", len in 16..=PAYLOAD_LEN_MAX,
        digest: [u8; 32], secret: [u8; 32], salt: [u8; 32], nonce: [u8; 12], count in 1..5usize, text in "\\PC{0,200}",
    ) {
        let url = format!("https://example.org/{path}");
        let secrets = AttachmentSecrets::new(secret, salt, nonce);
        let remote = RemoteAttachment::new(&url, ContentDigest::from_bytes(digest), secrets, len, &filename).unwrap();
        prop_assert_eq!(Content::decode(&remote.encode().unwrap()), Ok(Content::RemoteAttachment(remote.clone())));
        let multi = MultiRemoteAttachment::new(vec![remote; count]).unwrap();
        prop_assert_eq!(Content::decode(&multi.encode().unwrap()), Ok(Content::MultiRemoteAttachment(multi)));
        prop_assert_eq!(Content::decode(&encode_text(&text).unwrap()), Ok(Content::Text(text)));
    }

    #[test]
    fn spoilt_messages_do_no_harm(at in any::<Index>(), byte: u8, cut in any::<Index>()) {
        let remote = remote();
        let multi = MultiRemoteAttachment::new(vec![remote.clone(); 2]).unwrap();
        for message in [remote.encode().unwrap(), multi.encode().unwrap()] {
            let mut spoilt = message.clone();
            spoilt[at.index(message.len())] = byte;
            let _ = Content::decode(&spoilt);
            let _ = Content::decode(&message[..cut.index(message.len())]);
        }
    }

    #[test]
    fn foreign_bytes_in_an_attachment_do_no_harm(bytes in vec(any::<u8>(), 0..300)) {
        for name in ["text", "attachment", "remoteStaticAttachment", "multiRemoteStaticAttachment"] {
            let _ = Content::decode(&[&type_field(name)[..], &bytes].concat());
            let _ = Content::decode(&[type_field(name), field(4, &bytes)].concat());
        }
    }
}

#[test]
fn a_remote_attachment_is_written_with_all_that_any_client_asks_for() {
    let message = remote().encode().unwrap();
    let fallback = "“a.txt” is an attachment, which cannot be shown here.";
    let expected = [
        type_field("remoteStaticAttachment"),
        parameter("contentDigest", DIGEST),
        parameter("secret", SECRET),
        parameter("salt", SALT),
        parameter("nonce", NONCE),
        parameter("scheme", "https"),
        parameter("contentLength", "98"),
        parameter("filename", "a.txt"),
        field(3, fallback.as_bytes()),
        field(4, URL.as_bytes()),
    ];
    assert_eq!(*message, expected.concat());
}

#[test]
fn several_attachments_are_written_as_bytes() {
    let multi = MultiRemoteAttachment::new(vec![remote(), remote()]).unwrap();
    let fallback = "These are 2 attachments, which cannot be shown here.";
    let expected = [
        type_field("multiRemoteStaticAttachment"),
        field(3, fallback.as_bytes()),
        field(4, &[field(1, &info(&[0x38, 98])), field(1, &info(&[0x38, 98]))].concat()),
    ];
    assert_eq!(*multi.encode().unwrap(), expected.concat());
    assert_eq!(multi.attachments().len(), 2);
}

#[test]
fn schemes_are_read_as_clients_have_written_them() {
    for scheme in ["https", "https://", "https:", ""] {
        assert_eq!(with("scheme", Some(scheme)), Ok(remote()), "{scheme}");
    }
    assert_eq!(with("scheme", None), Ok(remote()));
    for scheme in ["http", "ipfs", "httpsfoo", "HTTPS"] {
        assert_eq!(with("scheme", Some(scheme)), refused("scheme", "that of the URL"), "{scheme}");
    }
}

#[test]
fn a_length_that_is_not_told_is_not_known() {
    for len in [Some("-1"), Some("null"), Some("NaN"), Some("undefined"), Some(""), None] {
        let remote = with("contentLength", len).unwrap();
        assert_eq!(remote.payload_len(), None, "{len:?}");
        assert_eq!(remote.encode(), Err(NotWritable::Unknown("length")), "{len:?}");
    }
    assert_eq!(with("contentLength", Some("5000000000")).unwrap().payload_len(), Some(5_000_000_000));
    let nameless = with("filename", None).unwrap();
    assert_eq!((nameless.filename(), nameless.encode()), (None, Err(NotWritable::Unknown("file name"))));
}

#[test]
fn secrets_of_other_lengths_are_read_and_none_is_guessed() {
    assert_eq!(with("secret", Some("01020304")).unwrap().secrets().expose_secret(), [1, 2, 3, 4]);
    assert_eq!(with("secret", Some(&SECRET.to_uppercase())), Ok(remote()));
    assert_eq!(with("secret", Some("")), refused("secret", "1 to 64 bytes"));
    assert_eq!(with("secret", Some(&"00".repeat(65))), refused("secret", "1 to 64 bytes"));
    assert_eq!(with("salt", Some(&SALT[2..])), refused("salt", "32 bytes"));
    assert_eq!(with("nonce", Some(&NONCE[2..])), refused("nonce", "12 bytes"));
    for name in ["secret", "salt", "nonce"] {
        assert_eq!(with(name, Some("0g")), refused(name, "hexadecimal digits"));
        assert_eq!(with(name, Some("000")), refused(name, "hexadecimal digits"));
        assert_eq!(with(name, None), refused(name, "there"));
    }
}

#[test]
fn only_a_digest_that_every_client_takes_is_read() {
    assert_eq!(with("contentDigest", Some(&DIGEST.to_uppercase())), refused("contentDigest", "a digest"));
    assert_eq!(with("contentDigest", Some(&DIGEST[2..])), refused("contentDigest", "a digest"));
    assert_eq!(with("contentDigest", None), refused("contentDigest", "there"));
}

#[test]
fn only_urls_with_tls_are_read_and_written() {
    let (digest, bad_url) = (DIGEST.parse().unwrap(), refused("url", "one that begins with `https://`"));
    let too_long = format!("https://{}", "a".repeat(URL_LEN_MAX));
    for url in ["http://example.org/a", "httpsfoo://example.org", "", "http://127.0.0.1/a", &too_long] {
        assert_eq!(RemoteAttachment::new(url, digest, secrets(), 98, "a.txt"), Err(NotWritable::Url), "{url}");
        assert_eq!(remote_in(Content::decode(&message(&parameters(), url))), bad_url, "{url}");
    }
}

#[test]
fn a_server_on_this_machine_needs_none_when_asked_for() {
    let url = "http://127.0.0.1:8642/a";
    let remote = RemoteAttachment::on_loopback(url, DIGEST.parse().unwrap(), secrets(), 98, "a.txt").unwrap();
    let message = remote.encode().unwrap();
    assert_eq!(remote_in(Content::decode_on_loopback(&message)), Ok(remote));
    assert_eq!(remote_in(Content::decode(&message)), refused("url", "one that begins with `https://`"));
    assert!(
        RemoteAttachment::on_loopback("http://example.org/a", DIGEST.parse().unwrap(), secrets(), 98, "a").is_err()
    );
}

#[test]
fn what_other_clients_could_not_read_is_not_written() {
    let new =
        |len, filename: &str| RemoteAttachment::new(URL, DIGEST.parse().unwrap(), secrets(), len, filename).map(|_| ());
    assert_eq!(new(u64::from(u32::MAX), "a"), Ok(()));
    for len in [0, 15, 1 << 32] {
        assert_eq!(new(len, "a"), Err(NotWritable::PayloadLen(len)));
    }
    assert_eq!(new(98, ""), Err(NotWritable::Filename(0)));
    assert_eq!(new(98, &"n".repeat(FILENAME_LEN_MAX + 1)), Err(NotWritable::Filename(FILENAME_LEN_MAX + 1)));

    let several = |count| MultiRemoteAttachment::new(vec![remote(); count]).map(|_| ());
    assert_eq!(several(ATTACHMENTS_MAX), Ok(()));
    for count in [0, ATTACHMENTS_MAX + 1] {
        assert_eq!(several(count), Err(NotWritable::Count(count)));
    }
    let long_url = format!("https://{}", "a".repeat(URL_LEN_MAX - 8));
    let long = RemoteAttachment::new(&long_url, DIGEST.parse().unwrap(), secrets(), 98, &"n".repeat(1024)).unwrap();
    let too_many = MultiRemoteAttachment::new(vec![long; ATTACHMENTS_MAX]).unwrap();
    assert!(matches!(too_many.encode(), Err(NotWritable::MessageLen(_))));
}

#[test]
fn several_attachments_are_read_within_bounds() {
    let read = |content: &[u8]| {
        Content::decode(&[type_field("multiRemoteStaticAttachment"), field(4, content)].concat()).map(|content| {
            match content {
                Content::MultiRemoteAttachment(multi) => multi.attachments().to_vec(),
                other => panic!("{other:?}"),
            }
        })
    };
    let one = field(1, &info(&[0x38, 98]));
    assert_eq!(read(&one), Ok(vec![remote()]));
    assert_eq!(read(&[&one[..], &field(7, b"later")].concat()), Ok(vec![remote()]));
    assert_eq!(read(&field(1, &info(&[]))).unwrap()[0].payload_len(), None);
    let too_long = field(1, &info(&[0x38, 0x80, 0x80, 0x80, 0x80, 0x10]));
    assert_eq!(
        read(&too_long),
        Err(ContentError::Parameter { name: "contentLength", expected: "a number of 32 bits" })
    );
    assert_eq!(read(&[]), Err(ContentError::Malformed("it has no attachment")));
    assert_eq!(read(&one.repeat(ATTACHMENTS_MAX)).map(|read| read.len()), Ok(ATTACHMENTS_MAX));
    assert_eq!(read(&one.repeat(ATTACHMENTS_MAX + 1)), Err(ContentError::TooLarge("the number of attachments")));
    assert_eq!(read(&field(1, b"")), Err(ContentError::Parameter { name: "contentDigest", expected: "a digest" }));
}

#[test]
fn texts_are_written_as_other_clients_write_them() {
    let expected = [type_field("text"), parameter("encoding", "UTF-8"), field(4, "é".as_bytes())].concat();
    assert_eq!(encode_text("é"), Ok(expected));
    let without_encoding = [type_field("text"), field(4, b"hello")].concat();
    assert_eq!(Content::decode(&without_encoding), Ok(Content::Text("hello".to_owned())));
    assert_eq!(Content::decode(&type_field("text")), Ok(Content::Text(String::new())));
    let utf_16 = [type_field("text"), parameter("encoding", "UTF-16")].concat();
    assert_eq!(Content::decode(&utf_16), Err(ContentError::Parameter { name: "encoding", expected: "UTF-8" }));
    let broken = [type_field("text"), field(4, &[0xff])].concat();
    assert_eq!(Content::decode(&broken), Err(ContentError::Malformed("a text is not UTF-8")));
}

#[test]
fn a_message_is_not_longer_than_is_read() {
    let room = MESSAGE_LEN_MAX - encode_text(&"a".repeat(1 << 19)).unwrap().len() + (1 << 19);
    let longest = encode_text(&"a".repeat(room)).unwrap();
    assert_eq!(longest.len(), MESSAGE_LEN_MAX);
    assert!(Content::decode(&longest).is_ok());
    assert_eq!(encode_text(&"a".repeat(room + 1)), Err(NotWritable::MessageLen(MESSAGE_LEN_MAX + 1)));
    let too_long = [longest, vec![0x30, 0]].concat();
    assert_eq!(Content::decode(&too_long), Err(ContentError::TooLarge("the length of the message")));
}

#[test]
fn other_messages_say_what_is_to_be_shown_instead() {
    let reaction = [type_field("reaction"), field(3, b"likes it"), field(4, b"{}")].concat();
    let Ok(Content::Other { content_type, fallback }) = Content::decode(&reaction) else { panic!("a known message") };
    assert_eq!((content_type.to_string().as_str(), fallback.as_deref()), ("xmtp.org/reaction:1.0", Some("likes it")));
    assert_eq!(Content::decode(&[type_field("reaction"), vec![0x28, 0]].concat()), Err(ContentError::Compressed));
}

#[test]
fn neither_secrets_nor_urls_are_printed() {
    let shown = format!("{:?}", remote());
    assert_eq!(shown, format!("RemoteAttachment {{ digest: ContentDigest({DIGEST}), payload_len: Some(98), .. }}"));
}

fn remote() -> RemoteAttachment {
    RemoteAttachment::new(URL, DIGEST.parse().unwrap(), secrets(), 98, "a.txt").unwrap()
}

fn parameters() -> Vec<(&'static str, &'static str)> {
    vec![
        ("contentDigest", DIGEST),
        ("secret", SECRET),
        ("salt", SALT),
        ("nonce", NONCE),
        ("scheme", "https"),
        ("contentLength", "98"),
        ("filename", "a.txt"),
    ]
}

/// The message in which one parameter says something else, or nothing.
fn with(name: &str, value: Option<&str>) -> Result<RemoteAttachment, ContentError> {
    let mut parameters = parameters();
    parameters.retain(|(other, _)| *other != name);
    parameters.extend(value.map(|value| (name, value)));
    remote_in(Content::decode(&message(&parameters, URL)))
}

fn message(parameters: &[(&str, &str)], url: &str) -> Vec<u8> {
    let parameters = parameters.iter().flat_map(|(name, value)| parameter(name, value)).collect();
    [type_field("remoteStaticAttachment"), parameters, field(4, url.as_bytes())].concat()
}

fn remote_in(content: Result<Content, ContentError>) -> Result<RemoteAttachment, ContentError> {
    content.map(|content| match content {
        Content::RemoteAttachment(remote) => remote,
        other => panic!("{other:?}"),
    })
}

fn refused<T>(name: &'static str, expected: &'static str) -> Result<T, ContentError> {
    Err(ContentError::Parameter { name, expected })
}

/// One attachment of several, with the field of its length.
fn info(payload_len: &[u8]) -> Vec<u8> {
    let secrets = secrets();
    let before = [
        field(1, DIGEST.as_bytes()),
        field(2, secrets.expose_secret()),
        field(3, secrets.expose_nonce()),
        field(4, secrets.expose_salt()),
        field(5, b"https"),
        field(6, URL.as_bytes()),
    ];
    [&before.concat(), payload_len, &field(8, b"a.txt")].concat()
}
