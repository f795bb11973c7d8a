//! What a HEIF file (HEIC, AVIF) says of itself. It is a box of items: the primary one is the picture, one of type
//! `Exif` holds the metadata; properties, associated by number, give the size and the turning.

use crate::{
    Metadata, Orientation,
    atom::Atom,
    exif,
    source::{Fault, Source},
    tiff,
};

/// Reads size and orientation from the properties of the primary item, everything else from its EXIF.
pub(crate) fn read(source: &mut Source<'_>, metadata: &mut Metadata) -> Result<(), Fault> {
    let file = Atom::file(source);
    let meta = file.child(source, b"meta")?.ok_or(Fault::Malformed("a HEIF file without its index"))?.skip(4);
    let described = properties(source, meta);
    if let Ok((Some((width, height)), _)) = described {
        metadata.set_size(width, height);
    }
    let outcome = match exif_place(source, meta)? {
        Some((at, length)) => {
            tiff::Block::new(source, at, length).and_then(|block| exif::read(source, &block, metadata))
        }
        None => Ok(()),
    };
    // The properties, not the EXIF, turn a HEIF picture: its EXIF value is a leftover of the sensor.
    let (_, orientation) = described?;
    metadata.orientation = orientation;
    outcome
}

/// The size and the turning of the primary item.
fn properties(source: &mut Source<'_>, meta: Atom) -> Result<(Option<(u32, u32)>, Orientation), Fault> {
    let Some(primary) = primary_item(source, meta)? else { return Ok((None, Orientation::Upright)) };
    let Some(container) = meta.descendant(source, &[b"iprp", b"ipco"])? else {
        return Ok((None, Orientation::Upright));
    };
    let all = container.children(source)?;
    let (mut size, mut orientation) = (None, Orientation::Upright);
    for index in associations(source, meta, primary)? {
        let Some(property) = index.checked_sub(1).and_then(|index| all.get(usize::from(index))) else { continue };
        match &property.name {
            b"ispe" => size = Some((source.be32(property.body + 4)?, source.be32(property.body + 8)?)),
            b"irot" => {
                let [quarters] = source.array(property.body)?;
                orientation = orientation.then(match quarters & 3 {
                    1 => Orientation::QuarterCounterclockwise,
                    2 => Orientation::Half,
                    3 => Orientation::QuarterClockwise,
                    _ => Orientation::Upright,
                });
            }
            b"imir" => {
                let [axis] = source.array(property.body)?;
                let mirror = if axis & 1 == 1 { Orientation::Mirrored } else { Orientation::Flipped };
                orientation = orientation.then(mirror);
            }
            _ => {}
        }
    }
    Ok((size, orientation))
}

fn primary_item(source: &mut Source<'_>, meta: Atom) -> Result<Option<u32>, Fault> {
    let Some(atom) = meta.child(source, b"pitm")? else { return Ok(None) };
    let [version] = source.array(atom.body)?;
    id(source, &mut (atom.body + 4), version > 0).map(Some)
}

/// The numbers of the properties of an item, in the order in which they apply.
fn associations(source: &mut Source<'_>, meta: Atom, item: u32) -> Result<Vec<u16>, Fault> {
    let Some(atom) = meta.descendant(source, &[b"iprp", b"ipma"])? else { return Ok(Vec::new()) };
    let [version, _, _, flags] = source.array(atom.body)?;
    let entries = source.be32(atom.body + 4)?;
    let mut at = atom.body + 8;
    for _ in 0..entries {
        let found = id(source, &mut at, version > 0)? == item;
        let [count] = source.array(at)?;
        at += 1;
        let mut indices = Vec::new();
        for _ in 0..count {
            // The topmost bit says that a reader must understand the property.
            if flags & 1 == 1 {
                indices.push(source.be16(at)? & 0x7fff);
                at += 2;
            } else {
                let [index] = source.array(at)?;
                indices.push(u16::from(index & 0x7f));
                at += 1;
            }
        }
        if found {
            return Ok(indices);
        }
    }
    Ok(Vec::new())
}

/// Where the TIFF block of the EXIF item lies: its content begins with the distance to it.
fn exif_place(source: &mut Source<'_>, meta: Atom) -> Result<Option<(u64, u64)>, Fault> {
    let Some(item) = exif_item(source, meta)? else { return Ok(None) };
    let Some((at, length)) = item_place(source, meta, item)? else { return Ok(None) };
    let prefix = 4 + u64::from(source.be32(at)?);
    Ok(length.checked_sub(prefix).map(|length| (at + prefix, length)))
}

fn exif_item(source: &mut Source<'_>, meta: Atom) -> Result<Option<u32>, Fault> {
    let Some(atom) = meta.child(source, b"iinf")? else { return Ok(None) };
    let [version] = source.array(atom.body)?;
    for entry in atom.skip(if version == 0 { 6 } else { 8 }).children(source)? {
        let [version] = source.array(entry.body)?;
        if entry.name != *b"infe" || version < 2 {
            continue;
        }
        let mut at = entry.body + 4;
        let item = id(source, &mut at, version > 2)?;
        if source.array(at + 2)? == *b"Exif" {
            return Ok(Some(item));
        }
    }
    Ok(None)
}

/// Where an item lies. Only the first extent counts: metadata is never spread.
fn item_place(source: &mut Source<'_>, meta: Atom, item: u32) -> Result<Option<(u64, u64)>, Fault> {
    let Some(atom) = meta.child(source, b"iloc")? else { return Ok(None) };
    let [version, _, _, _, sizes, base_sizes] = source.array(atom.body)?;
    let (offset_size, length_size) = (sizes >> 4, sizes & 15);
    let (base_size, index_size) = (base_sizes >> 4, if version > 0 { base_sizes & 15 } else { 0 });
    let mut at = atom.body + 6;
    let items = id(source, &mut at, version > 1)?;
    for _ in 0..items {
        let found = id(source, &mut at, version > 1)? == item;
        let mut method = 0;
        if version > 0 {
            method = source.be16(at)? & 15;
            at += 2;
        }
        at += 2;
        let base = sized(source, &mut at, base_size)?;
        let extents = source.be16(at)?;
        at += 2;
        if found && extents > 0 {
            at += u64::from(index_size);
            let offset = sized(source, &mut at, offset_size)?;
            let length = sized(source, &mut at, length_size)?;
            let origin = match method {
                0 => 0,
                1 => meta.child(source, b"idat")?.map_or(0, |data| data.body),
                _ => return Ok(None),
            };
            let place = origin.checked_add(base).and_then(|place| place.checked_add(offset));
            let place = place.ok_or(Fault::Malformed("an offset overflows"))?;
            // A length of zero means the rest of the file.
            return Ok(Some((place, if length == 0 { source.length().saturating_sub(place) } else { length })));
        }
        at += u64::from(extents) * u64::from(index_size + offset_size + length_size);
    }
    Ok(None)
}

/// An item number, of four bytes or of two; moves on behind it.
fn id(source: &mut Source<'_>, at: &mut u64, wide: bool) -> Result<u32, Fault> {
    let value = if wide { source.be32(*at)? } else { source.be16(*at)?.into() };
    *at += if wide { 4 } else { 2 };
    Ok(value)
}

/// A number of as many bytes as the index says; moves on behind it.
fn sized(source: &mut Source<'_>, at: &mut u64, size: u8) -> Result<u64, Fault> {
    let value = match size {
        0 => 0,
        4 => source.be32(*at)?.into(),
        8 => source.be64(*at)?,
        _ => return Err(Fault::Malformed("a number of an odd size")),
    };
    *at += u64::from(size);
    Ok(value)
}
