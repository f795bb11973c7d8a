/// How many leading bytes [`sniff`] looks at; more are ignored, fewer are fine when the file has no more.
pub const SNIFF_LENGTH: usize = 4096;

/// Tells what a file is from its leading bytes, whatever its name says.
///
/// `None` means it is not a picture or a video known here. An empty or truncated head is `None`, too.
pub fn sniff(head: &[u8]) -> Option<MediaKind> {
    let head = &head[..head.len().min(SNIFF_LENGTH)];
    by_magic(head)
        .or_else(|| riff(head))
        .or_else(|| base_media(head))
        .or_else(|| tiff(head))
        .or_else(|| matroska(head))
        .or_else(|| old_quicktime(head))
        .or_else(|| bitmap(head))
        .or_else(|| transport_stream(head))
}

/// The format of a file, as far as a backup cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MediaKind {
    /// JPEG, whether JFIF, EXIF or bare.
    Jpeg,
    /// PNG, animated or not.
    Png,
    /// GIF, animated or not.
    Gif,
    /// WebP, lossy, lossless or animated.
    WebP,
    /// HEIF with HEVC or another codec than AV1: what phones call HEIC.
    Heic,
    /// HEIF with AV1.
    Avif,
    /// TIFF, and raw files of makers not told apart here.
    Tiff,
    /// Windows bitmap.
    Bmp,
    /// JPEG XL, boxed or bare.
    Jxl,
    /// Adobe Digital Negative.
    Dng,
    /// Canon raw, TIFF-based.
    Cr2,
    /// Canon raw, ISO-base-media-based.
    Cr3,
    /// Canon raw of the first cameras (CIFF).
    Crw,
    /// Nikon raw.
    Nef,
    /// Sony raw.
    Arw,
    /// Fujifilm raw.
    Raf,
    /// Olympus raw.
    Orf,
    /// Panasonic raw.
    Rw2,
    /// MPEG-4 video, M4V included.
    Mp4,
    /// QuickTime movie.
    Mov,
    /// 3GPP video.
    ThreeGp,
    /// AVI.
    Avi,
    /// Matroska.
    Mkv,
    /// WebM.
    WebM,
    /// MPEG transport stream, AVCHD included.
    MpegTs,
    /// MPEG program or video stream.
    MpegPs,
    /// Windows Media Video.
    Wmv,
}

impl MediaKind {
    /// Whether it is shown or played.
    pub fn class(self) -> MediaClass {
        use MediaKind::*;
        match self {
            Mp4 | Mov | ThreeGp | Avi | Mkv | WebM | MpegTs | MpegPs | Wmv => MediaClass::Video,
            Jpeg | Png | Gif | WebP | Heic | Avif | Tiff | Bmp | Jxl | Dng | Cr2 | Cr3 | Crw | Nef | Arw | Raf
            | Orf | Rw2 => MediaClass::Image,
        }
    }

    /// A stable lower-case name, as it appears in reports.
    pub fn name(self) -> &'static str {
        use MediaKind::*;
        match self {
            Jpeg => "jpeg",
            Png => "png",
            Gif => "gif",
            WebP => "webp",
            Heic => "heic",
            Avif => "avif",
            Tiff => "tiff",
            Bmp => "bmp",
            Jxl => "jxl",
            Dng => "dng",
            Cr2 => "cr2",
            Cr3 => "cr3",
            Crw => "crw",
            Nef => "nef",
            Arw => "arw",
            Raf => "raf",
            Orf => "orf",
            Rw2 => "rw2",
            Mp4 => "mp4",
            Mov => "mov",
            ThreeGp => "3gp",
            Avi => "avi",
            Mkv => "mkv",
            WebM => "webm",
            MpegTs => "mpeg-ts",
            MpegPs => "mpeg-ps",
            Wmv => "wmv",
        }
    }
}

impl std::fmt::Display for MediaKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The two classes of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaClass {
    /// A still picture, or one shown like it.
    Image,
    /// A moving picture with a duration.
    Video,
}

/// Formats that announce themselves in their first bytes.
fn by_magic(head: &[u8]) -> Option<MediaKind> {
    const MAGICS: [(&[u8], MediaKind); 14] = [
        (b"\xff\xd8\xff", MediaKind::Jpeg),
        (b"\x89PNG\r\n\x1a\n", MediaKind::Png),
        (b"GIF87a", MediaKind::Gif),
        (b"GIF89a", MediaKind::Gif),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", MediaKind::Jxl),
        (b"\xff\x0a", MediaKind::Jxl),
        (b"FUJIFILMCCD-RAW", MediaKind::Raf),
        (b"II\x1a\x00\x00\x00HEAPCCDR", MediaKind::Crw),
        (b"IIRO", MediaKind::Orf),
        (b"IIRS", MediaKind::Orf),
        (b"MMOR", MediaKind::Orf),
        (b"IIU\x00", MediaKind::Rw2),
        (b"\x00\x00\x01\xba", MediaKind::MpegPs),
        (b"\x00\x00\x01\xb3", MediaKind::MpegPs),
    ];
    if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(*kind);
    }
    const ASF_HEADER: &[u8] = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
    const ASF_AUDIO: &[u8] = b"\x40\x9e\x69\xf8\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b";
    const ASF_VIDEO: &[u8] = b"\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b";
    // Music has the same header; only a stream that says it is audio, beside none that says it is video, makes it so.
    let is_video = head.starts_with(ASF_HEADER) && (contains(head, ASF_VIDEO) || !contains(head, ASF_AUDIO));
    is_video.then_some(MediaKind::Wmv)
}

fn riff(head: &[u8]) -> Option<MediaKind> {
    if !head.starts_with(b"RIFF") {
        return None;
    }
    match head.get(8..12)? {
        b"WEBP" => Some(MediaKind::WebP),
        b"AVI " => Some(MediaKind::Avi),
        _ => None,
    }
}

/// ISO base media: the brands of the `ftyp` box, the major one first.
fn base_media(head: &[u8]) -> Option<MediaKind> {
    if head.get(4..8)? != b"ftyp" {
        return None;
    }
    let length = (be32(head, 0)? as usize).clamp(16, head.len().max(16));
    let major: &[u8] = head.get(8..12)?;
    let compatible = head.get(16..length).unwrap_or_default();
    let has = |brand: &[u8]| major == brand || compatible.chunks_exact(4).any(|other| other == brand);
    if has(b"avif") || has(b"avis") {
        return Some(MediaKind::Avif);
    }
    const HEIF: [&[u8]; 12] =
        [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1", b"miaf"];
    match major {
        b"crx " => Some(MediaKind::Cr3),
        b"qt  " => Some(MediaKind::Mov),
        b"jxl " => Some(MediaKind::Jxl),
        b"M4A " | b"M4B " | b"M4P " | b"aax " => None,
        brand if brand.starts_with(b"3g") => Some(MediaKind::ThreeGp),
        brand if HEIF.contains(&brand) => Some(MediaKind::Heic),
        // The sequence of a burst announces itself as a movie first; its pictures are named among the others.
        _ if has(b"heic") || has(b"heix") => Some(MediaKind::Heic),
        _ => Some(MediaKind::Mp4),
    }
}

/// TIFF, and the raw formats that only their first directory tells apart from it.
fn tiff(head: &[u8]) -> Option<MediaKind> {
    let little = match head.get(..4)? {
        b"II*\0" | b"II+\0" => true,
        b"MM\0*" | b"MM\0+" => false,
        _ => return None,
    };
    if head.get(8..10) == Some(b"CR") {
        return Some(MediaKind::Cr2);
    }
    if head[2] == b'+' || head[3] == b'+' {
        return Some(MediaKind::Tiff);
    }
    let u16_at = |at: usize| {
        let bytes = head.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = head.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) } as usize)
    };
    let directory = u32_at(4)?;
    let entries = u16_at(directory).unwrap_or(0);
    let (mut make, mut has_previews): (&[u8], bool) = (b"", false);
    for index in 0..usize::from(entries) {
        let Some(entry) = directory.checked_add(2 + index * 12) else { break };
        match u16_at(entry) {
            Some(0xc612) => return Some(MediaKind::Dng),
            Some(0x014a | 0x0201) => has_previews = true,
            Some(0x010f) => {
                let at = u32_at(entry + 8).unwrap_or(usize::MAX);
                make = head.get(at..at.saturating_add(5)).unwrap_or_default();
            }
            Some(_) => {}
            None => break,
        }
    }
    // An exported TIFF keeps the maker's name, but not the previews a raw file carries.
    match make {
        b"NIKON" if has_previews => Some(MediaKind::Nef),
        [b'S', b'O', b'N', b'Y', ..] if has_previews => Some(MediaKind::Arw),
        _ => Some(MediaKind::Tiff),
    }
}

fn matroska(head: &[u8]) -> Option<MediaKind> {
    if !head.starts_with(b"\x1a\x45\xdf\xa3") {
        return None;
    }
    let header = &head[..head.len().min(256)];
    match () {
        () if contains(header, b"webm") => Some(MediaKind::WebM),
        () if contains(header, b"matroska") => Some(MediaKind::Mkv),
        () => None,
    }
}

/// Movies older than `ftyp`, which begin with whatever atom the writer had first.
fn old_quicktime(head: &[u8]) -> Option<MediaKind> {
    let size = be32(head, 0)?;
    // Words such as "carefree" are text with these letters in the same place, and give an absurd size.
    let plausible = match head.get(4..8)? {
        b"moov" | b"pnot" => (8..1 << 28).contains(&size),
        b"mdat" => size <= 1 || size >= 8,
        b"wide" => size == 8,
        b"free" | b"skip" => (8..1 << 20).contains(&size),
        _ => false,
    };
    plausible.then_some(MediaKind::Mov)
}

fn bitmap(head: &[u8]) -> Option<MediaKind> {
    let header_size = head.get(14..18)?;
    let known = matches!(u32::from_le_bytes(header_size.try_into().ok()?), 12 | 40 | 52 | 56 | 64 | 108 | 124);
    (head.starts_with(b"BM") && known && head[6..10] == [0; 4]).then_some(MediaKind::Bmp)
}

/// Packets of 188 bytes, or of 192 with a time stamp before each: a sync byte at every step.
fn transport_stream(head: &[u8]) -> Option<MediaKind> {
    const PACKETS: usize = 4;
    let synced = |first: usize, step: usize| (0..PACKETS).all(|n| head.get(first + n * step) == Some(&0x47));
    (synced(0, 188) || synced(4, 192)).then_some(MediaKind::MpegTs)
}

fn contains(head: &[u8], needle: &[u8]) -> bool {
    head.windows(needle.len()).any(|window| window == needle)
}

fn be32(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?))
}
