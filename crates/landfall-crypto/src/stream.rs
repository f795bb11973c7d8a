use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher},
};
use dryoc::classic::{
    crypto_aead_chacha20poly1305_ietf::{
        crypto_aead_chacha20poly1305_ietf_decrypt_detached_inplace as decrypt_in_place,
        crypto_aead_chacha20poly1305_ietf_encrypt_detached_inplace as encrypt_in_place,
    },
    crypto_core::crypto_core_hchacha20,
    crypto_onetimeauth::{crypto_onetimeauth_final, crypto_onetimeauth_init, crypto_onetimeauth_update},
};
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    ChunkBuffer, ChunkLen, ChunkMac, FileKey, MacXor, SealedChunk,
    chunk::{BLOCK_LEN, CHUNK_OVERHEAD, MAC_LEN},
};

/// Seals the chunks of one stream.
///
/// It keeps no position: a chunk is sealed from its index and the MACs of the chunks before it, so chunks can be sealed
/// again in any order. The stream never changes its key, as libsodium's would after a `REKEY` tag, which is what makes
/// that possible; in return it ends after 2³² − 1 chunks.
///
/// One key and header seal *one* content. [`seal`](Self::seal) is for the first reading; every later one goes through
/// [`reseal`](Self::reseal).
pub struct ChunkSealer(Cipher);

impl ChunkSealer {
    /// Makes the sealer of the stream that `key` and `header` name.
    pub fn new(key: &FileKey, header: &StreamHeader) -> Self {
        Self(Cipher::new(key, header))
    }

    /// Seals the message in `buffer` as chunk `index`, counted from 0, and returns its MAC for the record.
    ///
    /// `earlier` comes from the MACs of all chunks before this one. `last` marks the end of the stream, which every
    /// stream must have; whether it is told is authenticated.
    ///
    /// # Errors
    /// [`TooManyChunks`] if `index` is 2³² − 1 or more. The buffer is untouched.
    ///
    /// # Panics
    /// If the buffer holds no message. Sealing a sealed chunk again would turn it back into plaintext.
    pub fn seal(
        &self,
        index: u64,
        earlier: &MacXor,
        buffer: &mut ChunkBuffer,
        last: bool,
    ) -> Result<ChunkMac, TooManyChunks> {
        let nonce = self.0.nonce(index, earlier)?;
        let len = buffer.message_to_seal();
        let tag = if last { TAG_FINAL } else { TAG_MESSAGE };
        let mac = ChunkMac::from_bytes(self.0.encrypt(&nonce, tag, buffer.block_and_message_mut(len)));
        buffer.finish_sealing(len, &mac);
        Ok(mac)
    }

    /// Seals the message in `buffer` as chunk `index` once more, and hands the chunk out only if its MAC is the
    /// `expected` one, which is on record from the first time.
    ///
    /// Equal MACs mean equal chunks, so what leaves here is what left, or would have left, before. If they differ, the
    /// chunk is wiped before this returns.
    ///
    /// # Errors
    /// [`ResealError::SourceChanged`] if the message is not the one that was sealed first: the source has changed, and
    /// what has been sent of it so far must not be continued. Seal the source anew under a new key and header.
    ///
    /// # Panics
    /// As [`seal`](Self::seal).
    pub fn reseal(
        &self,
        index: u64,
        earlier: &MacXor,
        mut buffer: ChunkBuffer,
        last: bool,
        expected: &ChunkMac,
    ) -> Result<SealedChunk, ResealError> {
        let mac = self.seal(index, earlier, &mut buffer, last)?;
        let unchanged = bool::from(mac.as_bytes().ct_eq(expected.as_bytes())) || cfg!(feature = "sabotage");
        if !unchanged {
            buffer.wipe_wire();
            return Err(SourceChanged.into());
        }
        Ok(SealedChunk::new(buffer))
    }
}

/// Opens the chunks of one stream, from the first to the last.
///
/// A stream is whole only when [`finish`](Self::finish) says so; until then what was opened is a beginning.
pub struct StreamOpener {
    cipher: Cipher,
    chunk_len: ChunkLen,
    index: u64,
    earlier: MacXor,
    ended: bool,
}

impl StreamOpener {
    /// Makes the opener of the stream that `key` and `header` name, which was cut into chunks of `chunk_len`.
    pub fn new(key: &FileKey, header: &StreamHeader, chunk_len: ChunkLen) -> Self {
        Self { cipher: Cipher::new(key, header), chunk_len, index: 0, earlier: MacXor::default(), ended: false }
    }

    /// Opens the next chunk, which stands in `buffer` as it came from the wire, in place. On success
    /// [`ChunkBuffer::message`] is its plaintext.
    ///
    /// # Errors
    /// The kind of [`OpenError`] says what is wrong with the stream. The buffer is then empty, and the opener waits for
    /// the same chunk as before: it may be fetched again and tried again.
    pub fn open_chunk(&mut self, buffer: &mut ChunkBuffer) -> Result<Opened, OpenError> {
        let opened = self.try_open(buffer);
        if opened.is_err() {
            buffer.wipe();
        }
        opened
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`OpenError::Truncated`] if its last chunk has not been opened.
    pub fn finish(self) -> Result<(), OpenError> {
        if self.ended { Ok(()) } else { Err(OpenError::Truncated) }
    }

    fn try_open(&mut self, buffer: &mut ChunkBuffer) -> Result<Opened, OpenError> {
        let wire_len = buffer.wire().len();
        if self.ended || wire_len > self.chunk_len.sealed_bytes() {
            return Err(OpenError::TrailingBytes);
        }
        let len = wire_len.checked_sub(CHUNK_OVERHEAD as usize).ok_or(OpenError::Truncated)?;
        let nonce = self.cipher.nonce(self.index, &self.earlier).map_err(|TooManyChunks| OpenError::TrailingBytes)?;
        let (sealed_tag, mac) = buffer.start_opening(len);

        let tag = self.cipher.decrypt(&nonce, sealed_tag, buffer.block_and_message_mut(len), &mac)?;
        buffer.finish_opening(len);
        let last = match tag {
            TAG_FINAL => true,
            // Only a last chunk is short. Here the reader has come to the end and the stream has not.
            TAG_MESSAGE if len < self.chunk_len.bytes() => return Err(OpenError::Truncated),
            TAG_MESSAGE => false,
            other => return Err(OpenError::UnexpectedTag(other)),
        };
        self.index += 1;
        self.earlier.push(&mac);
        self.ended = last;
        Ok(Opened { len, last })
    }
}

/// A chunk that was opened: the message now in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The length of the plaintext.
    pub len: usize,
    /// Nothing comes after this chunk.
    pub last: bool,
}

/// The public beginning of a stream: 24 bytes drawn at random for each stream, and kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamHeader([u8; 24]);

impl StreamHeader {
    /// Takes a header out of a record, or out of bytes just drawn.
    pub fn from_bytes(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a record.
    pub fn as_bytes(&self) -> &[u8; 24] {
        &self.0
    }
}

/// Why a sealed stream or blob was refused. No plaintext of the refused chunk is left anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A chunk is not what was sealed under this key and header in this place. Fetch it again; if it is refused again,
    /// the key or the header is another file's, or the stored bytes are damaged.
    #[error("the chunk is not what was sealed under this key in this place")]
    Tampered,
    /// The stream ends before its last chunk does. Fetch the rest.
    #[error("the stream ends before its last chunk")]
    Truncated,
    /// More bytes follow than the stream has. Look for two objects mixed up, or for another chunk length.
    #[error("bytes follow the end of the stream, or the chunk is longer than a chunk can be")]
    TrailingBytes,
    /// The chunk is authentic but carries a tag this format does not use: another program wrote it, for another purpose.
    #[error("the chunk carries tag {0}, which this format does not use")]
    UnexpectedTag(u8),
}

/// Why a chunk could not be sealed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResealError {
    /// The source has changed. Start a new revision of it.
    #[error(transparent)]
    SourceChanged(#[from] SourceChanged),
    /// The stream cannot be this long. No record says otherwise, so the record is damaged.
    #[error(transparent)]
    TooManyChunks(#[from] TooManyChunks),
}

/// The message is not the one that was sealed first, so the source has changed since.
///
/// Seal it anew under a new key and header, and send it as another object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source is not what it was when it was first sealed")]
pub struct SourceChanged;

/// A stream ends after 2³² − 1 chunks. Choose a longer [`ChunkLen`], under which no real file has as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream has at most 4294967295 chunks")]
pub struct TooManyChunks;

/// The cipher of one stream: one ChaCha20-Poly1305 key, and a nonce that the index and the earlier MACs make.
///
/// libsodium encrypts a chunk as the 64-byte block `tag ‖ 0…0` followed by the message, under ChaCha20 from block 1 on,
/// and authenticates that ciphertext with the Poly1305 key from block 0. So does RFC 8439's AEAD without associated
/// data, but for one thing: libsodium pads the ciphertext with `len mod 16` zero bytes where RFC 8439 pads up to a
/// multiple of sixteen. The two are equal when `len mod 16` is 0 or 8, as it is for every chunk but the last.
struct Cipher {
    key: Zeroizing<[u8; 32]>,
    inonce: [u8; 8],
}

impl ZeroizeOnDrop for Cipher {}

impl Cipher {
    fn new(key: &FileKey, header: &StreamHeader) -> Self {
        let (input, inonce) = header.0.split_at(16);
        let (input, inonce) = (input.try_into().expect("16 bytes"), inonce.try_into().expect("24 - 16 = 8 bytes"));
        let mut stream_key = Zeroizing::new([0; 32]);
        crypto_core_hchacha20(&mut stream_key, input, key.expose(), None);
        Self { key: stream_key, inonce }
    }

    /// The nonce of a chunk: a counter that starts at 1, then the header's last eight bytes and the earlier MACs.
    ///
    /// After the counter's last value libsodium changes the key; the stream ends there instead.
    fn nonce(&self, index: u64, earlier: &MacXor) -> Result<[u8; 12], TooManyChunks> {
        let counter = u32::try_from(index).ok().and_then(|index| index.checked_add(1)).ok_or(TooManyChunks)?;
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&counter.to_le_bytes());
        for (byte, (inonce, earlier)) in nonce[4..].iter_mut().zip(self.inonce.iter().zip(earlier.as_bytes())) {
            *byte = inonce ^ earlier;
        }
        Ok(nonce)
    }

    fn encrypt(&self, nonce: &[u8; 12], tag: u8, block_and_message: &mut [u8]) -> [u8; MAC_LEN] {
        block_and_message[..BLOCK_LEN].fill(0);
        block_and_message[0] = tag;
        let aead_mac = self.apply_keystream(nonce, block_and_message);
        if paddings_agree(block_and_message.len()) {
            aead_mac
        } else {
            let (mac_key, _) = self.first_blocks(nonce);
            libsodium_mac(&mac_key, block_and_message)
        }
    }

    /// Verifies, then decrypts, and returns the tag. Nothing is decrypted if the MAC is wrong.
    fn decrypt(
        &self,
        nonce: &[u8; 12],
        sealed_tag: u8,
        block_and_message: &mut [u8],
        mac: &ChunkMac,
    ) -> Result<u8, OpenError> {
        // Only the first byte of the encrypted block is on the wire; the others were zeros, so they are the keystream.
        let (mac_key, block) = self.first_blocks(nonce);
        block_and_message[..BLOCK_LEN].copy_from_slice(&block[..]);
        block_and_message[0] = sealed_tag;

        if paddings_agree(block_and_message.len()) {
            decrypt_in_place(block_and_message, mac.as_bytes(), None, nonce, &self.key)
                .map_err(|_| OpenError::Tampered)?;
        } else {
            let computed = Zeroizing::new(libsodium_mac(&mac_key, block_and_message));
            if !bool::from(computed.ct_eq(mac.as_bytes())) {
                return Err(OpenError::Tampered);
            }
            self.apply_keystream(nonce, block_and_message);
        }
        Ok(block_and_message[0])
    }

    /// Encrypts or decrypts from block 1 on, and returns what RFC 8439 has as the tag of the result.
    fn apply_keystream(&self, nonce: &[u8; 12], bytes: &mut [u8]) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        encrypt_in_place(bytes, &mut mac, None, nonce, &self.key).expect("a chunk is shorter than 256 GiB");
        mac
    }

    /// The Poly1305 key, which is half of keystream block 0, and keystream block 1.
    fn first_blocks(&self, nonce: &[u8; 12]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; BLOCK_LEN]>) {
        let mut blocks = Zeroizing::new([0; 2 * BLOCK_LEN]);
        ChaCha20::new((&*self.key).into(), nonce.into()).apply_keystream(&mut blocks[..]);
        let (mut mac_key, mut block) = (Zeroizing::new([0; 32]), Zeroizing::new([0; BLOCK_LEN]));
        mac_key.copy_from_slice(&blocks[..32]);
        block.copy_from_slice(&blocks[BLOCK_LEN..]);
        (mac_key, block)
    }
}

/// Whether RFC 8439 and libsodium authenticate a ciphertext of this length alike.
fn paddings_agree(ciphertext_len: usize) -> bool {
    ciphertext_len.is_multiple_of(8)
}

/// The MAC of an encrypted block and message with libsodium's padding.
fn libsodium_mac(mac_key: &[u8; 32], block_and_message: &[u8]) -> [u8; MAC_LEN] {
    let mut lens = [0; 16]; // of the associated data, of which there is none, and of the ciphertext
    lens[8..].copy_from_slice(&(block_and_message.len() as u64).to_le_bytes());

    let mut state = crypto_onetimeauth_init(mac_key);
    crypto_onetimeauth_update(&mut state, block_and_message);
    crypto_onetimeauth_update(&mut state, &[0; 16][..block_and_message.len() % 16]);
    crypto_onetimeauth_update(&mut state, &lens);
    let mut mac = [0; MAC_LEN];
    crypto_onetimeauth_final(state, &mut mac);
    mac
}

const TAG_MESSAGE: u8 = 0;
const TAG_FINAL: u8 = 3;
