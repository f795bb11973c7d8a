//! Photos are sent upright, within their limits, and without what the camera noted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Cursor;

use landfall_images::{
    MediaKind, NoThumbnail, Orientation, PhotoLimits, Thumbnail, fixture, photo, read_metadata, sniff,
};

fn sent(file: &[u8], limits: &PhotoLimits) -> Result<Thumbnail, NoThumbnail> {
    let (kind, length) = (sniff(&file[..4096.min(file.len())]).unwrap(), file.len() as u64);
    let orientation = read_metadata(&mut Cursor::new(file), length, kind).orientation;
    photo(&mut Cursor::new(file), length, kind, orientation, limits)
}

#[test]
fn a_photo_is_upright_and_says_neither_where_nor_when_nor_by_which_camera() {
    for value in 1..=8 {
        let taken = fixture::Jpeg::new(1200, 800).orientation(value).taken("2021:02:03 04:05:06", Some("+01:00"));
        let file = taken.gps(48.2, 16.37).camera("Make", "Model").bytes();
        let sent = sent(&file, &PhotoLimits { edge: 600, ..PhotoLimits::default() }).unwrap();
        // The fixture is drawn so that it is upright once it is turned.
        assert_eq!((sent.width, sent.height), (600, 400), "orientation {value}");
        let found = read_metadata(&mut Cursor::new(&sent.jpeg), sent.jpeg.len() as u64, MediaKind::Jpeg);
        assert_eq!((found.orientation, found.taken_at, found.gps), (Orientation::Upright, None, None));
        for word in [&b"Exif"[..], b"Make", b"http://ns.adobe.com", b"ICC_PROFILE"] {
            assert!(!sent.jpeg.windows(word.len()).any(|window| window == word));
        }
    }
}

#[test]
fn a_photo_keeps_to_its_edge_and_to_its_bytes() {
    let file = fixture::Jpeg::new(3000, 2000).quality(95).bytes();
    let whole = sent(&file, &PhotoLimits::default()).unwrap();
    assert_eq!((whole.width, whole.height), (2000, 1333));
    for max_bytes in [1_000_000, 100_000, 20_000] {
        let small = sent(&file, &PhotoLimits { max_bytes, ..PhotoLimits::default() }).unwrap();
        assert!(small.jpeg.len() <= max_bytes, "{} of {max_bytes}", small.jpeg.len());
    }
    let small = fixture::Jpeg::new(300, 200).bytes();
    assert_eq!(sent(&small, &PhotoLimits::default()).unwrap().width, 300, "it is not enlarged");
}

#[test]
fn a_photo_that_needs_more_memory_than_there_is_becomes_smaller_and_is_sent() {
    let file = fixture::Jpeg::new(4000, 3000).bytes();
    let limits = PhotoLimits { edge: 3000, memory_bytes: 12 << 20, ..PhotoLimits::default() };
    let sent = sent(&file, &limits).unwrap();
    assert!((256..3000).contains(&sent.width), "{}", sent.width);
}

#[test]
fn a_kind_that_nothing_here_draws_is_told_and_not_sent_with_all_that_is_in_it() {
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    let answer = photo(
        &mut Cursor::new(heic),
        heic.len() as u64,
        MediaKind::Heic,
        Orientation::Upright,
        &PhotoLimits::default(),
    );
    assert_eq!(answer, Err(NoThumbnail::Unsupported));
}
