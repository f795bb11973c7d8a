//! Files that carry all that is needed to open them, but the master key.
//!
//! Such a file lies where nobody keeps records about it: in a bucket. It begins with a *head* of 120 bytes: the letters
//! `LFS1`, the length of a chunk's plaintext (four bytes, lowest first), which master key it belongs to, the file's own key
//! wrapped by that one (nonce and box, as libsodium's `crypto_secretbox_easy` makes it), and the header of the stream. The
//! stream follows, as everywhere here.
//!
//! The head is not secret. Whoever alters it makes a file that does not open; whoever exchanges whole files exchanges
//! them under their names, which this format does not know.

use crate::{ChunkLen, FileKey, MasterKey, StreamHeader, WrappedKey, WrongKey, derive_subkey, unwrap_key, wrap_key};

/// Bytes of a head.
pub const SEALED_HEAD_LEN: usize = 120;

const MAGIC: &[u8; 4] = b"LFS1";
/// Number and context of the subkey by which a master key is told from others.
const ID_SUBKEY: (u64, [u8; 8]) = (2, *b"lf-keyid");

/// What stands before the stream of a sealed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedHead {
    key_id: [u8; 16],
    chunk_len: ChunkLen,
    wrapped: WrappedKey,
    header: StreamHeader,
}

/// These bytes are no head of a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no sealed file, or one of a newer version")]
pub struct NotSealed;

impl SealedHead {
    /// The head of a file that `key` seals. `nonce` and `header` are drawn, each once.
    pub fn new(master: &MasterKey, key: &FileKey, nonce: [u8; 24], header: StreamHeader, chunk_len: ChunkLen) -> Self {
        Self { key_id: key_id(master), chunk_len, wrapped: wrap_key(master, nonce, key), header }
    }

    /// Whether a file that begins so may be a sealed one.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads the first [`SEALED_HEAD_LEN`] bytes of a file; what follows is not looked at.
    ///
    /// # Errors
    /// [`NotSealed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotSealed> {
        let head: &[u8; SEALED_HEAD_LEN] = bytes.first_chunk().ok_or(NotSealed)?;
        let (magic, rest) = head.split_first_chunk::<4>().ok_or(NotSealed)?;
        let (chunk, rest) = rest.split_first_chunk::<4>().ok_or(NotSealed)?;
        let (key_id, rest) = rest.split_first_chunk::<16>().ok_or(NotSealed)?;
        let (nonce, rest) = rest.split_first_chunk::<24>().ok_or(NotSealed)?;
        let (ciphertext, rest) = rest.split_first_chunk::<48>().ok_or(NotSealed)?;
        let header: [u8; 24] = rest.try_into().map_err(|_| NotSealed)?;
        let chunk_len = ChunkLen::new(u32::from_le_bytes(*chunk)).ok_or(NotSealed)?;
        if magic != MAGIC {
            return Err(NotSealed);
        }
        let wrapped = WrappedKey { nonce: *nonce, ciphertext: *ciphertext };
        Ok(Self { key_id: *key_id, chunk_len, wrapped, header: StreamHeader::from_bytes(header) })
    }

    /// The head as it stands in the file.
    pub fn to_bytes(&self) -> [u8; SEALED_HEAD_LEN] {
        let mut bytes = [0; SEALED_HEAD_LEN];
        let chunk_len = u32::try_from(self.chunk_len.bytes()).expect("a chunk's length is made of 32 bits");
        let fields: [&[u8]; 6] = [
            MAGIC,
            &chunk_len.to_le_bytes(),
            &self.key_id,
            &self.wrapped.nonce,
            &self.wrapped.ciphertext,
            self.header.as_bytes(),
        ];
        let mut at = 0;
        for field in fields {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        bytes
    }

    /// The key of the file.
    ///
    /// # Errors
    /// [`WrongKey`] if another master key wrapped it, or the head was altered.
    pub fn open(&self, master: &MasterKey) -> Result<FileKey, WrongKey> {
        unwrap_key(master, &self.wrapped)
    }

    /// Which master key it belongs to.
    pub fn key_id(&self) -> [u8; 16] {
        self.key_id
    }

    /// Length of a chunk's plaintext.
    pub fn chunk_len(&self) -> ChunkLen {
        self.chunk_len
    }

    /// The header of its stream.
    pub fn header(&self) -> &StreamHeader {
        &self.header
    }
}

/// By what a master key is told from others. It says nothing of the key.
pub fn key_id(master: &MasterKey) -> [u8; 16] {
    let (number, context) = ID_SUBKEY;
    let mut id = [0; 16];
    id.copy_from_slice(&derive_subkey(master, number, context)[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_opens_with_its_master_key_alone() {
        let (master, other) = (MasterKey::from_bytes([1; 32]), MasterKey::from_bytes([2; 32]));
        let (key, header) = (FileKey::from_bytes([3; 32]), StreamHeader::from_bytes([4; 24]));
        let head = SealedHead::new(&master, &key, [5; 24], header, ChunkLen::DEFAULT);
        let read = SealedHead::parse(&head.to_bytes()).unwrap();
        assert_eq!(read, head);
        assert_eq!(read.open(&master).unwrap().expose(), key.expose());
        assert!(read.open(&other).is_err());
        assert_ne!(key_id(&master), key_id(&other));
    }

    #[test]
    fn what_is_no_head_is_not_read() {
        let head = SealedHead::new(
            &MasterKey::from_bytes([1; 32]),
            &FileKey::from_bytes([3; 32]),
            [5; 24],
            StreamHeader::from_bytes([4; 24]),
            ChunkLen::DEFAULT,
        )
        .to_bytes();
        assert_eq!(SealedHead::parse(&head[..119]), Err(NotSealed));
        for at in [0, 3] {
            let mut other = head;
            other[at] ^= 1;
            assert_eq!(SealedHead::parse(&other), Err(NotSealed));
        }
        let mut no_chunk = head;
        no_chunk[4..8].fill(0);
        assert_eq!(SealedHead::parse(&no_chunk), Err(NotSealed));
    }
}
