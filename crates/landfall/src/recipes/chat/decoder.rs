//! Pictures that nothing here draws: the host may.

use std::{io, path::Path};

use landfall_images::MediaKind;

/// A decoder of the host: on phones the platform's own, which knows the formats of its camera, such as HEIC.
///
/// Called on a thread where blocking is fine, on files that may be damaged or hostile.
pub trait PictureDecoder: Send + Sync {
    /// Whether it draws pictures of this kind. What it does not draw, and nothing here does, is sent as the file that it is.
    fn draws(&self, kind: MediaKind) -> bool;

    /// Draws a picture, as a JPEG whose longer side is not much larger than `edge` pixels. It is turned, made smaller and
    /// freed of what it notes here: metadata may be in it, its orientation must be if it is not upright.
    ///
    /// # Errors
    /// If it cannot be drawn. The message needs a person then.
    fn to_jpeg(&self, picture: &Path, edge: u32) -> io::Result<Vec<u8>>;
}
