//! Seals and opens whole files, with a key and a header given as hexadecimal digits.
//!
//! `cargo run -p landfall-crypto --example stream -- seal KEY HEADER IN OUT`, and `open` for the way back. It is how
//! other implementations are compared with this one: see `tests/peers`.

use std::{
    error::Error,
    fs::File,
    io::{self, BufWriter, Read, Write},
};

use landfall_crypto::{
    ChunkBuffer, ChunkLen, ChunkSealer, FileKey, MacXor, StreamHeader, StreamOpener, chunk_count, plain_len, sealed_len,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb, key, header, source, target] = args.as_slice() else {
        return Err("usage: stream seal|open KEY HEADER IN OUT".into());
    };
    let key = FileKey::from_bytes(from_hex(key)?);
    let header = StreamHeader::from_bytes(from_hex(header)?);
    let source = File::open(source)?;
    let target = BufWriter::new(File::create(target)?);
    match verb.as_str() {
        "seal" => seal(&key, &header, source, target),
        "open" => open(&key, &header, source, target),
        other => Err(format!("`{other}` is neither `seal` nor `open`").into()),
    }
}

fn seal(key: &FileKey, header: &StreamHeader, mut source: File, mut target: impl Write) -> Result<(), Box<dyn Error>> {
    let len = source.metadata()?.len();
    let chunks = chunk_count(len, ChunkLen::DEFAULT);
    let sealer = ChunkSealer::new(key, header);
    let mut buffer = ChunkBuffer::with_capacity(ChunkLen::DEFAULT);
    let mut earlier = MacXor::default();
    for index in 0..chunks {
        let last = index + 1 == chunks;
        let chunk_len =
            if last { len - index * ChunkLen::DEFAULT.bytes() as u64 } else { ChunkLen::DEFAULT.bytes() as u64 };
        source.read_exact(buffer.message_mut(chunk_len as usize))?;
        earlier.push(&sealer.seal(index, &earlier, &mut buffer, last)?);
        target.write_all(buffer.wire())?;
    }
    target.flush()?;
    eprintln!("sealed {len} bytes as {}", sealed_len(len, ChunkLen::DEFAULT));
    Ok(())
}

fn open(key: &FileKey, header: &StreamHeader, mut source: File, mut target: impl Write) -> Result<(), Box<dyn Error>> {
    let sealed = source.metadata()?.len();
    let len = plain_len(sealed, ChunkLen::DEFAULT)?;
    let mut opener = StreamOpener::new(key, header, ChunkLen::DEFAULT);
    let mut buffer = ChunkBuffer::with_capacity(ChunkLen::DEFAULT);
    let mut left = sealed;
    while left > 0 {
        let chunk_len = left.min(ChunkLen::DEFAULT.sealed_bytes() as u64);
        source.read_exact(buffer.wire_mut(chunk_len as usize))?;
        opener.open_chunk(&mut buffer)?;
        target.write_all(buffer.message())?;
        left -= chunk_len;
    }
    opener.finish()?;
    target.flush()?;
    eprintln!("opened {len} bytes");
    Ok(())
}

fn from_hex<const N: usize>(digits: &str) -> Result<[u8; N], Box<dyn Error>> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    Ok(bytes)
}
