use crate::{
    MediaKind, Orientation, ReadSeek, TakenAt, exif, heif, jpeg, png, preview, quicktime,
    source::{Fault, Source},
    tiff, webp,
};

/// Reads what a picture or video says of itself.
///
/// `length` is that of the whole file, `kind` what [`sniff`](crate::sniff) said. At most eight megabytes are read, a few
/// kilobytes as a rule, wherever they lie. This never fails: what cannot be read is missing from the answer, and
/// [`Metadata::malformed`] tells that something should have been there.
pub fn read_metadata(reader: &mut dyn ReadSeek, length: u64, kind: MediaKind) -> Metadata {
    let mut source = Source::new(reader, length);
    let mut metadata = Metadata::default();
    if read(&mut source, kind, &mut metadata).is_err() {
        metadata.malformed = true;
    }
    metadata
}

/// What a picture or video says of itself, as far as it could be read and makes sense.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// When it was taken.
    pub taken_at: Option<TakenAt>,
    /// How the stored picture must be turned. HEIF says it itself, and its readers turn the picture.
    pub orientation: Orientation,
    /// Width as stored, before turning.
    pub width: Option<u32>,
    /// Height as stored, before turning.
    pub height: Option<u32>,
    /// Latitude (−90 to 90, north is positive) and longitude (−180 to 180, east is positive). Never exactly (0, 0), which
    /// is what devices write that do not know.
    pub gps: Option<(f64, f64)>,
    /// Who made the camera; at most 64 characters.
    pub camera_make: Option<String>,
    /// Which camera it was; at most 64 characters.
    pub camera_model: Option<String>,
    /// How long a video plays.
    pub duration_ms: Option<u64>,
    /// Whether a part of the file was not what its kind promises; what is here was read before.
    pub malformed: bool,
}

impl Metadata {
    /// Width and height as a viewer shows them, turned upright.
    pub fn upright_size(&self) -> Option<(u32, u32)> {
        let (width, height) = (self.width?, self.height?);
        Some(if self.orientation.swaps_sides() { (height, width) } else { (width, height) })
    }

    pub(crate) fn set_size(&mut self, width: u32, height: u32) {
        if width > 0 && height > 0 {
            (self.width, self.height) = (Some(width), Some(height));
        }
    }
}

fn read(source: &mut Source<'_>, kind: MediaKind, metadata: &mut Metadata) -> Result<(), Fault> {
    use MediaKind::*;
    match kind {
        Jpeg => of_jpeg(source, 0, source.length(), metadata),
        Png => {
            let header = png::header(source)?;
            metadata.set_size(header.width, header.height);
            of_block(source, header.exif, metadata)
        }
        WebP => {
            let header = webp::header(source)?;
            metadata.set_size(header.width, header.height);
            of_block(source, header.exif, metadata)
        }
        Raf => {
            let (at, length) = preview::of_raf(source)?;
            of_jpeg(source, at, length, metadata)
        }
        Tiff | Dng | Cr2 | Nef | Arw | Orf | Rw2 => {
            let block = tiff::Block::new(source, 0, source.length())?;
            if let Some((width, height)) = tiff::largest_picture(source, &block)? {
                metadata.set_size(width, height);
            }
            exif::read(source, &block, metadata)
        }
        Heic | Avif => heif::read(source, metadata),
        Cr3 => quicktime::read_cr3(source, metadata),
        Mp4 | Mov | ThreeGp => quicktime::read(source, metadata),
        Gif | Bmp | Jxl | Crw | Avi | Mkv | WebM | MpegTs | MpegPs | Wmv => Ok(()),
    }
}

fn of_jpeg(source: &mut Source<'_>, at: u64, length: u64, metadata: &mut Metadata) -> Result<(), Fault> {
    let header = jpeg::header(source, at, length)?;
    metadata.set_size(header.width.into(), header.height.into());
    of_block(source, header.exif, metadata)
}

fn of_block(source: &mut Source<'_>, block: Option<(u64, u64)>, metadata: &mut Metadata) -> Result<(), Fault> {
    let Some((at, length)) = block else { return Ok(()) };
    let block = tiff::Block::new(source, at, length)?;
    exif::read(source, &block, metadata)
}
