//! A journal that is not what was written: set aside untouched, and rebuilt from the vault and a scan.

use std::{io, path::PathBuf, time::Duration};

use landfall::{Engine, Error, Settings, StoreError};

use crate::{command::Command, exit::Exit, failed::Failed};

/// How often a journal is set aside before something else must be wrong.
const TIMES_MAX: usize = 2;

/// Does `work`, which is a backup; if it finds the journal damaged, sets that aside and does it again with a fresh one.
///
/// # Errors
/// What `work` says at last.
pub(crate) async fn healing(
    command: &Command,
    mut work: impl AsyncFnMut() -> Result<Exit, Failed>,
) -> Result<Exit, Failed> {
    let mut aside = Vec::new();
    for _ in 0..TIMES_MAX {
        match work().await {
            Err(failed) if failed.is_damage => {
                command.out.clear();
                aside.extend(set_aside(command, &failed, Some("nothing is sent again that the vault holds")).await?);
            }
            other => {
                if matches!(other, Ok(Exit::Done | Exit::Problems | Exit::Queued)) {
                    say_removable(command, &aside);
                }
                return other;
            }
        }
    }
    work().await
}

/// What else was queued in a journal is taken again only by backups of the same paths.
fn say_removable(command: &Command, aside: &[PathBuf]) {
    for file in aside {
        command.out.note(&format!("`{}` may be removed once every path was backed up again", file.display()));
    }
}

/// Does `work`, which only goes on with what is queued; if it finds the journal damaged, sets that aside and says what is
/// lost with it: nobody but the next backup can find out what was queued.
///
/// # Errors
/// What `work` says; `journal-damaged` if the journal was set aside.
pub(crate) async fn forgetting(
    command: &Command,
    mut work: impl AsyncFnMut() -> Result<Exit, Failed>,
) -> Result<Exit, Failed> {
    for _ in 0..TIMES_MAX {
        match work().await {
            Err(failed) if failed.is_damage => {
                command.out.clear();
                if set_aside(command, &failed, None).await?.is_some() {
                    let why = "what was queued was in the damaged journal, and is not known any more";
                    return Err(Failed::new("journal-damaged", "cannot go on", why).hint(
                        "`landfall backup PATH…` takes it again, for each path that is backed up; keep the file set aside until then",
                    ));
                }
            }
            other => return other,
        }
    }
    work().await
}

/// Renames the journal and what belongs to it, and returns its new name. `None` if there is nothing to set aside: another
/// process has done so meanwhile.
async fn set_aside(command: &Command, failed: &Failed, hint: Option<&str>) -> Result<Option<PathBuf>, Failed> {
    let home = &command.home.folder;
    let cannot = |error: io::Error| {
        Failed::new("journal-damaged", "cannot set the damaged journal aside", error.to_string())
            .hint(format!("move `{}` away by hand", command.home.journal().display()))
    };
    let lock = home.join("set-aside.lock");
    let _lock = loop {
        if let Some(lock) = command.env.files.try_lock(&lock).map_err(cannot)? {
            break lock;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let settings = Settings { check: true, ..command.settings() };
    if !is_damaged(Engine::open(settings, command.env.clone()).await) {
        return Ok(None);
    }
    if is_in_use(command) {
        let what = "cannot set the damaged journal aside";
        return Err(Failed::new("journal-damaged", what, "another process is still working with it")
            .hint("end the other landfall processes of this home, then run the command again"));
    }
    let aside = free_name(command);
    // The log goes first: one that is left beside a new journal would be thrown away with what it says.
    for ending in ["-wal", "-shm", ""] {
        let from = home.join(format!("journal.db{ending}"));
        let mut to = aside.clone().into_os_string();
        to.push(ending);
        match command.env.files.rename(&from, to.as_ref()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    command.env.files.sync_dir(home).map_err(cannot)?;
    command.out.warn(&format!("journal-damaged: {}; it was set aside as `{}`", failed.why, aside.display()), hint);
    Ok(Some(aside))
}

fn is_damaged(opened: Result<Engine, Error>) -> bool {
    matches!(opened, Err(Error::Store(StoreError::Damaged { .. })))
}

/// Whether a worker of this home lives.
fn is_in_use(command: &Command) -> bool {
    let (files, folder) = (&command.env.files, command.home.folder.join("workers"));
    let entries = files.list(&folder).unwrap_or_default();
    entries.iter().any(|entry| matches!(files.try_lock(&folder.join(&entry.name)), Ok(None)))
}

/// A name that no earlier damaged journal has.
fn free_name(command: &Command) -> PathBuf {
    let seconds = command.env.clock.wall_ms().div_euclid(1000);
    let name = |number: i64| command.home.folder.join(format!("journal.db.damaged-{number}"));
    (seconds..).map(name).find(|path| !path.exists()).expect("there are more names than files")
}
