//! Makers of small, valid media whose content and metadata are known: for the tests of this crate and of others.
//!
//! Every maker takes a seed; equal arguments give equal bytes, different seeds give different ones, so that nothing is
//! deduplicated by accident. The pictures show four coloured quarters (see [`Corners`]) over which the seed lays a faint
//! pattern, so that a test can see which side is up.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use image_webp::WebPEncoder;
use jpeg_encoder::{ColorType, Encoder};

/// The colours of the quarters of an upright picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corners {
    /// Red.
    pub top_left: [u8; 3],
    /// Green.
    pub top_right: [u8; 3],
    /// Blue.
    pub bottom_left: [u8; 3],
    /// Yellow.
    pub bottom_right: [u8; 3],
}

/// What every picture made here shows when it is upright.
pub const CORNERS: Corners = Corners {
    top_left: [200, 40, 40],
    top_right: [40, 180, 40],
    bottom_left: [40, 40, 200],
    bottom_right: [210, 200, 40],
};

/// A JPEG to be made, with EXIF as far as any is given.
#[derive(Debug, Clone)]
pub struct Jpeg {
    width: u16,
    height: u16,
    seed: u64,
    quality: u8,
    progressive: bool,
    exif: Exif,
}

impl Jpeg {
    /// A picture that is this large when upright.
    pub fn new(width: u16, height: u16) -> Self {
        Self { width, height, seed: 0, quality: 90, progressive: false, exif: Exif::default() }
    }

    /// Other content than with another seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Another quality than 90.
    pub fn quality(self, quality: u8) -> Self {
        Self { quality, ..self }
    }

    /// Coded in several scans.
    pub fn progressive(self) -> Self {
        Self { progressive: true, ..self }
    }

    /// Stored turned, with the EXIF value (1 to 8) that says how to turn it upright.
    pub fn orientation(mut self, value: u16) -> Self {
        self.exif.orientation = Some(value);
        self
    }

    /// Taken at this `YYYY:MM:DD HH:MM:SS`, with an offset such as `+01:00` if the camera knew.
    pub fn taken(mut self, original: &str, offset: Option<&str>) -> Self {
        self.exif.original = Some(original.to_owned());
        self.exif.offset = offset.map(str::to_owned);
        self
    }

    /// Taken here: degrees, north and east positive.
    pub fn gps(mut self, latitude: f64, longitude: f64) -> Self {
        self.exif.gps = Some((latitude, longitude));
        self
    }

    /// Taken with this camera.
    pub fn camera(mut self, make: &str, model: &str) -> Self {
        self.exif.camera = Some((make.to_owned(), model.to_owned()));
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let (width, height) = (u32::from(self.width), u32::from(self.height));
        let upright = |x: u32, y: u32| pixel(x, y, width, height, self.seed);
        let value = self.exif.orientation.unwrap_or(1);
        let (stored_width, stored_height) = if value >= 5 { (height, width) } else { (width, height) };
        let turned = |x: u32, y: u32| {
            let (mirrored_x, mirrored_y) = (stored_width - 1 - x, stored_height - 1 - y);
            // The words of EXIF: which side of the picture the first row and the first column show.
            match value {
                2 => upright(mirrored_x, y),
                3 => upright(mirrored_x, mirrored_y),
                4 => upright(x, mirrored_y),
                5 => upright(y, x),
                6 => upright(mirrored_y, x),
                7 => upright(mirrored_y, mirrored_x),
                8 => upright(y, mirrored_x),
                _ => upright(x, y),
            }
        };
        let rgb = if value == 1 {
            picture(self.seed, width, height)
        } else {
            let rows = (0..stored_height).flat_map(|y| (0..stored_width).map(move |x| (x, y)));
            rows.flat_map(|(x, y)| turned(x, y)).collect()
        };
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, self.quality);
        encoder.set_progressive(self.progressive);
        let block = self.exif.block();
        if !block.is_empty() {
            encoder.add_app_segment(1, [b"Exif\0\0", block.as_slice()].concat()).unwrap();
        }
        encoder.encode(&rgb, stored_width as u16, stored_height as u16, ColorType::Rgb).unwrap();
        file
    }
}

/// A JPEG of this size and seed, upright and without EXIF.
pub fn jpeg(seed: u64, width: u16, height: u16) -> Vec<u8> {
    Jpeg::new(width, height).seed(seed).bytes()
}

/// A PNG of this size and seed.
pub fn png(seed: u64, width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    encoder.write_header().unwrap().write_image_data(&picture(seed, width, height)).unwrap();
    file
}

/// A lossless WebP of this size and seed.
pub fn webp(seed: u64, width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = WebPEncoder::new(&mut file);
    encoder.encode(&picture(seed, width, height), width, height, image_webp::ColorType::Rgb8).unwrap();
    file
}

/// The pixels of an upright picture, three bytes each.
pub fn picture(seed: u64, width: u32, height: u32) -> Vec<u8> {
    let (mut rgb, mut row) = (Vec::with_capacity(width as usize * height as usize * 3), Vec::new());
    for y in 0..height {
        // Rows repeat in eights, but for the one where the lower quarters begin.
        if y % 8 == 0 || y == height.div_ceil(2) {
            row = (0..width).flat_map(|x| pixel(x, y, width, height, seed)).collect();
        }
        rgb.extend_from_slice(&row);
    }
    rgb
}

/// A movie to be made: sound in its structure and its metadata, noise where its pictures should be.
#[derive(Debug, Clone)]
pub struct Movie {
    brand: [u8; 4],
    media_bytes: usize,
    seed: u64,
    created_unix: Option<u64>,
    place: Option<String>,
    local_time: Option<String>,
    duration_ms: u32,
    size: (u16, u16),
    turned: bool,
    index_first: bool,
}

impl Movie {
    /// An MPEG-4 movie with so many bytes of media.
    pub fn mp4(media_bytes: usize) -> Self {
        Self {
            brand: *b"isom",
            media_bytes,
            seed: 0,
            created_unix: None,
            place: None,
            local_time: None,
            duration_ms: 1000,
            size: (1280, 720),
            turned: false,
            index_first: false,
        }
    }

    /// A QuickTime movie with so many bytes of media.
    pub fn mov(media_bytes: usize) -> Self {
        Self { brand: *b"qt  ", ..Self::mp4(media_bytes) }
    }

    /// Other media than with another seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Created at this Unix time, as the container states it in UTC.
    pub fn created(self, unix_seconds: u64) -> Self {
        Self { created_unix: Some(unix_seconds), ..self }
    }

    /// Taken at this local time, as Apple's devices add it: `2021-02-03T04:05:06+0100`.
    pub fn local_time(self, text: &str) -> Self {
        Self { local_time: Some(text.to_owned()), ..self }
    }

    /// Taken here: ISO 6709, `+27.5916+086.5640+8850/`.
    pub fn place(self, text: &str) -> Self {
        Self { place: Some(text.to_owned()), ..self }
    }

    /// Plays this long.
    pub fn duration_ms(self, duration_ms: u32) -> Self {
        Self { duration_ms, ..self }
    }

    /// Held upright while filming: stored lying, to be turned clockwise.
    pub fn turned(self) -> Self {
        Self { turned: true, ..self }
    }

    /// The index before the media, as for streaming.
    pub fn index_first(self) -> Self {
        Self { index_first: true, ..self }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let kind = atom(b"ftyp", &[&self.brand, [0, 0, 2, 0].as_slice(), &self.brand]);
        let mut noise = self.seed.wrapping_mul(2).wrapping_add(1);
        let media: Vec<u8> = (0..self.media_bytes).map(|_| (next(&mut noise) >> 32) as u8).collect();
        let (media, index) = (atom(b"mdat", &[&media]), self.index());
        if self.index_first { [kind, index, media].concat() } else { [kind, media, index].concat() }
    }

    fn index(&self) -> Vec<u8> {
        let created = self.created_unix.map_or(0, |unix| (unix + 2_082_844_800) as u32).to_be_bytes();
        let duration = self.duration_ms.to_be_bytes();
        let identity = words(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]);
        let quarter = words(&[0, 0x1_0000, 0, -0x1_0000, 0, 0, 0, 0, 0x4000_0000]);
        let header = atom(
            b"mvhd",
            &[
                &[0; 4],
                &created,
                &created,
                &words(&[1000]),
                &duration,
                &words(&[0x1_0000]),
                &[1, 0],
                &[0; 10],
                &identity,
                &[0; 24],
                &words(&[2]),
            ],
        );
        let matrix = if self.turned { &quarter } else { &identity };
        let sides = words(&[i32::from(self.size.0) << 16, i32::from(self.size.1) << 16]);
        let track_header =
            atom(b"tkhd", &[&[0, 0, 0, 7], &created, &created, &words(&[1, 0]), &duration, &[0; 16], matrix, &sides]);
        let handler = atom(b"hdlr", &[&[0; 8], b"vide", &[0; 13]]);
        let track = atom(b"trak", &[&track_header, &atom(b"mdia", &[&handler])]);
        let user = self.place.as_ref().map_or(Vec::new(), |place| {
            let length = (place.len() as u16).to_be_bytes();
            atom(b"udta", &[&atom(b"\xa9xyz", &[&length, &[0x15, 0xc7], place.as_bytes()])])
        });
        let keyed = self.local_time.as_ref().map_or(Vec::new(), |text| {
            let name = atom(b"mdta", &[b"com.apple.quicktime.creationdate"]);
            let keys = atom(b"keys", &[&words(&[0, 1]), &name]);
            let value = atom(b"data", &[&words(&[1, 0]), text.as_bytes()]);
            let values = atom(b"ilst", &[&atom(&[0, 0, 0, 1], &[&value])]);
            atom(b"meta", &[&atom(b"hdlr", &[&[0; 8], b"mdta", &[0; 13]]), &keys, &values])
        });
        atom(b"moov", &[&header, &track, &user, &keyed])
    }
}

/// EXIF to be written. What is `None` is left out; nothing at all gives no block.
#[derive(Debug, Clone, Default)]
pub struct Exif {
    /// 1 to 8.
    pub orientation: Option<u16>,
    /// `YYYY:MM:DD HH:MM:SS`.
    pub original: Option<String>,
    /// `+01:00`.
    pub offset: Option<String>,
    /// Degrees, north and east positive.
    pub gps: Option<(f64, f64)>,
    /// Make and model.
    pub camera: Option<(String, String)>,
    /// Written with the least significant byte first.
    pub little_endian: bool,
}

impl Exif {
    /// The TIFF block, as it stands in a JPEG behind `Exif\0\0` and in a PNG in `eXIf`.
    pub fn block(&self) -> Vec<u8> {
        let mut main = Vec::new();
        if let Some((make, model)) = &self.camera {
            main.push(Field::text(0x010f, make));
            main.push(Field::text(0x0110, model));
        }
        main.extend(self.orientation.map(|value| Field::Short(0x0112, value)));
        let mut photo = Vec::new();
        photo.extend(self.original.as_ref().map(|text| Field::text(0x9003, text)));
        photo.extend(self.offset.as_ref().map(|text| Field::text(0x9011, text)));
        let mut gps = Vec::new();
        if let Some((latitude, longitude)) = self.gps {
            gps.push(Field::text(1, if latitude < 0.0 { "S" } else { "N" }));
            gps.push(Field::degrees(2, latitude));
            gps.push(Field::text(3, if longitude < 0.0 { "W" } else { "E" }));
            gps.push(Field::degrees(4, longitude));
        }
        if main.is_empty() && photo.is_empty() && gps.is_empty() {
            return Vec::new();
        }
        let pointers = usize::from(!photo.is_empty()) + usize::from(!gps.is_empty());
        let photo_at = 8 + main.iter().map(Field::size).sum::<usize>() + 12 * pointers + 6;
        let gps_at = photo_at + if photo.is_empty() { 0 } else { photo.iter().map(Field::size).sum::<usize>() + 6 };
        if !photo.is_empty() {
            main.push(Field::Long(0x8769, photo_at as u32));
        }
        if !gps.is_empty() {
            main.push(Field::Long(0x8825, gps_at as u32));
        }
        let mut out = TiffWriter { bytes: Vec::new(), little: self.little_endian };
        out.bytes.extend(if self.little_endian { b"II" } else { b"MM" });
        out.short(42);
        out.long(8);
        for directory in [main, photo, gps].iter().filter(|directory| !directory.is_empty()) {
            out.directory(directory);
        }
        out.bytes
    }
}

enum Field {
    Short(u16, u16),
    Long(u16, u32),
    Text(u16, Vec<u8>),
    Rationals(u16, [(u32, u32); 3]),
}

impl Field {
    fn text(tag: u16, text: &str) -> Self {
        Self::Text(tag, [text.as_bytes(), &[0]].concat())
    }

    fn degrees(tag: u16, degrees: f64) -> Self {
        let seconds = (degrees.abs() * 3600.0 * 10_000.0).round() as u64;
        let (whole, rest) = (seconds / 36_000_000, seconds % 36_000_000);
        Self::Rationals(tag, [(whole as u32, 1), ((rest / 600_000) as u32, 1), ((rest % 600_000) as u32, 10_000)])
    }

    /// The bytes of the entry and of its values outside it.
    fn size(&self) -> usize {
        12 + match self {
            Self::Text(_, text) if text.len() > 4 => text.len(),
            Self::Rationals(..) => 24,
            _ => 0,
        }
    }
}

struct TiffWriter {
    bytes: Vec<u8>,
    little: bool,
}

impl TiffWriter {
    fn short(&mut self, value: u16) {
        self.bytes.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    fn long(&mut self, value: u32) {
        self.bytes.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    fn directory(&mut self, fields: &[Field]) {
        let mut outside_at = self.bytes.len() + 6 + 12 * fields.len();
        let mut outside = Vec::new();
        self.short(fields.len() as u16);
        for field in fields {
            match field {
                Field::Short(tag, value) => {
                    self.entry(*tag, 3, 1);
                    self.short(*value);
                    self.short(0);
                }
                Field::Long(tag, value) => {
                    self.entry(*tag, 4, 1);
                    self.long(*value);
                }
                Field::Text(tag, text) if text.len() <= 4 => {
                    self.entry(*tag, 2, text.len());
                    self.bytes.extend(text);
                    self.bytes.extend(&[0; 4][text.len()..]);
                }
                Field::Text(tag, text) => {
                    self.entry(*tag, 2, text.len());
                    self.long(outside_at as u32);
                    outside.extend(text);
                    outside_at += text.len();
                }
                Field::Rationals(tag, values) => {
                    self.entry(*tag, 5, 3);
                    self.long(outside_at as u32);
                    let mut writer = Self { bytes: Vec::new(), little: self.little };
                    for (numerator, denominator) in values {
                        writer.long(*numerator);
                        writer.long(*denominator);
                    }
                    outside.extend(writer.bytes);
                    outside_at += 24;
                }
            }
        }
        self.long(0);
        self.bytes.extend(outside);
    }

    fn entry(&mut self, tag: u16, kind: u16, count: usize) {
        self.short(tag);
        self.short(kind);
        self.long(count as u32);
    }
}

fn pixel(x: u32, y: u32, width: u32, height: u32, seed: u64) -> [u8; 3] {
    let quarter = match (x < width.div_ceil(2), y < height.div_ceil(2)) {
        (true, true) => CORNERS.top_left,
        (false, true) => CORNERS.top_right,
        (true, false) => CORNERS.bottom_left,
        (false, false) => CORNERS.bottom_right,
    };
    let mut noise = seed ^ (u64::from(x / 8) << 20) ^ u64::from(y / 8);
    let shade = (next(&mut noise) >> 60) as u8;
    quarter.map(|value| value + shade)
}

/// SplitMix64: enough to tell seeds apart.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn atom(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes(), name.as_slice(), &body].concat()
}

fn words(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
