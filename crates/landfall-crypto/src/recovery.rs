use std::str::FromStr;

use dryoc::sha256::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::RecoveryKey;

/// The key as the twenty-four English words of BIP 39, to be written down on paper.
pub fn recovery_phrase(key: &RecoveryKey) -> Zeroizing<String> {
    let bytes = with_checksum(key);
    let mut phrase = Zeroizing::new(String::with_capacity(PHRASE_WORDS * (WORD_LEN_MAX + 1)));
    for n in 0..PHRASE_WORDS {
        let index =
            (n * WORD_BITS..(n + 1) * WORD_BITS).fold(0, |index, at| index << 1 | usize::from(bit(&*bytes, at)));
        if n > 0 {
            phrase.push(' ');
        }
        phrase.push_str(words().nth(index).expect("the list has a word for every value of eleven bits"));
    }
    phrase
}

/// The key as 64 hexadecimal digits.
pub fn recovery_hex(key: &RecoveryKey) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(key.expose()))
}

/// Reads a key as people type it: the twenty-four words in any case and spacing, or 64 hexadecimal digits.
impl FromStr for RecoveryKey {
    type Err = NotARecoveryKey;

    fn from_str(text: &str) -> Result<Self, NotARecoveryKey> {
        match text.split_whitespace().count() {
            0 | 1 => from_hex(text.trim()),
            _ => from_phrase(text),
        }
    }
}

/// The text is not a recovery key. Each variant says what to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotARecoveryKey {
    /// There are not twenty-four words. One was left out or written twice.
    #[error("a recovery key has 24 words, not {0}")]
    WordCount(usize),
    /// A word, counted from 1, is not on the list. It is misspelt.
    #[error("word {0} is not a word of recovery keys")]
    UnknownWord(usize),
    /// All words are on the list but not these together. One is another word, or two have changed places.
    #[error("one of the words is wrong, or two have changed places")]
    Checksum,
    /// It is one word and not 64 hexadecimal digits.
    #[error("a recovery key is 24 words or 64 hexadecimal digits")]
    Hex,
}

fn from_hex(text: &str) -> Result<RecoveryKey, NotARecoveryKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text, &mut *bytes).map_err(|_| NotARecoveryKey::Hex)?;
    Ok(RecoveryKey::from_bytes(*bytes))
}

fn from_phrase(text: &str) -> Result<RecoveryKey, NotARecoveryKey> {
    let count = text.split_whitespace().count();
    if count != PHRASE_WORDS {
        return Err(NotARecoveryKey::WordCount(count));
    }
    let mut bytes = Zeroizing::new([0; CHECKED_LEN]);
    for (n, word) in text.split_whitespace().enumerate() {
        let index = words().position(|known| known.eq_ignore_ascii_case(word));
        let index = index.ok_or(NotARecoveryKey::UnknownWord(n + 1))?;
        for at in 0..WORD_BITS {
            let position = n * WORD_BITS + at;
            bytes[position / 8] |= ((index >> (WORD_BITS - 1 - at) & 1) as u8) << (7 - position % 8);
        }
    }
    let mut key_bytes = *bytes.first_chunk().expect("32 of 33 bytes");
    let key = RecoveryKey::from_bytes(key_bytes);
    key_bytes.zeroize();
    if *with_checksum(&key) == *bytes { Ok(key) } else { Err(NotARecoveryKey::Checksum) }
}

/// The key, then the first byte of its SHA-256.
fn with_checksum(key: &RecoveryKey) -> Zeroizing<[u8; CHECKED_LEN]> {
    let mut bytes = Zeroizing::new([0; CHECKED_LEN]);
    let mut hash = [0; 32];
    Sha256::compute_into_bytes(&mut hash, key.expose());
    bytes[..32].copy_from_slice(key.expose());
    bytes[32] = hash[0];
    hash.zeroize();
    bytes
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes[at / 8] >> (7 - at % 8) & 1 == 1
}

fn words() -> impl Iterator<Item = &'static str> {
    include_str!("words.txt").lines()
}

const PHRASE_WORDS: usize = 24;
const WORD_BITS: usize = 11;
const WORD_LEN_MAX: usize = 8;
const CHECKED_LEN: usize = PHRASE_WORDS * WORD_BITS / 8;

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    /// The vectors of BIP 39's reference implementation that have 256 bits.
    const KNOWN: [(&str, &str); 4] = [
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
             abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
             winner thank year wave sausage worth title",
        ),
        (
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
        ),
        (
            "9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863",
            "panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation flash \
             devote level hobby quick inner drive ghost inside",
        ),
    ];

    #[test]
    fn the_words_are_the_list_of_bip_39() {
        let hash = sha2::Sha256::digest(include_str!("words.txt"));
        assert_eq!(hex::encode(hash), "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda");
    }

    #[test]
    fn known_phrases_are_written_and_read() {
        for (digits, phrase) in KNOWN {
            let key: RecoveryKey = digits.parse().unwrap();
            assert_eq!(*recovery_phrase(&key), phrase);
            assert_eq!(*recovery_hex(&key), digits);
            assert_eq!(phrase.parse(), Ok(key.clone()));
            assert_eq!(format!(" {} ", phrase.to_uppercase().replace(' ', "\n ")).parse(), Ok(key.clone()));
            assert_eq!(digits.to_uppercase().parse(), Ok(key));
        }
    }

    #[test]
    fn a_mistyped_key_says_what_is_wrong() {
        let phrase = KNOWN[3].1;
        let misread = |text: &str| text.parse::<RecoveryKey>().unwrap_err();
        assert_eq!(misread(&phrase.replace("panda ", "")), NotARecoveryKey::WordCount(23));
        assert_eq!(misread(&phrase.replace("bullet", "bulet")), NotARecoveryKey::UnknownWord(3));
        assert_eq!(misread(&phrase.replace("panda eyebrow", "eyebrow panda")), NotARecoveryKey::Checksum);
        assert_eq!(misread(&KNOWN[3].0[1..]), NotARecoveryKey::Hex);
        assert_eq!(misread(""), NotARecoveryKey::Hex);
    }
}
