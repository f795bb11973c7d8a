//! `--include`, `--exclude` and `--match`.

use std::{ffi::OsStr, path::Path, sync::Arc};

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::failed::Failed;

/// Decides by a file's place.
pub(crate) type Filter = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// A filter of patterns; `None` if there are none. A pattern without `/` is compared with names, one with `/` with the
/// place and with the path below its root. What is excluded stays out, and so does everything below an excluded folder.
///
/// # Errors
/// If a pattern cannot be read.
pub(crate) fn filter(include: &[String], exclude: &[String]) -> Result<Option<Filter>, Failed> {
    if include.is_empty() && exclude.is_empty() {
        return Ok(None);
    }
    let (wanted, unwanted) = (Patterns::read(include)?, Patterns::read(exclude)?);
    let everything = include.is_empty();
    Ok(Some(Arc::new(move |place: &[u8]| {
        (everything || wanted.hold(place)) && !folders_of(place).any(|folder| unwanted.hold(folder))
    })))
}

struct Patterns {
    names: GlobSet,
    paths: GlobSet,
}

impl Patterns {
    fn read(patterns: &[String]) -> Result<Self, Failed> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let trimmed = pattern.trim_end_matches('/');
            let set = if trimmed.contains('/') { &mut paths } else { &mut names };
            let glob = GlobBuilder::new(trimmed.trim_start_matches('/')).literal_separator(true).build();
            set.add(glob.map_err(|error| bad(pattern, &error))?);
        }
        let build = |set: GlobSetBuilder| set.build().map_err(|error| bad("", &error));
        Ok(Self { names: build(names)?, paths: build(paths)? })
    }

    fn hold(&self, place: &[u8]) -> bool {
        let name = place.rsplit(|byte| *byte == b'/').next().unwrap_or(place);
        let below = place.iter().position(|byte| *byte == b'/').map_or(&[][..], |slash| &place[slash + 1..]);
        self.names.is_match_candidate(&candidate(name))
            || self.paths.is_match_candidate(&candidate(place))
            || self.paths.is_match_candidate(&candidate(below))
    }
}

/// `a/b/c`, `a/b`, `a`.
fn folders_of(place: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    std::iter::once(place).chain(ends.map(|end| &place[..end]))
}

#[cfg(unix)]
fn candidate(bytes: &[u8]) -> Candidate<'_> {
    use std::os::unix::ffi::OsStrExt as _;
    Candidate::new(Path::new(OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn candidate(bytes: &[u8]) -> Candidate<'_> {
    Candidate::new(Path::new(OsStr::new(std::str::from_utf8(bytes).unwrap_or_default())))
}

fn bad(pattern: &str, error: &globset::Error) -> Failed {
    Failed::usage(format!("cannot read the pattern `{pattern}`"), error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::filter;

    fn takes(include: &[&str], exclude: &[&str], place: &[u8]) -> bool {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        filter(&owned(include), &owned(exclude)).unwrap().is_none_or(|filter| filter(place))
    }

    #[test]
    fn a_pattern_without_a_slash_is_compared_with_names() {
        assert!(takes(&["*.jpg"], &[], b"Pictures/a/b.jpg"));
        assert!(!takes(&["*.jpg"], &[], b"Pictures/a/b.png"));
        assert!(takes(&["*.jpg"], &[], b"Pictures/\xff.jpg"));
    }

    #[test]
    fn a_pattern_with_a_slash_is_compared_with_the_path() {
        assert!(takes(&["a/*.jpg"], &[], b"Pictures/a/b.jpg"));
        assert!(!takes(&["a/*.jpg"], &[], b"Pictures/a/c/b.jpg"));
        assert!(takes(&["Pictures/**/*.jpg"], &[], b"Pictures/a/c/b.jpg"));
    }

    #[test]
    fn an_excluded_folder_is_left_out_with_all_below_it() {
        assert!(!takes(&[], &["cache"], b"Pictures/cache/deep/b.jpg"));
        assert!(!takes(&["*.jpg"], &["a/"], b"Pictures/a/b.jpg"));
        assert!(takes(&[], &["cache"], b"Pictures/caches/b.jpg"));
    }
}
