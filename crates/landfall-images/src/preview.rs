use crate::{
    MediaKind, jpeg, quicktime,
    source::{Fault, Source},
    tiff::{self, Block, Entry},
};

/// Finds the JPEG a camera stored in its raw file, as a place and a length: of several, the smallest that reaches the
/// edge, else the largest.
pub(crate) fn find(source: &mut Source<'_>, kind: MediaKind, edge: u32) -> Result<Option<(u64, u64)>, Fault> {
    if kind == MediaKind::Raf {
        return of_raf(source).map(Some);
    }
    if kind == MediaKind::Cr3 {
        return quicktime::cr3_preview(source);
    }
    let block = Block::new(source, 0, source.length())?;
    let mut best = None;
    for entries in tiff::picture_directories(source, &block)? {
        let Some((at, length)) = candidate(source, &block, &entries)? else { continue };
        // Raw data is stored as lossless JPEG by some: the frame tells.
        let Ok(header) = jpeg::header(source, at, length) else { continue };
        if !header.is_supported() {
            continue;
        }
        let side = u32::from(header.width.max(header.height));
        let rank = (side >= edge, if side >= edge { u32::MAX - side } else { side });
        if best.is_none_or(|(best_rank, _)| rank > best_rank) {
            best = Some((rank, (at, length)));
        }
    }
    Ok(best.map(|(_, place)| place))
}

/// The full-size JPEG of a Fujifilm raw file, whose header names its place.
pub(crate) fn of_raf(source: &mut Source<'_>) -> Result<(u64, u64), Fault> {
    Ok((source.be32(84)?.into(), source.be32(88)?.into()))
}

/// The JPEG a directory describes, in one of the three ways in use.
fn candidate(source: &mut Source<'_>, block: &Block, entries: &[Entry]) -> Result<Option<(u64, u64)>, Fault> {
    let (mut interchange, mut interchange_length) = (None, None);
    let (mut strip, mut strip_length, mut compression) = (None, None, 0);
    for entry in entries {
        match entry.tag {
            0x0103 => compression = block.number(source, entry)?.unwrap_or(0),
            0x0111 => strip = block.number(source, entry)?,
            0x0117 => strip_length = block.number(source, entry)?,
            0x0201 => interchange = block.number(source, entry)?,
            0x0202 => interchange_length = block.number(source, entry)?,
            // Panasonic puts the whole JPEG where a value would be.
            0x002e => return Ok(Some(block.place(entry))),
            _ => {}
        }
    }
    let strip = strip.filter(|_| matches!(compression, 6 | 7)).zip(strip_length);
    let place = interchange.zip(interchange_length).or(strip);
    Ok(place.map(|(offset, length)| (block.at(offset), length.into())))
}
