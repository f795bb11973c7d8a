//! The EXIF tags a backup needs, out of the hundreds there are.
//!
//! Read by our own walk over the TIFF directories rather than by a library, so that a raw file of a hundred megabytes is
//! never loaded for a date near its end; `docs/decisions/0002-thumbnails-and-metadata.md` weighs it.

use crate::{
    CivilDateTime, Metadata, Orientation, TakenAt, civil,
    source::{Fault, Source},
    tiff::{Block, Entry},
};

/// Reads the first directory of a block and the two it points to.
pub(crate) fn read(source: &mut Source<'_>, block: &Block, metadata: &mut Metadata) -> Result<(), Fault> {
    let mut findings = Findings::default();
    let outcome = block.first(source).and_then(|entries| main_directory(source, block, &entries, &mut findings));
    // Whatever broke off, what was found before it counts.
    findings.settle(metadata);
    outcome
}

/// Reads a block whose first directory is of one sort, as Canon stores each apart.
pub(crate) fn read_single(
    source: &mut Source<'_>,
    block: &Block,
    sort: Sort,
    findings: &mut Findings,
) -> Result<(), Fault> {
    let entries = block.first(source)?;
    match sort {
        Sort::Main => main_directory(source, block, &entries, findings),
        Sort::Photo => photo_directory(source, block, &entries, findings),
        Sort::Gps => gps_directory(source, block, &entries, findings),
    }
}

/// The directories of EXIF: about the file, about the exposure, about the place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sort {
    Main,
    Photo,
    Gps,
}

/// What was found, before it is made sense of.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    orientation: Option<Orientation>,
    make: Option<String>,
    model: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    original: Clock,
    digitized: Clock,
    modified: Clock,
    latitude: Coordinate,
    longitude: Coordinate,
}

/// One of the three times of EXIF, each in three tags.
#[derive(Debug, Default)]
struct Clock {
    time: Option<String>,
    fraction: Option<String>,
    offset: Option<String>,
}

#[derive(Debug, Default)]
struct Coordinate {
    reference: Option<String>,
    degrees: Option<f64>,
}

impl Findings {
    /// Takes over what makes sense. A size already known comes from the picture itself; what EXIF says is stale after an
    /// edit.
    pub(crate) fn settle(self, metadata: &mut Metadata) {
        metadata.orientation = self.orientation.unwrap_or_default();
        metadata.camera_make = self.make;
        metadata.camera_model = self.model;
        metadata.taken_at = [self.original, self.digitized, self.modified].iter().find_map(Clock::read);
        let latitude = self.latitude.read(["N", "S"]);
        let longitude = self.longitude.read(["E", "W"]);
        metadata.gps = latitude.zip(longitude).and_then(|(latitude, longitude)| checked_place(latitude, longitude));
        if metadata.width.is_none() {
            metadata.set_size(self.width.unwrap_or(0), self.height.unwrap_or(0));
        }
    }
}

impl Clock {
    fn read(&self) -> Option<TakenAt> {
        let (local, offset) = CivilDateTime::parse(self.time.as_deref()?)?;
        let fraction = self.fraction.as_deref().and_then(civil::microseconds).unwrap_or(local.microsecond());
        let offset_minutes = self.offset.as_deref().and_then(civil::parse_offset).or(offset);
        Some(TakenAt { local: local.with_microsecond(fraction), offset_minutes })
    }
}

impl Coordinate {
    fn read(&self, [positive, negative]: [&str; 2]) -> Option<f64> {
        let reference = self.reference.as_deref()?;
        if reference.eq_ignore_ascii_case(positive) {
            self.degrees
        } else if reference.eq_ignore_ascii_case(negative) {
            self.degrees.map(|degrees| -degrees)
        } else {
            None
        }
    }
}

/// A place on Earth; (0, 0) is what a device writes that does not know its own.
pub(crate) fn checked_place(latitude: f64, longitude: f64) -> Option<(f64, f64)> {
    let on_earth = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
    (on_earth && (latitude, longitude) != (0.0, 0.0)).then_some((latitude, longitude))
}

fn main_directory(
    source: &mut Source<'_>,
    block: &Block,
    entries: &[Entry],
    findings: &mut Findings,
) -> Result<(), Fault> {
    let (mut photo, mut gps) = (None, None);
    for entry in entries {
        match entry.tag {
            0x010f => findings.make = block.text(source, entry, NAME_MAX)?,
            0x0110 => findings.model = block.text(source, entry, NAME_MAX)?,
            0x0112 => {
                let value = block.number(source, entry)?.and_then(|value| u16::try_from(value).ok());
                findings.orientation = value.and_then(Orientation::from_exif);
            }
            0x0132 => findings.modified.time = block.text(source, entry, DATE_MAX)?,
            0x8769 => photo = block.number(source, entry)?,
            0x8825 => gps = block.number(source, entry)?,
            // Raw formats that follow TIFF/EP keep these here.
            0x9003 => findings.original.time = block.text(source, entry, DATE_MAX)?,
            _ => {}
        }
    }
    let mut outcome = Ok(());
    if let Some(offset) = photo {
        let directory = block.directory(source, offset.into());
        outcome = directory.and_then(|(entries, _)| photo_directory(source, block, &entries, findings));
    }
    if let Some(offset) = gps {
        let (entries, _) = block.directory(source, offset.into())?;
        gps_directory(source, block, &entries, findings)?;
    }
    outcome
}

fn photo_directory(
    source: &mut Source<'_>,
    block: &Block,
    entries: &[Entry],
    findings: &mut Findings,
) -> Result<(), Fault> {
    for entry in entries {
        match entry.tag {
            0x9003 => findings.original.time = block.text(source, entry, DATE_MAX)?,
            0x9004 => findings.digitized.time = block.text(source, entry, DATE_MAX)?,
            0x9010 => findings.modified.offset = block.text(source, entry, DATE_MAX)?,
            0x9011 => findings.original.offset = block.text(source, entry, DATE_MAX)?,
            0x9012 => findings.digitized.offset = block.text(source, entry, DATE_MAX)?,
            0x9290 => findings.modified.fraction = block.text(source, entry, DATE_MAX)?,
            0x9291 => findings.original.fraction = block.text(source, entry, DATE_MAX)?,
            0x9292 => findings.digitized.fraction = block.text(source, entry, DATE_MAX)?,
            0xa002 => findings.width = block.number(source, entry)?,
            0xa003 => findings.height = block.number(source, entry)?,
            _ => {}
        }
    }
    Ok(())
}

fn gps_directory(
    source: &mut Source<'_>,
    block: &Block,
    entries: &[Entry],
    findings: &mut Findings,
) -> Result<(), Fault> {
    for entry in entries {
        match entry.tag {
            1 => findings.latitude.reference = block.text(source, entry, 2)?,
            2 => findings.latitude.degrees = degrees(source, block, entry)?,
            3 => findings.longitude.reference = block.text(source, entry, 2)?,
            4 => findings.longitude.degrees = degrees(source, block, entry)?,
            _ => {}
        }
    }
    Ok(())
}

/// Degrees, minutes and seconds; some writers leave the last ones away or give 0/0 for them.
fn degrees(source: &mut Source<'_>, block: &Block, entry: &Entry) -> Result<Option<f64>, Fault> {
    if let Some([degrees, minutes, seconds]) = block.fractions(source, entry)? {
        return Ok(Some(degrees + minutes / 60.0 + seconds / 3600.0));
    }
    if let Some([degrees, minutes]) = block.fractions(source, entry)? {
        return Ok(Some(degrees + minutes / 60.0));
    }
    Ok(block.fractions(source, entry)?.map(|[degrees]| degrees))
}

/// Names of makers and cameras are short; what is longer is not a name.
const NAME_MAX: u32 = 64;
const DATE_MAX: u32 = 40;
