use std::{fmt, num::NonZeroU32};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The length of a chunk of plaintext unless a caller chooses another: 4 MiB.
pub const CHUNK_LEN: u32 = 4 << 20;

/// How many bytes a sealed chunk is longer than its plaintext: the tag and the MAC.
pub const CHUNK_OVERHEAD: u32 = 17;

/// A chunk of a file, in the one piece of memory where it is read, sealed in place, and sent from.
///
/// The caller reads plaintext into [`message_mut`](Self::message_mut), has a [`ChunkSealer`](crate::ChunkSealer) seal
/// it and reads [`wire`](Self::wire); or it fills [`wire_mut`](Self::wire_mut), has a
/// [`StreamOpener`](crate::StreamOpener) open it and reads [`message`](Self::message). The buffer is used again for the
/// next chunk. Plaintext in it is wiped by [`wipe`](Self::wipe) and when it is dropped.
pub struct ChunkBuffer {
    /// `[64 scratch | message | 16 scratch]`. The wire chunk begins at byte 63, so that the message need not move.
    bytes: Vec<u8>,
    content: Content,
    /// No plaintext is left in the bytes from here on.
    plain_end: usize,
}

#[derive(Clone, Copy)]
enum Content {
    Nothing,
    Message { len: usize },
    Wire { len: usize },
}

pub(crate) const BLOCK_LEN: usize = 64;
pub(crate) const MAC_LEN: usize = 16;
const WIRE_AT: usize = BLOCK_LEN - 1;

impl ChunkBuffer {
    /// Makes an empty buffer for chunks of up to `chunk_len`.
    pub fn with_capacity(chunk_len: ChunkLen) -> Self {
        let bytes = vec![0; BLOCK_LEN + chunk_len.bytes() + MAC_LEN];
        Self { bytes, content: Content::Nothing, plain_end: 0 }
    }

    /// Empties the buffer and returns room for a message of `len` bytes, which the caller fills from the first to the
    /// last: what stood there before is sealed otherwise.
    ///
    /// # Panics
    /// If `len` is longer than a chunk.
    pub fn message_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.capacity(), "a message of {len} bytes does not fit in a chunk of {}", self.capacity());
        self.content = Content::Message { len };
        self.plain_end = self.plain_end.max(BLOCK_LEN + len);
        &mut self.bytes[BLOCK_LEN..BLOCK_LEN + len]
    }

    /// The plaintext read in or opened here; nothing if the buffer holds none.
    pub fn message(&self) -> &[u8] {
        match self.content {
            Content::Message { len } => &self.bytes[BLOCK_LEN..BLOCK_LEN + len],
            Content::Nothing | Content::Wire { .. } => &[],
        }
    }

    /// Keeps the first `len` bytes of the message, for a source that ended early.
    ///
    /// # Panics
    /// If the message is shorter.
    pub fn truncate_message(&mut self, len: usize) {
        assert!(len <= self.message().len(), "the message is shorter than {len} bytes");
        self.content = Content::Message { len };
    }

    /// Empties the buffer and returns room for a sealed chunk of `len` bytes, which the caller fills from the first to
    /// the last.
    ///
    /// # Panics
    /// If `len` is longer than a sealed chunk.
    pub fn wire_mut(&mut self, len: usize) -> &mut [u8] {
        let longest = self.capacity() + CHUNK_OVERHEAD as usize;
        assert!(len <= longest, "a sealed chunk of {len} bytes is longer than {longest}");
        self.content = Content::Wire { len };
        &mut self.bytes[WIRE_AT..WIRE_AT + len]
    }

    /// The sealed chunk: one byte for the tag, the ciphertext, the MAC. Nothing if the buffer holds none, so that
    /// plaintext is never mistaken for it.
    pub fn wire(&self) -> &[u8] {
        match self.content {
            Content::Wire { len } => &self.bytes[WIRE_AT..WIRE_AT + len],
            Content::Nothing | Content::Message { .. } => &[],
        }
    }

    /// The length of the longest message that fits.
    pub fn capacity(&self) -> usize {
        self.bytes.len() - BLOCK_LEN - MAC_LEN
    }

    /// Empties the buffer and overwrites every byte of it that may be plaintext.
    pub fn wipe(&mut self) {
        self.bytes[..self.plain_end].zeroize();
        self.plain_end = 0;
        self.content = Content::Nothing;
    }

    /// The first block and the message behind it, to be encrypted or opened together in place.
    pub(crate) fn block_and_message_mut(&mut self, message_len: usize) -> &mut [u8] {
        &mut self.bytes[..BLOCK_LEN + message_len]
    }

    /// Makes the encrypted block and message into a chunk for the wire.
    pub(crate) fn finish_sealing(&mut self, message_len: usize, mac: &ChunkMac) {
        let message_end = BLOCK_LEN + message_len;
        self.bytes[WIRE_AT] = self.bytes[0];
        self.bytes[..WIRE_AT].zeroize();
        self.bytes[message_end..message_end + MAC_LEN].copy_from_slice(&mac.0);
        if self.plain_end <= message_end {
            self.plain_end = 0;
        }
        self.content = Content::Wire { len: message_len + CHUNK_OVERHEAD as usize };
    }

    /// Takes the sealed tag and the MAC of the chunk that came from the wire, before it is opened in place.
    pub(crate) fn start_opening(&self, message_len: usize) -> (u8, ChunkMac) {
        let mac_at = BLOCK_LEN + message_len;
        let mac = self.bytes[mac_at..mac_at + MAC_LEN].try_into().expect("the range has the length of a MAC");
        (self.bytes[WIRE_AT], ChunkMac(mac))
    }

    /// Overwrites a sealed chunk that must not be sent.
    pub(crate) fn wipe_wire(&mut self) {
        self.plain_end = self.bytes.len();
        self.wipe();
    }

    /// Makes the opened block and message into a message.
    pub(crate) fn finish_opening(&mut self, message_len: usize) {
        self.plain_end = self.plain_end.max(BLOCK_LEN + message_len);
        self.content = Content::Message { len: message_len };
    }

    /// The length of the message to be sealed.
    pub(crate) fn message_to_seal(&self) -> usize {
        match self.content {
            Content::Message { len } => len,
            // Sealing ciphertext again under its own nonce would give the plaintext back.
            Content::Nothing | Content::Wire { .. } => panic!("a chunk is read into the buffer before it is sealed"),
        }
    }
}

impl Drop for ChunkBuffer {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl ZeroizeOnDrop for ChunkBuffer {}

impl fmt::Debug for ChunkBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match self.content {
            Content::Nothing => "nothing",
            Content::Message { .. } => "message",
            Content::Wire { .. } => "wire",
        };
        f.debug_struct("ChunkBuffer").field("content", &content).finish_non_exhaustive()
    }
}

/// A chunk that was sealed again and is byte for byte the one on record; only
/// [`ChunkSealer::reseal`](crate::ChunkSealer::reseal) makes one.
///
/// It lends its bytes for as long as it lives, so an HTTP body can own it and send from it without a copy.
#[derive(Debug)]
pub struct SealedChunk(ChunkBuffer);

impl SealedChunk {
    pub(crate) fn new(buffer: ChunkBuffer) -> Self {
        Self(buffer)
    }

    /// The sealed chunk: one byte for the tag, the ciphertext, the MAC.
    pub fn wire(&self) -> &[u8] {
        self.0.wire()
    }

    /// Gives the buffer back, to be used for another chunk.
    pub fn into_buffer(self) -> ChunkBuffer {
        self.0
    }
}

impl AsRef<[u8]> for SealedChunk {
    fn as_ref(&self) -> &[u8] {
        self.wire()
    }
}

/// The last sixteen bytes of a sealed chunk. They are public, and they are the state of the cipher: with those of
/// every earlier chunk a chunk can be sealed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkMac([u8; MAC_LEN]);

impl ChunkMac {
    /// Takes a MAC out of a record.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a record.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What the MACs of the earlier chunks add to the nonce of a chunk: the first eight bytes of each, combined by XOR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MacXor([u8; 8]);

impl MacXor {
    /// That of `earlier`, which are the MACs of all chunks before the one to be sealed.
    pub fn of(earlier: &[ChunkMac]) -> Self {
        let mut xor = Self::default();
        earlier.iter().for_each(|mac| xor.push(mac));
        xor
    }

    /// Goes on to the next chunk.
    pub fn push(&mut self, mac: &ChunkMac) {
        self.0.iter_mut().zip(&mac.0).for_each(|(sum, byte)| *sum ^= byte);
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// How long every chunk of a stream but the last is, in bytes of plaintext.
///
/// It is not part of the stream: whoever opens it must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLen(NonZeroU32);

impl ChunkLen {
    /// [`CHUNK_LEN`].
    pub const DEFAULT: Self = Self(NonZeroU32::new(CHUNK_LEN).expect("4 MiB is not zero"));

    /// The longest chunk: 64 MiB.
    pub const MAX: Self = Self(NonZeroU32::new(64 << 20).expect("64 MiB is not zero"));

    /// A chunk length in bytes, or nothing if it is zero or longer than [`ChunkLen::MAX`].
    pub const fn new(bytes: u32) -> Option<Self> {
        match NonZeroU32::new(bytes) {
            Some(len) if bytes <= Self::MAX.0.get() => Some(Self(len)),
            _ => None,
        }
    }

    /// The length of a chunk of plaintext.
    pub const fn bytes(self) -> usize {
        self.0.get() as usize
    }

    /// The length of a sealed chunk.
    pub const fn sealed_bytes(self) -> usize {
        self.bytes() + CHUNK_OVERHEAD as usize
    }
}

impl Default for ChunkLen {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How many chunks a file of `plain_len` bytes has. An empty file has one, which is empty.
pub fn chunk_count(plain_len: u64, chunk_len: ChunkLen) -> u64 {
    plain_len.div_ceil(chunk_len.bytes() as u64).max(1)
}

/// How long a file of `plain_len` bytes is when it is sealed. It saturates where a stream would have too many chunks.
pub fn sealed_len(plain_len: u64, chunk_len: ChunkLen) -> u64 {
    plain_len.saturating_add(chunk_count(plain_len, chunk_len).saturating_mul(CHUNK_OVERHEAD.into()))
}

/// How long a file is that is `sealed_len` bytes long when sealed.
///
/// # Errors
/// [`ImpossibleLength`] if no file has that length.
pub fn plain_len(sealed_len: u64, chunk_len: ChunkLen) -> Result<u64, ImpossibleLength> {
    let sealed_chunk = chunk_len.sealed_bytes() as u64;
    let (full, rest) = (sealed_len / sealed_chunk, sealed_len % sealed_chunk);
    let last_len = match rest.checked_sub(CHUNK_OVERHEAD.into()) {
        Some(0) if full > 0 => return Err(ImpossibleLength(sealed_len)),
        Some(last_len) => last_len,
        None if rest == 0 && full > 0 => 0,
        None => return Err(ImpossibleLength(sealed_len)),
    };
    Ok(full * chunk_len.bytes() as u64 + last_len)
}

/// No sealed file is this many bytes long: it was cut off, or added to. Fetch it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no sealed file is {0} bytes long")]
pub struct ImpossibleLength(pub u64);
