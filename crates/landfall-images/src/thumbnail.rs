use std::panic::{AssertUnwindSafe, catch_unwind};

use jpeg_encoder::{ColorType, Encoder};

use crate::{
    MediaKind, Orientation, ReadSeek, jpeg,
    pixels::{Pixels, fitted},
    png, preview,
    source::{Fault, Source},
    webp,
};

/// Draws a small, upright JPEG of the picture.
///
/// `length` is that of the whole file, `orientation` what [`read_metadata`](crate::read_metadata) found; it is applied
/// here and nowhere else, and the result carries no metadata. Raw files show the JPEG preview their camera stored.
/// Decoding works on the calling thread, mostly: a hundred milliseconds for a large photo, so call it where blocking is
/// fine.
///
/// # Errors
/// Every [`NoThumbnail`] means "use the [`placeholder`]"; only [`NoThumbnail::Unreadable`] speaks against the file.
pub fn thumbnail(
    reader: &mut dyn ReadSeek,
    length: u64,
    kind: MediaKind,
    orientation: Orientation,
    limits: &ThumbnailLimits,
) -> Result<Thumbnail, NoThumbnail> {
    let mut source = Source::new(reader, length);
    // The decoders are well-tested code of others, fed with hostile bytes. A bug in one must cost a thumbnail, not the
    // process that has other photos in its care.
    let drawn = catch_unwind(AssertUnwindSafe(|| draw(&mut source, kind, limits)));
    if let Some(error) = source.take_failure() {
        return Err(NoThumbnail::Unreadable(error.to_string()));
    }
    let pixels = drawn.unwrap_or_else(|_| Err(NoThumbnail::Malformed(DECODER_PANICKED.to_owned())))?;
    encode(orientation.apply(pixels.fit(limits.edge.min(u16::MAX.into()))), limits)
}

/// The memory [`thumbnail`] will hold at its peak for this file, read from its header; an upper estimate.
///
/// `None` means that there is nothing to ask a budget for: `thumbnail` will answer with an error at once. An estimate
/// above `limits.memory_bytes` means that it will answer [`NoThumbnail::TooLarge`].
pub fn memory_needed(reader: &mut dyn ReadSeek, length: u64, kind: MediaKind, limits: &ThumbnailLimits) -> Option<u64> {
    let mut source = Source::new(reader, length);
    match decoder_of(&mut source, kind, limits).ok()? {
        Decoder::Jpeg => jpeg::memory_needed(&mut source, limits),
        Decoder::Png => png::memory_needed(&mut source, limits),
        Decoder::WebP => webp::memory_needed(&mut source, limits),
    }
    .ok()
}

/// The picture shown for everything that has no thumbnail: a small grey JPEG, always the same bytes.
pub fn placeholder() -> &'static [u8] {
    include_bytes!("placeholder.jpg")
}

/// How large a thumbnail may be, and what its making may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThumbnailLimits {
    /// The longer side at most, in pixels. Smaller pictures are not enlarged.
    pub edge: u32,
    /// JPEG quality to begin with, 1 to 100.
    pub quality: u8,
    /// The size of the JPEG at most. Quality is lowered first, then the edge.
    pub max_bytes: usize,
    /// The memory its making may hold at most. A picture that needs more has no thumbnail.
    pub memory_bytes: u64,
}

impl Default for ThumbnailLimits {
    fn default() -> Self {
        Self { edge: 512, quality: 50, max_bytes: 100 * 1024, memory_bytes: 40 << 20 }
    }
}

/// A small picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// The JPEG file.
    pub jpeg: Vec<u8>,
    /// Its width in pixels, upright.
    pub width: u32,
    /// Its height in pixels, upright.
    pub height: u32,
}

/// Why there is no thumbnail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoThumbnail {
    /// Nothing here draws this kind, or this rare variant of it. It stays so until another version.
    #[error("no decoder for this kind of picture")]
    Unsupported,
    /// It would need more memory than the limits grant; with more, it may work.
    #[error("drawing it needs {needed_bytes} bytes of memory")]
    TooLarge {
        /// What would be enough.
        needed_bytes: u64,
    },
    /// The file is damaged or hostile. Keep it as it is, show the placeholder.
    #[error("the picture is damaged: {0}")]
    Malformed(String),
    /// The file could not be read at all: trouble with the source, not with the picture.
    #[error("the picture could not be read: {0}")]
    Unreadable(String),
}

impl From<Fault> for NoThumbnail {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(what) => Self::Malformed(what.to_owned()),
            Fault::Unreadable => Self::Unreadable("the source failed".to_owned()),
        }
    }
}

impl ThumbnailLimits {
    /// Refuses a picture that needs too much, before any of it is allocated.
    pub(crate) fn grant(&self, needed_bytes: u64) -> Result<(), NoThumbnail> {
        if needed_bytes > self.memory_bytes { Err(NoThumbnail::TooLarge { needed_bytes }) } else { Ok(()) }
    }

    /// Refuses a picture whose size alone would keep a processor busy for minutes, whatever its bytes.
    pub(crate) fn check_sides(width: u32, height: u32) -> Result<(), NoThumbnail> {
        match u64::from(width) * u64::from(height) {
            0 => Err(NoThumbnail::Malformed("it has no pixels".to_owned())),
            pixels if pixels > PIXELS_MAX => Err(NoThumbnail::Unsupported),
            _ => Ok(()),
        }
    }

    /// The memory of everything after decoding, for a decoded picture of this size: it is fitted, and gone when the small
    /// one is turned upright and becomes a JPEG.
    pub(crate) fn finishing_memory(&self, width: u64, height: u64) -> u64 {
        let fitted = self.fitted_memory(width, height);
        let resizing = width * height * 3 + u64::from(self.edge) * height * 3 + fitted;
        resizing.max(2 * fitted + 2 * self.max_bytes as u64)
    }

    fn fitted_memory(&self, width: u64, height: u64) -> u64 {
        let side = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        let (width, height) = fitted(side(width), side(height), self.edge.min(u16::MAX.into()));
        u64::from(width) * u64::from(height) * 3
    }
}

enum Decoder {
    Jpeg,
    Png,
    WebP,
}

/// Which decoder draws the file; the source then shows the part it is to draw.
fn decoder_of(source: &mut Source<'_>, kind: MediaKind, limits: &ThumbnailLimits) -> Result<Decoder, NoThumbnail> {
    use MediaKind::*;
    match kind {
        Jpeg => Ok(Decoder::Jpeg),
        Png => Ok(Decoder::Png),
        WebP => Ok(Decoder::WebP),
        Dng | Cr2 | Cr3 | Nef | Arw | Orf | Rw2 | Raf => {
            let (at, length) = preview::find(source, kind, limits.edge)?.ok_or(NoThumbnail::Unsupported)?;
            source.show(at, length);
            Ok(Decoder::Jpeg)
        }
        _ => Err(NoThumbnail::Unsupported),
    }
}

fn draw(source: &mut Source<'_>, kind: MediaKind, limits: &ThumbnailLimits) -> Result<Pixels, NoThumbnail> {
    match decoder_of(source, kind, limits)? {
        Decoder::Jpeg => jpeg::draw(source, limits),
        Decoder::Png => png::draw(source, limits),
        Decoder::WebP => webp::draw(source, limits),
    }
}

/// Encodes ever more coarsely until it fits: first at lower quality, then smaller.
fn encode(mut pixels: Pixels, limits: &ThumbnailLimits) -> Result<Thumbnail, NoThumbnail> {
    loop {
        let (width, height) = (pixels.width, pixels.height);
        let quality = limits.quality.min(100);
        for quality in [quality, quality / 3 * 2, quality / 3] {
            let mut jpeg = Vec::new();
            Encoder::new(&mut jpeg, quality.max(1))
                .encode(&pixels.rgb, width as u16, height as u16, ColorType::Rgb)
                .map_err(|error| NoThumbnail::Malformed(error.to_string()))?;
            if jpeg.len() <= limits.max_bytes {
                return Ok(Thumbnail { jpeg, width, height });
            }
        }
        let longest = width.max(height);
        if longest == 1 {
            return Err(NoThumbnail::Unsupported);
        }
        debug_assert_ne!(fitted(width, height, longest * 3 / 4), (width, height), "each round makes it smaller");
        pixels = pixels.fit(longest * 3 / 4);
    }
}

pub(crate) const DECODER_PANICKED: &str = "the decoder failed";
/// Half a gigapixel: twice what the largest phone sensor gives.
const PIXELS_MAX: u64 = 1 << 29;
