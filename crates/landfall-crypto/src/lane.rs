//! Bodies of a lane's messages, for a server that keeps them and cannot read them.
//!
//! Everybody in a conversation has its [`LaneKey`]. The [`lane_id`] comes from it, so whoever has the key finds the lane,
//! and nobody else does. A body is `version ‖ nonce ‖ secretbox`: the nonce is the keyed hash of the idempotency key and
//! the content, so sealing the same message again gives the same bytes, and two contents never share a nonce.

use std::str::FromStr;

use zeroize::Zeroizing;

use crate::{LaneKey, WrongKey, secretbox_open, secretbox_seal};

/// The form of a body that this version writes.
const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;
/// What the text of a key begins with.
const TEXT_PREFIX: &str = "landfall-lane:";
const KEY_LEN: usize = 32;
const CHECKSUM_LEN: usize = 4;

/// The name of a lane on its server: 32 lower-case hex digits, which tell nothing of the key.
pub fn lane_id(key: &LaneKey) -> String {
    hex::encode(&keyed(key, b"landfall lane id", &[])[..16])
}

/// Seals a message's content. The same arguments give the same bytes.
pub fn seal_message(key: &LaneKey, idempotency_key: &str, content: &[u8]) -> Vec<u8> {
    let length = (idempotency_key.len() as u64).to_le_bytes();
    let hash = keyed(key, b"landfall nonce  ", &[&length, idempotency_key.as_bytes(), content]);
    let nonce: [u8; NONCE_LEN] = *hash.first_chunk().expect("a hash of 32 bytes has 24");
    let mut body = vec![VERSION];
    body.extend(nonce);
    body.extend(secretbox_seal(key, &nonce, content));
    body
}

/// Opens what [`seal_message`] sealed.
///
/// # Errors
/// [`WrongKey`] if another key sealed it, it has been altered, or a newer version wrote it.
pub fn open_message(key: &LaneKey, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrongKey> {
    let (&version, rest) = body.split_first().ok_or(WrongKey)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(WrongKey)?;
    if version != VERSION {
        return Err(WrongKey);
    }
    secretbox_open(key, nonce, sealed).map(Zeroizing::new)
}

/// The key as a text, for the others of the conversation: it can be told from other texts, and a typo in it is noticed.
pub fn lane_key_text(key: &LaneKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(TEXT_PREFIX.len() + 2 * (KEY_LEN + CHECKSUM_LEN)));
    let mut digits = Zeroizing::new([0; 2 * KEY_LEN]);
    hex::encode_to_slice(key.expose(), &mut *digits).expect("a key has 32 bytes");
    text.push_str(TEXT_PREFIX);
    text.push_str(std::str::from_utf8(&*digits).expect("hexadecimal digits are ASCII"));
    text.push_str(&hex::encode(checksum(key)));
    text
}

/// Reads what [`lane_key_text`] wrote, with space around it and in any case.
impl FromStr for LaneKey {
    type Err = NotALaneKey;

    fn from_str(text: &str) -> Result<Self, NotALaneKey> {
        let (prefix, digits) = text.trim().split_at_checked(TEXT_PREFIX.len()).ok_or(NotALaneKey::Prefix)?;
        if !prefix.eq_ignore_ascii_case(TEXT_PREFIX) {
            return Err(NotALaneKey::Prefix);
        }
        let mut bytes = Zeroizing::new([0; KEY_LEN + CHECKSUM_LEN]);
        hex::decode_to_slice(digits, &mut *bytes).map_err(|_| NotALaneKey::Digits)?;
        let (key, written) = bytes.split_at(KEY_LEN);
        let key = Self::from_bytes(*key.first_chunk().expect("it was split there"));
        if checksum(&key)[..] == *written { Ok(key) } else { Err(NotALaneKey::Checksum) }
    }
}

/// The text is not the key of a lane. Each variant says what to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotALaneKey {
    /// It does not begin as one.
    #[error("a lane's key begins with `{TEXT_PREFIX}`")]
    Prefix,
    /// Something was left out of it, or came to it.
    #[error("behind `{TEXT_PREFIX}` a lane's key has 72 hexadecimal digits")]
    Digits,
    /// A digit is another.
    #[error("one of its digits is wrong, or two have changed places")]
    Checksum,
}

fn checksum(key: &LaneKey) -> [u8; CHECKSUM_LEN] {
    *keyed(key, b"landfall lanekey", &[]).first_chunk().expect("a hash of 32 bytes has 4")
}

fn keyed(key: &LaneKey, personal: &[u8; 16], pieces: &[&[u8]]) -> [u8; 32] {
    let mut state = blake2b_simd::Params::new().hash_length(32).key(key.expose()).personal(personal).to_state();
    for piece in pieces {
        state.update(piece);
    }
    *state.finalize().as_bytes().first_chunk().expect("the hash was asked to have 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_message_is_sealed_alike_and_another_never_under_its_nonce() {
        let key = LaneKey::from_bytes([1; 32]);
        let body = seal_message(&key, "a", b"hello");
        assert_eq!(seal_message(&key, "a", b"hello"), body);
        for other in
            [seal_message(&key, "b", b"hello"), seal_message(&key, "a", b"hellO"), seal_message(&key, "ah", b"ello")]
        {
            assert_ne!(other[1..25], body[1..25]);
        }
        assert_eq!(open_message(&key, &body).unwrap()[..], b"hello"[..]);
    }

    #[test]
    fn an_altered_body_or_another_key_opens_nothing() {
        let key = LaneKey::from_bytes([1; 32]);
        let body = seal_message(&key, "a", b"hello");
        for bit in 0..body.len() * 8 {
            let mut altered = body.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open_message(&key, &altered).is_err(), "bit {bit}");
        }
        for length in 0..body.len() {
            assert!(open_message(&key, &body[..length]).is_err());
        }
        assert!(open_message(&LaneKey::from_bytes([2; 32]), &body).is_err());
    }

    #[test]
    fn a_lane_is_found_by_its_key() {
        let (one, other) = (LaneKey::from_bytes([1; 32]), LaneKey::from_bytes([2; 32]));
        assert_eq!(lane_id(&one).len(), 32);
        assert_eq!(lane_id(&one), lane_id(&one));
        assert_ne!(lane_id(&one), lane_id(&other));
    }

    #[test]
    fn a_key_comes_back_from_its_text_and_any_typo_is_noticed() {
        let key = LaneKey::from_bytes(std::array::from_fn(|i| i as u8));
        let text = lane_key_text(&key);
        assert_eq!(text.parse::<LaneKey>(), Ok(key.clone()));
        assert_eq!(format!(" {} \n", text.to_uppercase()).parse::<LaneKey>(), Ok(key));
        for at in 0..text.len() {
            let mut typo = text.as_bytes().to_vec();
            typo[at] = if typo[at] == b'1' { b'2' } else { b'1' };
            assert!(std::str::from_utf8(&typo).unwrap().parse::<LaneKey>().is_err(), "{at}");
            assert!(text[..at].parse::<LaneKey>().is_err());
        }
        assert_eq!("hello".parse::<LaneKey>(), Err(NotALaneKey::Prefix));
    }
}
