//! Attachments as both sides see them: sealed, opened, spoilt in between, and the messages that tell of them.
#![allow(clippy::unwrap_used)] // what the helpers unwrap, a test expects

mod messages;
mod oracle;
mod payload;
mod reader;
mod tampering;
mod vectors;

use landfall_crypto::xmtp::{
    Attachment, AttachmentHeader, AttachmentOpener, AttachmentSecrets, ContentDigest, PAYLOAD_LEN_MAX, PayloadError,
    PayloadSealer,
};

/// A payload as a server has it, with what a message tells of it.
#[derive(Clone)]
struct Sealed {
    secrets: AttachmentSecrets,
    digest: ContentDigest,
    payload: Vec<u8>,
}

impl Sealed {
    /// Seals a file in pieces of `piece` bytes.
    fn of(header: &AttachmentHeader, content: &[u8], piece: usize) -> Self {
        let (mut sealer, mut payload) = PayloadSealer::of_attachment(&secrets(), header);
        let mut content = content.to_vec();
        content.chunks_mut(piece).for_each(|piece| sealer.update(piece).unwrap());
        payload.append(&mut content);
        Self::end(sealer, payload)
    }

    /// Seals anything, which need not be an attachment.
    fn of_plaintext(plain: &[u8]) -> Self {
        let mut sealer = PayloadSealer::new(&secrets(), plain.len() as u64).unwrap();
        let mut payload = plain.to_vec();
        sealer.update(&mut payload).unwrap();
        Self::end(sealer, payload)
    }

    fn of_content(content: &[u8]) -> Self {
        Self::of(&header(content.len()), content, 1 << 16)
    }

    fn end(sealer: PayloadSealer, mut payload: Vec<u8>) -> Self {
        let (tag, digest) = sealer.finish().unwrap();
        payload.extend_from_slice(&tag);
        Self { secrets: secrets(), digest, payload }
    }

    /// Opens the payload in pieces of `piece` bytes.
    fn open_in(&self, piece: usize) -> Result<(Attachment, Vec<u8>), PayloadError> {
        let mut opener = AttachmentOpener::new(&self.secrets, self.digest, PAYLOAD_LEN_MAX);
        let (mut payload, mut staging) = (self.payload.clone(), Vec::new());
        for piece in payload.chunks_mut(piece) {
            staging.extend_from_slice(opener.update(piece)?.for_staging());
        }
        Ok((opener.finish()?, staging))
    }

    fn open(&self) -> Result<(Attachment, Vec<u8>), PayloadError> {
        self.open_in(1 << 16)
    }
}

/// Secrets that no other test vector has: 0, 1, 2 and so on, salt and nonce beginning with 32 and 64.
fn secrets() -> AttachmentSecrets {
    AttachmentSecrets::new(run(0), run(0x20), run(0x40))
}

fn run<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first + i as u8)
}

fn header(content_len: usize) -> AttachmentHeader {
    AttachmentHeader::new("a.txt", "text/plain", content_len as u64).unwrap()
}

/// Bytes that look the same in every run and different in every block.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// A field of protobuf that holds bytes, as this test writes it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        field.push(len as u8 | 0x80);
        len >>= 7;
    }
    field.push(len as u8);
    field.extend_from_slice(bytes);
    field
}

/// An entry of the parameters.
fn parameter(name: &str, value: &str) -> Vec<u8> {
    field(2, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

/// The field that says what a message is, with version 1.0.
fn type_field(name: &str) -> Vec<u8> {
    field(1, &[field(1, b"xmtp.org"), field(2, name.as_bytes()), vec![0x18, 1]].concat())
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}
