use dryoc::classic::crypto_secretbox::{crypto_secretbox_easy, crypto_secretbox_open_easy};

use crate::WrappingKey;

/// How many bytes a sealed record is longer than the record.
pub const SECRETBOX_OVERHEAD: usize = 16;

/// Seals a short record: the MAC, then the ciphertext, as libsodium's `crypto_secretbox_easy` has them.
///
/// A nonce is drawn at random for every call and kept beside the result.
pub fn secretbox_seal(key: &impl WrappingKey, nonce: &[u8; 24], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; plaintext.len() + SECRETBOX_OVERHEAD];
    seal_into(key, nonce, plaintext, &mut sealed);
    sealed
}

/// Opens what [`secretbox_seal`] sealed. The caller wipes the result if it is a secret.
///
/// # Errors
/// [`WrongKey`] if `key` and `nonce` did not seal it or it has been altered.
pub fn secretbox_open(key: &impl WrappingKey, nonce: &[u8; 24], sealed: &[u8]) -> Result<Vec<u8>, WrongKey> {
    let mut plaintext = vec![0; sealed.len().checked_sub(SECRETBOX_OVERHEAD).ok_or(WrongKey)?];
    open_into(key, nonce, sealed, &mut plaintext)?;
    Ok(plaintext)
}

/// The record was not sealed under this key, or it has been altered since.
///
/// A key that came from a password: ask for the password again. Otherwise the record is damaged; fetch it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sealed under this key, or altered since")]
pub struct WrongKey;

pub(crate) fn seal_into(key: &impl WrappingKey, nonce: &[u8; 24], plaintext: &[u8], sealed: &mut [u8]) {
    crypto_secretbox_easy(sealed, plaintext, nonce, key.expose())
        .expect("the output is 16 bytes longer than the input");
}

pub(crate) fn open_into(
    key: &impl WrappingKey,
    nonce: &[u8; 24],
    sealed: &[u8],
    plaintext: &mut [u8],
) -> Result<(), WrongKey> {
    crypto_secretbox_open_easy(plaintext, sealed, nonce, key.expose()).map_err(|_| WrongKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CollectionKey;

    #[test]
    fn a_record_comes_back_whatever_its_length() {
        let key = CollectionKey::from_bytes([3; 32]);
        for len in [0, 1, 15, 16, 17, 1000] {
            let record = vec![0x5a; len];
            let sealed = secretbox_seal(&key, &[1; 24], &record);
            assert_eq!(sealed.len(), len + SECRETBOX_OVERHEAD);
            assert_eq!(secretbox_open(&key, &[1; 24], &sealed), Ok(record));
            for cut in 0..sealed.len() {
                assert_eq!(secretbox_open(&key, &[1; 24], &sealed[..cut]), Err(WrongKey));
            }
        }
    }
}
