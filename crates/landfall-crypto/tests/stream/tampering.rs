use landfall_crypto::{BLOB_LEN_MAX, FileKey, OpenError, StreamHeader, open_blob, plain_len, seal_blob};

use crate::{Dice, Stream, content};

const CHUNK: usize = 1024;
const SEALED_CHUNK: usize = CHUNK + 17;

#[test]
fn every_bit_of_a_small_file_counts() {
    let stream = stream();
    for len in [0, 1, 7, 8, 15, 16, 17, 24, 100, 1007] {
        let sealed = stream.seal(&content(len));
        assert!(sealed.len() <= 1024);
        refuse_each_bit(&stream, &sealed, 0..sealed.len());
    }
}

#[test]
fn every_bit_at_the_ends_of_each_chunk_counts() {
    let (stream, sealed) = (stream(), three_chunks());
    for chunk in 0..3 {
        let (start, end) = (chunk * SEALED_CHUNK, ((chunk + 1) * SEALED_CHUNK).min(sealed.len()));
        refuse_each_bit(&stream, &sealed, start..start + 32);
        refuse_each_bit(&stream, &sealed, end - 32..end);
    }
}

#[test]
fn a_thousand_random_bits_count() {
    let (stream, mut sealed, mut dice) = (stream(), three_chunks(), Dice(1));
    for _ in 0..1000 {
        let bit = dice.roll(sealed.len() * 8);
        flip(&mut sealed, bit);
        assert_eq!(stream.open(&sealed), Err(OpenError::Tampered), "bit {bit}");
        flip(&mut sealed, bit);
    }
}

#[test]
fn every_bit_of_the_key_and_of_the_header_counts() {
    let (stream, sealed) = (stream(), three_chunks());
    for bit in 0..32 * 8 {
        let mut key = *stream.key.expose();
        flip(&mut key, bit);
        let other = Stream { key: FileKey::from_bytes(key), ..stream.clone() };
        assert_eq!(other.open(&sealed), Err(OpenError::Tampered), "bit {bit} of the key");
    }
    for bit in 0..24 * 8 {
        let mut header = *stream.header.as_bytes();
        flip(&mut header, bit);
        let other = Stream { header: StreamHeader::from_bytes(header), ..stream.clone() };
        assert_eq!(other.open(&sealed), Err(OpenError::Tampered), "bit {bit} of the header");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let (stream, sealed, mut dice) = (stream(), three_chunks(), Dice(2));
    let around = |end: usize| [end - 1, end, end + 1];
    let boundaries = [SEALED_CHUNK, 2 * SEALED_CHUNK].into_iter().flat_map(around);
    let ends = [0, 1, 16, 17, 18, sealed.len() - 1];
    let random = (0..1000).map(|_| dice.roll(sealed.len())).collect::<Vec<_>>();
    for len in boundaries.chain(ends).chain(random) {
        let refused = stream.open(&sealed[..len]).unwrap_err();
        assert!([OpenError::Tampered, OpenError::Truncated].contains(&refused), "{len} bytes: {refused}");
    }
    for chunks in 0..3 {
        assert_eq!(stream.open(&sealed[..chunks * SEALED_CHUNK]), Err(OpenError::Truncated), "{chunks} chunks");
    }
}

#[test]
fn chunks_in_another_order_are_refused() {
    let stream = stream();
    let (wires, _) = stream.seal_chunks(&content(3 * CHUNK));
    let mut refused = 0;
    for (a, b, c) in (0..27).map(|n| (n / 9, n / 3 % 3, n % 3)).filter(|order| *order != (0, 1, 2)) {
        let sealed = [&wires[a][..], &wires[b], &wires[c]].concat();
        assert_eq!(stream.open(&sealed), Err(OpenError::Tampered), "{a} {b} {c}");
        refused += 1;
    }
    assert_eq!(refused, 26, "every other order of three, also with one of them twice");
}

#[test]
fn a_missing_chunk_is_noticed() {
    let stream = stream();
    let (wires, _) = stream.seal_chunks(&content(3 * CHUNK));
    for missing in 0..2 {
        let mut wires = wires.clone();
        wires.remove(missing);
        assert_eq!(stream.open(&wires.concat()), Err(OpenError::Tampered), "chunk {missing}");
    }
}

#[test]
fn a_chunk_of_another_file_under_the_same_key_is_refused() {
    let stream = stream();
    let other = Stream { header: StreamHeader::from_bytes([0x18; 24]), ..stream.clone() };
    let (mut wires, _) = stream.seal_chunks(&content(3 * CHUNK));
    for index in 0..3 {
        let own = std::mem::replace(&mut wires[index], other.seal_chunks(&content(3 * CHUNK)).0[index].clone());
        assert_eq!(stream.open(&wires.concat()), Err(OpenError::Tampered), "chunk {index}");
        wires[index] = own;
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let stream = stream();
    for len in [0, 1, 100, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let sealed = stream.seal(&content(len));
        for extra in [1, 16, 17, 18, SEALED_CHUNK, 2 * SEALED_CHUNK] {
            for filler in [0, 0xff] {
                let mut longer = sealed.clone();
                longer.resize(sealed.len() + extra, filler);
                let refused = stream.open(&longer).unwrap_err();
                let whole_chunks = len > 0 && len % CHUNK == 0;
                let expected = if whole_chunks { OpenError::TrailingBytes } else { OpenError::Tampered };
                assert_eq!(refused, expected, "{extra} bytes after a file of {len}");
            }
        }
        let twice = [sealed.clone(), sealed].concat();
        assert!(stream.open(&twice).is_err(), "a file of {len} bytes twice");
    }
}

#[test]
fn nothing_is_not_a_file() {
    assert_eq!(stream().open(&[]), Err(OpenError::Truncated));
    assert_eq!(stream().opener().finish(), Err(OpenError::Truncated));
    assert!(plain_len(0, stream().chunk_len).is_err());
}

#[test]
fn a_chunk_longer_than_the_streams_chunks_is_refused() {
    let short = Stream::with_chunks_of(512);
    let mut buffer = stream().buffer();
    let sealed = short.seal(&content(512));
    buffer.wire_mut(sealed.len() + 1)[..sealed.len()].copy_from_slice(&sealed);
    assert_eq!(short.opener().open_chunk(&mut buffer), Err(OpenError::TrailingBytes));
}

#[test]
fn a_refused_chunk_may_be_tried_again() {
    let (stream, plain) = (stream(), content(2 * CHUNK));
    let (wires, _) = stream.seal_chunks(&plain);
    let (mut opener, mut buffer) = (stream.opener(), stream.buffer());
    for (wire, message) in wires.iter().zip(stream.messages(&plain)) {
        buffer.wire_mut(wire.len()).fill(0);
        assert_eq!(opener.open_chunk(&mut buffer), Err(OpenError::Tampered));
        buffer.wire_mut(wire.len()).copy_from_slice(wire);
        opener.open_chunk(&mut buffer).unwrap();
        assert_eq!(buffer.message(), message);
    }
    assert_eq!(opener.finish(), Ok(()));
}

#[test]
fn a_spoilt_blob_is_refused() {
    let stream = stream();
    let open = |sealed: &[u8]| open_blob(&stream.key, &stream.header, sealed);
    for len in [0, 1, 8, 150] {
        let mut sealed = seal_blob(&stream.key, &stream.header, &content(len)).unwrap();
        for bit in 0..sealed.len() * 8 {
            flip(&mut sealed, bit);
            assert_eq!(open(&sealed), Err(OpenError::Tampered), "bit {bit} of {len} bytes");
            flip(&mut sealed, bit);
        }
        for end in 0..sealed.len() {
            assert!(open(&sealed[..end]).is_err());
        }
        sealed.push(0);
        assert_eq!(open(&sealed), Err(OpenError::Tampered));
    }
    assert_eq!(
        open(&stream.seal(&content(CHUNK + 1))[..SEALED_CHUNK]),
        Err(OpenError::Truncated),
        "not its last chunk"
    );
    assert_eq!(open(&vec![0; BLOB_LEN_MAX + 18]), Err(OpenError::TrailingBytes));
    assert!(seal_blob(&stream.key, &stream.header, &vec![0; BLOB_LEN_MAX + 1]).is_err());
}

fn stream() -> Stream {
    Stream::with_chunks_of(CHUNK as u32)
}

/// Two whole chunks and one whose MAC needs the other padding.
fn three_chunks() -> Vec<u8> {
    stream().seal(&content(2 * CHUNK + 333))
}

fn refuse_each_bit(stream: &Stream, sealed: &[u8], bytes: std::ops::Range<usize>) {
    let mut sealed = sealed.to_vec();
    for bit in bytes.start * 8..bytes.end * 8 {
        flip(&mut sealed, bit);
        assert_eq!(stream.open(&sealed), Err(OpenError::Tampered), "bit {bit} of {} bytes", sealed.len());
        flip(&mut sealed, bit);
    }
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}
