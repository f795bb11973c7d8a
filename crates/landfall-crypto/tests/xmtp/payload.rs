use landfall_crypto::xmtp::{
    AttachmentHeader, AttachmentOpener, PAYLOAD_LEN_MAX, PLAIN_LEN_MAX, PayloadError, PayloadOpener, PayloadSealer,
    PayloadTooLong, SealError,
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert_eq, proptest},
};

use crate::{Sealed, content, header, secrets};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, max_shrink_iters: 500, ..Default::default() })]

    #[test]
    fn any_header_and_any_split_come_back(
        filename in "\\PC{1,80}", mime_type in "[a-z]{1,20}/[a-z.+-]{1,40}", plain in vec(any::<u8>(), 0..5000),
        sealed_in in 1..3000usize, opened_in in 1..3000usize,
    ) {
        let header = AttachmentHeader::new(&filename, &mime_type, plain.len() as u64).unwrap();
        let sealed = Sealed::of(&header, &plain, sealed_in);
        prop_assert_eq!(sealed.payload.len() as u64, header.payload_len());
        let (attachment, content) = sealed.open_in(opened_in).unwrap();
        prop_assert_eq!(attachment.filename, Some(filename));
        prop_assert_eq!(attachment.mime_type, Some(mime_type));
        prop_assert_eq!(content, plain);
    }
}

#[test]
fn pieces_of_any_size_make_the_same_payload() {
    for len in [0, 1, 15, 16, 17, 100_000] {
        let plain = content(len);
        let whole = Sealed::of(&header(len), &plain, len.max(1));
        for piece in [1, 7, 64 << 10] {
            let sealed = Sealed::of(&header(len), &plain, piece);
            assert!(sealed.payload == whole.payload && sealed.digest == whole.digest, "{len} bytes by {piece}");
            let (attachment, opened) = whole.open_in(piece).unwrap();
            assert!(attachment.content_len == len as u64 && opened == plain, "{len} bytes by {piece}");
        }
    }
}

#[test]
fn every_split_into_two_pieces_is_opened() {
    let sealed = Sealed::of_content(b"hello world");
    for split in 0..=sealed.payload.len() {
        let mut opener = AttachmentOpener::new(&sealed.secrets, sealed.digest, PAYLOAD_LEN_MAX);
        let mut payload = sealed.payload.clone();
        let (first, second) = payload.split_at_mut(split);
        let mut staging = opener.update(first).unwrap().for_staging().to_vec();
        staging.extend_from_slice(opener.update(second).unwrap().for_staging());
        assert_eq!(opener.finish().map(|attachment| attachment.content_len), Ok(11), "{split}");
        assert_eq!(staging, b"hello world", "{split}");
    }
}

#[test]
fn a_source_that_grew_is_not_sealed() {
    let mut sealer = PayloadSealer::new(&secrets(), 5).unwrap();
    sealer.update(&mut [7; 4]).unwrap();
    let mut piece = *b"ab";
    assert_eq!(sealer.update(&mut piece), Err(SealError::SourceGrew));
    assert_eq!(piece, [0; 2], "plaintext is not mistaken for what is sent");
    assert_eq!(sealer.update(&mut [7; 1]), Err(SealError::SourceGrew), "the one byte that was missing comes too late");
    assert_eq!(sealer.finish().unwrap_err(), SealError::SourceGrew);
}

#[test]
fn a_source_that_shrank_is_not_sealed() {
    let (sealer, _) = PayloadSealer::of_attachment(&secrets(), &header(5));
    assert_eq!(sealer.finish().unwrap_err(), SealError::SourceShrank { missing: 5 });
}

#[test]
fn what_the_counter_of_the_cipher_has_no_room_for_is_refused() {
    assert_eq!(PLAIN_LEN_MAX, 68_719_476_704);
    assert!(PayloadSealer::new(&secrets(), PLAIN_LEN_MAX).is_ok());
    assert_eq!(PayloadSealer::new(&secrets(), PLAIN_LEN_MAX + 1).map(|_| ()), Err(PayloadTooLong));
}

#[test]
fn a_payload_beyond_the_limit_is_refused_before_it_is_opened() {
    let sealed = Sealed::of_content(b"hello world");
    let mut payload = sealed.payload.clone();
    let mut opener = PayloadOpener::new(&sealed.secrets, sealed.digest, payload.len() as u64 - 1);
    let (most, last) = payload.split_at_mut(90);
    opener.update(most).unwrap();
    assert_eq!(opener.update(last).unwrap_err(), PayloadError::TooLong);
    assert_eq!(last, &sealed.payload[90..]);
    assert_eq!(opener.finish(), Err(PayloadError::TooLong));

    let mut opener = PayloadOpener::new(&sealed.secrets, sealed.digest, sealed.payload.len() as u64);
    opener.update(&mut sealed.payload.clone()).unwrap();
    assert_eq!(opener.update(&mut [0]).unwrap_err(), PayloadError::TooLong);
    assert_eq!(opener.finish(), Err(PayloadError::TooLong), "also when the payload was whole before");
}

#[test]
fn nothing_secret_is_printed() {
    let sealed = Sealed::of_content(b"hello world");
    let mut opener = PayloadOpener::new(&sealed.secrets, sealed.digest, 98);
    let shown = format!("{:?} {:?}", opener.update(&mut sealed.payload.clone()).unwrap(), header(11));
    assert_eq!(shown, "Unverified(82 bytes) AttachmentHeader { content_len: 11, .. }");
}
