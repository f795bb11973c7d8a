//! What a person named to be backed up, as it was found before anything was taken.

use std::{
    collections::BTreeSet,
    io,
    path::{Component, Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use landfall::{Code, Env, recipes::vault::ScanProblem};
use landfall_core::DiskHealth;
use landfall_env::{Apart, hear};

use crate::failed::Failed;

/// How long a disk may take to say what a path is.
const SILENCE: Duration = Duration::from_secs(15);
/// Paths that are looked at at once.
const AT_ONCE: usize = 16;

/// A folder or file to be backed up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Root {
    /// Absolute, its last segment as it was given: that one names what is restored.
    pub(crate) path: PathBuf,
    /// Without links. `None` if its disk does not answer. It is not scanned then, also if the disk does answer later:
    /// what is not known by its real path might be taken for another root, or be the vault itself.
    pub(crate) real: Option<PathBuf>,
    /// Number of its disk.
    pub(crate) device: Option<u64>,
}

/// Looks at what was named. A disk that hangs, as a share whose server is gone does, keeps nobody from what is on the
/// others.
///
/// # Errors
/// A path that does not exist, or may not be used: nothing was taken.
pub(crate) fn roots(paths: &[PathBuf], env: &Env) -> Result<Vec<Root>, Failed> {
    let files = env.files.clone();
    let device = move |path: &Path| files.status(path).ok().map(|status| status.identity.device);
    roots_by(paths, SILENCE, move |path| look(path, &device))
}

/// Each path on a thread of its own, since a call into a disk that hangs cannot be taken back.
fn roots_by(
    paths: &[PathBuf],
    within: Duration,
    look: impl Fn(&Path) -> io::Result<Root> + Clone + Send + 'static,
) -> Result<Vec<Root>, Failed> {
    let threads = Apart::default();
    let mut health = DiskHealth::default();
    let (mut roots, mut known) = (Vec::new(), BTreeSet::new());
    for paths in paths.chunks(AT_ONCE) {
        let mut patience = health.patience(within);
        let mut looks = Vec::new();
        for path in paths.iter().filter(|_| patience.is_some()) {
            let (send, receive) = mpsc::sync_channel(1);
            let (look, asked) = (look.clone(), path.clone());
            let started = threads.start(move || drop(send.send(look(&asked))));
            started.map_err(|error| {
                Failed::new("internal", format!("cannot look at `{}`", path.display()), error.to_string())
                    .hint("end other programs, or raise the limit of threads; nothing was taken")
            })?;
            looks.push(receive);
        }
        let mut looks = looks.into_iter();
        for path in paths {
            let seen = looks.next().zip(patience).and_then(|(look, patience)| hear(&look, patience).ok());
            if seen.is_none() {
                health.fell_silent();
                // The others of these have been waited for as long.
                patience = patience.map(|_| Duration::ZERO);
            }
            let seen = seen.unwrap_or_else(|| Ok(Root { path: std::path::absolute(path)?, real: None, device: None }));
            let root = seen.map_err(|error| {
                let code = if error.kind() == io::ErrorKind::NotFound { "not-found" } else { "not-permitted" };
                Failed::new(code, format!("cannot back up `{}`", path.display()), error.to_string())
                    .hint("check that the path exists and may be used; nothing was taken")
            })?;
            if known.insert(root.clone()) {
                roots.push(root);
            }
        }
    }
    Ok(roots)
}

impl Root {
    /// What is wrong with it, if its disk does not answer.
    pub(crate) fn silence(&self) -> Option<ScanProblem> {
        self.real.is_none().then(|| ScanProblem {
            place: self.path.as_os_str().as_encoded_bytes().to_vec(),
            code: Code::SourceStalled,
            message: "its disk does not answer: nothing of it was looked at".to_owned(),
        })
    }
}

fn look(path: &Path, device: &impl Fn(&Path) -> Option<u64>) -> io::Result<Root> {
    std::fs::metadata(path)?;
    let real = path.canonicalize()?;
    let named = matches!(path.components().next_back(), Some(Component::Normal(_)));
    let path = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if named => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            parent.canonicalize()?.join(name)
        }
        _ => real.clone(),
    };
    Ok(Root { device: device(&real), path, real: Some(real) })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn a_path_on_a_disk_that_hangs_is_a_problem_and_keeps_no_other() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let paths = [PathBuf::from("/dead/mount/photos"), folder.path().to_owned()];
        let roots = roots_by(&paths, Duration::from_millis(200), |path| {
            if path.starts_with("/dead") {
                std::thread::park();
            }
            look(path, &|_| Some(7))
        });
        let roots = roots.expect("nothing is wrong with the paths");
        assert_eq!(roots[0], Root { path: paths[0].clone(), real: None, device: None });
        assert_eq!(roots[0].silence().map(|problem| problem.code), Some(Code::SourceStalled));
        assert_eq!(roots[1].real, Some(folder.path().canonicalize().expect("it exists")));
    }

    #[test]
    fn of_many_paths_on_a_disk_that_hangs_most_are_not_asked() {
        let paths: Vec<PathBuf> = (0..200).map(|number| format!("/dead/mount/{number}.jpg").into()).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let roots = roots_by(&paths, Duration::from_millis(50), move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            loop {
                std::thread::park();
            }
        });
        assert_eq!(roots.expect("nothing is known to be wrong with the paths").len(), 200);
        assert!(asked.load(Ordering::Relaxed) <= 48, "{asked:?}");
    }

    #[test]
    fn a_path_that_does_not_exist_is_refused() {
        let failed = roots_by(&["/no/such/folder".into()], SILENCE, |path| look(path, &|_| None));
        assert_eq!(failed.expect_err("nothing is there").code, "not-found");
    }
}
