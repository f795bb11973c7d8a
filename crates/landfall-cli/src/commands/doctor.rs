//! `landfall doctor`: are disk, keys, journal, settings and vault fit to rely on?

use std::path::Path;

use landfall::{Engine, Settings};
use serde_json::{Value, json};

use super::{config, place_of};
use crate::{
    command::{Command, is_unbegun},
    destination::{self, Found, Place},
    exit::Exit,
    failed::{Failed, failed},
    hostkey::HostKeyFile,
    human,
    output::fields,
};

/// Below this a disk is as good as full, in bytes.
const SPACE_MIN: u64 = 100 << 20;
/// Below this a disk will be full soon, in bytes.
const SPACE_LOW: u64 = 2 << 30;

struct Check {
    name: &'static str,
    verdict: &'static str,
    message: String,
    remedy: Option<String>,
}

/// Carries out `landfall doctor`.
pub(crate) async fn doctor(command: &Command) -> Result<Exit, Failed> {
    let place = place_of(command, None);
    let mut checks = vec![
        disk(command, &place),
        keys(command),
        journal(command).await,
        settings(command),
        vault(command, place).await,
    ];
    checks.extend(lanes(command).await);
    checks.extend(credentials(command));
    for check in &checks {
        command.out.line(&format!("{:<4}  {:<8} {}", check.verdict, check.name, check.message));
        if let Some(remedy) = &check.remedy {
            command.out.line(&format!("               hint: {remedy}"));
        }
    }
    let list: Vec<Value> = checks
        .iter()
        .map(|check| json!({ "name": check.name, "verdict": check.verdict, "message": check.message, "remedy": check.remedy }))
        .collect();
    command.out.document(fields(json!({ "checks": list })));
    Ok(if checks.iter().any(|check| check.verdict == "fail") { Exit::Problems } else { Exit::Done })
}

fn disk(command: &Command, place: &Result<Place, Failed>) -> Check {
    let mut worst = Check { name: "disk", verdict: "ok", message: String::new(), remedy: None };
    let mut said = Vec::new();
    let vault = place.as_ref().ok().and_then(Place::folder).map(|folder| ("vault", folder));
    for (what, folder) in [Some(("home", command.home.folder.as_path())), vault].into_iter().flatten() {
        let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let verdict = match command.env.files.free_bytes(there) {
            Ok(free) => {
                said.push(format!("{} free for the {what}", human::size(free)));
                if free < SPACE_MIN {
                    "fail"
                } else if free < SPACE_LOW {
                    "warn"
                } else {
                    "ok"
                }
            }
            Err(error) => {
                said.push(format!("the disk of the {what} cannot be asked: {error}"));
                "fail"
            }
        };
        if rank(verdict) > rank(worst.verdict) {
            worst.verdict = verdict;
            worst.remedy = Some(format!("free space on the disk of `{}`", folder.display()));
        }
    }
    Check { message: said.join(", "), ..worst }
}

fn rank(verdict: &str) -> u8 {
    match verdict {
        "ok" => 0,
        "warn" => 1,
        _ => 2,
    }
}

fn keys(command: &Command) -> Check {
    let store = command.keystore();
    let path = store.path().display();
    let check = |verdict, message: String, remedy: Option<String>| Check { name: "keys", verdict, message, remedy };
    match store.count() {
        Err(failed) => check("fail", failed.message(), failed.hint),
        Ok(0) => check("ok", "no key is kept; every command that needs one asks for the password".to_owned(), None),
        Ok(_) if is_open_to_others(store.path()) => {
            check("fail", format!("others may read the keys kept in `{path}`"), Some(format!("chmod 600 '{path}'")))
        }
        Ok(count) => check(
            "warn",
            format!(
                "{} kept in the file `{path}`: whoever reads it reads the vault",
                human::count(count as u64, "key")
            ),
            Some("`landfall lock` removes the file".to_owned()),
        ),
    }
}

/// Secrets of buckets that no key store of the system keeps.
fn credentials(command: &Command) -> Option<Check> {
    let path = command.home.folder.join("credentials.json");
    if !path.exists() {
        return None;
    }
    let (verdict, message, remedy) = if is_open_to_others(&path) {
        (
            "fail",
            format!("others may read the secrets in `{}`", path.display()),
            format!("chmod 600 '{}'", path.display()),
        )
    } else {
        (
            "warn",
            format!("secrets of buckets are in the file `{}`: whoever reads it can use them", path.display()),
            "use keys that may do nothing but upload, or a system with a key store".to_owned(),
        )
    };
    Some(Check { name: "secrets", verdict, message, remedy: Some(remedy) })
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|status| status.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

async fn journal(command: &Command) -> Check {
    let check = |verdict, message: String, remedy: Option<String>| Check { name: "journal", verdict, message, remedy };
    let none = || check("ok", "none yet; the first `landfall backup` makes it".to_owned(), None);
    if !command.home.journal().exists() {
        return none();
    }
    let settings = Settings { check: true, read_only: true, ..command.settings() };
    match Engine::open(settings, command.env.clone()).await {
        Err(error) if is_unbegun(&error) => none(),
        Err(error) => {
            let failed = failed("", &error);
            check("fail", failed.message(), failed.hint)
        }
        Ok(engine) => match engine.counts().await {
            Ok(counts) if counts.blocked > 0 => check(
                "warn",
                format!("sound; {} blocked", human::count(counts.blocked, "item")),
                Some("`landfall status` says why, `landfall retry --all` tries again".to_owned()),
            ),
            Ok(counts) => check("ok", format!("sound; {} queued", human::count(counts.queued(), "file")), None),
            Err(error) => check("fail", failed("", &error).message(), Some(error.hint())),
        },
    }
}

/// Whether the lanes of this home open, if there are any.
async fn lanes(command: &Command) -> Option<Check> {
    let engine = command.engine_to_look().await.ok().flatten()?;
    engine.has_lane_keys().await.ok().filter(|has| *has)?;
    let check = |verdict, message: String, remedy: Option<String>| Check { name: "lanes", verdict, message, remedy };
    let file = HostKeyFile::of(command);
    Some(match file.find() {
        Ok(Some(_)) => check("ok", "the host key that opens them is there".to_owned(), None),
        Ok(None) => check("fail", file.lost().message(), file.lost().hint),
        Err(failed) => check("fail", failed.message(), failed.hint),
    })
}

fn settings(command: &Command) -> Check {
    let complaints = config::complaints(command);
    let count = complaints.len();
    let mut complaints = complaints.into_iter();
    match complaints.next() {
        None => Check {
            name: "settings",
            verdict: "ok",
            message: format!("those of `{}` and of the environment can be used", command.home.config_path().display()),
            remedy: None,
        },
        Some(first) => {
            let rest: String = complaints.map(|other| format!("; {}", other.message())).collect();
            let message = format!("{} wrong: {}{rest}", human::count(count as u64, "setting"), first.message());
            Check { name: "settings", verdict: "fail", message, remedy: first.hint }
        }
    }
}

/// Whether the vault that `backup` uses when none is named can be reached. No key is needed, and nobody is waited for.
async fn vault(command: &Command, place: Result<Place, Failed>) -> Check {
    let check = |verdict, message: String, remedy: Option<String>| Check { name: "vault", verdict, message, remedy };
    let place = match place {
        Ok(place) => place,
        Err(failed) => return check("fail", failed.message(), failed.hint),
    };
    match destination::find_out(command, &place).await {
        Ok(Found::Answers) => check("ok", format!("the vault at {place} answers"), None),
        Ok(Found::NothingYet) if matches!(place, Place::Default(_)) => {
            check("ok", format!("none yet at {place}; the first `landfall backup` makes it"), None)
        }
        Ok(Found::NothingYet) => check(
            "warn",
            format!("there is no vault at {place}; the first `landfall backup` makes it"),
            Some("check the path; `landfall config set to DIR` changes it".to_owned()),
        ),
        Err(failed) if failed.code == "vault-read-only" => {
            check("warn", format!("{}; it can only be restored from", failed.message()), failed.hint)
        }
        Err(failed) => check("fail", failed.message(), failed.hint),
    }
}
