//! Bodies of a lane's messages, for a server that keeps them and cannot read them.
//!
//! Everybody in a conversation has its [`LaneKey`]. The [`lane_id`] comes from it, so whoever has the key finds the lane,
//! and nobody else does. A body is `version ‖ nonce ‖ secretbox`: the nonce is the keyed hash of the idempotency key and
//! the content, so sealing the same message again gives the same bytes, and two contents never share a nonce.

use zeroize::Zeroizing;

use crate::{LaneKey, WrongKey, secretbox_open, secretbox_seal};

/// The form of a body that this version writes.
const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;

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
}
