use base64::{Engine, engine::general_purpose::STANDARD};
use landfall_crypto::xmtp::{AttachmentSecrets, Content, ContentDigest, ContentError, PayloadOpener};
use sha2::{Digest, Sha256};

use crate::{Sealed, header};

#[test]
fn an_attachment_is_sealed_as_other_clients_seal_it() {
    let payload = "8be8c4cbc215024da894cd02681101976233e7951d9fc245120e8c252385cf5ab1fb926f5a74da924d0fe19d\
                   38077d99f5067ca1d3f57538a6a34533cff6dd4cbca080c6977c8df5a0894f59bae15e36bd30852afccf0fe8\
                   0cf62ee38a706de225ba";
    let sealed = Sealed::of(&header(11), b"hello world", 3);
    assert_eq!(hex::encode(&sealed.payload), payload);
    assert_eq!(sealed.digest.to_string(), "a0c648aeabde9758ecca6b2e0167617212caafc9f7d37aea28f75c0ff0c28a5a");

    let (attachment, content) = sealed.open().unwrap();
    assert_eq!(attachment.filename.as_deref(), Some("a.txt"));
    assert_eq!(attachment.mime_type.as_deref(), Some("text/plain"));
    assert_eq!((attachment.content_len, &content[..]), (11, &b"hello world"[..]));
}

/// From the tests of xmtp-ios, which had it from xmtp-js. Its secret has four bytes, and it holds no attachment.
#[test]
fn a_payload_with_a_short_secret_is_opened() {
    let salt = hex::decode("170ad9beebd8912631e0a5a916379896b041cf5b2d2d10ab927d8f3c98800078").unwrap();
    let nonce = hex::decode("dbf7cfb88db3ab64fbab7889").unwrap();
    let mut payload = hex::decode("d8d798a7763b5db135f2930a578f1bf59aa96d").unwrap();
    let secrets = AttachmentSecrets::from_parts(&[1, 2, 3, 4], &salt, &nonce).unwrap();
    let digest = ContentDigest::from_bytes(Sha256::digest(&payload).into());
    let mut opener = PayloadOpener::new(&secrets, digest, 19);
    assert_eq!(opener.update(&mut payload).unwrap().for_staging(), [5, 5, 5]);
    assert_eq!(opener.finish(), Ok(()));
}

/// From `crates/xmtp_content_types/fixtures/serialized_content.json` of libxmtp (MIT), as are the others below.
#[test]
fn texts_of_libxmtp_are_read() {
    let texts = [
        ("ChIKCHhtdHAub3JnEgR0ZXh0GAESEQoIZW5jb2RpbmcSBVVURi04Ig1IZWxsbywgV29ybGQh", "Hello, World!"),
        (
            "ChIKCHhtdHAub3JnEgR0ZXh0GAESEQoIZW5jb2RpbmcSBVVURi04Ih1IZWxsbyEg8J+RiyBIb3cgYXJlIHlvdT8g8J+Yig==",
            "Hello! 👋 How are you? 😊",
        ),
    ];
    for (message, text) in texts {
        assert_eq!(decode(message), Ok(Content::Text(text.to_owned())));
    }
}

#[test]
fn a_remote_attachment_of_libxmtp_is_read() {
    let message = "CiQKCHhtdHAub3JnEhZyZW1vdGVTdGF0aWNBdHRhY2htZW50GAESUQoNY29udGVudERpZ2VzdBJAYWJjZDEyMzQ1\
                   Njc4OTBhYmNkMTIzNDU2Nzg5MGFiY2QxMjM0NTY3ODkwYWJjZDEyMzQ1Njc4OTBhYmNkMTIzNBJICgRzYWx0EkAw\
                   MjAyMDIwMjAyMDIwMjAyMDIwMjAyMDIwMjAyMDIwMjAyMDIwMjAyMDIwMjAyMDIwMjAyMDIwMjAyMDIwMjAyEiEK\
                   BW5vbmNlEhgwMzAzMDMwMzAzMDMwMzAzMDMwMzAzMDMSSgoGc2VjcmV0EkAwMTAxMDEwMTAxMDEwMTAxMDEwMTAx\
                   MDEwMTAxMDEwMTAxMDEwMTAxMDEwMTAxMDEwMTAxMDEwMTAxMDEwMTAxEg8KBnNjaGVtZRIFaHR0cHMSFQoNY29u\
                   dGVudExlbmd0aBIEMTAyNBIKCghmaWxlbmFtZSIcaHR0cHM6Ly9leGFtcGxlLmNvbS9maWxlLnBkZg==";
    let Content::RemoteAttachment(remote) = decode(message).unwrap() else { panic!("another message") };
    assert_eq!(remote.url(), "https://example.com/file.pdf");
    assert_eq!(remote.digest().to_string(), "abcd1234567890abcd1234567890abcd1234567890abcd1234567890abcd1234");
    assert_eq!(*remote.secrets(), AttachmentSecrets::new([1; 32], [2; 32], [3; 12]));
    assert_eq!((remote.payload_len(), remote.filename()), (Some(1024), Some("")));
}

/// The digest of this one is `efgh5678…`, which no payload can have.
#[test]
fn a_remote_attachment_of_libxmtp_without_a_digest_is_refused() {
    let message = "CiQKCHhtdHAub3JnEhZyZW1vdGVTdGF0aWNBdHRhY2htZW50GAESUQoNY29udGVudERpZ2VzdBJAZWZnaDU2Nzg5\
                   MDEyMzRlZmdoNTY3ODkwMTIzNGVmZ2g1Njc4OTAxMjM0ZWZnaDU2Nzg5MDEyMzRlZmdoNTY3OBJICgRzYWx0EkAw\
                   NTA1MDUwNTA1MDUwNTA1MDUwNTA1MDUwNTA1MDUwNTA1MDUwNTA1MDUwNTA1MDUwNTA1MDUwNTA1MDUwNTA1EiEK\
                   BW5vbmNlEhgwNjA2MDYwNjA2MDYwNjA2MDYwNjA2MDYSSgoGc2VjcmV0EkAwNDA0MDQwNDA0MDQwNDA0MDQwNDA0\
                   MDQwNDA0MDQwNDA0MDQwNDA0MDQwNDA0MDQwNDA0MDQwNDA0MDQwNDA0Eg8KBnNjaGVtZRIFaHR0cHMSFQoNY29u\
                   dGVudExlbmd0aBIEMjA0OBIiCghmaWxlbmFtZRIWaW1wb3J0YW50LWRvY3VtZW50LnBkZiIgaHR0cHM6Ly9leGFt\
                   cGxlLmNvbS9kb2N1bWVudC5wZGY=";
    assert_eq!(decode(message), Err(ContentError::Parameter { name: "contentDigest", expected: "a digest" }));
}

#[test]
fn an_attachment_of_libxmtp_is_read() {
    let before_content = "ChgKCHhtdHAub3JnEgphdHRhY2htZW50GAESFwoIZmlsZW5hbWUSC2V4YW1wbGUucGRmEhsKCG1pbWVUeXBlEg9h\
                          cHBsaWNhdGlvbi9wZGYigAgA";
    let mut message = STANDARD.decode(before_content).unwrap();
    message.resize(message.len() + 1023, 0);
    let Content::Attachment { attachment, content } = Content::decode(&message).unwrap() else {
        panic!("another message")
    };
    assert_eq!(attachment.filename.as_deref(), Some("example.pdf"));
    assert_eq!(attachment.mime_type.as_deref(), Some("application/pdf"));
    assert_eq!(content, [0; 1024]);
}

#[test]
fn what_is_not_known_is_named() {
    let Content::Other { content_type, fallback } = decode("ChkKCHhtdHAub3JnEgtyZWFkUmVjZWlwdBgB").unwrap() else {
        panic!("another message")
    };
    assert_eq!((content_type.to_string().as_str(), fallback), ("xmtp.org/readReceipt:1.0", None));
}

fn decode(message: &str) -> Result<Content, ContentError> {
    Content::decode(&STANDARD.decode(message).unwrap())
}
