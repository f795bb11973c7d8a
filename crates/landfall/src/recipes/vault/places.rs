//! Where a content was seen: the owner's sealed metadata of a record.

use std::collections::BTreeMap;

use landfall_crypto::{CHUNK_OVERHEAD, FileKey, StreamHeader, open_blob};
use landfall_protocol::{FileRecord, PLACES_BYTES_MAX};
use landfall_store::{Root, SeenPlace};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Longest JSON that a record has room for.
pub(crate) const BYTES_MAX: usize = PLACES_BYTES_MAX - CHUNK_OVERHEAD as usize;

/// All places of one content. Unknown keys of the JSON are kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Places {
    #[serde(default)]
    places: Vec<Place>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Tells the root from roots of the same name on other devices, 16 hex digits.
    pub(crate) root: String,
    /// The root's name, then the segments below it.
    pub(crate) path: Vec<Segment>,
    /// Time of last modification, nanoseconds since the epoch, in decimal.
    pub(crate) mtime: String,
    /// Of several contents at one place the highest is the present one.
    pub(crate) v: i64,
    /// Albums it belongs to; none: the record's collection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) albums: Vec<String>,
}

/// A place to be added to a record.
pub(crate) struct Addition<'a> {
    pub(crate) root: &'a Root,
    pub(crate) place: &'a SeenPlace,
    /// Which it is to belong to.
    pub(crate) album: &'a str,
}

/// One segment of a path: text, or bytes that are not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Segment {
    Text(String),
    Bytes { hex: String },
}

impl Segment {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { hex: hex::encode(bytes) },
        }
    }

    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Bytes { hex: digits } => hex::decode(digits).ok(),
        }
    }
}

impl Place {
    fn new(root: &Root, place: &SeenPlace) -> Self {
        let below = place.path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
        let path = std::iter::once(root.name.as_slice()).chain(below).map(Segment::of).collect();
        let mtime = place.modified_ns.to_string();
        Self { root: hex::encode(&place.tag), path, mtime, v: place.version, albums: Vec::new() }
    }

    /// The place as it is to be told when it joins an album. `home` is the name of the record's collection.
    fn joining(mut self, known: Option<&Self>, album: &str, home: &str) -> Self {
        let belongs = |albums: &[String]| match albums {
            [] => album == home,
            some => some.iter().any(|one| one == album),
        };
        self.albums = known.map_or_else(Vec::new, |known| known.albums.clone());
        if !belongs(&self.albums) {
            if known.is_some() && self.albums.is_empty() {
                self.albums.push(home.to_owned());
            }
            self.albums.push(album.to_owned());
        }
        self
    }

    /// Whether it belongs to an album; `is_home` if that is the record's collection.
    pub(crate) fn is_in(&self, album: &str, is_home: bool) -> bool {
        if self.albums.is_empty() { is_home } else { self.albums.iter().any(|one| one == album) }
    }

    /// With the comma.
    fn json_bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len() + 1)
    }

    /// Below the root, segments joined by `/`; `None` if it is not a place.
    pub(crate) fn seen(&self) -> Option<SeenPlace> {
        let segments: Vec<Vec<u8>> = self.path.get(1..)?.iter().map(Segment::to_bytes).collect::<Option<_>>()?;
        let tag = hex::decode(&self.root).ok()?;
        Some(SeenPlace { tag, path: segments.join(&b'/'), modified_ns: self.mtime.parse().ok()?, version: self.v })
    }

    /// The whole path as segments; `None` if one of them cannot be read.
    pub(crate) fn segments(&self) -> Option<Vec<Vec<u8>>> {
        self.path.iter().map(Segment::to_bytes).collect()
    }
}

/// What became of places that were to be added.
pub(crate) struct Added {
    pub(crate) any_change: bool,
    /// For each, in order, whether it is there now.
    pub(crate) fits: Vec<bool>,
}

impl Places {
    /// A content's first place.
    pub(crate) fn with(root: &Root, place: &SeenPlace) -> Self {
        Self { places: vec![Place::new(root, place)], rest: serde_json::Map::new() }
    }

    /// What a record says. No places if it says none.
    pub(crate) fn open(record: &FileRecord, key: &FileKey) -> Result<Self, Error> {
        let Some(magic) = &record.file.magic_metadata else { return Ok(Self::default()) };
        let bad = |what: &str| Error::Tampered(format!("the places of record {} {what}", record.id));
        let header = magic.header.array().ok_or_else(|| bad("have a header of a wrong length"))?;
        let json = open_blob(key, &StreamHeader::from_bytes(header), &magic.data.0).map_err(|_| bad("do not open"))?;
        serde_json::from_slice(&json).map_err(|_| bad("are not JSON"))
    }

    /// Adds places, or moves the time and version of those that are there, as far as the JSON stays within `bytes_max`.
    /// `home` is the name of the record's collection.
    pub(crate) fn add(&mut self, new: &[Addition<'_>], home: &str, bytes_max: usize) -> Added {
        let name = |place: &Place| (place.root.clone(), place.path.clone());
        let mut known: BTreeMap<_, usize> =
            self.places.iter().enumerate().map(|(at, place)| (name(place), at)).collect();
        let mut added = Added { any_change: false, fits: Vec::new() };
        let mut bytes = self.to_json().len();
        for Addition { root, place, album } in new {
            let new = Place::new(root, place);
            let at = known.get(&name(&new)).copied();
            let old = at.map(|at| &self.places[at]);
            let new = new.joining(old, album, home);
            if old.is_some_and(|old| old.mtime == new.mtime && old.v >= new.v && old.albums == new.albums) {
                added.fits.push(true);
                continue;
            }
            let new = Place { v: old.map_or(new.v, |old| old.v.max(new.v)), ..new };
            let grown = bytes + new.json_bytes() - old.map_or(0, Place::json_bytes);
            added.fits.push(grown <= bytes_max);
            if grown > bytes_max {
                continue;
            }
            (bytes, added.any_change) = (grown, true);
            match at {
                Some(at) => self.places[at] = new,
                None => {
                    known.insert(name(&new), self.places.len());
                    self.places.push(new);
                }
            }
        }
        added
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("places are plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_store::{DestinationId, RootId};

    fn root() -> Root {
        let tag = vec![7; 8];
        Root { id: RootId(1), destination: DestinationId(1), path: b"/photos".to_vec(), name: b"photos".to_vec(), tag }
    }

    fn place(name: &str, version: i64) -> SeenPlace {
        SeenPlace { tag: vec![7; 8], path: name.as_bytes().to_vec(), modified_ns: version, version }
    }

    /// All in the record's own collection.
    fn add(places: &mut Places, new: &[SeenPlace], bytes_max: usize) -> Added {
        let root = root();
        let new: Vec<_> = new.iter().map(|place| Addition { root: &root, place, album: "photos" }).collect();
        places.add(&new, "photos", bytes_max)
    }

    #[test]
    fn places_are_added_as_far_as_there_is_room_and_each_is_answered_for() {
        let (mut places, new) = (Places::default(), ["a", "b", "c"].map(|name| place(name, 1)));
        let mut two = Places::default();
        add(&mut two, &new[..2], BYTES_MAX);
        let room = two.to_json().len() + 1;
        let added = add(&mut places, &new, room);
        assert_eq!((added.any_change, added.fits), (true, vec![true, true, false]));
        assert!(places.to_json().len() <= room);
        // What is there can still be told anew, and costs no room.
        let added = add(&mut places, &[place("a", 1), place("b", 2)], room);
        assert_eq!((added.any_change, added.fits), (true, vec![true, true]));
        assert_eq!(places.iter().map(|place| place.v).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_place_joins_an_album_and_stays_in_those_it_is_in() {
        let (root, place, mut places) = (root(), place("a", 1), Places::default());
        let mut join = |album: &str| {
            let added = places.add(&[Addition { root: &root, place: &place, album }], "photos", BYTES_MAX);
            let albums = ["photos", "trip"].map(|album| places.places[0].is_in(album, album == "photos"));
            (added.any_change, albums)
        };
        assert_eq!(join("photos"), (true, [true, false]));
        assert_eq!(join("trip"), (true, [true, true]));
        assert_eq!(join("trip"), (false, [true, true]));
        assert_eq!(join("photos"), (false, [true, true]));
    }
}
