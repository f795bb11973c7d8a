//! Any bytes, as an attachment that comes in pieces and as a message; and as a file, which is sealed and opens, and not
//! after it was spoilt.
//!
//! The first byte is the length of the pieces, the next five say what is done to the payload, and the rest is the
//! bytes.

#![no_main]

use landfall_crypto::xmtp::{
    Attachment, AttachmentHeader, AttachmentOpener, AttachmentReader, AttachmentSecrets, Content, ContentDigest,
    ContentError, PAYLOAD_LEN_MAX, PayloadError, PayloadSealer, Unverified,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[piece, position @ .., how], bytes)) = input.split_first_chunk::<6>() else { return };
    let (piece, position) = (usize::from(piece).max(1), u32::from_le_bytes(position) as usize);

    let read_in_pieces = read(bytes, piece);
    assert_eq!(read_in_pieces, read(bytes, bytes.len().max(1)), "pieces do not matter");
    let content = Content::decode(bytes);
    if let (Ok((attachment, content)), Ok(decoded)) = (read_in_pieces, &content) {
        assert_eq!(*decoded, Content::Attachment { attachment, content }, "both readers read the same");
    }
    let written = match &content {
        Ok(Content::RemoteAttachment(one)) => one.encode(),
        Ok(Content::MultiRemoteAttachment(several)) => several.encode(),
        _ => return seal_and_open(bytes, piece, position, how),
    };
    if let Ok(message) = written {
        assert_eq!(Content::decode(&message), content, "what was read is written");
    }
});

fn seal_and_open(bytes: &[u8], piece: usize, position: usize, how: u8) {
    let header = AttachmentHeader::new("a.txt", "text/plain", bytes.len() as u64).expect("the names are short");
    let (mut sealer, mut payload) = PayloadSealer::of_attachment(&secrets(), &header);
    let mut sealed = bytes.to_vec();
    sealed.chunks_mut(piece).for_each(|piece| sealer.update(piece).expect("as long as announced"));
    let (tag, digest) = sealer.finish().expect("as long as announced");
    payload.extend_from_slice(&sealed);
    payload.extend_from_slice(&tag);
    assert_eq!(payload.len() as u64, header.payload_len());
    let opened = open(&payload, digest, piece).expect("nothing was spoilt");
    assert_eq!((opened.0.filename.as_deref(), &opened.1[..]), (Some("a.txt"), bytes));

    let spoilt = spoil(&payload, position, how);
    assert!(spoilt == payload || open(&spoilt, digest, piece).is_err(), "spoilt by {how} at {position}");
}

fn spoil(payload: &[u8], position: usize, how: u8) -> Vec<u8> {
    let mut spoilt = payload.to_vec();
    match how % 4 {
        0 => spoilt.truncate(position % payload.len()),
        1 => spoilt.extend_from_slice(&payload[position % payload.len()..]),
        2 => spoilt.rotate_left(position % payload.len()),
        _ => spoilt[position % payload.len()] ^= 1 << (how >> 5),
    }
    spoilt
}

fn open(payload: &[u8], digest: ContentDigest, piece: usize) -> Result<(Attachment, Vec<u8>), PayloadError> {
    let mut opener = AttachmentOpener::new(&secrets(), digest, PAYLOAD_LEN_MAX);
    let (mut payload, mut staging) = (payload.to_vec(), Vec::new());
    for piece in payload.chunks_mut(piece) {
        staging.extend_from_slice(opener.update(piece)?.for_staging());
    }
    Ok((opener.finish()?, staging))
}

fn read(bytes: &[u8], piece: usize) -> Result<(Attachment, Vec<u8>), ContentError> {
    let (mut reader, mut content) = (AttachmentReader::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        content.extend_from_slice(reader.update(Unverified::new(piece))?.for_staging());
    }
    Ok((reader.finish()?, content))
}

fn secrets() -> AttachmentSecrets {
    AttachmentSecrets::new([7; 32], [8; 32], [9; 12])
}
