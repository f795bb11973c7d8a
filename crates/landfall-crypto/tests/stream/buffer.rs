use landfall_crypto::{ChunkLen, MacXor};

use crate::Stream;

#[test]
fn plaintext_is_never_on_the_wire() {
    let stream = Stream::with_chunks_of(64);
    let mut buffer = stream.holding(b"photo");
    assert_eq!((buffer.message(), buffer.wire()), (&b"photo"[..], &b""[..]));
    stream.sealer().seal(0, &MacXor::default(), &mut buffer, true).unwrap();
    assert_eq!((buffer.message(), buffer.wire().len()), (&b""[..], 5 + 17));
    buffer.wipe();
    assert_eq!((buffer.message(), buffer.wire()), (&b""[..], &b""[..]));
}

#[test]
fn wiping_leaves_no_plaintext_even_of_an_earlier_and_longer_message() {
    let stream = Stream::with_chunks_of(64);
    let mut buffer = stream.holding(&[0x5a; 64]);
    buffer.message_mut(3).copy_from_slice(b"abc");
    stream.sealer().seal(0, &MacXor::default(), &mut buffer, true).unwrap();
    buffer.wipe();
    assert_eq!(buffer.message_mut(64), [0; 64]);

    let mut buffer = stream.holding(&[0x5a; 64]);
    buffer.truncate_message(1);
    buffer.wipe();
    assert_eq!(buffer.message_mut(64), [0; 64]);

    let mut buffer = stream.buffer();
    let sealed = stream.seal(&[0x5a; 64]);
    buffer.wire_mut(sealed.len()).copy_from_slice(&sealed);
    stream.opener().open_chunk(&mut buffer).unwrap();
    buffer.wipe();
    assert_eq!(buffer.message_mut(64), [0; 64]);
}

#[test]
#[should_panic(expected = "a chunk is read into the buffer before it is sealed")]
fn a_sealed_chunk_is_not_sealed_again() {
    let stream = Stream::with_chunks_of(64);
    let mut buffer = stream.holding(b"photo");
    stream.sealer().seal(0, &MacXor::default(), &mut buffer, true).unwrap();
    let _ = stream.sealer().seal(0, &MacXor::default(), &mut buffer, true);
}

#[test]
#[should_panic(expected = "does not fit in a chunk of 64")]
fn a_message_is_no_longer_than_a_chunk() {
    Stream::with_chunks_of(64).buffer().message_mut(65);
}

#[test]
fn a_buffer_is_printed_without_what_it_holds() {
    assert_eq!(
        format!("{:?}", Stream::with_chunks_of(64).holding(b"photo")),
        "ChunkBuffer { content: \"message\", .. }"
    );
}

#[test]
fn a_chunk_has_a_length_that_fits_in_memory() {
    assert_eq!(ChunkLen::new(0), None);
    assert_eq!(ChunkLen::new(1).map(ChunkLen::sealed_bytes), Some(18));
    assert_eq!(ChunkLen::new(64 << 20), Some(ChunkLen::MAX));
    assert_eq!(ChunkLen::new((64 << 20) + 1), None);
}
