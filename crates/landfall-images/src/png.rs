use std::io::BufReader;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Limits, Reader, Transformations};

use crate::{
    pixels::{Pixels, RowShrinker, over_white},
    source::{Fault, Source},
    thumbnail::{NoThumbnail, ThumbnailLimits},
};

/// What a PNG says of itself.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Where the TIFF block of the `eXIf` chunk lies in the file.
    pub(crate) exif: Option<(u64, u64)>,
    interlaced: bool,
    bytes_per_pixel: u64,
}

/// Reads the header alone.
fn image_header(source: &mut Source<'_>) -> Result<Header, Fault> {
    if source.array(0)? != *b"\x89PNG\r\n\x1a\n" || source.array(12)? != *b"IHDR" {
        return Err(Fault::Malformed("not a PNG"));
    }
    let (width, height) = (source.be32(16)?, source.be32(20)?);
    let [depth, color, _, _, interlace] = source.array(24)?;
    let samples = match color {
        2 => 3,
        4 => 2,
        6 => 4,
        // A palette becomes colours, perhaps translucent ones.
        3 => 4,
        _ => 1,
    };
    let bytes_per_pixel = samples * if depth == 16 { 2 } else { 1 };
    Ok(Header { width, height, exif: None, interlaced: interlace != 0, bytes_per_pixel })
}

/// Walks the chunks for the header and the EXIF, which may stand before or after the picture.
pub(crate) fn header(source: &mut Source<'_>) -> Result<Header, Fault> {
    let mut header = image_header(source)?;
    let mut at = 8;
    for _ in 0..CHUNKS_MAX {
        let Ok(length) = source.be32(at) else { break };
        match &source.array(at + 4)? {
            b"eXIf" => {
                header.exif = Some((at + 8, length.into()));
                break;
            }
            b"IEND" => break,
            _ => at += 12 + u64::from(length),
        }
    }
    Ok(header)
}

impl Header {
    fn memory(&self, limits: &ThumbnailLimits) -> u64 {
        let row = u64::from(self.width) * self.bytes_per_pixel.max(4);
        let picture = if self.interlaced { u64::from(self.height).saturating_mul(row) } else { 0 };
        let small = RowShrinker::memory(self.width, self.height, limits.edge);
        let (width, height) = RowShrinker::size(self.width, self.height, limits.edge);
        // The decoder holds a few rows and its window.
        picture.saturating_add(row * 4 + small).max(limits.finishing_memory(width, height)) + FIXED
    }
}

/// See [`crate::memory_needed`].
pub(crate) fn memory_needed(source: &mut Source<'_>, limits: &ThumbnailLimits) -> Result<u64, NoThumbnail> {
    let header = image_header(source)?;
    ThumbnailLimits::check_sides(header.width, header.height)?;
    Ok(header.memory(limits))
}

/// Shrinks while reading, row by row. Only an interlaced picture must be whole before its rows are.
pub(crate) fn draw(source: &mut Source<'_>, limits: &ThumbnailLimits) -> Result<Pixels, NoThumbnail> {
    limits.grant(memory_needed(source, limits)?)?;
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    // A wrong checksum does not make a small picture of it worse than none.
    options.set_ignore_checksums(true);
    let mut decoder = Decoder::new_with_options(BufReader::with_capacity(READ_AHEAD, source), options);
    decoder.set_limits(Limits { bytes: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX) });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info()?;
    let (width, height) = (reader.info().width, reader.info().height);
    let (color, depth) = reader.output_color_type();
    if depth != BitDepth::Eight {
        return Err(NoThumbnail::Unsupported);
    }
    let mut shrinker = RowShrinker::new(width, height, limits.edge);
    if reader.info().interlaced {
        let size = reader.output_buffer_size().ok_or(NoThumbnail::Unsupported)?;
        let mut picture = vec![0; size];
        let frame = reader.next_frame(&mut picture)?;
        for row in picture.chunks_exact(frame.line_size.max(1)) {
            push(&mut shrinker, row, color)?;
        }
    } else {
        rows(&mut reader, &mut shrinker, color)?;
    }
    Ok(shrinker.finish())
}

fn rows<R: std::io::BufRead + std::io::Seek>(
    reader: &mut Reader<R>,
    shrinker: &mut RowShrinker,
    color: ColorType,
) -> Result<(), NoThumbnail> {
    while let Some(row) = reader.next_row()? {
        push(shrinker, row.data(), color)?;
    }
    Ok(())
}

fn push(shrinker: &mut RowShrinker, row: &[u8], color: ColorType) -> Result<(), NoThumbnail> {
    match color {
        ColorType::Grayscale => shrinker.push(row.iter().map(|&value| [value; 3])),
        ColorType::GrayscaleAlpha => shrinker.push(row.chunks_exact(2).map(|p| over_white([p[0]; 3], p[1]))),
        ColorType::Rgb => shrinker.push(row.chunks_exact(3).map(|p| [p[0], p[1], p[2]])),
        ColorType::Rgba => shrinker.push(row.chunks_exact(4).map(|p| over_white([p[0], p[1], p[2]], p[3]))),
        ColorType::Indexed => return Err(NoThumbnail::Unsupported),
    }
    Ok(())
}

impl From<DecodingError> for NoThumbnail {
    fn from(error: DecodingError) -> Self {
        Self::Malformed(error.to_string())
    }
}

const CHUNKS_MAX: usize = 20_000;
const READ_AHEAD: usize = 32 << 10;
/// The window of the decompressor, its tables and its input.
const FIXED: u64 = 512 << 10;
