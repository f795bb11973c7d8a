//! Where restored files go: which content each path gets, and which paths are written at all.

use std::collections::BTreeMap;

use super::{RestoreOptions, RestoreReport};

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Output {
    pub(super) segments: Vec<Vec<u8>>,
    pub(super) modified_ns: i64,
}

/// A place as some record has it.
pub(super) struct Candidate {
    pub(super) record: i64,
    pub(super) modified_ns: i64,
    pub(super) version: i64,
    pub(super) updated: i64,
}

/// A path and the contents that were at it, the present one first.
type Wanted = (Vec<Vec<u8>>, Vec<Candidate>);

pub(super) type Places = BTreeMap<(String, Vec<Vec<u8>>), Vec<Candidate>>;

/// Decides which content each path gets. Roots of one name from several devices share a folder while they agree, and
/// get folders of their own when they do not.
pub(super) fn lay_out(
    places: Places,
    options: &RestoreOptions,
    report: &mut RestoreReport,
) -> BTreeMap<i64, Vec<Output>> {
    let mut by_root: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
    for ((root, segments), mut candidates) in places {
        candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.version, candidate.updated)));
        by_root.entry(root).or_default().push((segments, candidates));
    }
    let mut taken: BTreeMap<Vec<Vec<u8>>, i64> = BTreeMap::new();
    let mut outputs: BTreeMap<i64, Vec<Output>> = BTreeMap::new();
    for (_, files) in by_root {
        let clashes = |number: u32, taken: &BTreeMap<Vec<Vec<u8>>, i64>| {
            files.iter().any(|(segments, candidates)| {
                taken.get(&numbered(segments, number)).is_some_and(|record| *record != candidates[0].record)
            })
        };
        let number = (1..).find(|number| !clashes(*number, &taken)).unwrap_or(1);
        for (segments, candidates) in &files {
            let versions = if options.all_versions { candidates.len() } else { 1 };
            for (age, candidate) in candidates.iter().take(versions).enumerate() {
                let mut segments = numbered(segments, number);
                if !segments.iter().all(|segment| is_plain_name(segment)) || segments.is_empty() {
                    let place = segments.join(&b'/');
                    let message = "the vault names a path that must not be written".to_owned();
                    report.problems.push((place, "hostile-name", message));
                    continue;
                }
                if age > 0 {
                    old_version(&mut segments, candidate.version);
                }
                if taken.insert(segments.clone(), candidate.record).is_none() {
                    let output = Output { segments, modified_ns: candidate.modified_ns };
                    outputs.entry(candidate.record).or_default().push(output);
                }
            }
        }
    }
    outputs
}

/// The same path below a root's second, third … folder.
fn numbered(segments: &[Vec<u8>], number: u32) -> Vec<Vec<u8>> {
    let mut segments = segments.to_vec();
    if number > 1
        && let Some(first) = segments.first_mut()
    {
        first.extend_from_slice(format!(" ({number})").as_bytes());
    }
    segments
}

/// `photo.jpg` becomes `photo (version 2).jpg`.
fn old_version(segments: &mut [Vec<u8>], version: i64) {
    if let Some(name) = segments.last_mut() {
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(name.len());
        let ending = name.split_off(dot);
        name.extend_from_slice(format!(" (version {version})").as_bytes());
        name.extend_from_slice(&ending);
    }
}

/// A name that stays in its folder, on this system.
fn is_plain_name(name: &[u8]) -> bool {
    let plain = !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    plain && (!cfg!(windows) || is_plain_windows_name(name))
}

/// Windows gives meaning to more: device names, drive letters, streams, backslashes, ends that it drops.
fn is_plain_windows_name(name: &[u8]) -> bool {
    const DEVICES: [&str; 22] = [
        "CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9", "LPT1",
        "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
    ];
    let Ok(text) = std::str::from_utf8(name) else { return false };
    let stem = text.split('.').next().unwrap_or_default().trim_end();
    !text.contains(['\\', ':', '*', '?', '"', '<', '>', '|'])
        && !text.chars().any(|c| c.is_control())
        && !text.ends_with(['.', ' '])
        && !DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device))
}

#[cfg(test)]
mod tests {
    use super::{is_plain_name, is_plain_windows_name};

    #[test]
    fn a_name_that_leaves_its_folder_is_not_plain() {
        for name in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(!is_plain_name(name.as_bytes()), "{name:?}");
        }
        for name in ["...", "a b", "ü.jpg"] {
            assert!(is_plain_name(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn a_name_with_a_meaning_of_its_own_on_windows_is_not_plain_there() {
        for name in ["con", "NUL.jpg", "com1 .txt", "a:b", "a\\b", "end.", "end ", "a\x1bb", "what?"] {
            assert!(!is_plain_windows_name(name.as_bytes()), "{name:?}");
        }
        for name in ["console.jpg", "a.b.jpg", "ü.jpg"] {
            assert!(is_plain_windows_name(name.as_bytes()), "{name:?}");
        }
    }
}
