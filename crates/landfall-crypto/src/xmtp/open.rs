use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Attachment, AttachmentReader, AttachmentSecrets, ContentDigest, ContentError,
    gcm::Gcm,
    seal::{PASS_LEN, PLAIN_LEN_MAX, TAG_LEN},
};

/// Opens a payload that holds an attachment, and hands on the content of the file.
///
/// It is a [`PayloadOpener`] with an [`AttachmentReader`] behind it. What the reader finds amiss is told by
/// [`finish`](Self::finish), and only when the payload was authentic: otherwise it would be the fault of the download.
pub struct AttachmentOpener {
    payload: PayloadOpener,
    reader: AttachmentReader,
}

impl AttachmentOpener {
    /// Makes the opener of the payload that a message tells of, which may have at most `payload_len_max` bytes.
    pub fn new(secrets: &AttachmentSecrets, expected: ContentDigest, payload_len_max: u64) -> Self {
        let payload = PayloadOpener::new(secrets, expected, payload_len_max);
        Self { payload, reader: AttachmentReader::new() }
    }

    /// Opens the next piece, in place, and gives what of it is content of the file.
    ///
    /// # Errors
    /// [`PayloadError::TooLong`] as [`PayloadOpener::update`].
    pub fn update<'p>(&mut self, piece: &'p mut [u8]) -> Result<Unverified<'p>, PayloadError> {
        let plain = self.payload.update(piece)?;
        Ok(self.reader.update(plain).unwrap_or_default())
    }

    /// Ends the payload. When this succeeds, all content that was handed on is what was sealed.
    ///
    /// # Errors
    /// [`PayloadError`]; what was handed on is then to be thrown away.
    pub fn finish(self) -> Result<Attachment, PayloadError> {
        self.payload.finish()?;
        Ok(self.reader.finish()?)
    }
}

/// Opens a payload piece by piece and in place.
///
/// The tag stands at the end of a payload, so nothing that is opened can be trusted before [`finish`](Self::finish) has
/// verified the digest and the tag. Dropping the opener without finishing it has verified nothing.
pub struct PayloadOpener {
    gcm: Gcm,
    sha256: Sha256,
    expected: ContentDigest,
    room: Room,
    /// The last bytes that came. They are the tag, if none come after them.
    held: [u8; TAG_LEN],
    held_len: usize,
}

enum Room {
    Left(u64),
    Exceeded,
}

impl PayloadOpener {
    /// Makes the opener of the payload with the digest `expected`, which may have at most `payload_len_max` bytes.
    ///
    /// The digest comes from the message. A server decides how much it sends, and the length in a message is not always
    /// right, so the limit is the caller's own.
    pub fn new(secrets: &AttachmentSecrets, expected: ContentDigest, payload_len_max: u64) -> Self {
        Self {
            gcm: Gcm::new(&secrets.key(), secrets.expose_nonce()),
            sha256: Sha256::new(),
            expected,
            room: Room::Left(payload_len_max.min(PLAIN_LEN_MAX + TAG_LEN as u64)),
            held: [0; TAG_LEN],
            held_len: 0,
        }
    }

    /// Opens the next piece, which has any length, in place, and gives the plaintext that is certain not to be the tag:
    /// it is sixteen bytes late.
    ///
    /// # Errors
    /// [`PayloadError::TooLong`] if there are more bytes than a payload may have. Nothing of the piece was opened; stop
    /// downloading.
    pub fn update<'p>(&mut self, piece: &'p mut [u8]) -> Result<Unverified<'p>, PayloadError> {
        let left = match self.room {
            Room::Left(left) => left.checked_sub(piece.len() as u64),
            Room::Exceeded => None,
        };
        self.room = left.map_or(Room::Exceeded, Room::Left);
        if left.is_none() {
            return Err(PayloadError::TooLong);
        }
        let opened = self.hold_back(piece);
        for part in opened.chunks_mut(PASS_LEN) {
            self.sha256.update(&*part);
            self.gcm.decrypt(part);
        }
        Ok(Unverified(opened))
    }

    /// Ends the payload. When this succeeds, everything opened is what was sealed.
    ///
    /// # Errors
    /// [`PayloadError`] if it is not; everything opened is then to be thrown away.
    pub fn finish(self) -> Result<(), PayloadError> {
        let skipped = if cfg!(feature = "sabotage") { &[Check::Digest, Check::Tag][..] } else { &[] };
        self.verify_all_but(skipped)
    }

    fn verify_all_but(mut self, skipped: &[Check]) -> Result<(), PayloadError> {
        if matches!(self.room, Room::Exceeded) {
            return Err(PayloadError::TooLong);
        }
        if self.held_len < TAG_LEN {
            return Err(PayloadError::TooShort);
        }
        self.sha256.update(self.held);
        let digest = ContentDigest::from_bytes(self.sha256.finalize().into());
        if digest != self.expected && !skipped.contains(&Check::Digest) {
            return Err(PayloadError::WrongDigest);
        }
        let authentic = bool::from(self.gcm.tag().ct_eq(&self.held));
        if !authentic && !skipped.contains(&Check::Tag) {
            return Err(PayloadError::Tampered);
        }
        Ok(())
    }

    /// Puts what was held before the piece, takes as much off its end, and gives what is between.
    fn hold_back<'p>(&mut self, piece: &'p mut [u8]) -> &'p mut [u8] {
        let (held, held_len) = (self.held, self.held_len);
        let out = (held_len + piece.len()).saturating_sub(TAG_LEN);
        let leaving = held_len.min(out);
        let staying = held_len - leaving;
        let from_piece = piece.len() - (out - leaving);

        self.held[..staying].copy_from_slice(&held[leaving..held_len]);
        self.held[staying..staying + from_piece].copy_from_slice(&piece[out - leaving..]);
        self.held_len = staying + from_piece;

        let opened = &mut piece[..out];
        opened.copy_within(..out - leaving, leaving);
        opened[..leaving].copy_from_slice(&held[..leaving]);
        opened
    }
}

/// What a payload is verified by. A test skips each to show that the other alone would not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Digest,
    Tag,
}

/// Plaintext of which nobody knows yet whether it is what was sealed.
///
/// It is good for one thing: to be written to a staging file, which is given its name when the whole payload was
/// verified, and is thrown away otherwise. Nothing decodes, shows or counts it before.
#[derive(Clone, Copy, Default)]
pub struct Unverified<'p>(&'p [u8]);

impl<'p> Unverified<'p> {
    /// Marks bytes from elsewhere, for an [`AttachmentReader`] of its own.
    pub fn new(bytes: &'p [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be written where they can be thrown away.
    pub fn for_staging(self) -> &'p [u8] {
        self.0
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unverified({} bytes)", self.0.len())
    }
}

/// Why a payload was refused, in the order in which it is checked. Nothing of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It is shorter than a tag. Fetch it again.
    #[error("the payload has less than {TAG_LEN} bytes")]
    TooShort,
    /// It goes on after the limit. Refuse it, or raise the limit and fetch it again.
    #[error("the payload is longer than was allowed")]
    TooLong,
    /// It is not the payload that the message tells of. Fetch it again; if it is refused again, the server has lost it.
    #[error("the payload is not the one that the message tells of")]
    WrongDigest,
    /// It is the payload that the message tells of, and was not sealed under the secrets in it. Ask the sender to send
    /// the attachment again; fetching it again does not help.
    #[error("the payload was not sealed under the secrets of the message")]
    Tampered,
    /// It is authentic, and holds no attachment that can be read.
    #[error("the payload holds no attachment that can be read")]
    Content(#[from] ContentError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmtp::PayloadSealer;

    /// What is received: the secrets, then the digest, then the payload.
    const DIGEST_AT: usize = 76;
    const PAYLOAD_AT: usize = DIGEST_AT + 32;

    #[test]
    fn each_check_refuses_what_the_other_lets_pass() {
        let unnoticed_without = |skipped: &[Check]| {
            let received = received();
            let spoilt = (0..received.len() * 8).filter(|bit| {
                let mut received = received.clone();
                received[bit / 8] ^= 1 << (bit % 8);
                open(&received, skipped).is_ok()
            });
            spoilt.map(|bit| bit / 8).collect::<Vec<_>>()
        };
        assert_eq!(unnoticed_without(&[]), [0; 0]);
        let digests = unnoticed_without(&[Check::Digest]);
        assert!(digests.len() == 32 * 8 && digests.iter().all(|at| (DIGEST_AT..PAYLOAD_AT).contains(at)));
        let secrets = unnoticed_without(&[Check::Tag]);
        assert!(secrets.len() == DIGEST_AT * 8 && secrets.iter().all(|&at| at < DIGEST_AT));
        assert_eq!(unnoticed_without(&[Check::Digest, Check::Tag]).len(), received().len() * 8);
    }

    fn received() -> Vec<u8> {
        let secrets = AttachmentSecrets::new([1; 32], [2; 32], [3; 12]);
        let mut sealer = PayloadSealer::new(&secrets, 5).unwrap();
        let mut payload = *b"photo";
        sealer.update(&mut payload).unwrap();
        let (tag, digest) = sealer.finish().unwrap();
        [&secrets.to_record()[..], digest.as_bytes(), &payload, &tag].concat()
    }

    fn open(received: &[u8], skipped: &[Check]) -> Result<(), PayloadError> {
        let (secrets, rest) = received.split_at(DIGEST_AT);
        let (digest, payload) = rest.split_first_chunk().unwrap();
        let secrets = AttachmentSecrets::from_record(secrets).unwrap();
        let mut opener = PayloadOpener::new(&secrets, ContentDigest::from_bytes(*digest), 100);
        opener.update(&mut payload.to_vec()).unwrap();
        opener.verify_all_but(skipped)
    }
}
