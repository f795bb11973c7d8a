//! Seals what leaves the device and opens what comes back: the only crate that can read content.
//!
//! A file is cut into *chunks* of 4 MiB. A [`FileKey`] and a [`StreamHeader`] that were never used before make a
//! [`ChunkSealer`]; each chunk is read into a [`ChunkBuffer`] and sealed there, in place, and what goes on the wire is
//! the chunk, one byte for its tag and sixteen for its [`ChunkMac`]. The last chunk says that it is the last. The bytes
//! are those of libsodium's `crypto_secretstream_xchacha20poly1305`, so libsodium opens our files and we open its.
//!
//! The source is read twice. The first time only the [`Digest`] and the MACs are kept: they are the whole state of the
//! cipher, so the second time any chunk can be sealed alone, in any order, by [`ChunkSealer::reseal`]. It hands out a
//! [`SealedChunk`] only when the MAC is the recorded one, hence only when the source has not changed: two different
//! ciphertexts under one key and nonce never leave the buffer.
//!
//! The key of a file is *wrapped* by the key of its collection, that one by the [`MasterKey`], and that one twice: by a
//! [`KeyEncryptionKey`] derived from the password and by the [`RecoveryKey`], which people keep as twenty-four words.
//!
//! The module [`xmtp`] has another format, for another purpose: files that are attached to messages of other people's
//! clients.
//!
//! Nothing here draws random numbers, reads a clock or touches a file. Keys, nonces and headers are arguments, and
//! whoever draws them must draw each once.
//!
//! # Example
//! ```
//! use landfall_crypto::{ChunkBuffer, ChunkLen, ChunkSealer, FileKey, MacXor, StreamHeader, StreamOpener};
//!
//! let (key, header) = (FileKey::from_bytes([7; 32]), StreamHeader::from_bytes([9; 24])); // drawn, in earnest
//! let mut buffer = ChunkBuffer::with_capacity(ChunkLen::DEFAULT);
//! buffer.message_mut(5).copy_from_slice(b"photo");
//! let mac = ChunkSealer::new(&key, &header).seal(0, &MacXor::default(), &mut buffer, true)?;
//! assert_eq!(buffer.wire().len(), 5 + 17);
//! assert_eq!(buffer.wire()[6..], *mac.as_bytes());
//!
//! let mut opener = StreamOpener::new(&key, &header, ChunkLen::DEFAULT);
//! assert!(opener.open_chunk(&mut buffer)?.last);
//! assert_eq!(buffer.message(), b"photo");
//! opener.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blob;
mod chunk;
mod digest;
mod kdf;
mod key;
mod lane;
mod password;
mod recovery;
mod sealed_file;
mod secretbox;
mod stream;
pub mod xmtp;

pub use self::{
    blob::{BLOB_LEN_MAX, BlobTooLong, open_blob, seal_blob},
    chunk::{
        CHUNK_LEN, CHUNK_OVERHEAD, ChunkBuffer, ChunkLen, ChunkMac, ImpossibleLength, MacXor, SealedChunk, chunk_count,
        plain_len, sealed_len,
    },
    digest::{Digest, DigestState, NotADigest},
    kdf::{content_tag, derive_subkey, login_key, name_tag},
    key::{
        CollectionKey, FileKey, HostKey, JournalKey, KeyEncryptionKey, LaneKey, MasterKey, RecoveryKey, SecretKey,
        TagKey, WrappedKey, WrappingKey, unwrap_key, wrap_key,
    },
    lane::{NotALaneKey, lane_id, lane_key_text, open_message, seal_message},
    password::{PasswordError, PasswordParams, derive_kek},
    recovery::{NotARecoveryKey, recovery_hex, recovery_phrase},
    sealed_file::{NotSealed, SEALED_HEAD_LEN, SealedHead, key_id},
    secretbox::{SECRETBOX_OVERHEAD, WrongKey, secretbox_open, secretbox_seal},
    stream::{ChunkSealer, OpenError, Opened, ResealError, SourceChanged, StreamHeader, StreamOpener, TooManyChunks},
};
