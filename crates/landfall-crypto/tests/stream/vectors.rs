use base64::{Engine, engine::general_purpose::STANDARD};
use landfall_crypto::{
    ChunkLen, FileKey, ImpossibleLength, StreamHeader, chunk_count, open_blob, plain_len, seal_blob, sealed_len,
};
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::{Stream, content};

/// Made with libsodium: the length of the file, the header, the first half of the SHA-256 and the MD5 of what is sealed.
const VECTORS: [(usize, &str, &str, &str); 6] = [
    (
        0,
        "e5e4ef51d9640eec6c4480801f2aa4baf6b88b50b6020b81",
        "21240c1e7ec7846b2203970401ede616",
        "1MmbreL7mI2MoqUJ38e76w==",
    ),
    (
        1,
        "f31b79160a2672f1d16b5647dfccdee0e3c7a9bec2ddbdbb",
        "b467e04f827024b5512f3a440383b1b1",
        "gER1HZYXrFPGMjup3traSQ==",
    ),
    (
        (4 << 20) - 1,
        "2d63288d591b37474ba406bffe388a7c1a8f33d3fa073553",
        "0cc24f08dff175563edd850740af321b",
        "1r7nTEZLY9VfpGP17DfBxw==",
    ),
    (
        4 << 20,
        "2a73fa52bbbee5bf3aeae1fd0933b146821708007730e6b5",
        "0370fdbf29b67bd572578f1b03fe7f87",
        "LJVv1Mxsj8Ms+r2ZFa2auw==",
    ),
    (
        (4 << 20) + 1,
        "39286c467648bb4e5b005a9f469b7388ed2151501e16cffb",
        "2637992aa5a84a0a9c1b84f611407c51",
        "mNtCe+UgOqIDqE7pb2Azyg==",
    ),
    (
        8 << 20,
        "3578a333ebc872c5397ce1cb653b5aee57be26e52c8625c1",
        "e31ceb50cfb6108b74385e786b70c2e8",
        "YgMYaqO1mTDvV/iMHqWT9g==",
    ),
];

#[test]
fn files_are_sealed_as_libsodium_seals_them() {
    for (len, header, sha256, md5) in VECTORS {
        let stream = vector_stream(header);
        let plain = content(len);
        let sealed = stream.seal(&plain);
        assert_eq!(sealed.len() as u64, sealed_len(len as u64, ChunkLen::DEFAULT), "{len} bytes");
        assert_eq!(hex::encode(&Sha256::digest(&sealed)[..16]), sha256, "{len} bytes");
        assert_eq!(STANDARD.encode(Md5::digest(&sealed)), md5, "{len} bytes");
        assert_eq!(stream.open(&sealed), Ok(plain), "{len} bytes");
    }
}

#[test]
fn a_blob_is_a_file_of_one_chunk() {
    for (len, header, sha256, _) in &VECTORS[..4] {
        let stream = vector_stream(header);
        let sealed = seal_blob(&stream.key, &stream.header, &content(*len)).unwrap();
        assert_eq!(hex::encode(&Sha256::digest(&sealed)[..16]), *sha256, "{len} bytes");
        assert_eq!(open_blob(&stream.key, &stream.header, &sealed), Ok(content(*len)), "{len} bytes");
    }
}

#[test]
fn lengths_are_known_before_anything_is_sealed() {
    let four_mib = ChunkLen::DEFAULT;
    let known = [(0, 17), (1, 18), (4194303, 4194320), (4194304, 4194321), (4194305, 4194339), (8388608, 8388642)];
    for (plain, sealed) in known {
        assert_eq!(sealed_len(plain, four_mib), sealed);
        assert_eq!(plain_len(sealed, four_mib), Ok(plain));
    }
    assert_eq!([0, 1, 4194304, 4194305].map(|len| chunk_count(len, four_mib)), [1, 1, 1, 2]);
    assert_eq!(sealed_len(u64::MAX, ChunkLen::new(1).unwrap()), u64::MAX);
}

#[test]
fn only_lengths_that_a_sealed_file_can_have_are_taken_for_one() {
    let chunk_len = ChunkLen::new(5).unwrap();
    let possible: Vec<u64> = (0..60).map(|plain| sealed_len(plain, chunk_len)).collect();
    for sealed in 0..=*possible.last().unwrap() {
        match possible.iter().position(|&len| len == sealed) {
            Some(plain) => assert_eq!(plain_len(sealed, chunk_len), Ok(plain as u64)),
            None => assert_eq!(plain_len(sealed, chunk_len), Err(ImpossibleLength(sealed))),
        }
    }
}

fn vector_stream(header: &str) -> Stream {
    Stream {
        key: FileKey::from_bytes(std::array::from_fn(|i| 0x60 + i as u8)),
        header: StreamHeader::from_bytes(hex::decode(header).unwrap().try_into().unwrap()),
        chunk_len: ChunkLen::DEFAULT,
    }
}
