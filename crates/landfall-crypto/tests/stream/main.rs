//! Streams as their users see them: whole files sealed, opened, and spoilt in between.
#![allow(clippy::unwrap_used)] // what the helpers unwrap, a test expects

mod buffer;
mod oracle;
mod reseal;
mod tampering;
mod vectors;

use landfall_crypto::{
    ChunkBuffer, ChunkLen, ChunkMac, ChunkSealer, FileKey, MacXor, OpenError, StreamHeader, StreamOpener,
};

/// The key, the header and the chunk length of a stream.
#[derive(Clone)]
struct Stream {
    key: FileKey,
    header: StreamHeader,
    chunk_len: ChunkLen,
}

impl Stream {
    fn with_chunks_of(bytes: u32) -> Self {
        let key = std::array::from_fn(|i| 0x60 + i as u8);
        let chunk_len = ChunkLen::new(bytes).unwrap();
        Self { key: FileKey::from_bytes(key), header: StreamHeader::from_bytes([0x17; 24]), chunk_len }
    }

    fn sealer(&self) -> ChunkSealer {
        ChunkSealer::new(&self.key, &self.header)
    }

    fn opener(&self) -> StreamOpener {
        StreamOpener::new(&self.key, &self.header, self.chunk_len)
    }

    fn buffer(&self) -> ChunkBuffer {
        ChunkBuffer::with_capacity(self.chunk_len)
    }

    fn holding(&self, message: &[u8]) -> ChunkBuffer {
        let mut buffer = self.buffer();
        buffer.message_mut(message.len()).copy_from_slice(message);
        buffer
    }

    /// The chunks of a file as the source has them.
    fn messages<'a>(&self, plain: &'a [u8]) -> Vec<&'a [u8]> {
        if plain.is_empty() { vec![plain] } else { plain.chunks(self.chunk_len.bytes()).collect() }
    }

    /// The chunks of a file as the wire has them, and their MACs.
    fn seal_chunks(&self, plain: &[u8]) -> (Vec<Vec<u8>>, Vec<ChunkMac>) {
        let (sealer, mut earlier) = (self.sealer(), MacXor::default());
        let messages = self.messages(plain);
        let seal = |(index, message): (usize, &&[u8])| {
            let mut buffer = self.holding(message);
            let mac = sealer.seal(index as u64, &earlier, &mut buffer, index + 1 == messages.len()).unwrap();
            earlier.push(&mac);
            (buffer.wire().to_vec(), mac)
        };
        messages.iter().enumerate().map(seal).unzip()
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.seal_chunks(plain).0.concat()
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (mut opener, mut buffer, mut plain) = (self.opener(), self.buffer(), Vec::new());
        for chunk in sealed.chunks(self.chunk_len.sealed_bytes()) {
            buffer.wire_mut(chunk.len()).copy_from_slice(chunk);
            match opener.open_chunk(&mut buffer) {
                Ok(opened) => assert_eq!(opened.len, buffer.message().len()),
                Err(error) => {
                    assert!(buffer.message().is_empty() && buffer.wire().is_empty(), "a refused chunk is not readable");
                    return Err(error);
                }
            }
            plain.extend_from_slice(buffer.message());
        }
        opener.finish()?;
        Ok(plain)
    }
}

/// Bytes that look the same in every run and different in every chunk.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}
