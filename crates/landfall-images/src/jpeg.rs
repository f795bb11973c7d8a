use std::io::{self, BufReader, Read};

use jpeg_decoder::{Decoder, Error, PixelFormat};

use crate::{
    pixels::Pixels,
    source::{Fault, Source},
    thumbnail::{NoThumbnail, ThumbnailLimits},
};

/// What a JPEG says before its first scan.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Where the TIFF block of the EXIF segment lies in the file.
    pub(crate) exif: Option<(u64, u64)>,
    process: u8,
    precision: u8,
    components: Vec<Component>,
}

#[derive(Debug)]
struct Component {
    horizontal: u64,
    vertical: u64,
}

/// Walks the segments up to the first scan of the JPEG in this part of the file.
pub(crate) fn header(source: &mut Source<'_>, start: u64, length: u64) -> Result<Header, Fault> {
    let end = start.saturating_add(length).min(source.length());
    let mut header = Header::default();
    let mut at = start + 2;
    if source.be16(start)? != 0xffd8 {
        return Err(Fault::Malformed("not a JPEG"));
    }
    while at < end {
        let [prefix, marker] = source.array(at)?;
        if prefix != 0xff {
            return Err(Fault::Malformed("a JPEG segment does not begin where the one before ends"));
        }
        match marker {
            // Fill bytes before a marker, and markers without a body.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            0xd9 => break,
            _ => {
                let size = u64::from(source.be16(at + 2)?);
                if size < 2 {
                    return Err(Fault::Malformed("a JPEG segment is shorter than its own length"));
                }
                let (body, size) = (at + 4, size - 2);
                match marker {
                    0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                        header.frame(source, marker, body, size)?
                    }
                    0xe1 if header.exif.is_none() && size > 6 && source.array(body)? == *b"Exif\0\0" => {
                        header.exif = Some((body + 6, (size - 6).min(end.saturating_sub(body + 6))));
                    }
                    0xda => break,
                    _ => {}
                }
                at = body + size;
            }
        }
    }
    if header.components.is_empty() { Err(Fault::Malformed("a JPEG without a frame")) } else { Ok(header) }
}

impl Header {
    fn frame(&mut self, source: &mut Source<'_>, marker: u8, body: u64, size: u64) -> Result<(), Fault> {
        let [precision, height_high, height_low, width_high, width_low, count] = source.array(body)?;
        if size < 6 + 3 * u64::from(count) {
            return Err(Fault::Malformed("a JPEG frame header is too short"));
        }
        self.process = marker;
        self.precision = precision;
        self.height = u16::from_be_bytes([height_high, height_low]);
        self.width = u16::from_be_bytes([width_high, width_low]);
        self.components.clear();
        for index in 0..u64::from(count) {
            let [_, factors, _] = source.array(body + 6 + 3 * index)?;
            let (horizontal, vertical) = (u64::from(factors >> 4), u64::from(factors & 15));
            if !(1..=4).contains(&horizontal) || !(1..=4).contains(&vertical) {
                return Err(Fault::Malformed("a JPEG sampling factor is not 1 to 4"));
            }
            self.components.push(Component { horizontal, vertical });
        }
        Ok(())
    }

    fn is_progressive(&self) -> bool {
        self.process == 0xc2
    }

    /// Arithmetic coding, twelve bits and lossless frames exist, and nobody takes photos with them.
    pub(crate) fn is_supported(&self) -> bool {
        matches!(self.process, 0xc0..=0xc2) && self.precision == 8 && matches!(self.components.len(), 1 | 3 | 4)
    }

    /// How many pixels of each eight the decoder keeps so that the longer side still reaches the edge.
    fn scale(&self, edge: u32) -> u64 {
        let longest = u64::from(self.width.max(self.height));
        [1, 2, 4].into_iter().find(|scale| (longest * scale).div_ceil(8) >= u64::from(edge)).unwrap_or(8)
    }

    fn memory(&self, limits: &ThumbnailLimits) -> u64 {
        let scale = self.scale(limits.edge);
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let most = |factor: fn(&Component) -> u64| self.components.iter().map(factor).max().unwrap_or(1);
        let (horizontal_max, vertical_max) = (most(|each| each.horizontal), most(|each| each.vertical));
        let blocks_of = |each: &Component| {
            let columns = width.div_ceil(8 * horizontal_max) * each.horizontal;
            let rows = height.div_ceil(8 * vertical_max) * each.vertical;
            (columns * rows, columns * each.vertical)
        };
        let blocks: u64 = self.components.iter().map(|each| blocks_of(each).0).sum();
        let blocks_in_row: u64 = self.components.iter().map(|each| blocks_of(each).1).sum();
        let planes = blocks * scale * scale;
        let scaled = |side: u64| (side * scale).div_ceil(8);
        let picture = scaled(width) * scaled(height) * self.components.len() as u64;
        // Every coefficient waits for the last scan of a progressive picture; otherwise a row of them is read and one
        // transformed.
        let coefficients = if self.is_progressive() { blocks * 128 } else { blocks_in_row * 128 * ROWS_IN_FLIGHT };
        let rgb = scaled(width) * scaled(height) * 3;
        let decoding = coefficients + planes + picture + if self.components.len() == 3 { 0 } else { rgb };
        // The decoder is gone when the picture is made smaller.
        decoding.max(limits.finishing_memory(scaled(width), scaled(height))) + FIXED
    }
}

/// See [`crate::memory_needed`]; of the part of the file that is shown.
pub(crate) fn memory_needed(source: &mut Source<'_>, limits: &ThumbnailLimits) -> Result<u64, NoThumbnail> {
    let (start, length) = source.shown();
    let header = header(source, start, length)?;
    if !header.is_supported() {
        return Err(NoThumbnail::Unsupported);
    }
    ThumbnailLimits::check_sides(header.width.into(), header.height.into())?;
    Ok(header.memory(limits))
}

/// Decodes at an eighth, a quarter or half the size where that suffices: the transform itself leaves out the detail.
pub(crate) fn draw(source: &mut Source<'_>, limits: &ThumbnailLimits) -> Result<Pixels, NoThumbnail> {
    limits.grant(memory_needed(source, limits)?)?;
    let mut decoder = Decoder::new(BufReader::with_capacity(READ_AHEAD, ScanLimit::new(source)));
    decoder.set_max_decoding_buffer_size(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX));
    let edge = limits.edge.min(u16::MAX.into()) as u16;
    let (width, height) = decoder.scale(edge, edge)?;
    let samples = decoder.decode()?;
    let format = decoder.info().map(|info| info.pixel_format);
    let rgb = match format {
        Some(PixelFormat::RGB24) => samples,
        Some(PixelFormat::L8) => samples.into_iter().flat_map(|value| [value; 3]).collect(),
        Some(PixelFormat::CMYK32) => samples.chunks_exact(4).flat_map(on_paper).collect(),
        Some(PixelFormat::L16) | None => return Err(NoThumbnail::Unsupported),
    };
    if rgb.len() != usize::from(width) * usize::from(height) * 3 {
        return Err(NoThumbnail::Malformed("the picture is not as large as it says".to_owned()));
    }
    Ok(Pixels { width: width.into(), height: height.into(), rgb })
}

/// What four inks look like: each lets through what it does not cover.
fn on_paper(inks: &[u8]) -> [u8; 3] {
    let light = |ink: u8| 255 - u32::from(ink);
    [0, 1, 2].map(|index| ((light(inks[index]) * light(inks[3]) + 127) / 255) as u8)
}

impl From<Error> for NoThumbnail {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported(_) => Self::Unsupported,
            // The source remembers a true failure; what reaches here is the end of the file.
            Error::Format(_) | Error::Io(_) | Error::Internal(_) => Self::Malformed(error.to_string()),
        }
    }
}

/// Ends a picture of too many scans: a scan of ten bytes costs a pass over all coefficients, so that a megabyte of them
/// would take hours. Watches the bytes on their way to the decoder.
struct ScanLimit<R> {
    inner: R,
    scans: usize,
    place: Place,
}

/// Where in the stream the next byte stands.
enum Place {
    /// Among the coded bytes of a scan, or between segments.
    Coded,
    /// Behind the byte that announces a marker.
    Marker,
    /// At the length of a segment.
    Length,
    /// At the second byte of it; here is the first.
    LengthLow(u8),
    /// So many bytes before the end of a segment, where any byte means nothing.
    Body(usize),
}

impl<R> ScanLimit<R> {
    fn new(inner: R) -> Self {
        Self { inner, scans: 0, place: Place::Coded }
    }

    fn watch(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            (self.place, bytes) = match self.place {
                Place::Coded => match bytes.iter().position(|&byte| byte == 0xff) {
                    Some(at) => (Place::Marker, &bytes[at + 1..]),
                    None => return,
                },
                Place::Marker => match first {
                    0xff => (Place::Marker, rest),
                    0x00 | 0x01 | 0xd0..=0xd9 => (Place::Coded, rest),
                    marker => {
                        self.scans += usize::from(marker == 0xda);
                        (Place::Length, rest)
                    }
                },
                Place::Length => (Place::LengthLow(first), rest),
                Place::LengthLow(high) => {
                    (Place::Body(usize::from(u16::from_be_bytes([high, first])).saturating_sub(2)), rest)
                }
                Place::Body(0) => (Place::Coded, bytes),
                Place::Body(left) => {
                    let passed = left.min(bytes.len());
                    (Place::Body(left - passed), &bytes[passed..])
                }
            };
        }
    }
}

impl<R: Read> Read for ScanLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.watch(&buffer[..read]);
        if self.scans > SCANS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more scans than any camera or editor writes"));
        }
        Ok(read)
    }
}

/// Editors write about ten.
const SCANS_MAX: usize = 100;
const ROWS_IN_FLIGHT: u64 = 3;
const READ_AHEAD: usize = 32 << 10;
/// Tables and buffers.
const FIXED: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_are_counted_across_reads_and_not_inside_segments() {
        let segment = [&[0xff, 0xe1, 0, 8], [0xff, 0xda].repeat(3).as_slice()].concat();
        let scan = [0xff, 0xda, 0, 4, 0xff, 0xda, 1, 2, 0xff, 0x00, 0xff, 0xd0, 3];
        let file = [&[0xff, 0xd8], segment.as_slice(), &scan, &scan, &[0xff, 0xd9]].concat();
        for piece in 1..file.len() {
            let mut counter = ScanLimit::new(io::empty());
            file.chunks(piece).for_each(|bytes| counter.watch(bytes));
            assert_eq!(counter.scans, 2, "read in pieces of {piece}");
        }
    }
}
