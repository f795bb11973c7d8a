//! Any bytes, as whatever they look like and as every format that is parsed.
#![no_main]

use std::io::Cursor;

use landfall_images::{MediaKind, ThumbnailLimits, memory_needed, read_metadata, sniff, thumbnail};
use libfuzzer_sys::fuzz_target;

const PARSED: [MediaKind; 8] = [
    MediaKind::Jpeg,
    MediaKind::Png,
    MediaKind::WebP,
    MediaKind::Tiff,
    MediaKind::Heic,
    MediaKind::Mov,
    MediaKind::Cr3,
    MediaKind::Raf,
];

fuzz_target!(|bytes: &[u8]| {
    let limits = ThumbnailLimits { edge: 64, quality: 50, max_bytes: 10_240, memory_bytes: 4 << 20 };
    // The first byte chooses the kind when the rest does not.
    let Some((&choice, file)) = bytes.split_first() else { return };
    let kind = sniff(file).unwrap_or(PARSED[usize::from(choice) % PARSED.len()]);
    let (mut reader, length) = (Cursor::new(file), file.len() as u64);
    let metadata = read_metadata(&mut reader, length, kind);
    if let Some((latitude, longitude)) = metadata.gps {
        assert!(latitude.abs() <= 90.0 && longitude.abs() <= 180.0);
    }
    let needed = memory_needed(&mut reader, length, kind, &limits);
    if let Ok(small) = thumbnail(&mut reader, length, kind, metadata.orientation, &limits) {
        assert!(needed.is_some_and(|needed| needed <= limits.memory_bytes));
        assert!(small.jpeg.len() <= limits.max_bytes && small.width.max(small.height) <= limits.edge);
    }
});
