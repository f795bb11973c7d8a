use landfall_crypto::xmtp::{AttachmentSecrets, ContentDigest, ContentError, PayloadError};
use sha2::{Digest, Sha256};

use crate::{Dice, Sealed, content, field, flip, type_field};

#[test]
fn every_bit_of_a_small_attachment_counts() {
    for len in [0, 1, 5, 100] {
        let mut sealed = Sealed::of_content(&content(len));
        for bit in 0..sealed.payload.len() * 8 {
            flip(&mut sealed.payload, bit);
            assert_eq!(sealed.open(), Err(PayloadError::WrongDigest), "bit {bit} of {len} bytes");
            assert_eq!(digested_anew(&sealed).open(), Err(PayloadError::Tampered), "bit {bit} of {len} bytes");
            flip(&mut sealed.payload, bit);
        }
    }
}

#[test]
fn a_thousand_random_bits_of_a_large_one_count() {
    let (mut sealed, mut dice) = (Sealed::of_content(&content(100_000)), Dice(1));
    for _ in 0..1000 {
        let bit = dice.roll(sealed.payload.len() * 8);
        flip(&mut sealed.payload, bit);
        assert_eq!(sealed.open(), Err(PayloadError::WrongDigest), "bit {bit}");
        assert_eq!(digested_anew(&sealed).open(), Err(PayloadError::Tampered), "bit {bit}");
        flip(&mut sealed.payload, bit);
    }
}

#[test]
fn every_bit_of_the_digest_and_of_the_secrets_counts() {
    let sealed = Sealed::of_content(b"hello world");
    for bit in 0..32 * 8 {
        let mut digest = *sealed.digest.as_bytes();
        flip(&mut digest, bit);
        let other = Sealed { digest: ContentDigest::from_bytes(digest), ..sealed.clone() };
        assert_eq!(other.open(), Err(PayloadError::WrongDigest), "bit {bit} of the digest");
    }
    let record = sealed.secrets.to_record();
    for bit in 0..record.len() * 8 {
        let mut record = record.clone();
        flip(&mut record, bit);
        let other = Sealed { secrets: AttachmentSecrets::from_record(&record).unwrap(), ..sealed.clone() };
        assert_eq!(other.open(), Err(PayloadError::Tampered), "bit {bit} of salt, nonce and secret");
    }
}

#[test]
fn a_payload_cut_off_anywhere_is_refused() {
    let whole = Sealed::of_content(&content(100));
    for len in 0..whole.payload.len() {
        let cut = Sealed { payload: whole.payload[..len].to_vec(), ..whole.clone() };
        let expected = if len < 16 { PayloadError::TooShort } else { PayloadError::WrongDigest };
        assert_eq!(cut.open(), Err(expected), "{len} bytes");
        let expected = if len < 16 { PayloadError::TooShort } else { PayloadError::Tampered };
        assert_eq!(digested_anew(&cut).open(), Err(expected), "{len} bytes");
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let whole = Sealed::of_content(&content(100));
    for extra in [1, 15, 16, 17, 1000] {
        let mut longer = whole.clone();
        longer.payload.resize(whole.payload.len() + extra, 0);
        assert_eq!(longer.open(), Err(PayloadError::WrongDigest), "{extra} bytes");
        assert_eq!(digested_anew(&longer).open(), Err(PayloadError::Tampered), "{extra} bytes");
    }
}

#[test]
fn what_is_wrong_is_told_in_the_order_of_the_checks() {
    let mut sealed = Sealed::of_plaintext(&type_field("text"));
    let reason = sealed.open().unwrap_err();
    let PayloadError::Content(ContentError::OtherType(content_type)) = reason else { panic!("{reason}") };
    assert_eq!(content_type.to_string(), "xmtp.org/text:1.0");
    flip(&mut sealed.payload, 0);
    assert_eq!(digested_anew(&sealed).open(), Err(PayloadError::Tampered), "the tag before the content");
    assert_eq!(sealed.open(), Err(PayloadError::WrongDigest), "the digest before the tag");
    sealed.payload.truncate(15);
    assert_eq!(sealed.open(), Err(PayloadError::TooShort), "the length before the digest");
}

#[test]
fn nothing_is_handed_on_that_is_no_content() {
    let plain = [type_field("attachment"), field(9, b"of a later version"), field(4, b"photo")].concat();
    assert_eq!(Sealed::of_plaintext(&plain).open_in(3).unwrap().1, b"photo");
    let refused = Sealed::of_plaintext(&[type_field("text"), field(4, b"photo")].concat());
    let mut opener =
        landfall_crypto::xmtp::AttachmentOpener::new(&refused.secrets, refused.digest, refused.payload.len() as u64);
    assert_eq!(opener.update(&mut refused.payload.clone()).unwrap().for_staging(), b"");
}

/// The payload as whoever writes the message could have it: only the tag tells.
fn digested_anew(sealed: &Sealed) -> Sealed {
    Sealed { digest: ContentDigest::from_bytes(Sha256::digest(&sealed.payload).into()), ..sealed.clone() }
}
