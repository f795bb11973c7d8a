//! What a QuickTime or MPEG-4 movie says of itself, in the `moov` atom at its beginning or its end.

use crate::{
    CivilDateTime, Metadata, Orientation, TakenAt,
    atom::Atom,
    exif::{self, Findings, Sort, checked_place},
    source::{Fault, Source},
    tiff::{self, shown_text},
};

/// Reads a movie. What the camera says (its local time and its offset) goes before what the container says (UTC).
pub(crate) fn read(source: &mut Source<'_>, metadata: &mut Metadata) -> Result<(), Fault> {
    let movie = Atom::file(source).child(source, b"moov")?.ok_or(Fault::Malformed("a movie without its index"))?;
    let mut outcome = Ok(());
    for atom in movie.children(source)? {
        let read = match &atom.name {
            b"mvhd" => movie_header(source, atom, metadata),
            b"trak" => track(source, atom, metadata),
            b"udta" => user_data(source, atom, metadata),
            b"meta" => keyed(source, atom, metadata),
            _ => Ok(()),
        };
        // One broken atom does not spoil its neighbours.
        outcome = outcome.and(read);
    }
    outcome
}

/// Reads a Canon raw file, a movie without pictures in motion, whose EXIF is spread over atoms of its own.
pub(crate) fn read_cr3(source: &mut Source<'_>, metadata: &mut Metadata) -> Result<(), Fault> {
    let movie = Atom::file(source).child(source, b"moov")?.ok_or(Fault::Malformed("a raw file without its index"))?;
    let Some(canon) = uuid(source, movie, CANON)? else { return Ok(()) };
    let mut findings = Findings::default();
    let mut outcome = Ok(());
    for atom in canon.children(source)? {
        let sort = match &atom.name {
            b"CMT1" => Sort::Main,
            b"CMT2" => Sort::Photo,
            b"CMT4" => Sort::Gps,
            _ => continue,
        };
        let block = tiff::Block::new(source, atom.body, atom.end - atom.body);
        let read = block.and_then(|block| exif::read_single(source, &block, sort, &mut findings));
        outcome = outcome.and(read);
    }
    findings.settle(metadata);
    outcome
}

/// The preview of a Canon raw file: a JPEG behind its sides and its length.
pub(crate) fn cr3_preview(source: &mut Source<'_>) -> Result<Option<(u64, u64)>, Fault> {
    let file = Atom::file(source);
    let Some(holder) = uuid(source, file, CANON_PREVIEW)? else { return Ok(None) };
    let Some(preview) = holder.skip(8).child(source, b"PRVW")? else { return Ok(None) };
    Ok(Some((preview.body + 16, source.be32(preview.body + 12)?.into())))
}

/// The atom with this long name, its body behind the name.
fn uuid(source: &mut Source<'_>, parent: Atom, name: u128) -> Result<Option<Atom>, Fault> {
    for atom in parent.children(source)? {
        if atom.name == *b"uuid" && atom.end - atom.body >= 16 && source.array(atom.body)? == name.to_be_bytes() {
            return Ok(Some(atom.skip(16)));
        }
    }
    Ok(None)
}

fn movie_header(source: &mut Source<'_>, atom: Atom, metadata: &mut Metadata) -> Result<(), Fault> {
    let [version] = source.array(atom.body)?;
    let (created, scale, duration, unknown) = if version == 1 {
        let created = source.be64(atom.body + 4)?;
        (created, source.be32(atom.body + 20)?, source.be64(atom.body + 24)?, u64::MAX)
    } else {
        let created = source.be32(atom.body + 4)?.into();
        (created, source.be32(atom.body + 12)?, source.be32(atom.body + 16)?.into(), u64::from(u32::MAX))
    };
    if scale != 0 && duration != unknown {
        let milliseconds = u128::from(duration) * 1000 / u128::from(scale);
        metadata.duration_ms = u64::try_from(milliseconds).ok();
    }
    if metadata.taken_at.is_none() {
        metadata.taken_at = taken_at(created);
    }
    Ok(())
}

/// Seconds since 1904 in UTC. Some writers count from 1970 instead: with them, every movie would be older than that. The
/// beginning of either count means that the writer had no clock.
fn taken_at(created: u64) -> Option<TakenAt> {
    let seconds = created.checked_sub(SECONDS_1904_TO_1970).unwrap_or(created);
    if seconds == 0 {
        return None;
    }
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(TakenAt { local: CivilDateTime::from_unix_micros(micros)?, offset_minutes: Some(0) })
}

/// Size and orientation of the first track that is seen.
fn track(source: &mut Source<'_>, atom: Atom, metadata: &mut Metadata) -> Result<(), Fault> {
    let Some(handler) = atom.descendant(source, &[b"mdia", b"hdlr"])? else { return Ok(()) };
    if metadata.width.is_some() || source.array(handler.body + 8)? != *b"vide" {
        return Ok(());
    }
    let Some(header) = atom.child(source, b"tkhd")? else { return Ok(()) };
    let [version] = source.array(header.body)?;
    let matrix_at = header.body + if version == 1 { 52 } else { 40 };
    metadata.set_size(source.be32(matrix_at + 36)? >> 16, source.be32(matrix_at + 40)? >> 16);
    let mut signs = [0; 4];
    // x' = a·x + c·y and y' = b·x + d·y, stored as a, b, u, c, d: fixed-point numbers of which only the sign matters.
    for (sign, at) in signs.iter_mut().zip([0, 12, 4, 16]) {
        *sign = i32::from_be_bytes(source.array(matrix_at + at)?).signum() as i8;
    }
    metadata.orientation = Orientation::from_matrix(signs).unwrap_or_default();
    Ok(())
}

/// The short texts of QuickTime, whose names begin with ©, and the place of 3GPP.
fn user_data(source: &mut Source<'_>, atom: Atom, metadata: &mut Metadata) -> Result<(), Fault> {
    for child in atom.children(source)? {
        match &child.name {
            b"\xa9xyz" => {
                let place = short_text(source, child)?.and_then(|text| parse_place(&text));
                metadata.gps = metadata.gps.or(place);
            }
            b"\xa9mak" if metadata.camera_make.is_none() => metadata.camera_make = short_text(source, child)?,
            b"\xa9mod" if metadata.camera_model.is_none() => metadata.camera_model = short_text(source, child)?,
            b"loci" => metadata.gps = metadata.gps.or(place_3gpp(source, child)?),
            b"meta" => keyed(source, child, metadata)?,
            _ => {}
        }
    }
    Ok(())
}

/// A length, a language, and the text.
fn short_text(source: &mut Source<'_>, atom: Atom) -> Result<Option<String>, Fault> {
    let length = u64::from(source.be16(atom.body)?).min(atom.end.saturating_sub(atom.body + 4)).min(TEXT_MAX);
    Ok(shown_text(&source.piece(atom.body + 4, length as usize)?))
}

/// A name ended by NUL, a role, then longitude before latitude.
fn place_3gpp(source: &mut Source<'_>, atom: Atom) -> Result<Option<(f64, f64)>, Fault> {
    let name = atom.body + 6;
    let length = atom.end.saturating_sub(name).min(TEXT_MAX);
    let bytes = source.piece(name, length as usize)?;
    let Some(end) = bytes.iter().position(|&byte| byte == 0) else { return Ok(None) };
    let place = name + end as u64 + 2;
    let mut degrees = |at: u64| source.array(at).map(|bytes| f64::from(i32::from_be_bytes(bytes)) / 65_536.0);
    let (longitude, latitude) = (degrees(place)?, degrees(place + 4)?);
    Ok(checked_place(latitude, longitude))
}

/// The long-named values Apple writes: `keys` lists the names, `ilst` the values under the number of their name.
fn keyed(source: &mut Source<'_>, atom: Atom, metadata: &mut Metadata) -> Result<(), Fault> {
    // In MPEG-4 this atom has a version before its children, in QuickTime it has none.
    let meta = if atom.end - atom.body >= 8 && source.array(atom.body + 4)? == *b"hdlr" { atom } else { atom.skip(4) };
    let (Some(keys), Some(values)) = (meta.child(source, b"keys")?, meta.child(source, b"ilst")?) else {
        return Ok(());
    };
    // A name is laid out like an atom: a length, a namespace, the name.
    let names = keys.skip(8).children(source)?;
    for value in values.children(source)? {
        let Some(index) = u32::from_be_bytes(value.name).checked_sub(1) else { continue };
        let Some(name) = names.get(index as usize) else { continue };
        let Some(content) = value.child(source, b"data")? else { continue };
        let name = source.piece(name.body, (name.end - name.body).min(TEXT_MAX) as usize)?;
        let content = content.skip(8);
        let text = shown_text(&source.piece(content.body, (content.end - content.body).min(TEXT_MAX) as usize)?);
        let Some(text) = text else { continue };
        match name.as_slice() {
            b"com.apple.quicktime.location.ISO6709" => metadata.gps = parse_place(&text).or(metadata.gps),
            b"com.apple.quicktime.creationdate" => {
                if let Some((local, offset_minutes)) = CivilDateTime::parse(&text) {
                    metadata.taken_at = Some(TakenAt { local, offset_minutes });
                }
            }
            b"com.apple.quicktime.make" | b"com.android.manufacturer" => metadata.camera_make = Some(short_name(text)),
            b"com.apple.quicktime.model" | b"com.android.model" => metadata.camera_model = Some(short_name(text)),
            _ => {}
        }
    }
    Ok(())
}

fn short_name(text: String) -> String {
    text.chars().take(64).collect()
}

/// Reads a place of ISO 6709, `+27.5916+086.5640+8850/`: latitude, longitude, and a height that is not kept.
fn parse_place(text: &str) -> Option<(f64, f64)> {
    let (latitude, rest) = signed_degrees(text, 2)?;
    let (longitude, _) = signed_degrees(rest, 3)?;
    checked_place(latitude, longitude)
}

/// A sign, degrees of so many digits, perhaps minutes and seconds of two each, perhaps a fraction of the last.
fn signed_degrees(text: &str, degree_digits: usize) -> Option<(f64, &str)> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1.0,
        b'-' => -1.0,
        _ => return None,
    };
    let rest = &text[1..];
    let length = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, rest) = rest.split_at(length);
    let whole = number.bytes().take_while(u8::is_ascii_digit).count();
    let degrees = match whole.checked_sub(degree_digits) {
        Some(2) => number[..degree_digits].parse::<f64>().ok()? + number[degree_digits..].parse::<f64>().ok()? / 60.0,
        Some(4) => {
            let (minutes, seconds) = number[degree_digits..].split_at(2);
            number[..degree_digits].parse::<f64>().ok()?
                + minutes.parse::<f64>().ok()? / 60.0
                + seconds.parse::<f64>().ok()? / 3600.0
        }
        _ => number.parse().ok()?,
    };
    Some((sign * degrees, rest))
}

const CANON: u128 = 0x85c0_b687_820f_11e0_8111_f4ce_462b_6a48;
const CANON_PREVIEW: u128 = 0xeaf4_2b5e_1c98_4b88_b9fb_b7dc_406e_4d16;
const SECONDS_1904_TO_1970: u64 = 2_082_844_800;
const TEXT_MAX: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn close(text: &str, latitude: f64, longitude: f64) {
        let (found_latitude, found_longitude) = parse_place(text).unwrap();
        assert!((found_latitude - latitude).abs() < 1e-9 && (found_longitude - longitude).abs() < 1e-9, "{text}");
    }

    #[test]
    fn places_are_read_in_degrees_minutes_and_seconds() {
        close("+27.5916+086.5640+8850/", 27.5916, 86.5640);
        close("-1230.5-00015.25/", -(12.0 + 30.5 / 60.0), -(15.25 / 60.0));
        close("+123015.5-1791530.0/", 12.504_305_555_555_556, -179.258_333_333_333_34);
    }

    #[test]
    fn what_is_no_place_is_none() {
        for text in ["", "+", "+1", "27+86", "+91.0+000.0/", "+00.0+000.0/", "+1.2.3+4/", "+ä+ö"] {
            assert_eq!(parse_place(text), None, "{text}");
        }
    }

    #[test]
    fn both_epochs_give_the_same_date() {
        let from_1904 = taken_at(1_612_325_106 + SECONDS_1904_TO_1970).unwrap();
        assert_eq!(from_1904.to_string(), "2021-02-03T04:05:06+00:00");
        assert_eq!(taken_at(1_612_325_106), Some(from_1904));
        assert_eq!(taken_at(0), None);
        assert_eq!(taken_at(SECONDS_1904_TO_1970), None);
        assert_eq!(taken_at(u64::MAX), None);
    }
}
