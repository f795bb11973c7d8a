//! What an upload was planned to be, to hold answers against.

use landfall_protocol::{NewUpload, PARTS_MAX, StoredPart, UploadStatus};

/// Key and sizes of an upload, as it was opened or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The object's key.
    pub object_key: String,
    /// Length of the whole object in bytes.
    pub size: u64,
    /// Length of every part but the last, in bytes.
    pub part_size: u64,
}

impl From<&NewUpload> for Plan {
    fn from(upload: &NewUpload) -> Self {
        Self { object_key: upload.object_key.clone(), size: upload.size, part_size: upload.part_size }
    }
}

impl Plan {
    /// How many parts there are. An empty object has one, which is empty.
    pub fn parts(&self) -> u64 {
        self.size.div_ceil(self.part_size.max(1)).max(1)
    }

    /// The length of a part, if there is one of that number.
    pub fn part_length(&self, number: u32) -> Option<u64> {
        let index = u64::from(number.checked_sub(1)?);
        if index >= self.parts() {
            return None;
        }
        Some((self.size - index * self.part_size).min(self.part_size))
    }

    /// What in `status` contradicts this plan.
    pub(super) fn contradiction(&self, status: &UploadStatus) -> Option<&'static str> {
        if status.object_key != self.object_key {
            return Some("it is about another upload");
        }
        if (status.size, status.part_size) != (self.size, self.part_size) {
            return Some("its sizes are not those of the upload");
        }
        if status.parts.len() > PARTS_MAX as usize || !status.parts.is_sorted_by(|a, b| a.number < b.number) {
            return Some("its parts are not in order");
        }
        let fits = |part: &StoredPart| self.part_length(part.number) == Some(part.length);
        (!status.parts.iter().all(fits)).then_some("it lists a part that was not planned")
    }
}
