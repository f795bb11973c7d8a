//! What a person named to be backed up, as it was found before anything was taken.

use std::{
    io,
    path::{Component, Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use landfall::Env;
use landfall_env::Clock;

use crate::failed::Failed;

/// How long a disk may take to say what a path is.
const SILENCE: Duration = Duration::from_secs(15);

/// A folder or file to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// Absolute, its last segment as it was given: that one names what is restored.
    pub(crate) path: PathBuf,
    /// Without links. `None` if its disk does not answer; the scan reports that.
    pub(crate) real: Option<PathBuf>,
    /// Number of its disk.
    pub(crate) device: Option<u64>,
}

/// Looks at what was named. A disk that hangs, as a share whose server is gone does, keeps nobody: the scan will find it
/// hanging as well, and goes on with what is on the others.
///
/// # Errors
/// A path that does not exist, or may not be used: nothing was taken.
pub(crate) fn roots(paths: &[PathBuf], env: &Env) -> Result<Vec<Root>, Failed> {
    let files = env.files.clone();
    let device = move |path: &Path| files.status(path).ok().map(|status| status.identity.device);
    roots_by(paths, env.clock.as_ref(), SILENCE, move |path| look(path, &device))
}

/// Each path on a thread of its own, since a call into a disk that hangs cannot be taken back.
fn roots_by(
    paths: &[PathBuf],
    clock: &dyn Clock,
    within: Duration,
    look: impl Fn(&Path) -> io::Result<Root> + Clone + Send + 'static,
) -> Result<Vec<Root>, Failed> {
    let until = clock.monotonic() + within;
    let looks = paths.iter().map(|path| {
        let (send, receive) = mpsc::channel();
        let (look, path) = (look.clone(), path.clone());
        std::thread::spawn(move || send.send(look(&path)));
        receive
    });
    let looks: Vec<mpsc::Receiver<io::Result<Root>>> = looks.collect();
    let mut roots = Vec::new();
    for (path, look) in paths.iter().zip(looks) {
        let seen = look.recv_timeout(until.saturating_sub(clock.monotonic()));
        let seen = seen.unwrap_or_else(|_| Ok(Root { path: std::path::absolute(path)?, real: None, device: None }));
        let root = seen.map_err(|error| {
            let code = if error.kind() == io::ErrorKind::NotFound { "not-found" } else { "not-permitted" };
            Failed::new(code, format!("cannot back up `{}`", path.display()), error.to_string())
                .hint("check that the path exists and may be used; nothing was taken")
        })?;
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    Ok(roots)
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
    use super::*;

    #[test]
    fn a_path_on_a_disk_that_hangs_is_left_to_the_scan_and_keeps_no_other() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let paths = [PathBuf::from("/dead/mount/photos"), folder.path().to_owned()];
        let roots = roots_by(&paths, Env::real().clock.as_ref(), Duration::from_millis(200), |path| {
            if path.starts_with("/dead") {
                std::thread::park();
            }
            look(path, &|_| Some(7))
        });
        let roots = roots.expect("nothing is wrong with the paths");
        assert_eq!(roots[0], Root { path: paths[0].clone(), real: None, device: None });
        assert_eq!(roots[1].real, Some(folder.path().canonicalize().expect("it exists")));
    }

    #[test]
    fn a_path_that_does_not_exist_is_refused() {
        let failed =
            roots_by(&["/no/such/folder".into()], Env::real().clock.as_ref(), SILENCE, |path| look(path, &|_| None));
        assert_eq!(failed.expect_err("nothing is there").code, "not-found");
    }
}
