//! What a file's record says about it for ever: title, dates, place, digest. Sealed under the file key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use landfall_images::{MediaClass, MediaKind, Metadata, date_from_name};
use landfall_store::SourceIdentity;
use serde::{Deserialize, Serialize};

use crate::drive::{Present, place_of};

/// The metadata JSON. Field names and units are Ente's; readers ignore what they do not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileMetadata {
    /// File name.
    pub(crate) title: String,
    /// When it was taken, microseconds since the epoch.
    pub(crate) creation_time: i64,
    /// When it was last modified, microseconds since the epoch.
    pub(crate) modification_time: i64,
    /// 0 image, 1 video, 2 live photo, 3 anything else.
    pub(crate) file_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) longitude: Option<f64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration: Option<i64>,
    /// BLAKE2b-512 of the content, standard base64.
    pub(crate) hash: String,
    pub(crate) version: u8,
    /// BLAKE2b-512 of the thumbnail, standard base64: nothing else sealed under the file key passes for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thumbnail_hash: Option<String>,
    /// Length of the content in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    /// EXIF orientation, 1 to 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orientation: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) camera_make: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) camera_model: Option<String>,
    /// When it was taken as the camera's clock showed it, with its offset if known (ISO 8601).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) taken_at: Option<String>,
}

/// The metadata of a source as prepared.
pub(crate) fn build(
    present: &Present,
    kind: Option<MediaKind>,
    found: &Metadata,
    identity: &SourceIdentity,
    digest: &landfall_crypto::Digest,
    thumbnail: &landfall_crypto::Digest,
) -> Vec<u8> {
    let place = place_of(present);
    let name = place.rsplit(|byte| *byte == b'/').next().unwrap_or(&[]);
    let title = String::from_utf8_lossy(name).into_owned();
    let modified = identity.modified_ns.div_euclid(1000);
    // What the picture says of itself, else what its name says, else the file's time.
    let taken = found.taken_at.map(|taken| taken.unix_micros_or_as_if_utc());
    let taken = taken.or_else(|| date_from_name(&title).map(|date| date.unix_micros_as_if_utc()));
    let metadata = FileMetadata {
        creation_time: taken.unwrap_or(modified),
        title,
        modification_time: modified,
        file_type: match kind.map(MediaKind::class) {
            Some(MediaClass::Image) => 0,
            Some(MediaClass::Video) => 1,
            None => 3,
        },
        latitude: found.gps.map(|(latitude, _)| latitude),
        longitude: found.gps.map(|(_, longitude)| longitude),
        duration: found.duration_ms.and_then(|ms| i64::try_from(ms / 1000).ok()),
        hash: STANDARD.encode(digest.as_bytes()),
        version: 3,
        thumbnail_hash: Some(STANDARD.encode(thumbnail.as_bytes())),
        size: u64::try_from(identity.size).ok(),
        orientation: kind.map(|_| found.orientation.exif_value()),
        width: found.width,
        height: found.height,
        camera_make: found.camera_make.clone(),
        camera_model: found.camera_model.clone(),
        taken_at: found.taken_at.map(|taken| taken.to_string()),
    };
    serde_json::to_vec(&metadata).expect("metadata is plain data")
}
