use landfall_crypto::xmtp::{
    Attachment, AttachmentHeader, AttachmentReader, Content, ContentError, HEADER_LEN_MAX, Unverified,
};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest},
};

use crate::{field, parameter, type_field};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, max_shrink_iters: 500, ..Default::default() })]

    #[test]
    fn fields_may_stand_in_any_order(fields in Just(fields()).prop_shuffle(), piece in 1..40usize) {
        prop_assert_eq!(read(&fields.concat(), piece), Ok((attachment(), b"photo".to_vec())));
    }

    #[test]
    fn foreign_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300), piece in 1..40usize) {
        let read_in_pieces = read(&bytes, piece);
        prop_assert!(read_in_pieces.is_err(), "nobody writes a type by chance");
        prop_assert_eq!(read_in_pieces, read(&bytes, bytes.len().max(1)));
        let _ = Content::decode(&bytes);
    }

    #[test]
    fn spoilt_attachments_do_no_harm(at in 0..200usize, byte: u8, piece in 1..40usize) {
        let mut bytes = fields().concat();
        let at = at % bytes.len();
        bytes[at] = byte;
        prop_assert_eq!(read(&bytes, piece), read(&bytes, bytes.len()));
        let in_one = Content::decode(&bytes);
        if let Ok((attachment, content)) = read(&bytes, piece) {
            // A fallback that is not UTF-8 is passed over by the one and refused by the other.
            let expected = Ok(Content::Attachment { attachment, content });
            prop_assert!(in_one.is_err() || in_one == expected);
        }
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    let whole = [type_field("attachment"), field(4, b"photo")].concat();
    let boundary = type_field("attachment").len();
    for len in 0..whole.len() {
        let read = read(&whole[..len], 3);
        assert!(read.is_err() != (len == boundary), "{len} bytes: {read:?}");
    }
    assert_eq!(read(&[], 1), Err(ContentError::Malformed("it does not say what it is")));
}

#[test]
fn an_attachment_without_a_name_or_content_is_read() {
    let nothing = Attachment { filename: None, mime_type: None, content_len: 0 };
    assert_eq!(read(&type_field("attachment"), 1), Ok((nothing.clone(), Vec::new())));
    assert_eq!(read(&[type_field("attachment"), field(4, b"")].concat(), 1), Ok((nothing, Vec::new())));
}

#[test]
fn what_is_no_attachment_is_refused() {
    let other = read(&[type_field("text"), field(4, b"photo")].concat(), 5).unwrap_err();
    assert!(matches!(other, ContentError::OtherType(_)), "{other}");
    let remote = read(&[field(4, b"photo"), type_field("remoteStaticAttachment")].concat(), 5).unwrap_err();
    assert!(matches!(remote, ContentError::OtherType(_)), "an attachment holds no other");

    let with = |field: &[u8]| read(&[&type_field("attachment"), field].concat(), 5).unwrap_err();
    assert_eq!(with(&[0x28, 0]), ContentError::Compressed);
    assert_eq!(with(&[0x28, 1]), ContentError::Compressed);
    assert_eq!(with(&[0x0b, 0x0c]), ContentError::Malformed("it has a group"));
    assert_eq!(with(&[0x20, 1]), ContentError::Malformed("a known field holds a value of another kind"));
    assert_eq!(with(&[0x2a, 0]), ContentError::Malformed("a known field holds a value of another kind"));
    assert_eq!(with(&[0x22; 1]), ContentError::Malformed("it ends in the middle of a field"));
    assert_eq!(with(&[0xff; 11]), ContentError::Malformed("a number of more than 64 bits"));
    assert_eq!(with(&type_field("attachment")), ContentError::Malformed("it has two types or two contents"));
    let twice = [field(4, b"a"), field(4, b"b")].concat();
    assert_eq!(with(&twice), ContentError::Malformed("it has two types or two contents"));
    assert_eq!(with(&field(2, &field(1, &[0xff]))), ContentError::Malformed("a text is not UTF-8"));
}

#[test]
fn what_was_refused_stays_refused() {
    let mut reader = AttachmentReader::new();
    let refused = reader.update(Unverified::new(&[0x0b])).unwrap_err();
    assert_eq!(reader.update(Unverified::new(&type_field("attachment"))).unwrap_err(), refused);
    assert_eq!(reader.finish().unwrap_err(), refused);
}

#[test]
fn no_more_is_held_than_a_header_may_have() {
    let said = ContentError::TooLarge("what is said about the content");
    let claimed = |field: u8, len: u32| {
        let mut bytes = type_field("attachment");
        bytes.push(field << 3 | 2);
        (0..5).for_each(|n| bytes.push((len >> (7 * n)) as u8 & 0x7f | if n < 4 { 0x80 } else { 0 }));
        read(&bytes, 1).unwrap_err()
    };
    assert_eq!(claimed(2, u32::MAX), said, "it is refused before it comes");
    assert_eq!(claimed(2, HEADER_LEN_MAX as u32), said, "the type counts as well");
    assert_eq!(claimed(2, 1000), ContentError::Malformed("it ends in the middle of a field"));
    assert_eq!(claimed(3, u32::MAX), ContentError::Malformed("it ends in the middle of a field"), "it is passed over");

    let long = parameter("filename", &"n".repeat(HEADER_LEN_MAX / 2));
    assert!(read(&[&type_field("attachment"), &long[..]].concat(), 1000).is_ok());
    assert_eq!(read(&[&type_field("attachment"), &long[..], &long].concat(), 1000), Err(said));
    let empty = [type_field("attachment"), [0x30, 0].repeat(1024)].concat();
    assert_eq!(read(&empty, 1000), Err(ContentError::TooLarge("the number of fields")));
}

#[test]
fn content_is_handed_on_where_it_stands() {
    let header = AttachmentHeader::new("a.txt", "text/plain", 3_000_000_000).unwrap();
    let mut reader = AttachmentReader::new();
    assert_eq!(reader.update(Unverified::new(header.as_bytes())).unwrap().for_staging(), b"");
    let piece = vec![7; 1 << 20];
    for _ in 0..3_000_000_000 / piece.len() {
        let content = reader.update(Unverified::new(&piece)).unwrap().for_staging();
        assert!(content.as_ptr_range() == piece.as_ptr_range(), "nothing is copied, so nothing is held");
    }
    assert_eq!(reader.finish().unwrap_err(), ContentError::Malformed("it ends in the middle of a field"));
}

fn fields() -> Vec<Vec<u8>> {
    let unknown = [vec![0x35, 1, 2, 3, 4], vec![0x39, 1, 2, 3, 4, 5, 6, 7, 8], vec![0x40, 0xff, 1], field(9, b"later")];
    let known = [
        type_field("attachment"),
        parameter("filename", "é.jpg"),
        parameter("mimeType", "image/jpeg"),
        parameter("of a later version", "1"),
        field(3, b"cannot be shown"),
        field(4, b"photo"),
    ];
    known.into_iter().chain(unknown).collect()
}

fn attachment() -> Attachment {
    let (filename, mime_type) = (Some("é.jpg".to_owned()), Some("image/jpeg".to_owned()));
    Attachment { filename, mime_type, content_len: 5 }
}

fn read(bytes: &[u8], piece: usize) -> Result<(Attachment, Vec<u8>), ContentError> {
    let (mut reader, mut content) = (AttachmentReader::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        content.extend_from_slice(reader.update(Unverified::new(piece))?.for_staging());
    }
    Ok((reader.finish()?, content))
}
