//! Another implementation, in this process: dryoc's own secretstream, which shares the cipher with ours but neither
//! the nonces, nor the padding, nor the layout.

use dryoc::classic::crypto_secretstream_xchacha20poly1305::{
    State, crypto_secretstream_xchacha20poly1305_init_pull as init, crypto_secretstream_xchacha20poly1305_pull as pull,
    crypto_secretstream_xchacha20poly1305_push as push,
};
use landfall_crypto::{FileKey, OpenError, StreamHeader, open_blob, plain_len, seal_blob, sealed_len};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest},
};

use crate::{ChunkLen, Stream, content};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, max_shrink_iters: 500, ..Default::default() })]

    #[test]
    fn both_seal_the_same_bytes_and_open_each_others(
        chunk_len in 1..5000u32, plain in vec(any::<u8>(), 0..20_000), key: [u8; 32], header: [u8; 24],
    ) {
        let stream = Stream {
            key: FileKey::from_bytes(key),
            header: StreamHeader::from_bytes(header),
            chunk_len: ChunkLen::new(chunk_len).unwrap(),
        };
        let (wires, _) = stream.seal_chunks(&plain);
        let sealed = wires.concat();
        prop_assert!(wires == push_all(&stream, &plain), "sealed alike");
        prop_assert!(pull_all(&stream, &wires).as_ref() == Some(&plain), "ours opened by the other");
        prop_assert!(stream.open(&sealed).as_ref() == Ok(&plain), "ours opened by us");
        prop_assert_eq!(sealed.len() as u64, sealed_len(plain.len() as u64, stream.chunk_len));
        prop_assert_eq!(plain_len(sealed.len() as u64, stream.chunk_len), Ok(plain.len() as u64));
    }

    #[test]
    fn blobs_are_alike(plain in vec(any::<u8>(), 0..3000), key: [u8; 32], header: [u8; 24]) {
        let stream = Stream {
            key: FileKey::from_bytes(key),
            header: StreamHeader::from_bytes(header),
            chunk_len: ChunkLen::DEFAULT,
        };
        let sealed = seal_blob(&stream.key, &stream.header, &plain).unwrap();
        prop_assert!(vec![sealed.clone()] == push_all(&stream, &plain));
        prop_assert_eq!(open_blob(&stream.key, &stream.header, &sealed), Ok(plain));
    }

    #[test]
    fn what_was_never_sealed_is_never_opened(sealed in vec(any::<u8>(), 0..3000), chunk_len in 1..1000u32) {
        prop_assert!(Stream::with_chunks_of(chunk_len).open(&sealed).is_err());
    }
}

#[test]
fn every_length_of_a_tail_is_sealed_alike() {
    let stream = Stream::with_chunks_of(256);
    for len in 0..=3 * 256 {
        let plain = content(len);
        assert_eq!(stream.seal_chunks(&plain).0, push_all(&stream, &plain), "{len} bytes");
    }
}

#[test]
fn tags_of_other_formats_are_refused_though_they_are_authentic() {
    let stream = Stream::with_chunks_of(64);
    for tag in [1, 2, 4, 0x80, 0xff] {
        let mut other = Other::new(&stream);
        assert_eq!(stream.open(&other.push(&[7; 64], tag)), Err(OpenError::UnexpectedTag(tag)));
    }
}

#[test]
fn a_short_chunk_that_is_not_the_last_is_the_end_of_a_truncated_file() {
    let stream = Stream::with_chunks_of(64);
    let wire = Other::new(&stream).push(&[7; 63], 0);
    let mut buffer = stream.buffer();
    buffer.wire_mut(wire.len()).copy_from_slice(&wire);
    assert_eq!(stream.opener().open_chunk(&mut buffer), Err(OpenError::Truncated));
}

#[test]
fn an_empty_last_chunk_is_opened_as_other_writers_make_it() {
    let stream = Stream::with_chunks_of(64);
    let mut other = Other::new(&stream);
    let sealed = [other.push(&[7; 64], 0), other.push(&[], 3)].concat();
    assert_eq!(stream.open(&sealed), Ok(vec![7; 64]));
}

struct Other(State);

impl Other {
    fn new(stream: &Stream) -> Self {
        let mut state = State::new();
        init(&mut state, stream.header.as_bytes(), stream.key.expose());
        Self(state)
    }

    fn push(&mut self, message: &[u8], tag: u8) -> Vec<u8> {
        let mut wire = vec![0; message.len() + 17];
        push(&mut self.0, &mut wire, message, None, tag).unwrap();
        wire
    }
}

fn push_all(stream: &Stream, plain: &[u8]) -> Vec<Vec<u8>> {
    let (mut other, messages) = (Other::new(stream), stream.messages(plain));
    let last = messages.len() - 1;
    messages.iter().enumerate().map(|(i, message)| other.push(message, if i == last { 3 } else { 0 })).collect()
}

fn pull_all(stream: &Stream, wires: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (mut other, mut plain) = (Other::new(stream), Vec::new());
    for (i, wire) in wires.iter().enumerate() {
        let (mut message, mut tag) = (vec![0; wire.len() - 17], 0);
        pull(&mut other.0, &mut message, &mut tag, wire, None).ok()?;
        assert_eq!(tag, if i + 1 == wires.len() { 3 } else { 0 });
        plain.append(&mut message);
    }
    Some(plain)
}
