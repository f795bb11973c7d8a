//! Arbitrary bytes never open, whatever the chunk length; a sealed file opens, and not after it was spoilt.
//!
//! The first two bytes are the chunk length, the next five say what is done to the file, and the rest is the file.

#![no_main]

use landfall_crypto::{
    ChunkBuffer, ChunkLen, ChunkSealer, FileKey, MacXor, OpenError, StreamHeader, StreamOpener, chunk_count, open_blob,
    plain_len, sealed_len,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[len_low, len_high, position @ .., how], bytes)) = input.split_first_chunk::<7>() else { return };
    let chunk_len = u32::from(u16::from_le_bytes([len_low, len_high])).max(1);
    let chunk_len = ChunkLen::new(chunk_len).expect("64 KiB is not too long for a chunk");
    let position = u32::from_le_bytes(position) as usize;

    // The fuzzer watches comparisons and replays what was sealed below, so these bytes are for a key that seals nothing.
    assert!(open(&unused_key(), bytes, chunk_len).is_err(), "nobody sealed these bytes");
    assert!(open_blob(&unused_key(), &header(), bytes).is_err(), "nobody sealed this blob");
    let _ = plain_len(bytes.len() as u64, chunk_len);

    let sealed = seal(bytes, chunk_len);
    assert_eq!(sealed.len() as u64, sealed_len(bytes.len() as u64, chunk_len));
    assert_eq!(plain_len(sealed.len() as u64, chunk_len), Ok(bytes.len() as u64));
    assert_eq!(open(&key(), &sealed, chunk_len).as_deref(), Ok(bytes));

    let spoilt = spoil(&sealed, position, how);
    assert!(spoilt == sealed || open(&key(), &spoilt, chunk_len).is_err(), "spoilt by {how} at {position}");
});

fn spoil(sealed: &[u8], position: usize, how: u8) -> Vec<u8> {
    let mut spoilt = sealed.to_vec();
    match how % 4 {
        0 => spoilt.truncate(position % sealed.len()),
        1 => spoilt.extend_from_slice(&sealed[position % sealed.len()..]),
        2 => spoilt.rotate_left(position % sealed.len()),
        _ => spoilt[position % sealed.len()] ^= 1 << (how >> 5),
    }
    spoilt
}

fn open(key: &FileKey, sealed: &[u8], chunk_len: ChunkLen) -> Result<Vec<u8>, OpenError> {
    let mut opener = StreamOpener::new(key, &header(), chunk_len);
    let (mut buffer, mut plain) = (ChunkBuffer::with_capacity(chunk_len), Vec::new());
    for chunk in sealed.chunks(chunk_len.sealed_bytes()) {
        buffer.wire_mut(chunk.len()).copy_from_slice(chunk);
        opener.open_chunk(&mut buffer)?;
        plain.extend_from_slice(buffer.message());
    }
    opener.finish()?;
    Ok(plain)
}

fn seal(plain: &[u8], chunk_len: ChunkLen) -> Vec<u8> {
    let (sealer, mut earlier) = (ChunkSealer::new(&key(), &header()), MacXor::default());
    let (mut buffer, mut sealed) = (ChunkBuffer::with_capacity(chunk_len), Vec::new());
    let count = chunk_count(plain.len() as u64, chunk_len);
    for index in 0..count {
        let start = index as usize * chunk_len.bytes();
        let message = &plain[start..plain.len().min(start + chunk_len.bytes())];
        buffer.message_mut(message.len()).copy_from_slice(message);
        let mac = sealer.seal(index, &earlier, &mut buffer, index + 1 == count).expect("the stream is short");
        earlier.push(&mac);
        sealed.extend_from_slice(buffer.wire());
    }
    sealed
}

fn key() -> FileKey {
    FileKey::from_bytes([7; 32])
}

fn unused_key() -> FileKey {
    FileKey::from_bytes([8; 32])
}

fn header() -> StreamHeader {
    StreamHeader::from_bytes([9; 24])
}
