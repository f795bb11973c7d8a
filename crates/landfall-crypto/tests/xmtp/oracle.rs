//! Another implementation, in this process: the crate `aes-gcm`, which shares the block cipher with ours but not what
//! is made of it.

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit},
};
use landfall_crypto::xmtp::{AttachmentSecrets, ContentDigest, PayloadOpener, PayloadSealer};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest},
};
use sha2::{Digest, Sha256};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, max_shrink_iters: 500, ..Default::default() })]

    #[test]
    fn both_seal_the_same_bytes(
        plain in vec(any::<u8>(), 0..40_000), piece in 1..20_000usize, secret: [u8; 32], salt: [u8; 32], nonce: [u8; 12],
    ) {
        let secrets = AttachmentSecrets::new(secret, salt, nonce);
        let mut sealer = PayloadSealer::new(&secrets, plain.len() as u64).unwrap();
        let mut payload = plain.clone();
        payload.chunks_mut(piece).for_each(|piece| sealer.update(piece).unwrap());
        let (tag, digest) = sealer.finish().unwrap();
        payload.extend_from_slice(&tag);
        prop_assert!(payload == seal(&secret, &salt, &nonce, &plain));
        prop_assert_eq!(digest, ContentDigest::from_bytes(Sha256::digest(&payload).into()));

        let mut opener = PayloadOpener::new(&secrets, digest, payload.len() as u64);
        let mut opened = Vec::new();
        for piece in payload.chunks_mut(piece) {
            opened.extend_from_slice(opener.update(piece).unwrap().for_staging());
        }
        prop_assert_eq!(opener.finish(), Ok(()));
        prop_assert!(opened == plain);
    }
}

fn seal(secret: &[u8], salt: &[u8], nonce: &[u8; 12], plain: &[u8]) -> Vec<u8> {
    let mut key = [0; 32];
    hkdf::Hkdf::<Sha256>::new(Some(salt), secret).expand(&[], &mut key).unwrap();
    let mut sealed = plain.to_vec();
    let cipher = Aes256Gcm::new(&key.into());
    let tag = cipher.encrypt_inout_detached(&(*nonce).into(), &[], sealed.as_mut_slice().into()).unwrap();
    sealed.extend_from_slice(&tag);
    sealed
}
