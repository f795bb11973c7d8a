use std::io::BufReader;

use image_webp::{DecodingError, WebPDecoder};

use crate::{
    pixels::{Pixels, RowShrinker, over_white},
    source::{Fault, Source},
    thumbnail::{NoThumbnail, ThumbnailLimits},
};

/// What a WebP says of itself.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Where the TIFF block of the `EXIF` chunk lies in the file.
    pub(crate) exif: Option<(u64, u64)>,
}

/// Walks the chunks for the sides and the EXIF.
pub(crate) fn header(source: &mut Source<'_>) -> Result<Header, Fault> {
    if source.array(0)? != *b"RIFF" || source.array(8)? != *b"WEBP" {
        return Err(Fault::Malformed("not a WebP"));
    }
    let mut header = Header::default();
    let mut at = 12;
    for _ in 0..CHUNKS_MAX {
        let Ok(name) = source.array::<4>(at) else { break };
        let length = u64::from(u32::from_le_bytes(source.array(at + 4)?));
        let body = at + 8;
        match &name {
            b"VP8X" => (header.width, header.height) = extended_sides(source.array(body)?),
            b"VP8L" if header.width == 0 => (header.width, header.height) = lossless_sides(source.array(body)?)?,
            b"VP8 " if header.width == 0 => (header.width, header.height) = lossy_sides(source.array(body)?)?,
            b"EXIF" => {
                // Some writers keep the prefix that belongs into a JPEG.
                let prefix = if length > 6 && source.array(body)? == *b"Exif\0\0" { 6 } else { 0 };
                header.exif = Some((body + prefix, length - prefix));
                break;
            }
            _ => {}
        }
        at = body + length + length % 2;
    }
    if header.width == 0 { Err(Fault::Malformed("a WebP without a picture")) } else { Ok(header) }
}

fn extended_sides(body: [u8; 10]) -> (u32, u32) {
    let side = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], 0]) + 1;
    (side(4), side(7))
}

fn lossless_sides(body: [u8; 5]) -> Result<(u32, u32), Fault> {
    let [0x2f, a, b, c, d] = body else { return Err(Fault::Malformed("not a lossless WebP")) };
    let bits = u32::from_le_bytes([a, b, c, d]);
    Ok(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
}

fn lossy_sides(body: [u8; 10]) -> Result<(u32, u32), Fault> {
    let [_, _, _, 0x9d, 0x01, 0x2a, a, b, c, d] = body else { return Err(Fault::Malformed("not a lossy WebP")) };
    Ok((u32::from(u16::from_le_bytes([a, b]) & 0x3fff), u32::from(u16::from_le_bytes([c, d]) & 0x3fff)))
}

/// See [`crate::memory_needed`].
pub(crate) fn memory_needed(source: &mut Source<'_>, limits: &ThumbnailLimits) -> Result<u64, NoThumbnail> {
    let header = header(source)?;
    ThumbnailLimits::check_sides(header.width, header.height)?;
    let pixels = u64::from(header.width) * u64::from(header.height);
    let small = RowShrinker::memory(header.width, header.height, limits.edge);
    let (width, height) = RowShrinker::size(header.width, header.height, limits.edge);
    let decoding = pixels * BYTES_PER_PIXEL + small + source.length().min(COMPRESSED_MAX);
    Ok(decoding.max(limits.finishing_memory(width, height)) + FIXED)
}

/// Decodes the whole picture, the first frame of an animation: this format offers no rows.
pub(crate) fn draw(source: &mut Source<'_>, limits: &ThumbnailLimits) -> Result<Pixels, NoThumbnail> {
    limits.grant(memory_needed(source, limits)?)?;
    let mut decoder = WebPDecoder::new(BufReader::with_capacity(READ_AHEAD, source))?;
    decoder.set_memory_limit(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX));
    let (width, height) = decoder.dimensions();
    let size = decoder.output_buffer_size().ok_or(NoThumbnail::Unsupported)?;
    limits.grant(size as u64)?;
    let mut picture = vec![0; size];
    decoder.read_image(&mut picture)?;
    let mut shrinker = RowShrinker::new(width, height, limits.edge);
    if decoder.has_alpha() {
        for row in picture.chunks_exact(width as usize * 4) {
            shrinker.push(row.chunks_exact(4).map(|p| over_white([p[0], p[1], p[2]], p[3])));
        }
    } else {
        for row in picture.chunks_exact(width as usize * 3) {
            shrinker.push(row.chunks_exact(3).map(|p| [p[0], p[1], p[2]]));
        }
    }
    Ok(shrinker.finish())
}

impl From<DecodingError> for NoThumbnail {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::UnsupportedFeature(_) => Self::Unsupported,
            other => Self::Malformed(other.to_string()),
        }
    }
}

const CHUNKS_MAX: usize = 10_000;
const READ_AHEAD: usize = 32 << 10;
/// The picture and, beside it, the planes of a lossy one, the colours with alpha of a lossless one, or a canvas.
const BYTES_PER_PIXEL: u64 = 12;
/// The decoder takes the compressed picture whole.
const COMPRESSED_MAX: u64 = 64 << 20;
const FIXED: u64 = 512 << 10;
