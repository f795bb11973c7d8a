//! What pictures and movies say of themselves is read, and nothing else is made up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Cursor;

use landfall_images::{MediaClass, MediaKind, Metadata, Orientation, fixture, read_metadata, sniff};

#[test]
fn a_photo_tells_when_where_and_with_what() {
    let file = fixture::Jpeg::new(64, 48)
        .orientation(6)
        .taken("2021:02:03 04:05:06", Some("-09:30"))
        .gps(-33.856_784, 151.215_297)
        .camera("Acme", "Pinhole 2");
    let metadata = of(&file.bytes());
    assert_eq!(metadata.taken_at.unwrap().to_string(), "2021-02-03T04:05:06-09:30");
    assert_eq!(metadata.taken_at.unwrap().unix_micros(), Some((1_612_325_106 + 34_200) * 1_000_000));
    assert_eq!(metadata.orientation, Orientation::QuarterClockwise);
    assert_eq!((metadata.width, metadata.height), (Some(48), Some(64)));
    assert_eq!(metadata.upright_size(), Some((64, 48)));
    assert_near(metadata.gps, -33.856_784, 151.215_297);
    assert_eq!(metadata.camera_make.as_deref(), Some("Acme"));
    assert_eq!(metadata.camera_model.as_deref(), Some("Pinhole 2"));
    assert!(!metadata.malformed);
}

#[test]
fn another_reader_of_exif_agrees() {
    for (latitude, longitude) in [(48.2, 16.37), (-0.001, -179.999_9), (89.999, 0.25)] {
        let file = fixture::Jpeg::new(16, 16)
            .orientation(3)
            .taken("1999:12:31 23:59:58", None)
            .gps(latitude, longitude)
            .bytes();
        let theirs = exif::Reader::new().read_from_container(&mut Cursor::new(&file)).unwrap();
        let field = |tag| theirs.get_field(tag, exif::In::PRIMARY).unwrap();
        assert_eq!(field(exif::Tag::Orientation).value.get_uint(0), Some(3));
        assert_eq!(field(exif::Tag::DateTimeOriginal).display_value().to_string(), "1999-12-31 23:59:58");
        let degrees = |tag| match &field(tag).value {
            exif::Value::Rational(parts) => parts[0].to_f64() + parts[1].to_f64() / 60.0 + parts[2].to_f64() / 3600.0,
            other => panic!("{other:?}"),
        };
        let (ours_latitude, ours_longitude) = of(&file).gps.unwrap();
        assert!((ours_latitude.abs() - degrees(exif::Tag::GPSLatitude)).abs() < 1e-9);
        assert!((ours_longitude.abs() - degrees(exif::Tag::GPSLongitude)).abs() < 1e-9);
        assert_near(Some((ours_latitude, ours_longitude)), latitude, longitude);
    }
}

#[test]
fn png_webp_and_tiff_carry_the_same_exif() {
    let exif = fixture::Exif {
        orientation: Some(8),
        original: Some("2021:02:03 04:05:06".to_owned()),
        little_endian: true,
        ..fixture::Exif::default()
    };
    let block = exif.block();
    let png = {
        let file = fixture::png(1, 20, 10);
        let (head, rest) = file.split_at(33);
        [head, &(block.len() as u32).to_be_bytes(), b"eXIf", &block, &[0; 4], rest].concat()
    };
    let webp = {
        let mut file = Vec::new();
        let mut encoder = image_webp::WebPEncoder::new(&mut file);
        encoder.set_exif_metadata(block.clone());
        encoder.encode(&fixture::picture(1, 20, 10), 20, 10, image_webp::ColorType::Rgb8).unwrap();
        file
    };
    for file in [png, webp] {
        let metadata = of(&file);
        assert_eq!(metadata.orientation, Orientation::QuarterCounterclockwise);
        assert_eq!(metadata.taken_at.unwrap().to_string(), "2021-02-03T04:05:06");
        assert_eq!((metadata.width, metadata.height), (Some(20), Some(10)));
        assert!(!metadata.malformed);
    }
    let metadata = of(&block);
    assert_eq!(metadata.orientation, Orientation::QuarterCounterclockwise);
    assert_eq!(metadata.taken_at.unwrap().unix_micros(), None);
}

#[test]
fn a_movie_tells_when_where_and_how_long() {
    for movie in [fixture::Movie::mp4(5000), fixture::Movie::mov(5000), fixture::Movie::mp4(5000).index_first()] {
        let metadata = of(&movie.created(1_612_325_106).place("+27.5916+086.5640+8850/").duration_ms(61_500).bytes());
        assert_eq!(metadata.taken_at.unwrap().to_string(), "2021-02-03T04:05:06+00:00");
        assert_near(metadata.gps, 27.5916, 86.5640);
        assert_eq!(metadata.duration_ms, Some(61_500));
        assert_eq!(metadata.upright_size(), Some((1280, 720)));
        assert!(!metadata.malformed);
    }
}

#[test]
fn the_camera_knows_the_local_time_of_a_movie_better_than_the_container() {
    let movie = fixture::Movie::mov(100).created(1_612_325_106).local_time("2021-02-03T05:05:06+0100").turned();
    let metadata = of(&movie.bytes());
    assert_eq!(metadata.taken_at.unwrap().to_string(), "2021-02-03T05:05:06+01:00");
    assert_eq!(metadata.taken_at.unwrap().unix_micros(), Some(1_612_325_106_000_000));
    assert_eq!(metadata.orientation, Orientation::QuarterClockwise);
    assert_eq!(metadata.upright_size(), Some((720, 1280)));
}

#[test]
fn heif_says_its_size_its_turning_and_its_exif() {
    let metadata = of(&heif(*b"heic"));
    assert_eq!((metadata.width, metadata.height), (Some(4032), Some(3024)));
    assert_eq!(metadata.orientation, Orientation::QuarterClockwise, "the property counts, not the EXIF");
    assert_eq!(metadata.taken_at.unwrap().to_string(), "2021-02-03T04:05:06");
    assert!(!metadata.malformed);
    assert_eq!(sniff(&heif(*b"avif")), Some(MediaKind::Avif));
}

#[test]
fn places_that_are_none_are_left_out() {
    for (latitude, longitude) in [(0.0, 0.0), (91.0, 0.0), (10.0, 181.0)] {
        assert_eq!(of(&fixture::Jpeg::new(8, 8).gps(latitude, longitude).bytes()).gps, None);
    }
}

#[test]
fn nonsense_leaves_the_rest_readable() {
    let file = fixture::Jpeg::new(8, 8).orientation(9).taken("2021:02:30 25:00:00", None).camera("Acme", "\u{1}\u{2}");
    let metadata = of(&file.bytes());
    assert_eq!(metadata.orientation, Orientation::Upright);
    assert_eq!(metadata.taken_at, None);
    assert_eq!(metadata.camera_make.as_deref(), Some("Acme"));
    assert_eq!(metadata.camera_model, None);
}

#[test]
fn kinds_are_told_by_content() {
    use MediaKind::*;
    let ts = [&[0x47u8][..], &[0; 187]].concat().repeat(4);
    let m2ts = [&[0u8, 0, 0, 0, 0x47][..], &[0; 187]].concat().repeat(4);
    let bmp = [b"BM\x10\x10\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".as_slice(), &[0; 40]].concat();
    let asf = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c rest";
    let cases: Vec<(&[u8], MediaKind)> = vec![
        (b"\xff\xd8\xff\xe1", Jpeg),
        (b"GIF89a", Gif),
        (b"RIFF\0\0\0\0WEBPVP8 ", WebP),
        (b"RIFF\0\0\0\0AVI LIST", Avi),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Heic),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", Heic),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", Avif),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", Avif),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", Cr3),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", Mov),
        (b"\0\0\0\x14ftypM4V \0\0\0\0isom", Mp4),
        (b"\0\0\0\x14ftypmp42\0\0\0\0isom", Mp4),
        (b"\0\0\0\x14ftyp3gp5\0\0\0\0isom", ThreeGp),
        (b"\0\0\0\x08wide\0\0\0\0mdat", Mov),
        (b"\0\0\x10\0moov\0\0\0\x6cmvhd", Mov),
        (b"\0\0\0\x0cJXL \r\n\x87\n", Jxl),
        (b"II*\0\x10\0\0\0CR\x02\0", Cr2),
        (b"II*\0\x08\0\0\0\0\0", Tiff),
        (b"MM\0*\0\0\0\x08\0\0", Tiff),
        (b"FUJIFILMCCD-RAW 0201", Raf),
        (b"IIRO\x08\0\0\0", Orf),
        (b"IIU\0\x18\0\0\0", Rw2),
        (b"II\x1a\0\0\0HEAPCCDR", Crw),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", WebM),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", Mkv),
        (b"\0\0\x01\xba\x44", MpegPs),
        (asf, Wmv),
        (&ts, MpegTs),
        (&m2ts, MpegTs),
        (&bmp, Bmp),
    ];
    for (head, kind) in cases {
        assert_eq!(sniff(head), Some(kind), "{kind}");
        for length in 0..head.len() {
            let _ = sniff(&head[..length]);
        }
    }
    let foreign: [&[u8]; 9] = [
        b"",
        b"carefree",
        b"BM is a magazine about things",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"\0\0\0\x14ftypM4A \0\0\0\0isom",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"{\"json\": true}",
        b"ID3\x04",
    ];
    for head in foreign {
        assert_eq!(sniff(head), None, "{}", String::from_utf8_lossy(head));
    }
    assert_eq!(Mov.class(), MediaClass::Video);
    assert_eq!(Dng.class(), MediaClass::Image);
}

#[test]
fn raw_makers_are_told_by_their_first_directory() {
    for (make, tag, kind) in [
        ("NIKON CORPORATION\0", 0x14a, MediaKind::Nef),
        ("SONY\0", 0x201, MediaKind::Arw),
        ("NIKON CORPORATION\0", 0x100, MediaKind::Tiff),
        ("Acme\0", 0xc612, MediaKind::Dng),
    ] {
        let mut file = b"II*\0\x08\0\0\0\x02\0".to_vec();
        for (tag, kind, count, value) in [(0x10fu16, 2u16, make.len() as u32, 38u32), (tag, 4, 1, 0)] {
            file.extend(tag.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend(count.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
        file.extend([0; 4]);
        file.extend(make.as_bytes());
        assert_eq!(sniff(&file), Some(kind), "{make}");
    }
}

fn of(file: &[u8]) -> Metadata {
    let kind = sniff(&file[..file.len().min(4096)]).unwrap();
    read_metadata(&mut Cursor::new(file), file.len() as u64, kind)
}

fn assert_near(gps: Option<(f64, f64)>, latitude: f64, longitude: f64) {
    let (found_latitude, found_longitude) = gps.unwrap();
    assert!((found_latitude - latitude).abs() < 1e-6, "{found_latitude} instead of {latitude}");
    assert!((found_longitude - longitude).abs() < 1e-6, "{found_longitude} instead of {longitude}");
}

/// A HEIF file of two items: a picture without content, and its EXIF.
fn heif(brand: [u8; 4]) -> Vec<u8> {
    let exif = fixture::Exif {
        orientation: Some(3),
        original: Some("2021:02:03 04:05:06".to_owned()),
        ..fixture::Exif::default()
    };
    let content = [&6u32.to_be_bytes(), b"Exif\0\0".as_slice(), &exif.block()].concat();
    let file_type = atom(b"ftyp", &[&brand, &[0; 4], b"mif1", &brand]);
    let index = |content_at: u32| {
        let entry = |item: u8, kind: &[u8]| atom(b"infe", &[&[2, 0, 0, 0, 0, item, 0, 0], kind, &[0]]);
        let items = atom(b"iinf", &[&[0, 0, 0, 0, 0, 2], &entry(1, b"hvc1"), &entry(2, b"Exif")]);
        let sides = [4032u32.to_be_bytes(), 3024u32.to_be_bytes()].concat();
        let properties = atom(b"ipco", &[&atom(b"ispe", &[&[0; 4], &sides]), &atom(b"irot", &[&[3]])]);
        let associations = atom(b"ipma", &[&[0; 4], &[0, 0, 0, 1, 0, 1, 2, 0x81, 0x82]]);
        let length = (content.len() as u32).to_be_bytes();
        let place = [[0, 2, 0, 0, 0, 1].as_slice(), &content_at.to_be_bytes(), &length].concat();
        let locations = atom(b"iloc", &[&[0, 0, 0, 0, 0x44, 0, 0, 1], &place]);
        let primary = atom(b"pitm", &[&[0, 0, 0, 0, 0, 1]]);
        atom(b"meta", &[&[0; 4], &primary, &items, &locations, &atom(b"iprp", &[&properties, &associations])])
    };
    let content_at = file_type.len() + index(0).len() + 8;
    [file_type, index(content_at as u32), atom(b"mdat", &[&content])].concat()
}

fn atom(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes(), name.as_slice(), &body].concat()
}
