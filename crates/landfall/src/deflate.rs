//! Files are deflated before they go into an archive, so that it is known beforehand how long they are there.
//!
//! A log of actions shrinks to a tenth. What comes out is a raw stream of DEFLATE, RFC 1951, as entries of a zip
//! archive have it. It is staged as a file: another release may deflate the same bytes to others, so they are never
//! made twice.

use std::io::{self, BufReader, BufWriter, Read, Write};

use crc_fast::{CrcAlgorithm::Crc32IsoHdlc, Digest};
use flate2::{Compression, bufread::DeflateEncoder};

/// What an archive says of a deflated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deflated {
    /// CRC-32 (ISO-HDLC) of what was read.
    pub(crate) crc32: u32,
    /// Bytes read.
    pub(crate) plain: u64,
    /// Bytes written, at least two.
    pub(crate) stored: u64,
}

/// Deflates all of `source` into `sink`, which is flushed. It takes about half a megabyte of memory for files of any
/// length.
///
/// # Errors
/// Those of reading and writing. What has been written by then is no whole stream: throw it away and begin anew.
pub(crate) fn deflate_file(source: impl Read, sink: impl Write) -> io::Result<Deflated> {
    let mut measured = Measured { source, plain: 0, crc32: Digest::new(Crc32IsoHdlc) };
    // The encoder pulls. One that is pushed ends its stream when it is dropped, so that half a file would look whole.
    let mut encoder =
        DeflateEncoder::new(BufReader::with_capacity(BUFFER_BYTES, &mut measured), Compression::default());
    let mut sink = BufWriter::with_capacity(BUFFER_BYTES, sink);
    let stored = io::copy(&mut encoder, &mut sink)?;
    sink.flush()?;
    Ok(Deflated { crc32: measured.crc32.finalize() as u32, plain: measured.plain, stored })
}

/// A source, and what was read of it.
struct Measured<R> {
    source: R,
    plain: u64,
    crc32: Digest,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.crc32.update(&buffer[..count]);
        self.plain += count as u64;
        Ok(count)
    }
}

const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::{io::Cursor, process::Command};

    use flate2::read::DeflateDecoder;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Bytes that shrink, like a log of actions.
    fn log(lines: usize) -> Vec<u8> {
        (0..lines)
            .flat_map(|line| format!("{{\"at\":{},\"x\":{}}}\n", line * 17, line * line % 1920).into_bytes())
            .collect()
    }

    fn deflated(source: impl Read) -> (Deflated, Vec<u8>) {
        let mut sink = Vec::new();
        (deflate_file(source, &mut sink).unwrap(), sink)
    }

    fn crc32(bytes: &[u8]) -> u32 {
        crc_fast::checksum(Crc32IsoHdlc, bytes) as u32
    }

    #[test]
    fn a_log_shrinks_and_comes_back() {
        let log = log(50_000);
        let (told, stream) = deflated(log.as_slice());
        let expected = Deflated { crc32: crc32(&log), plain: log.len() as u64, stored: stream.len() as u64 };
        assert_eq!(told, expected);
        assert!(told.stored * 3 < told.plain);
        let mut back = Vec::new();
        DeflateDecoder::new(stream.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == log);
    }

    #[test]
    fn nothing_is_a_stream_of_two_bytes() {
        let (told, stream) = deflated(io::empty());
        assert_eq!(told, Deflated { crc32: 0, plain: 0, stored: 2 });
        assert_eq!(stream, [3, 0]);
    }

    #[test]
    fn a_source_that_fails_leaves_no_stream_that_looks_whole() {
        let mut sink = Vec::new();
        let broken = Cursor::new(log(50_000)).chain(FailsOnce(Some(io::ErrorKind::BrokenPipe)));
        assert_eq!(deflate_file(broken, &mut sink).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(DeflateDecoder::new(sink.as_slice()).read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_read_that_was_interrupted_goes_on() {
        let log = log(1000);
        let interrupted = Cursor::new(log[..100].to_vec()).chain(FailsOnce(Some(io::ErrorKind::Interrupted)));
        let (told, _) = deflated(interrupted.chain(&log[100..]));
        assert_eq!((told.plain, told.crc32), (log.len() as u64, crc32(&log)));
    }

    #[test]
    fn a_sink_that_is_full_is_an_error() {
        let mut room = [0; 100];
        let error = deflate_file(log(50_000).as_slice(), room.as_mut_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    proptest! {
        #[test]
        fn whatever_is_deflated_comes_back(bytes in vec(any::<u8>(), 0..5000), repeats in 1usize..40) {
            let plain = bytes.repeat(repeats);
            let (told, stream) = deflated(plain.as_slice());
            prop_assert_eq!(told.stored, stream.len() as u64);
            prop_assert_eq!((told.plain, told.crc32), (plain.len() as u64, crc32(&plain)));
            let mut back = Vec::new();
            DeflateDecoder::new(stream.as_slice()).read_to_end(&mut back).unwrap();
            prop_assert!(back == plain);
        }
    }

    #[test]
    #[ignore = "needs python3; tests/peers/archives.sh runs it"]
    fn zlib_reads_what_was_deflated() {
        const READ: &str = "import sys, zlib; inflate = zlib.decompressobj(-15); \
            plain = inflate.decompress(open(sys.argv[1], 'rb').read()) + inflate.flush(); \
            assert inflate.eof and not inflate.unused_data; print(len(plain), zlib.crc32(plain))";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        let noise: Vec<u8> = (0..200_000u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        for plain in [Vec::new(), b"x".to_vec(), log(50_000), noise, vec![0; 10 << 20]] {
            let told = deflate_file(plain.as_slice(), std::fs::File::create(&path).unwrap()).unwrap();
            let read = Command::new("python3").args(["-c", READ]).arg(&path).output().unwrap();
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            let read = String::from_utf8(read.stdout).unwrap();
            assert_eq!(read, format!("{} {}\n", told.plain, told.crc32));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), told.stored);
        }
    }

    /// Fails once, and then ends.
    struct FailsOnce(Option<io::ErrorKind>);

    impl Read for FailsOnce {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.take().map_or(Ok(0), |kind| Err(kind.into()))
        }
    }
}
