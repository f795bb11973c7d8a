//! Thumbnails are upright, small, and true to the picture.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Cursor;

use landfall_images::{
    MediaKind, NoThumbnail, Orientation, Thumbnail, ThumbnailLimits, fixture, memory_needed, placeholder,
    read_metadata, sniff, thumbnail,
};

const LIMITS: ThumbnailLimits = ThumbnailLimits { edge: 512, quality: 50, max_bytes: 102_400, memory_bytes: 40 << 20 };

#[test]
fn every_orientation_becomes_upright_once() {
    for value in 1..=8 {
        let small = of(&fixture::Jpeg::new(900, 600).orientation(value).bytes());
        assert_eq!((small.width, small.height), (512, 341), "orientation {value}");
        assert_upright(&small, value);
        let metadata = read_metadata(&mut Cursor::new(&small.jpeg), small.jpeg.len() as u64, MediaKind::Jpeg);
        assert_eq!(metadata.orientation, Orientation::Upright, "a viewer must not turn it again");
        assert!(!small.jpeg.windows(4).any(|window| window == b"Exif"));
    }
}

#[test]
fn small_pictures_keep_their_size() {
    let small = of(&fixture::jpeg(1, 100, 60));
    assert_eq!((small.width, small.height), (100, 60));
    let small = of(&fixture::Jpeg::new(60, 100).orientation(6).bytes());
    assert_eq!((small.width, small.height), (60, 100));
}

#[test]
fn progressive_pictures_and_other_formats_look_the_same() {
    let files =
        [fixture::Jpeg::new(1200, 800).progressive().bytes(), fixture::png(0, 1200, 800), fixture::webp(0, 1200, 800)];
    for file in files {
        let small = of(&file);
        assert_eq!((small.width, small.height), (512, 341));
        assert_upright(&small, 1);
    }
}

#[test]
fn extreme_proportions_keep_at_least_one_pixel() {
    for (width, height) in [(20_000, 1), (1, 20_000), (5000, 3)] {
        let small = of(&fixture::png(3, width, height));
        assert_eq!(small.width.max(small.height), 512);
        assert!(small.width.min(small.height) >= 1);
    }
}

#[test]
fn png_by_rows_equals_the_picture_shrunk_whole() {
    let (width, height) = (1500, 1100);
    let by_rows = pixels(&of(&fixture::png(7, width, height)).jpeg);
    // The interlaced path decodes the picture whole; a JPEG of high quality is another witness.
    let whole = pixels(&of(&fixture::Jpeg::new(width as u16, height as u16).seed(7).quality(100).bytes()).jpeg);
    assert_eq!(by_rows.len(), whole.len());
    let difference: u64 = by_rows.iter().zip(&whole).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let mean = difference as f64 / by_rows.len() as f64;
    assert!(mean < 2.0, "the mean difference is {mean}");
}

#[test]
fn png_of_every_depth_and_colour_is_drawn() {
    use png::{BitDepth, ColorType};
    for (color, depth, bytes_per_row, value) in [
        (ColorType::Grayscale, BitDepth::One, 8, 0xff),
        (ColorType::Grayscale, BitDepth::Four, 32, 0xff),
        (ColorType::Grayscale, BitDepth::Sixteen, 128, 0xff),
        (ColorType::GrayscaleAlpha, BitDepth::Eight, 128, 0x00),
        (ColorType::Rgb, BitDepth::Sixteen, 384, 0xff),
        (ColorType::Rgba, BitDepth::Eight, 256, 0x00),
        (ColorType::Rgba, BitDepth::Sixteen, 512, 0x00),
        (ColorType::Indexed, BitDepth::Eight, 64, 0x01),
    ] {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 64, 64);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(vec![0, 0, 0, 255, 255, 255]);
        }
        let rows = vec![value; bytes_per_row * 64];
        encoder.write_header().unwrap().write_image_data(&rows).unwrap();
        // Full light, or nothing at all on white paper: both are white.
        let shown = pixels(&of(&file).jpeg);
        assert!(shown.iter().all(|&value| value > 250), "{color:?} {depth:?}");
    }
}

#[test]
fn grey_and_cmyk_jpegs_have_their_colours() {
    use jpeg_encoder::{ColorType, Encoder};
    for (color, pixel, shown) in [
        (ColorType::Luma, vec![90], [90, 90, 90]),
        // No ink but cyan, in the inverted form every writer uses.
        (ColorType::CmykAsYcck, vec![255, 0, 0, 0], [0, 255, 255]),
        (ColorType::Cmyk, vec![255, 0, 0, 0], [0, 255, 255]),
        (ColorType::Cmyk, vec![0, 0, 0, 255], [0, 0, 0]),
    ] {
        let mut file = Vec::new();
        Encoder::new(&mut file, 95).encode(&pixel.repeat(64 * 64), 64, 64, color).unwrap();
        let small = pixels(&of(&file).jpeg);
        for (value, expected) in small[..3].iter().zip(shown) {
            assert!(value.abs_diff(expected) < 12, "{color:?}: {:?} instead of {shown:?}", &small[..3]);
        }
    }
}

#[test]
fn noise_is_coarsened_until_it_fits() {
    // Independent random bytes are the worst there is for JPEG.
    let mut state = 1u32;
    let mut file = Vec::new();
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(512 * 512 * 3)
    .collect();
    let mut encoder = png::Encoder::new(&mut file, 512, 512);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&noise).unwrap();
    for max_bytes in [102_400, 20_000, 3000, 1000] {
        let limits = ThumbnailLimits { max_bytes, ..LIMITS };
        let small = with(&file, &limits).unwrap();
        assert!(small.jpeg.len() <= max_bytes, "{} of {max_bytes}", small.jpeg.len());
        assert!(small.width >= 8, "{} pixels in {max_bytes} bytes", small.width);
    }
    assert_eq!(with(&file, &ThumbnailLimits { max_bytes: 100, ..LIMITS }), Err(NoThumbnail::Unsupported));
}

#[test]
fn what_does_not_fit_the_memory_says_how_much_would() {
    let interlaced_header = {
        let mut file = fixture::png(0, 16, 16);
        file[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        file[28] = 1;
        file
    };
    let Err(NoThumbnail::TooLarge { needed_bytes }) = with(&interlaced_header, &LIMITS) else { panic!("it is 1 GiB") };
    assert!(needed_bytes >= 1 << 30);
    let asked =
        memory_needed(&mut Cursor::new(&interlaced_header), interlaced_header.len() as u64, MediaKind::Png, &LIMITS);
    assert_eq!(asked, Some(needed_bytes));

    let progressive = fixture::Jpeg::new(1600, 1200).progressive().bytes();
    let Err(NoThumbnail::TooLarge { needed_bytes }) =
        with(&progressive, &ThumbnailLimits { memory_bytes: 4 << 20, ..LIMITS })
    else {
        panic!("its coefficients alone are 5.8 MB")
    };
    assert!(with(&progressive, &ThumbnailLimits { memory_bytes: needed_bytes, ..LIMITS }).is_ok());
}

#[test]
fn raw_files_show_the_preview_of_their_camera() {
    let preview = fixture::jpeg(5, 1024, 768);
    // One directory: NewSubfileType, Orientation, JPEG offset and length, DNGVersion.
    let mut file = b"II*\0\x08\0\0\0\x05\0".to_vec();
    let place = 8 + 2 + 5 * 12 + 4;
    for (tag, kind, value) in
        [(0xfeu16, 4u16, 1u32), (0x112, 3, 6), (0x201, 4, place), (0x202, 4, preview.len() as u32), (0xc612, 1, 1)]
    {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend(preview);
    assert_eq!(sniff(&file), Some(MediaKind::Dng));
    let small = of(&file);
    assert_eq!((small.width, small.height), (384, 512), "the raw file's orientation turns its preview");
}

#[test]
fn kinds_without_a_decoder_say_so_before_memory_is_asked_for() {
    for kind in [MediaKind::Heic, MediaKind::Gif, MediaKind::Mp4, MediaKind::Crw] {
        let mut reader = Cursor::new(vec![0; 100]);
        let drawn = thumbnail(&mut reader, 100, kind, Orientation::Upright, &LIMITS);
        assert_eq!(drawn, Err(NoThumbnail::Unsupported));
        assert_eq!(memory_needed(&mut reader, 100, kind, &LIMITS), None);
    }
}

#[test]
fn a_source_that_fails_is_told_from_a_damaged_picture() {
    struct Broken(Cursor<Vec<u8>>);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() > 10_000 {
                return Err(std::io::Error::other("the card was pulled out"));
            }
            self.0.read(buffer)
        }
    }
    impl std::io::Seek for Broken {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let file = fixture::jpeg(1, 2000, 1500);
    let length = file.len() as u64;
    let drawn =
        thumbnail(&mut Broken(Cursor::new(file.clone())), length, MediaKind::Jpeg, Orientation::Upright, &LIMITS);
    assert!(matches!(drawn, Err(NoThumbnail::Unreadable(_))), "{drawn:?}");
    let cut = &file[..file.len() / 2];
    assert!(matches!(with(cut, &LIMITS), Err(NoThumbnail::Malformed(_))));
}

#[test]
fn the_placeholder_is_a_tiny_jpeg() {
    assert_eq!(sniff(placeholder()), Some(MediaKind::Jpeg));
    assert!(placeholder().len() < 1024);
    assert!(pixels(placeholder()).iter().all(|&value| value == placeholder_grey()));
}

fn placeholder_grey() -> u8 {
    0x30
}

fn of(file: &[u8]) -> Thumbnail {
    with(file, &LIMITS).unwrap()
}

fn with(file: &[u8], limits: &ThumbnailLimits) -> Result<Thumbnail, NoThumbnail> {
    let kind = sniff(file).unwrap();
    let (mut reader, length) = (Cursor::new(file), file.len() as u64);
    let orientation = read_metadata(&mut reader, length, kind).orientation;
    thumbnail(&mut reader, length, kind, orientation, limits)
}

fn pixels(jpeg: &[u8]) -> Vec<u8> {
    jpeg_decoder::Decoder::new(jpeg).decode().unwrap()
}

fn assert_upright(small: &Thumbnail, value: u16) {
    let rgb = pixels(&small.jpeg);
    let (width, height) = (small.width as usize, small.height as usize);
    let at = |x: usize, y: usize| &rgb[(y * width + x) * 3..][..3];
    let corners = fixture::CORNERS;
    for (place, shown, expected) in [
        ("top left", at(9, 9), corners.top_left),
        ("top right", at(width - 10, 9), corners.top_right),
        ("bottom left", at(9, height - 10), corners.bottom_left),
        ("bottom right", at(width - 10, height - 10), corners.bottom_right),
    ] {
        let near = shown.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 40);
        assert!(near, "orientation {value}: {place} is {shown:?} instead of {expected:?}");
    }
}
