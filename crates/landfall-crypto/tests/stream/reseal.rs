use landfall_crypto::{MacXor, ResealError, SourceChanged, TooManyChunks};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, proptest},
    sample::Index,
};

use crate::{Stream, content};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, max_shrink_iters: 500, ..Default::default() })]

    #[test]
    fn chunks_sealed_again_in_any_order_are_the_same(
        chunk_len in 1..2000u32,
        (plain, order) in (vec(any::<u8>(), 0..10_000), vec(any::<Index>(), 1..30)),
    ) {
        let stream = Stream::with_chunks_of(chunk_len);
        let (wires, macs) = stream.seal_chunks(&plain);
        let messages = stream.messages(&plain);
        for index in order.iter().map(|index| index.index(wires.len())) {
            let (last, earlier) = (index + 1 == wires.len(), MacXor::of(&macs[..index]));
            let buffer = stream.holding(messages[index]);
            let chunk = stream.sealer().reseal(index as u64, &earlier, buffer, last, &macs[index]).unwrap();
            prop_assert_eq!(chunk.as_ref(), &wires[index][..]);
        }
    }

    #[test]
    fn a_source_that_changed_anywhere_is_refused(
        (plain, bit) in (1..3000usize).prop_flat_map(|len| (Just(content(len)), 0..len * 8)),
    ) {
        let stream = Stream::with_chunks_of(1024);
        let (_, macs) = stream.seal_chunks(&plain);
        let mut changed = plain.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let index = bit / 8 / 1024;
        let buffer = stream.holding(stream.messages(&changed)[index]);
        let resealed = stream.sealer().reseal(
            index as u64, &MacXor::of(&macs[..index]), buffer, index + 1 == macs.len(), &macs[index],
        );
        prop_assert_eq!(resealed.unwrap_err(), ResealError::SourceChanged(SourceChanged));
    }
}

#[test]
fn a_source_that_grew_or_shrank_is_refused() {
    let stream = Stream::with_chunks_of(1024);
    let (_, macs) = stream.seal_chunks(&content(1500));
    let refused = |message: &[u8], last| {
        let resealed =
            stream.sealer().reseal(1, &MacXor::of(&macs[..1]), stream.holding(message), last, &macs[1]).unwrap_err();
        resealed == ResealError::SourceChanged(SourceChanged)
    };
    let chunk = &content(1501)[1024..];
    assert!(refused(&chunk[..475], true), "one byte shorter");
    assert!(refused(chunk, true), "one byte longer");
    assert!(refused(&chunk[..476], false), "no longer the last");
}

#[test]
fn a_chunk_in_another_place_is_another_chunk() {
    let stream = Stream::with_chunks_of(64);
    let (_, macs) = stream.seal_chunks(&[7; 3 * 64]);
    let reseal = |index, earlier: &MacXor| {
        stream.sealer().reseal(index, earlier, stream.holding(&[7; 64]), false, &macs[1]).map(|_| ())
    };
    assert_eq!(reseal(1, &MacXor::of(&macs[..1])), Ok(()));
    assert_eq!(reseal(0, &MacXor::of(&macs[..1])), Err(SourceChanged.into()));
    assert_eq!(reseal(1, &MacXor::default()), Err(SourceChanged.into()));
    assert_eq!(reseal(1, &MacXor::of(&macs[..2])), Err(SourceChanged.into()));
}

#[test]
fn a_sealed_chunk_gives_its_buffer_back() {
    let stream = Stream::with_chunks_of(64);
    let (wires, macs) = stream.seal_chunks(b"photo");
    let buffer = stream.holding(b"photo");
    let chunk = stream.sealer().reseal(0, &MacXor::default(), buffer, true, &macs[0]).unwrap();
    let mut buffer = chunk.into_buffer();
    assert_eq!(buffer.wire(), wires[0]);
    buffer.message_mut(5).copy_from_slice(b"photo");
    assert!(stream.sealer().reseal(0, &MacXor::default(), buffer, true, &macs[0]).is_ok());
}

#[test]
fn a_stream_ends_before_its_counter_wraps() {
    let stream = Stream::with_chunks_of(64);
    let seal = |index| stream.sealer().seal(index, &MacXor::default(), &mut stream.holding(b"photo"), false);
    assert!(seal(u64::from(u32::MAX) - 1).is_ok());
    assert_eq!(seal(u64::from(u32::MAX)), Err(TooManyChunks));
    assert_eq!(seal(u64::MAX), Err(TooManyChunks));
}
