//! The memory a thumbnail holds at its peak, counted by the allocator of this process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unsafe_code, reason = "an allocator can only be wrapped so")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Cursor,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use jpeg_encoder::{ColorType, Encoder};
use landfall_images::{
    MediaKind, Orientation, ThumbnailLimits, fixture, memory_needed, read_metadata, sniff, thumbnail,
};

/// Counts what is allocated now and what was at most.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, because the count is of the whole process.
#[test]
fn thumbnails_hold_no_more_than_they_ask_for() {
    const MIB: usize = 1 << 20;
    let limits = ThumbnailLimits { memory_bytes: 80 << 20, ..ThumbnailLimits::default() };
    let large_jpeg = peak("JPEG of 24 megapixels", &fixture::jpeg(1, 6000, 4000), &limits);
    assert!(large_jpeg < 20 * MIB, "{large_jpeg}");
    let large_png = peak("PNG of 6 megapixels", &fixture::png(1, 3000, 2000), &limits);
    assert!(large_png < 20 * MIB, "{large_png}");
    peak("JPEG just too small to be scaled while decoding", &fixture::jpeg(1, 1023, 1023), &limits);
    peak("progressive JPEG", &fixture::Jpeg::new(2000, 1500).progressive().bytes(), &limits);
    peak("progressive JPEG of 12 megapixels", &progressive_photo(), &ThumbnailLimits::default());
    for (color, channels) in [(ColorType::Luma, 1), (ColorType::Cmyk, 4)] {
        let mut file = Vec::new();
        Encoder::new(&mut file, 80).encode(&vec![99; 2000 * 1500 * channels], 2000, 1500, color).unwrap();
        peak("grey or CMYK JPEG", &file, &limits);
    }
    peak("WebP", &fixture::webp(1, 1600, 1200), &limits);
    let sent = ThumbnailLimits { edge: 2000, quality: 80, max_bytes: 1_500_000, memory_bytes: 64 << 20 };
    for (width, height) in [(3000, 2000), (4032, 3024), (2000, 1999), (6000, 4000)] {
        peak("JPEG as it is sent", &fixture::jpeg(1, width, height), &sent);
    }
    peak("progressive JPEG as it is sent", &progressive_photo(), &sent);
    peak("PNG as it is sent", &fixture::png(1, 3000, 2000), &sent);
    peak("WebP as it is sent", &fixture::webp(1, 1600, 1200), &sent);

    // Of a movie only the index is read, however long it is.
    let movie = fixture::Movie::mp4(4 * MIB).created(1_612_325_106).bytes();
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let metadata = read_metadata(&mut Cursor::new(&movie), movie.len() as u64, MediaKind::Mp4);
    assert!(metadata.taken_at.is_some());
    let held = PEAK.load(Relaxed) - before;
    assert!(held < 64 << 10, "{held} bytes for the metadata of a movie");
}

/// As phones write them, with half the colours in each direction.
fn progressive_photo() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 80);
    encoder.set_progressive(true);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.encode(&fixture::picture(1, 4000, 3000), 4000, 3000, ColorType::Rgb).unwrap();
    file
}

fn peak(what: &str, file: &[u8], limits: &ThumbnailLimits) -> usize {
    let (mut reader, length, kind) = (Cursor::new(file), file.len() as u64, sniff(file).unwrap());
    let asked = memory_needed(&mut reader, length, kind, limits).unwrap();
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let small = thumbnail(&mut reader, length, kind, Orientation::Upright, limits).unwrap();
    let held = PEAK.load(Relaxed) - before;
    drop(small);
    println!("{what}: held {held} bytes, asked for {asked}");
    assert!(held as u64 <= asked, "{what}: held {held} bytes, asked for {asked}");
    held
}
