use dryoc::classic::crypto_kdf::crypto_kdf_derive_from_key;
use zeroize::Zeroizing;

use crate::{Digest, KeyEncryptionKey, MasterKey, TagKey};

/// What proves to a server that the password is known, without telling the password or the key: 16 bytes for SRP.
pub fn login_key(kek: &KeyEncryptionKey) -> [u8; 16] {
    let subkey = Zeroizing::new(subkey(kek.expose(), 1, b"loginctx"));
    *subkey.first_chunk().expect("16 of 32 bytes")
}

/// A key of the account that is not stored because it comes from the master key, as libsodium's `crypto_kdf` makes it.
///
/// `context` says what it is for and `id` which one of that kind it is; other values give keys that have nothing to do
/// with this one.
pub fn derive_subkey(master: &MasterKey, id: u64, context: [u8; 8]) -> [u8; 32] {
    subkey(master.expose(), id, &context)
}

/// By what others may recognise equal contents of one account, without knowing them: the digest's keyed BLAKE2b-256.
pub fn content_tag(key: &TagKey, digest: &Digest) -> [u8; 32] {
    tag(key, &[0; 16], digest.as_bytes())
}

/// By what equal names of one account are recognised: the name's keyed BLAKE2b-256. No name has a content's tag.
pub fn name_tag(key: &TagKey, name: &[u8]) -> [u8; 32] {
    tag(key, b"landfall name   ", name)
}

fn tag(key: &TagKey, personal: &[u8; 16], bytes: &[u8]) -> [u8; 32] {
    let hash = blake2b_simd::Params::new().hash_length(32).key(key.expose()).personal(personal).hash(bytes);
    *hash.as_bytes().first_chunk().expect("the hash was asked to have 32 bytes")
}

fn subkey(key: &[u8; 32], id: u64, context: &[u8; 8]) -> [u8; 32] {
    let mut subkey = [0; 32];
    crypto_kdf_derive_from_key(&mut subkey, id, context, key).expect("32 is a length that a subkey may have");
    subkey
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_key_is_that_of_the_key_encryption_key() {
        let kek = hex::decode("a19ea6db60221c19abb12f026692cc891d28c2dabb60588d0e090f740cb26820").unwrap();
        let kek = KeyEncryptionKey::from_bytes(kek.try_into().unwrap());
        assert_eq!(hex::encode(login_key(&kek)), "c6c85375c52885d18d3d66ef04a73794");
    }

    #[test]
    fn subkeys_differ_by_id_and_by_context() {
        let master = MasterKey::from_bytes([1; 32]);
        let subkeys = [
            derive_subkey(&master, 1, *b"journal "),
            derive_subkey(&master, 2, *b"journal "),
            derive_subkey(&master, 1, *b"contents"),
        ];
        assert!(subkeys[0] != subkeys[1] && subkeys[1] != subkeys[2] && subkeys[0] != subkeys[2]);
    }

    #[test]
    fn a_name_never_has_the_tag_of_a_content() {
        let key = TagKey::from_bytes([1; 32]);
        let digest = Digest::of(b"a photo");
        assert_eq!(content_tag(&key, &digest), content_tag(&key, &Digest::of(b"a photo")));
        assert_ne!(content_tag(&key, &digest), content_tag(&TagKey::from_bytes([2; 32]), &digest));
        assert_ne!(content_tag(&key, &digest), name_tag(&key, digest.as_bytes()));
    }
}
