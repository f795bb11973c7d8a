//! Where a content was seen: the owner's sealed metadata of a record.

use landfall_crypto::{FileKey, StreamHeader, open_blob};
use landfall_protocol::FileRecord;
use landfall_store::{Root, SeenPlace};
use serde::{Deserialize, Serialize};

use crate::Error;

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
}

/// One segment of a path: text, or bytes that are not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        Self { root: hex::encode(&place.tag), path, mtime: place.modified_ns.to_string(), v: place.version }
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

    /// Adds a place, or moves the time and version of one that is there. `false` if nothing changes.
    pub(crate) fn add(&mut self, root: &Root, place: &SeenPlace) -> bool {
        let new = Place::new(root, place);
        match self.places.iter_mut().find(|known| known.root == new.root && known.path == new.path) {
            Some(known) if known.mtime == new.mtime && known.v >= new.v => false,
            Some(known) => {
                let v = new.v.max(known.v);
                *known = Place { v, ..new };
                true
            }
            None => {
                self.places.push(new);
                true
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("places are plain data")
    }
}
