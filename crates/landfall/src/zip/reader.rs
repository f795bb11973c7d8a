//! A reader of archives that believes nothing: what the format says twice must be the same, and nothing may lie
//! between.

use std::ops::Range;

/// What an archive says of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) size: u64,
    /// Where its bytes are in the archive.
    pub(super) content: Range<u64>,
    /// Its header, and its record in the directory, have wide fields.
    pub(super) wide: (bool, bool),
}

/// What an archive says.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) found: Vec<Found>,
    /// Its end is one of Zip64.
    pub(super) wide: bool,
}

/// Reads an archive of `size` bytes, which `fetch` hands out by range.
pub(super) fn read(size: u64, fetch: impl Fn(Range<u64>) -> Vec<u8>) -> Directory {
    let field = |range: Range<u64>| Fields::new(fetch(range));
    let mut end = field(size - 22..size);
    end.expect(4, 0x0605_4b50);
    end.expect(4, 0); // disks
    let count = end.number(2);
    end.expect(2, count);
    let (length, start) = (end.number(4), end.number(4));
    end.expect(2, 0); // comment
    let wide = count == 0xffff || length == 0xffff_ffff || start == 0xffff_ffff;
    let (count, directory) = if wide {
        let mut locator = field(size - 42..size - 22);
        locator.expect(4, 0x0706_4b50);
        locator.expect(4, 0); // disk
        let at = locator.number(8);
        locator.expect(4, 1); // disks
        assert_eq!(at, size - 98);
        let mut wide = field(at..at + 56);
        wide.expect(4, 0x0606_4b50);
        wide.expect(8, 44);
        wide.expect(2, 3 << 8 | 63);
        wide.expect(2, 45);
        wide.expect(8, 0); // disks
        let wide_count = wide.number(8);
        wide.expect(8, wide_count);
        let (wide_length, wide_start) = (wide.number(8), wide.number(8));
        for (narrow, wide, most) in
            [(count, wide_count, 0xffff), (length, wide_length, 0xffff_ffff), (start, wide_start, 0xffff_ffff)]
        {
            assert_eq!(narrow, wide.min(most));
        }
        assert_eq!(wide_start + wide_length, at);
        (wide_count, wide_start..at)
    } else {
        assert_eq!(start + length, size - 22);
        (count, start..start + length)
    };

    let mut records = Fields::new(fetch(directory.clone()));
    let mut header = 0;
    let mut found = Vec::new();
    for _ in 0..count {
        records.expect(4, 0x0201_4b50);
        records.expect(2, 3 << 8 | 63);
        let (description, name, extra) = records.description();
        records.expect(2, 0); // comment
        records.expect(4, 0); // disk, internal attributes
        records.expect(4, 0o100_644 << 16);
        let offset = records.number(4);
        let name_bytes = records.bytes(name);
        let mut wide = Fields::new(records.bytes(extra));
        let (size, stored) = wide.lengths(&description);
        let offset = if offset == 0xffff_ffff { wide.number(8) } else { offset };
        wide.ended();
        assert_eq!(offset, header);

        let mut local = field(header..header + 30);
        local.expect(4, 0x0403_4b50);
        let (local_description, local_name, local_extra) = local.description();
        let content = header + 30 + (local_name + local_extra) as u64;
        let mut rest = field(header + 30..content);
        assert_eq!(rest.bytes(local_name), name_bytes);
        let mut local_wide = Fields::new(rest.bytes(local_extra));
        assert_eq!(local_wide.lengths(&local_description), (size, stored));
        local_wide.ended();
        let sizes = |description: &Description| (description.size, description.stored);
        assert_eq!(sizes(&local_description), sizes(&description));
        assert_eq!(Description { needs: 0, ..local_description }, Description { needs: 0, ..description });
        for (description, extra) in [(&local_description, local_extra), (&description, extra)] {
            assert_eq!(description.needs, if extra == 0 { 20 } else { 45 });
        }
        header = content + stored;
        found.push(Found {
            name: String::from_utf8(name_bytes).unwrap(),
            method: description.method as u16,
            crc32: description.crc32 as u32,
            size,
            content: content..header,
            wide: (local_extra > 0, extra > 0),
        });
    }
    records.ended();
    assert_eq!(header, directory.start);
    Directory { found, wide }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Description {
    needs: u64,
    method: u64,
    crc32: u64,
    stored: u64,
    size: u64,
}

struct Fields {
    bytes: Vec<u8>,
    at: usize,
}

impl Fields {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.at += count;
        self.bytes[self.at - count..self.at].to_vec()
    }

    fn number(&mut self, bytes: usize) -> u64 {
        self.bytes(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn expect(&mut self, bytes: usize, number: u64) {
        assert_eq!(self.number(bytes), number);
    }

    fn ended(&self) {
        assert_eq!(self.at, self.bytes.len());
    }

    /// What headers and records have in common, and the lengths of the name and of the extra field.
    fn description(&mut self) -> (Description, usize, usize) {
        let needs = self.number(2);
        self.expect(2, 1 << 11);
        let method = self.number(2);
        self.expect(2, 0);
        self.expect(2, 0x21);
        let (crc32, stored, size) = (self.number(4), self.number(4), self.number(4));
        let (name, extra) = (self.number(2) as usize, self.number(2) as usize);
        (Description { needs, method, crc32, stored, size }, name, extra)
    }

    /// Length unpacked and in the archive, out of an extra field where it has to be there.
    fn lengths(&mut self, description: &Description) -> (u64, u64) {
        if !self.bytes.is_empty() {
            self.expect(2, 1);
            let rest = self.bytes.len() as u64 - 4;
            self.expect(2, rest);
        }
        let mut length = |narrow| if narrow == 0xffff_ffff { self.number(8) } else { narrow };
        (length(description.size), length(description.stored))
    }
}
