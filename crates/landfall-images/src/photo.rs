//! A photo as it is sent to people: upright, no larger than a screen needs, and nothing but its pixels.

use crate::{
    MediaKind, NoThumbnail, Orientation, ReadSeek, Thumbnail, ThumbnailLimits, memory_needed, thumbnail::thumbnail,
};

/// How large a photo that is sent may be, and what its making may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhotoLimits {
    /// The longer side at most, in pixels. Smaller photos are not enlarged.
    pub edge: u32,
    /// JPEG quality to begin with, 1 to 100.
    pub quality: u8,
    /// The size of the JPEG at most, in bytes. Quality is lowered first, then the edge.
    pub max_bytes: usize,
    /// The memory its making may hold at most, in bytes. A photo that needs more is made smaller.
    pub memory_bytes: u64,
}

impl Default for PhotoLimits {
    /// Two thousand pixels: half of what most phones take, which a decoder makes without the whole picture in memory.
    fn default() -> Self {
        Self { edge: 2000, quality: 80, max_bytes: 1_500_000, memory_bytes: 40 << 20 }
    }
}

impl PhotoLimits {
    fn with_edge(&self, edge: u32) -> ThumbnailLimits {
        ThumbnailLimits { edge, quality: self.quality, max_bytes: self.max_bytes, memory_bytes: self.memory_bytes }
    }

    /// The largest edge that the memory is enough for.
    fn edge_for(&self, reader: &mut dyn ReadSeek, length: u64, kind: MediaKind) -> u32 {
        let mut edge = self.edge;
        while edge > EDGE_MIN {
            match memory_needed(reader, length, kind, &self.with_edge(edge)) {
                Some(needed) if needed > self.memory_bytes => edge = edge / 4 * 3,
                _ => break,
            }
        }
        edge
    }
}

/// Draws a photo as it is to be sent: turned upright as `orientation` says, within the limits, as a JPEG without any
/// metadata. What the camera noted of the place and the time is not in it.
///
/// # Errors
/// As [`thumbnail`](crate::thumbnail()). [`NoThumbnail::Unsupported`]: nothing here draws this kind of picture; it can
/// only be sent as the file that it is, with all that is in it.
pub fn photo(
    reader: &mut dyn ReadSeek,
    length: u64,
    kind: MediaKind,
    orientation: Orientation,
    limits: &PhotoLimits,
) -> Result<Thumbnail, NoThumbnail> {
    let edge = limits.edge_for(reader, length, kind);
    thumbnail(reader, length, kind, orientation, &limits.with_edge(edge))
}

/// Below this a photo is not worth sending.
const EDGE_MIN: u32 = 256;
