//! What the crates that were not chosen could do at best: their AEAD over one chunk, without the rest of the stream.

use std::hint::black_box;

use aws_lc_rs::aead as aws_lc;
use chacha20poly1305::{
    ChaCha20Poly1305,
    aead::{AeadInOut, KeyInit},
};
use crypto_secretstream::{Key, PushStream, Tag};
use ring::aead as ring_aead;

use crate::{CHUNK, KEY, Lane, libsodium_seal};

pub fn lanes() -> Vec<Lane> {
    vec![libsodium_seal("4 MiB", CHUNK), ring(), aws_lc(), rust_crypto(), rust_crypto_secretstream()]
}

fn ring() -> Lane {
    let key = ring_aead::UnboundKey::new(&ring_aead::CHACHA20_POLY1305, &KEY).expect("the key has 32 bytes");
    let (key, mut chunk) = (ring_aead::LessSafeKey::new(key), vec![0x5a; 64 + CHUNK]);
    Lane::new("AEAD only 4 MiB, ring".to_owned(), false, CHUNK, move || {
        let nonce = ring_aead::Nonce::assume_unique_for_key([1; 12]);
        let aad = ring_aead::Aad::empty();
        let _mac = black_box(key.seal_in_place_separate_tag(nonce, aad, &mut chunk).expect("the chunk is short"));
    })
}

fn aws_lc() -> Lane {
    let key = aws_lc::UnboundKey::new(&aws_lc::CHACHA20_POLY1305, &KEY).expect("the key has 32 bytes");
    let (key, mut chunk) = (aws_lc::LessSafeKey::new(key), vec![0x5a; 64 + CHUNK]);
    Lane::new("AEAD only 4 MiB, aws-lc-rs".to_owned(), false, CHUNK, move || {
        let nonce = aws_lc::Nonce::assume_unique_for_key([1; 12]);
        let _mac = black_box(
            key.seal_in_place_separate_tag(nonce, aws_lc::Aad::empty(), &mut chunk).expect("the chunk is short"),
        );
    })
}

fn rust_crypto() -> Lane {
    let (cipher, mut chunk) = (ChaCha20Poly1305::new((&KEY).into()), vec![0x5a; 64 + CHUNK]);
    Lane::new("AEAD only 4 MiB, RustCrypto".to_owned(), false, CHUNK, move || {
        let sealed = cipher.encrypt_inout_detached((&[1; 12]).into(), b"", chunk.as_mut_slice().into());
        let _mac = black_box(sealed.expect("the chunk is short"));
    })
}

fn rust_crypto_secretstream() -> Lane {
    let (_, mut stream) = PushStream::init(rand_core::OsRng, &Key::from(KEY));
    let (message, mut chunk) = (vec![0x5a; CHUNK], Vec::with_capacity(CHUNK + 17));
    Lane::new("copy and seal 4 MiB, RustCrypto".to_owned(), false, CHUNK, move || {
        chunk.clear();
        chunk.extend_from_slice(&message);
        stream.push(&mut chunk, b"", Tag::Message).expect("the chunk is short");
    })
}
