use crate::CivilDateTime;

/// The date in a file name, as cameras, phones and messengers put it there.
pub fn date_from_name(file_name: &str) -> Option<CivilDateTime> {
    let _ = file_name;
    None
}
