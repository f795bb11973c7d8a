use std::ops::Range;

use crc_fast::CrcAlgorithm::Crc32IsoHdlc;
use proptest::{collection::vec, prelude::*};

use super::{
    reader::{self, Directory},
    *,
};

#[test]
fn an_archive_has_the_entries_it_was_made_of() {
    let archive = Archive::new(&[("video/ü.mp4", b"frames".as_slice()), ("actions.json", b"[]"), ("empty", b"")]);
    let directory = archive.directory();
    assert!(!directory.wide);
    let names: Vec<_> = directory.found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["actions.json", "empty", "video/ü.mp4"]);
    for (found, given) in directory.found.iter().zip([1, 2, 0]) {
        let entry = &archive.entries[given];
        assert_eq!((found.method, found.crc32, found.size), (0, entry.crc32, entry.size));
        assert_eq!(archive.bytes(found.content.clone()), archive.contents[given]);
        assert_eq!(found.wide, (false, false));
    }
}

#[test]
fn an_archive_without_entries_is_one() {
    let archive = Archive::new(&[]);
    assert_eq!(archive.layout.size(), 22);
    assert!(archive.directory().found.is_empty());
}

#[test]
fn the_bytes_of_an_archive_are_fixed() {
    let archive = Archive::new(&[("a/b", b"x".as_slice())]);
    let expected = "504b0304 1400 0008 0000 0000 2100 8316dc8c 01000000 01000000 0300 0000 612f62 78 \
                    504b0102 3f03 1400 0008 0000 0000 2100 8316dc8c 01000000 01000000 0300 0000 \
                    0000 0000 0000 0000a481 00000000 612f62 \
                    504b0506 0000 0000 0100 0100 31000000 22000000 0000";
    assert_eq!(hex::encode(archive.bytes(0..archive.layout.size())), expected.replace(' ', ""));
}

#[test]
fn the_order_in_which_entries_are_given_does_not_matter() {
    let (one, other) = (("b", b"1".as_slice()), ("a", b"2".as_slice()));
    let (straight, turned) = (Archive::new(&[one, other]), Archive::new(&[other, one]));
    let size = straight.layout.size();
    assert_eq!(straight.bytes(0..size), turned.bytes(0..size));
}

#[test]
fn a_deflated_entry_is_told_as_such() {
    let entry = Entry { size: 1000, method: Method::Deflated, ..zeros("a", 30) };
    let directory = Archive::of(vec![entry]).directory();
    let found = &directory.found[0];
    assert_eq!((found.method, found.size, found.content.clone()), (8, 1000, 31..61));
}

#[test]
fn a_range_beyond_the_end_has_what_is_there() {
    let archive = Archive::new(&[("a", b"x".as_slice())]);
    let size = archive.layout.size();
    assert_eq!(archive.bytes(size - 2..u64::MAX), [0, 0]);
    assert_eq!(archive.layout.pieces(size..u64::MAX).next(), None);
    assert_eq!(archive.layout.pieces(u64::MAX..u64::MAX).next(), None);
    assert_eq!(archive.layout.pieces(2..2).next(), None);
}

#[test]
fn wide_fields_are_there_exactly_where_they_are_needed() {
    const LAST: u64 = u32::MAX as u64 - 1;
    for (size, is_wide) in [(0, false), (LAST, false), (LAST + 1, true), (LAST + 2, true), (u64::MAX >> 8, true)] {
        let found = Archive::of(vec![zeros("a", size)]).directory().found;
        assert_eq!(found[0].wide, (is_wide, is_wide), "{size}");
        assert_eq!(found[0].size, size);
        // The lengths that are wide are those of the file, of the archive, or both.
        let deflated = Entry { stored: 1000, method: Method::Deflated, ..zeros("a", size) };
        let found = Archive::of(vec![deflated]).directory().found;
        assert_eq!((found[0].wide, found[0].size), ((is_wide, is_wide), size));
        let grown = Entry { stored: size.max(2), method: Method::Deflated, ..zeros("a", 1000) };
        let found = Archive::of(vec![grown]).directory().found;
        assert_eq!((found[0].wide, found[0].size), ((is_wide, is_wide), 1000));
    }
    // The header of the second starts 31 bytes and a content after that of the first.
    for (offset, is_wide) in [(LAST, false), (LAST + 1, true), (LAST + 2, true)] {
        let directory = Archive::of(vec![zeros("a", offset - 31), zeros("b", 0)]).directory();
        assert_eq!(directory.found[0].wide, (false, false), "{offset}");
        assert_eq!(directory.found[1].wide, (false, is_wide), "{offset}");
        assert!(directory.wide);
    }
    let both = Archive::of(vec![zeros("a", 5 << 30), zeros("b", 6 << 30)]).directory();
    assert_eq!((both.found[1].wide, both.found[1].size), ((true, true), 6 << 30));
    for (offset, is_wide) in [(LAST, false), (LAST + 1, true)] {
        assert_eq!(Archive::of(vec![zeros("a", offset - 31)]).directory().wide, is_wide, "{offset}");
    }
}

#[test]
fn the_end_is_wide_from_65_535_entries_on() {
    for (count, is_wide) in [(65_534, false), (65_535, true), (70_000, true)] {
        let directory = Archive::of((0..count).map(|number| zeros(&format!("{number:06}"), 3)).collect()).directory();
        assert_eq!((directory.found.len(), directory.wide), (count, is_wide));
    }
}

#[test]
fn a_piece_of_the_format_takes_little_memory() {
    let archive = Archive::of((0..20_000).map(|number| zeros(&format!("{number:0>1000}"), 0)).collect());
    let mut sum = 0;
    for piece in archive.layout.pieces(0..archive.layout.size()) {
        let Piece::Bytes(bytes) = piece else { panic!("every entry is empty") };
        assert!(bytes.len() < GATHERED_BYTES + 1100);
        sum += bytes.len() as u64;
    }
    assert_eq!(sum, archive.layout.size());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (name, why) in [
        ("", "empty"),
        ("/a", "absolute"),
        ("C:/a", "absolute"),
        ("c:a", "absolute"),
        ("../a", "leads out"),
        ("a/../b", "leads out"),
        ("a/..", "leads out"),
        ("a\\b", "backslash"),
        ("a\0b", "zero byte"),
        ("a//b", "empty or a dot"),
        ("a/", "empty or a dot"),
        ("./a", "empty or a dot"),
    ] {
        let message = refusal(vec![zeros(name, 0)]).to_string();
        assert!(message.contains(why) && message.ends_with("give it another one"), "{name:?}: {message}");
    }
    let long = "n".repeat(NAME_BYTES_MAX);
    assert!(refusal(vec![zeros(&format!("{long}n"), 0)]).to_string().contains("too long"));
    for name in ["...", "..a/b..", "12:30", "ü/日本.jpg", ".hidden", " ", &long] {
        assert_eq!(Archive::of(vec![zeros(name, 1)]).directory().found[0].name, name);
    }
}

#[test]
fn two_files_at_one_path_are_refused() {
    assert_eq!(refusal(vec![zeros("a", 1), zeros("b", 1), zeros("a", 2)]), ZipError::Twice("a".to_owned()));
    // Between them in the order of bytes lies another.
    let entries = vec![zeros("a/b/c", 1), zeros("a", 1), zeros("a-b", 1)];
    assert_eq!(refusal(entries), ZipError::FileAndFolder("a".to_owned()));
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let lengths = ZipError::Lengths("a".to_owned());
    assert_eq!(refusal(vec![Entry { stored: 2, ..zeros("a", 1) }]), lengths);
    assert_eq!(refusal(vec![Entry { stored: 1, method: Method::Deflated, ..zeros("a", 0) }]), lengths);
    for size in [u64::MAX, u64::MAX - 60, u64::MAX - 120] {
        assert_eq!(refusal(vec![zeros("a", size)]), ZipError::TooLarge);
    }
}

proptest! {
    #[test]
    fn ranges_in_a_row_make_the_whole_archive(
        files in proptest::collection::btree_map("[a-zü]{1,4}(/[0-9]{1,9})?", vec(any::<u8>(), 0..200), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let named: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        prop_assume!(!named.iter().any(|(name, _)| files.keys().any(|other| other.starts_with(&format!("{name}/")))));
        let archive = Archive::new(&named);
        let size = archive.layout.size();
        let whole = archive.bytes(0..size);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(size as usize + 1) as u64).chain([0, size]).collect();
        cuts.sort_unstable();
        let ranges: Vec<u8> = cuts.windows(2).flat_map(|pair| archive.bytes(pair[0]..pair[1])).collect();
        prop_assert_eq!(&ranges, &whole);

        let found = reader::read(size, |range| whole[range.start as usize..range.end as usize].to_vec()).found;
        prop_assert_eq!(found.len(), files.len());
        for (found, (name, content)) in found.iter().zip(&files) {
            prop_assert_eq!(&found.name, name);
            let stored = &whole[found.content.start as usize..found.content.end as usize];
            prop_assert_eq!(stored, content.as_slice());
            prop_assert_eq!(found.crc32, crc32(content));
        }
    }

    #[test]
    fn any_range_of_a_huge_archive_is_covered_without_a_gap(
        sizes in vec(prop_oneof![0u64..100, 0u64..1 << 40], 1..60),
        from in any::<u64>(),
        length in prop_oneof![0u64..1 << 16, any::<u64>()],
    ) {
        let entries = sizes.iter().enumerate().map(|(number, size)| zeros(&number.to_string(), *size));
        let layout = Layout::new(entries.collect()).unwrap();
        let from = from % (layout.size() + 1);
        let until = from.saturating_add(length).min(layout.size());
        let mut at = from;
        for piece in layout.pieces(from..until) {
            match piece {
                Piece::Bytes(bytes) => at += bytes.len() as u64,
                Piece::Source { entry, offset, length } => {
                    let place = layout.places.iter().find(|place| place.given == entry).unwrap();
                    prop_assert_eq!(place.content + offset, at);
                    prop_assert!(length > 0 && offset + length <= sizes[entry]);
                    at += length;
                }
            }
        }
        prop_assert_eq!(at, until);
    }
}

/// A layout and the contents that its sources have; where none are given, zeros.
pub(super) struct Archive {
    pub(super) layout: Layout,
    pub(super) entries: Vec<Entry>,
    contents: Vec<Vec<u8>>,
}

impl Archive {
    pub(super) fn new(files: &[(&str, &[u8])]) -> Self {
        let entry =
            |(name, content): &(&str, &[u8])| Entry { crc32: crc32(content), ..zeros(name, content.len() as u64) };
        let contents = files.iter().map(|(_, content)| content.to_vec()).collect();
        Self { contents, ..Self::of(files.iter().map(entry).collect()) }
    }

    pub(super) fn of(entries: Vec<Entry>) -> Self {
        Self { layout: Layout::new(entries.clone()).unwrap(), entries, contents: Vec::new() }
    }

    pub(super) fn with_contents(self, contents: Vec<Vec<u8>>) -> Self {
        Self { contents, ..self }
    }

    pub(super) fn bytes(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in self.layout.pieces(range) {
            match piece {
                Piece::Bytes(piece) => bytes.extend_from_slice(&piece),
                Piece::Source { entry, offset, length } => match self.contents.get(entry) {
                    Some(content) => bytes.extend_from_slice(&content[offset as usize..(offset + length) as usize]),
                    None => bytes.resize(bytes.len() + length as usize, 0),
                },
            }
        }
        bytes
    }

    fn directory(&self) -> Directory {
        reader::read(self.layout.size(), |range| self.bytes(range))
    }
}

pub(super) fn zeros(name: &str, size: u64) -> Entry {
    Entry { name: name.to_owned(), size, stored: size, crc32: 0, method: Method::Stored }
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(Crc32IsoHdlc, bytes) as u32
}

fn refusal(entries: Vec<Entry>) -> ZipError {
    Layout::new(entries).unwrap_err()
}
