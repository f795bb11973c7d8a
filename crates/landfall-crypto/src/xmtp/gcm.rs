use aes::{
    Aes256,
    cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher},
};
use ctr::{Ctr32BE, CtrCore};
use ghash::{Block, GHash, universal_hash::UniversalHash};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// AES-256-GCM without associated data, from one piece of the message to the next (NIST SP 800-38D, section 7).
///
/// The crates that have GCM as a whole want the message in one piece.
pub(super) struct Gcm {
    cipher: Ctr32BE<Aes256>,
    ghash: GHash,
    /// What the hash of the message is hidden by.
    mask: Zeroizing<[u8; 16]>,
    /// Ciphertext that does not fill a block yet.
    rest: [u8; BLOCK_LEN],
    rest_len: usize,
    len: u64,
}

// The cipher and the hash wipe themselves; the rest is ciphertext.
impl ZeroizeOnDrop for Gcm {}

/// The longest message: the counter of the blocks has 32 bits, and two of its values are taken.
pub(super) const MESSAGE_LEN_MAX: u64 = (1 << 36) - 32;

impl Gcm {
    pub(super) fn new(key: &[u8; 32], nonce: &[u8; 12]) -> Self {
        let aes = Aes256::new(key.into());
        let mut hash_key = Zeroizing::new([0; BLOCK_LEN]);
        aes.encrypt_block((&mut *hash_key).into());

        let mut first_block = [0; BLOCK_LEN];
        first_block[..nonce.len()].copy_from_slice(nonce);
        first_block[BLOCK_LEN - 1] = 1;
        let mut cipher = Ctr32BE::from_core(CtrCore::inner_iv_init(aes, (&first_block).into()));
        let mut mask = Zeroizing::new([0; BLOCK_LEN]);
        cipher.apply_keystream(&mut *mask);
        Self { cipher, ghash: GHash::new((&*hash_key).into()), mask, rest: [0; BLOCK_LEN], rest_len: 0, len: 0 }
    }

    /// Encrypts the next piece in place.
    pub(super) fn encrypt(&mut self, piece: &mut [u8]) {
        self.cipher.apply_keystream(piece);
        self.authenticate(piece);
    }

    /// Decrypts the next piece in place. Whether it is what was encrypted, only the tag tells.
    pub(super) fn decrypt(&mut self, piece: &mut [u8]) {
        self.authenticate(piece);
        self.cipher.apply_keystream(piece);
    }

    /// The tag of all that was encrypted or decrypted.
    pub(super) fn tag(mut self) -> [u8; 16] {
        self.rest[self.rest_len..].fill(0);
        if self.rest_len > 0 {
            self.ghash.update(&[self.rest.into()]);
        }
        let mut lens = [0; BLOCK_LEN]; // of the associated data, of which there is none, and of the ciphertext, in bits
        lens[8..].copy_from_slice(&(self.len * 8).to_be_bytes());
        self.ghash.update(&[lens.into()]);

        let mut tag: [u8; BLOCK_LEN] = self.ghash.finalize().into();
        tag.iter_mut().zip(&*self.mask).for_each(|(byte, mask)| *byte ^= mask);
        tag
    }

    fn authenticate(&mut self, mut ciphertext: &[u8]) {
        self.len += ciphertext.len() as u64;
        if self.rest_len > 0 {
            let (taken, left) = ciphertext.split_at(ciphertext.len().min(BLOCK_LEN - self.rest_len));
            self.rest[self.rest_len..][..taken.len()].copy_from_slice(taken);
            self.rest_len += taken.len();
            ciphertext = left;
            if self.rest_len < BLOCK_LEN {
                return;
            }
            self.ghash.update(&[self.rest.into()]);
        }
        let (blocks, rest) = Block::slice_as_chunks(ciphertext);
        self.ghash.update(blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.rest_len = rest.len();
    }
}

const BLOCK_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Test cases 13 to 15 of the paper that proposed GCM (McGrew and Viega, 2005), those of 256 bits without
    /// associated data: the key, the nonce, the message, the ciphertext and the tag.
    const KNOWN: [[&str; 5]; 3] = [
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ],
        [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ],
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5\
             aa0de657ba637b391aafd255",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e63\
             93ba7a0abcc9f662898015ad",
            "b094dac5d93471bdec1a502270e3cc6c",
        ],
    ];

    #[test]
    fn known_messages_are_encrypted_and_decrypted_in_pieces_of_any_size() {
        for [key, nonce, plain, sealed, tag] in KNOWN {
            let (plain, sealed) = (hex::decode(plain).unwrap(), hex::decode(sealed).unwrap());
            for size in [1, 3, 15, 16, 17, 64] {
                let (mut encrypting, mut decrypting) = (gcm(key, nonce), gcm(key, nonce));
                let mut bytes = plain.clone();
                bytes.chunks_mut(size).for_each(|piece| encrypting.encrypt(piece));
                assert_eq!(bytes, sealed);
                bytes.chunks_mut(size).for_each(|piece| decrypting.decrypt(piece));
                assert_eq!(bytes, plain);
                assert_eq!(hex::encode(encrypting.tag()), tag);
                assert_eq!(hex::encode(decrypting.tag()), tag);
            }
        }
    }

    fn gcm(key: &str, nonce: &str) -> Gcm {
        let (key, nonce) = (hex::decode(key).unwrap(), hex::decode(nonce).unwrap());
        Gcm::new(&key.try_into().unwrap(), &nonce.try_into().unwrap())
    }
}
