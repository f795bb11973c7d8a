//! The bytes that the format puts around contents. Numbers of sections are those of APPNOTE 6.3.10.

use std::ops::Range;

use bytes::BufMut;

use super::{Entry, Method};

/// What stands before an entry's content: a local file header, 4.3.7.
pub(super) fn header(entry: &Entry) -> Vec<u8> {
    // Here, unlike in the directory, both lengths have to be there (4.5.3).
    let wide = wide_fields(&wide_lengths(entry));
    let mut header = Vec::with_capacity(HEADER_BYTES + entry.name.len() + wide.len());
    header.put_u32_le(0x0403_4b50);
    put_description(&mut header, entry, &wide);
    header.put_slice(entry.name.as_bytes());
    header.put_slice(&wide);
    header
}

/// What the central directory says of an entry whose header is at that offset, 4.3.12.
pub(super) fn directory(entry: &Entry, offset: u64) -> Vec<u8> {
    let mut wide = wide_lengths(entry);
    wide.extend((offset >= WIDE).then_some(offset));
    let wide = wide_fields(&wide);
    let mut record = Vec::with_capacity(RECORD_BYTES + entry.name.len() + wide.len());
    record.put_u32_le(0x0201_4b50);
    record.put_u16_le(MADE_BY);
    put_description(&mut record, entry, &wide);
    record.put_u16_le(0); // length of the comment
    record.put_u16_le(0); // number of the disk
    record.put_u16_le(0); // internal attributes
    record.put_u32_le(PLAIN_FILE);
    record.put_u32_le(narrow(offset));
    record.put_slice(entry.name.as_bytes());
    record.put_slice(&wide);
    record
}

/// What stands after the central directory: its end, 4.3.16, after that of Zip64 where one of its numbers needs it,
/// 4.3.14 and 4.3.15.
pub(super) fn end(entries: u64, directory: Range<u64>) -> Vec<u8> {
    let length = directory.end - directory.start;
    let mut end = Vec::with_capacity(END_BYTES);
    if entries >= WIDE_COUNT || length >= WIDE || directory.start >= WIDE {
        end.put_u32_le(0x0606_4b50);
        end.put_u64_le(44); // bytes that follow of this record
        end.put_u16_le(MADE_BY);
        end.put_u16_le(NEEDS_ZIP64);
        end.put_u32_le(0); // number of this disk
        end.put_u32_le(0); // number of the directory's disk
        end.put_u64_le(entries); // on this disk
        end.put_u64_le(entries);
        end.put_u64_le(length);
        end.put_u64_le(directory.start);
        end.put_u32_le(0x0706_4b50);
        end.put_u32_le(0); // number of the disk with the record above
        end.put_u64_le(directory.end);
        end.put_u32_le(1); // number of disks
    }
    let count = u16::try_from(entries).unwrap_or(u16::MAX);
    end.put_u32_le(0x0605_4b50);
    end.put_u16_le(0); // number of this disk
    end.put_u16_le(0); // number of the directory's disk
    end.put_u16_le(count); // on this disk
    end.put_u16_le(count);
    end.put_u32_le(narrow(length));
    end.put_u32_le(narrow(directory.start));
    end.put_u16_le(0); // length of the comment
    end
}

/// The fields that a header and a record in the directory share.
fn put_description(record: &mut Vec<u8>, entry: &Entry, wide: &[u8]) {
    let is_wide = !wide_lengths(entry).is_empty();
    let length = |length| if is_wide { u32::MAX } else { narrow(length) };
    record.put_u16_le(if wide.is_empty() { NEEDS_FOLDERS_AND_DEFLATE } else { NEEDS_ZIP64 });
    record.put_u16_le(NAME_IS_UTF8);
    record.put_u16_le(match entry.method {
        Method::Stored => 0,
        Method::Deflated => 8,
    });
    record.put_u16_le(0); // 00:00
    record.put_u16_le(1 << 5 | 1); // 1980-01-01, as years since 1980, month, day
    record.put_u32_le(entry.crc32);
    record.put_u32_le(length(entry.stored));
    record.put_u32_le(length(entry.size));
    record.put_u16_le(entry.name.len() as u16);
    record.put_u16_le(wide.len() as u16);
}

/// The extra field of Zip64 with these numbers, 4.5.3; nothing if there are none.
fn wide_fields(numbers: &[u64]) -> Vec<u8> {
    let mut field = Vec::new();
    if !numbers.is_empty() {
        field.put_u16_le(0x0001);
        field.put_u16_le(8 * numbers.len() as u16);
        numbers.iter().for_each(|number| field.put_u64_le(*number));
    }
    field
}

/// Both lengths of an entry if one of them is wide.
fn wide_lengths(entry: &Entry) -> Vec<u64> {
    if entry.size >= WIDE || entry.stored >= WIDE { vec![entry.size, entry.stored] } else { Vec::new() }
}

/// The number if its field can hold it, else what says that a wide field does.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const HEADER_BYTES: usize = 30;
const RECORD_BYTES: usize = 46;
const END_BYTES: usize = 56 + 20 + 22;

/// From here on a length or an offset is wide: the largest number of the field says so itself.
const WIDE: u64 = u32::MAX as u64;
/// From here on the number of entries is.
const WIDE_COUNT: u64 = u16::MAX as u64;

/// Version 6.3 of the format, on Unix (4.4.2): so the attributes are Unix's.
const MADE_BY: u16 = 3 << 8 | 63;
/// What a reader has to know, as the version that brought it (4.4.3).
const NEEDS_FOLDERS_AND_DEFLATE: u16 = 20;
const NEEDS_ZIP64: u16 = 45;
/// 4.4.4, bit 11.
const NAME_IS_UTF8: u16 = 1 << 11;
/// A plain file that its owner may write and everyone may read.
const PLAIN_FILE: u32 = 0o100_644 << 16;
