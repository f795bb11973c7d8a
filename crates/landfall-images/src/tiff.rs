use crate::source::{Fault, Source};

/// A TIFF structure somewhere in a file: a tree of directories, addressed from the beginning of the block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    start: u64,
    end: u64,
    little: bool,
    first: u64,
}

/// One entry of a directory: a tag and where its values are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) tag: u16,
    kind: u16,
    count: u32,
    at: u64,
}

impl Block {
    pub(crate) fn new(source: &mut Source<'_>, start: u64, length: u64) -> Result<Self, Fault> {
        let end = start.saturating_add(length).min(source.length());
        let little = match source.array(start)? {
            [b'I', b'I'] => true,
            [b'M', b'M'] => false,
            _ => return Err(Fault::Malformed("no byte order where TIFF data should begin")),
        };
        let mut block = Self { start, end, little, first: 0 };
        // Olympus and Panasonic put letters of their own where TIFF has 42.
        if !matches!(block.u16(source, start + 2)?, 42 | 0x4f52 | 0x5352 | 0x55) {
            return Err(Fault::Malformed("no TIFF data where it should begin"));
        }
        block.first = block.u32(source, start + 4)?.into();
        Ok(block)
    }

    /// The entries of the first directory.
    pub(crate) fn first(&self, source: &mut Source<'_>) -> Result<Vec<Entry>, Fault> {
        Ok(self.directory(source, self.first)?.0)
    }

    /// The entries of the directory at an offset, and the offset of the one after it, if any.
    pub(crate) fn directory(&self, source: &mut Source<'_>, offset: u64) -> Result<(Vec<Entry>, Option<u64>), Fault> {
        let at = self.start + offset;
        let count = self.u16(source, at)?;
        let mut entries = Vec::new();
        for index in 0..u64::from(count.min(ENTRIES_MAX)) {
            entries.push(self.entry(source, at + 2 + index * 12)?);
        }
        // Many writers forget the link after the last entry; then there is no next one.
        let next = self.u32(source, at + 2 + u64::from(count) * 12).unwrap_or(0);
        Ok((entries, (next != 0).then_some(next.into())))
    }

    /// The first value as a number, if the entry holds whole numbers.
    pub(crate) fn number(&self, source: &mut Source<'_>, entry: &Entry) -> Result<Option<u32>, Fault> {
        Ok(self.numbers(source, entry, 1)?.first().copied())
    }

    /// The first values as numbers, at most so many.
    pub(crate) fn numbers(&self, source: &mut Source<'_>, entry: &Entry, most: u32) -> Result<Vec<u32>, Fault> {
        let count = entry.count.min(most);
        (0..u64::from(count))
            .filter_map(|index| match entry.kind {
                BYTE => Some(self.array::<1>(source, entry.at + index).map(|[byte]| byte.into())),
                SHORT => Some(self.u16(source, entry.at + index * 2).map(u32::from)),
                LONG | IFD => Some(self.u32(source, entry.at + index * 4)),
                _ => None,
            })
            .collect()
    }

    /// The first `N` values as fractions, if there are so many and none divides by zero.
    pub(crate) fn fractions<const N: usize>(
        &self,
        source: &mut Source<'_>,
        entry: &Entry,
    ) -> Result<Option<[f64; N]>, Fault> {
        if entry.kind != RATIONAL || (entry.count as usize) < N {
            return Ok(None);
        }
        let mut values = [0.0; N];
        for (index, value) in (0..).zip(&mut values) {
            let numerator = self.u32(source, entry.at + index * 8)?;
            let denominator = self.u32(source, entry.at + index * 8 + 4)?;
            if denominator == 0 {
                return Ok(None);
            }
            *value = f64::from(numerator) / f64::from(denominator);
        }
        Ok(Some(values))
    }

    /// The text up to its first NUL, at most so many characters, without what cannot be shown.
    pub(crate) fn text(&self, source: &mut Source<'_>, entry: &Entry, most: u32) -> Result<Option<String>, Fault> {
        if !matches!(entry.kind, ASCII | BYTE | UNDEFINED | UTF8) {
            return Ok(None);
        }
        let count = entry.count.min(most);
        self.check(entry.at, count.into())?;
        Ok(shown_text(&source.piece(entry.at, count as usize)?))
    }

    /// Where the bytes of the entry lie in the file.
    pub(crate) fn place(&self, entry: &Entry) -> (u64, u64) {
        (entry.at, entry.count.into())
    }

    /// Where something at an offset of the block lies in the file.
    pub(crate) fn at(&self, offset: u32) -> u64 {
        self.start + u64::from(offset)
    }

    fn entry(&self, source: &mut Source<'_>, at: u64) -> Result<Entry, Fault> {
        let (tag, kind) = (self.u16(source, at)?, self.u16(source, at + 2)?);
        let count = self.u32(source, at + 4)?;
        let size = match kind {
            SHORT => 2,
            LONG | IFD => 4,
            RATIONAL | SIGNED_RATIONAL | DOUBLE => 8,
            _ => 1,
        };
        let fits = u64::from(count) * size <= 4;
        let at = if fits { at + 8 } else { self.start + u64::from(self.u32(source, at + 8)?) };
        Ok(Entry { tag, kind, count, at })
    }

    fn u16(&self, source: &mut Source<'_>, at: u64) -> Result<u16, Fault> {
        let bytes = self.array(source, at)?;
        Ok(if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(&self, source: &mut Source<'_>, at: u64) -> Result<u32, Fault> {
        let bytes = self.array(source, at)?;
        Ok(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn array<const N: usize>(&self, source: &mut Source<'_>, at: u64) -> Result<[u8; N], Fault> {
        self.check(at, N as u64)?;
        source.array(at)
    }

    fn check(&self, at: u64, length: u64) -> Result<(), Fault> {
        match at.checked_add(length) {
            Some(end) if end <= self.end => Ok(()),
            _ => Err(Fault::Malformed("a TIFF value lies outside its block")),
        }
    }
}

/// The directories in which a picture can be described: the chain of the first, and the children of each.
pub(crate) fn picture_directories(source: &mut Source<'_>, block: &Block) -> Result<Vec<Vec<Entry>>, Fault> {
    let mut found = Vec::new();
    let mut next = Some(block.first);
    while let Some(offset) = next
        && found.len() < DIRECTORIES_MAX
    {
        let (entries, after) = block.directory(source, offset)?;
        next = after;
        if let Some(children) = entries.iter().find(|entry| entry.tag == SUB_DIRECTORIES) {
            for offset in block.numbers(source, children, CHILDREN_MAX)? {
                // A preview that cannot be read is no reason to give up the picture.
                found.extend(block.directory(source, offset.into()).ok().map(|(entries, _)| entries));
            }
        }
        found.push(entries);
    }
    Ok(found)
}

/// The sides of the largest picture described, which is the photo itself among its previews.
pub(crate) fn largest_picture(source: &mut Source<'_>, block: &Block) -> Result<Option<(u32, u32)>, Fault> {
    let mut largest = None;
    for entries in picture_directories(source, block)? {
        let (mut width, mut height) = (0, 0);
        for entry in &entries {
            match entry.tag {
                0x0100 => width = block.number(source, entry)?.unwrap_or(0),
                0x0101 => height = block.number(source, entry)?.unwrap_or(0),
                _ => {}
            }
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > largest.map_or(0, |(w, h)| u64::from(w) * u64::from(h)) {
            largest = Some((width, height));
        }
    }
    Ok(largest)
}

/// Text as devices store it: ends at a NUL, padded, perhaps not UTF-8; `None` if nothing is left to show.
pub(crate) fn shown_text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text: String = String::from_utf8_lossy(&bytes[..end]).chars().filter(|char| !char.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

const BYTE: u16 = 1;
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const UNDEFINED: u16 = 7;
const SIGNED_RATIONAL: u16 = 10;
const DOUBLE: u16 = 12;
const IFD: u16 = 13;
const UTF8: u16 = 129;

const SUB_DIRECTORIES: u16 = 0x014a;
const ENTRIES_MAX: u16 = 1000;
const DIRECTORIES_MAX: usize = 16;
const CHILDREN_MAX: u32 = 8;
