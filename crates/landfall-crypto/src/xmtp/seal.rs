use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::{AttachmentHeader, AttachmentSecrets, ContentDigest, gcm, gcm::Gcm};

/// How many bytes a payload is longer than what was sealed: the tag at its end.
pub const TAG_LEN: usize = 16;

/// The longest plaintext that AES-GCM can seal: 64 GiB less 32 bytes.
pub const PLAIN_LEN_MAX: u64 = gcm::MESSAGE_LEN_MAX;

/// Seals a payload, piece by piece and in place, and computes its digest in the same pass.
///
/// It holds no more than a block of the content. How long the plaintext is must be known from the start, and is kept
/// to: a source that grows or shrinks while it is read does not become a payload.
pub struct PayloadSealer {
    gcm: Gcm,
    sha256: Sha256,
    progress: Progress,
}

enum Progress {
    Left(u64),
    Grown,
}

impl PayloadSealer {
    /// Makes the sealer of an attachment, and the first bytes of its payload, which are the sealed header.
    ///
    /// The pieces of the file follow, through [`update`](Self::update).
    pub fn of_attachment(secrets: &AttachmentSecrets, header: &AttachmentHeader) -> (Self, Vec<u8>) {
        let mut sealer = Self::new(secrets, header.plain_len()).expect("a header tells of no longer plaintext");
        let mut sealed = header.as_bytes().to_vec();
        sealer.update(&mut sealed).expect("the header is a part of the plaintext");
        (sealer, sealed)
    }

    /// Makes the sealer of any plaintext of `plain_len` bytes.
    ///
    /// # Errors
    /// [`PayloadTooLong`] if it is longer than [`PLAIN_LEN_MAX`].
    pub fn new(secrets: &AttachmentSecrets, plain_len: u64) -> Result<Self, PayloadTooLong> {
        if plain_len > PLAIN_LEN_MAX {
            return Err(PayloadTooLong);
        }
        let gcm = Gcm::new(&secrets.key(), secrets.expose_nonce());
        Ok(Self { gcm, sha256: Sha256::new(), progress: Progress::Left(plain_len) })
    }

    /// Seals the next piece of plaintext, in place. It has any length, and what stands there then is sent as it is.
    ///
    /// # Errors
    /// [`SealError::SourceGrew`] if there are more bytes than were announced. The piece is wiped.
    pub fn update(&mut self, piece: &mut [u8]) -> Result<(), SealError> {
        let left = match self.progress {
            Progress::Left(left) => left.checked_sub(piece.len() as u64),
            Progress::Grown => None,
        };
        let Some(left) = left else {
            self.progress = Progress::Grown;
            piece.zeroize();
            return Err(SealError::SourceGrew);
        };
        // Ciphertext is digested while it is still in the processor's cache.
        for part in piece.chunks_mut(PASS_LEN) {
            self.gcm.encrypt(part);
            self.sha256.update(part);
        }
        self.progress = Progress::Left(left);
        Ok(())
    }

    /// Ends the payload: its last sixteen bytes, which are sent behind the pieces, and its digest.
    ///
    /// # Errors
    /// [`SealError`] if the source had not as many bytes as were announced.
    pub fn finish(mut self) -> Result<([u8; TAG_LEN], ContentDigest), SealError> {
        match self.progress {
            Progress::Left(0) => {}
            Progress::Left(missing) => return Err(SealError::SourceShrank { missing }),
            Progress::Grown => return Err(SealError::SourceGrew),
        }
        let tag = self.gcm.tag();
        self.sha256.update(tag);
        Ok((tag, ContentDigest::from_bytes(self.sha256.finalize().into())))
    }
}

/// Why a source did not become a payload: it is not what it was when its length was asked for.
///
/// What was sealed so far is of no use. Begin again, with another length and other secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There are more bytes than were announced.
    #[error("the source has grown since its length was asked for")]
    SourceGrew,
    /// There are fewer.
    #[error("the source has shrunk since its length was asked for: {missing} bytes are missing")]
    SourceShrank {
        /// By how many.
        missing: u64,
    },
}

/// No payload can have this much in it. Send the file in several, or in some other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payload has room for at most {PLAIN_LEN_MAX} bytes")]
pub struct PayloadTooLong;

pub(super) const PASS_LEN: usize = 16 << 10;
