//! Whatever the bytes, nothing panics, nothing grows, nothing takes long.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Cursor;

use landfall_images::{
    MediaKind, NoThumbnail, Orientation, ThumbnailLimits, date_from_name, fixture, memory_needed, read_metadata, sniff,
    thumbnail,
};
use proptest::prelude::*;

const LIMITS: ThumbnailLimits = ThumbnailLimits { edge: 64, quality: 50, max_bytes: 10_240, memory_bytes: 8 << 20 };

const KINDS: [MediaKind; 27] = {
    use MediaKind::*;
    [
        Jpeg, Png, Gif, WebP, Heic, Avif, Tiff, Bmp, Jxl, Dng, Cr2, Cr3, Crw, Nef, Arw, Raf, Orf, Rw2, Mp4, Mov,
        ThreeGp, Avi, Mkv, WebM, MpegTs, MpegPs, Wmv,
    ]
};

#[test]
fn a_file_cut_anywhere_is_only_less_of_a_file() {
    for file in files() {
        let kind = sniff(&file).unwrap();
        for length in 0..file.len() {
            survive(&file[..length], kind);
        }
    }
}

#[test]
fn a_file_with_any_bit_flipped_is_survived() {
    for mut file in files() {
        let kind = sniff(&file).unwrap();
        for at in 0..file.len() {
            let mask = 1 << (at % 8);
            file[at] ^= mask;
            survive(&file, kind);
            file[at] ^= mask;
        }
    }
}

#[test]
fn every_number_at_its_largest_is_survived() {
    for file in files() {
        let kind = sniff(&file).unwrap();
        for at in 0..file.len().saturating_sub(4) {
            let mut file = file.clone();
            file[at..at + 4].fill(0xff);
            survive(&file, kind);
        }
    }
}

#[test]
fn sides_of_a_billion_are_refused_before_anything_is_allocated() {
    let mut png = fixture::png(1, 8, 8);
    png[16..24].copy_from_slice(&[0x3b, 0x9a, 0xca, 0, 0x3b, 0x9a, 0xca, 0]);
    assert!(draw(&png).is_err());
    // A single row as long as that is no more welcome than a square of them.
    png[20..24].copy_from_slice(&[0, 0, 0, 1]);
    assert!(draw(&png).is_err());

    let mut jpeg = fixture::jpeg(1, 8, 8);
    let frame = jpeg.windows(2).position(|window| window == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    assert!(draw(&jpeg).is_err());

    let mut webp = fixture::webp(1, 8, 8);
    let body = webp.windows(4).position(|window| window == b"VP8L").unwrap() + 8;
    webp[body + 1..body + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(draw(&webp), Err(NoThumbnail::TooLarge { .. })));
}

#[test]
fn a_thousand_scans_over_one_picture_are_refused() {
    let file = fixture::Jpeg::new(256, 256).progressive().bytes();
    let scans: Vec<usize> = (0..file.len() - 1).filter(|&at| file[at..at + 2] == [0xff, 0xda]).collect();
    let last = &file[scans[scans.len() - 1]..file.len() - 2];
    let bomb = [&file[..file.len() - 2], &last.repeat(1000), &[0xff, 0xd9]].concat();
    assert!(matches!(draw(&bomb), Err(NoThumbnail::Malformed(_))));
}

#[test]
fn metadata_that_looks_like_scans_is_no_scan() {
    let file = fixture::jpeg(1, 64, 64);
    let segment = [&[0xff, 0xe5, 0x10, 0x02], [0xff, 0xda].repeat(2048).as_slice()].concat();
    let file = [&file[..2], &segment, &file[2..]].concat();
    assert!(draw(&file).is_ok());
}

#[test]
fn directories_that_point_at_themselves_end() {
    // One directory whose EXIF, GPS, children and successor are all itself.
    let mut file = b"II*\0\x08\0\0\0\x03\0".to_vec();
    for tag in [0x8769u16, 0x8825, 0x14a] {
        file.extend(tag.to_le_bytes());
        file.extend([4, 0, 1, 0, 0, 0, 8, 0, 0, 0]);
    }
    file.extend([8, 0, 0, 0]);
    survive(&file, MediaKind::Tiff);
    survive(&file, MediaKind::Dng);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_as_any_kind(bytes in proptest::collection::vec(any::<u8>(), 0..2000), kind in 0..KINDS.len()) {
        let _ = sniff(&bytes);
        survive(&bytes, KINDS[kind]);
    }

    #[test]
    fn the_right_beginning_does_not_help(
        which in 0..6usize,
        keep in 8..200usize,
        rest in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let files = files();
        let file = &files[which % files.len()];
        let kind = sniff(file).unwrap();
        let mixed = [&file[..keep.min(file.len())], &rest].concat();
        survive(&mixed, kind);
    }

    #[test]
    fn any_name_is_searched_for_a_date(name in ".{0,40}", digits in "[0-9_. -]{0,40}") {
        let _ = date_from_name(&name);
        let _ = date_from_name(&digits);
        let _ = date_from_name(&format!("{digits}{name}"));
    }
}

/// Small files of every format that is parsed.
fn files() -> Vec<Vec<u8>> {
    let photo = fixture::Jpeg::new(16, 8).orientation(6).taken("2021:02:03 04:05:06", Some("+01:00")).gps(1.5, -2.5);
    let exif = fixture::Exif { orientation: Some(8), gps: Some((3.0, 4.0)), ..fixture::Exif::default() };
    vec![
        photo.bytes(),
        photo.progressive().bytes(),
        fixture::png(1, 16, 8),
        fixture::webp(1, 16, 8),
        exif.block(),
        fixture::Movie::mov(10)
            .created(1_612_325_106)
            .local_time("2021-02-03T05:05:06+0100")
            .place("+1.5-002.5/")
            .bytes(),
    ]
}

/// Does everything with the bytes that can be done, and checks what must hold however wrong they are.
fn survive(file: &[u8], kind: MediaKind) {
    let (mut reader, length) = (Cursor::new(file), file.len() as u64);
    let metadata = read_metadata(&mut reader, length, kind);
    if let Some((latitude, longitude)) = metadata.gps {
        assert!(latitude.abs() <= 90.0 && longitude.abs() <= 180.0);
    }
    let _ = read_metadata(&mut reader, length.saturating_mul(1000), kind);
    let needed = memory_needed(&mut reader, length, kind, &LIMITS);
    match thumbnail(&mut reader, length, kind, metadata.orientation, &LIMITS) {
        Ok(small) => {
            assert!(needed.is_some_and(|needed| needed <= LIMITS.memory_bytes));
            assert!(small.width.max(small.height) <= LIMITS.edge && small.jpeg.len() <= LIMITS.max_bytes);
        }
        // A panic inside a decoder is caught and reported so: here it is a bug.
        Err(NoThumbnail::Malformed(why)) => assert_ne!(why, "the decoder failed"),
        Err(NoThumbnail::TooLarge { needed_bytes }) => assert!(needed_bytes > LIMITS.memory_bytes),
        Err(_) => {}
    }
}

fn draw(file: &[u8]) -> Result<landfall_images::Thumbnail, NoThumbnail> {
    let limits = ThumbnailLimits { memory_bytes: 40 << 20, ..LIMITS };
    thumbnail(&mut Cursor::new(file), file.len() as u64, sniff(file).unwrap(), Orientation::Upright, &limits)
}
