//! Where restored files go: which content each path gets, and which paths are written at all.

use std::{collections::BTreeMap, sync::Arc};

use super::{RestoreOptions, RestoreReport};
use crate::{drafts, plain_name::is_plain_name};

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Output {
    pub(super) segments: Vec<Vec<u8>>,
    pub(super) modified_ns: i64,
    /// Of the content that the record had when it was listed.
    pub(super) digest: Arc<[u8]>,
}

/// A place as some record has it.
pub(super) struct Candidate {
    pub(super) record: i64,
    pub(super) digest: Arc<[u8]>,
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
        let mut put = |segments: Vec<Vec<u8>>, candidate: &Candidate| {
            if taken.contains_key(&segments) {
                return false;
            }
            taken.insert(segments.clone(), candidate.record);
            let digest = Arc::clone(&candidate.digest);
            let output = Output { segments, modified_ns: candidate.modified_ns, digest };
            outputs.entry(candidate.record).or_default().push(output);
            true
        };
        for (segments, candidates) in &files {
            let segments = numbered(segments, number);
            if !is_plain(&segments) {
                let message = "the vault names a path that must not be written".to_owned();
                report.problems.push((segments.join(&b'/'), "hostile-name", message));
            } else if let Some(present) = candidates.first() {
                // `false`: another device has the same content at the same path.
                put(segments, present);
            }
        }
        // After all that is present, so that no older content takes the name of one.
        for (segments, candidates) in files.iter().filter(|_| options.all_versions) {
            let segments = numbered(segments, number);
            for old in candidates.iter().skip(1).filter(|_| is_plain(&segments)) {
                let mut names = (1..).map(|copy| old_version(&segments, old.version, copy));
                while names.next().is_some_and(|name| !put(name, old)) {}
            }
        }
    }
    outputs
}

fn is_plain(segments: &[Vec<u8>]) -> bool {
    segments.first().is_some_and(|first| first != drafts::FOLDER.as_bytes())
        && segments.iter().all(|segment| is_plain_name(segment))
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

/// `photo.jpg` becomes `photo (version 2).jpg`, and its second copy `photo (version 2, 2).jpg`.
fn old_version(segments: &[Vec<u8>], version: i64, copy: u32) -> Vec<Vec<u8>> {
    let mut segments = segments.to_vec();
    if let Some(name) = segments.last_mut() {
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(name.len());
        let ending = name.split_off(dot);
        let copy = if copy > 1 { format!(", {copy}") } else { String::new() };
        name.extend_from_slice(format!(" (version {version}{copy})").as_bytes());
        name.extend_from_slice(&ending);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(record: i64, version: i64) -> Candidate {
        Candidate { record, digest: Arc::from([]), modified_ns: 0, version, updated: record }
    }

    fn place(path: &str) -> (String, Vec<Vec<u8>>) {
        ("root".to_owned(), path.split('/').map(|segment| segment.as_bytes().to_vec()).collect())
    }

    fn paths(places: Places, options: &RestoreOptions) -> BTreeMap<String, i64> {
        let outputs = lay_out(places, options, &mut RestoreReport::default());
        let path = |output: &Output| String::from_utf8_lossy(&output.segments.join(&b'/')).into_owned();
        outputs.iter().flat_map(|(record, outputs)| outputs.iter().map(move |output| (path(output), *record))).collect()
    }

    #[test]
    fn an_old_version_never_takes_the_name_of_a_file_or_of_another_version() {
        let places: Places = BTreeMap::from([
            (place("p/photo.png"), vec![candidate(1, 1), candidate(2, 2), candidate(3, 1)]),
            (place("p/photo (version 1).png"), vec![candidate(4, 1)]),
        ]);
        let options = RestoreOptions { all_versions: true, ..RestoreOptions::default() };
        let expected = [
            ("p/photo.png", 2),
            ("p/photo (version 1).png", 4),
            ("p/photo (version 1, 2).png", 3),
            ("p/photo (version 1, 3).png", 1),
        ];
        assert_eq!(paths(places, &options), expected.map(|(path, record)| (path.to_owned(), record)).into());
    }

    #[test]
    fn nothing_is_restored_among_the_drafts() {
        let places: Places = BTreeMap::from([(place(".landfall-restore/x.lock"), vec![candidate(1, 1)])]);
        assert!(paths(places, &RestoreOptions::default()).is_empty());
    }
}
