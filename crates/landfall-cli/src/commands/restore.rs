//! `landfall restore`: get everything back.

use std::sync::Arc;

use landfall::recipes::vault::{RestoreOptions, RestoreTarget, restore as restore_all};
use serde_json::{Value, json};

use super::{ours, place_of, read};
use crate::{
    arguments::Restore,
    command::Command,
    destination::{Mode, real_path},
    exit::Exit,
    failed::{During as _, Failed},
    filter::filter,
    human,
    output::{Output, fields},
};

/// Carries out `landfall restore`.
pub(crate) async fn restore(command: &Command, arguments: Restore) -> Result<Exit, Failed> {
    let filter = filter(&arguments.matching, &[])?;
    let folder = &arguments.folder;
    if folder.exists() && !folder.is_dir() {
        let what = format!("cannot restore to `{}`", folder.display());
        return Err(Failed::usage(what, "it is no folder").hint("name a folder; it is made if it is missing"));
    }
    refuse_ourselves(command, &arguments)?;
    let was_there = folder.exists();
    let reading = read(command, &arguments.from, Mode::Read).await?;
    let out = Arc::clone(&command.out);
    let target = RestoreTarget {
        folder: arguments.folder.clone(),
        on_file: Arc::new(move |place, bytes| say_restored(&out, place, bytes)),
    };
    let is_chosen = !arguments.ids.is_empty() || arguments.album.is_some() || filter.is_some();
    let options = RestoreOptions {
        ids: (!arguments.ids.is_empty()).then_some(arguments.ids),
        filter,
        album: arguments.album,
        all_versions: arguments.all_versions,
        overwrite: arguments.overwrite,
    };
    command.out.note(&format!("restoring from {} to `{}`", reading.place, arguments.folder.display()));
    let report = restore_all(&reading.engine, &reading.session, &target, &options).await;
    let report = report.during(&format!("cannot restore to `{}`", arguments.folder.display()))?;
    if report.restored + report.unchanged == 0 && !was_there {
        // Only if nothing is in it.
        let _ = std::fs::remove_dir(&arguments.folder);
    }
    if is_chosen && report.restored + report.unchanged == 0 && report.problems.is_empty() {
        let what = format!("cannot restore to `{}`", arguments.folder.display());
        return Err(
            Failed::usage(what, "nothing in the vault is what was asked for").hint("`landfall ls` shows what there is")
        );
    }
    let took = command.took();
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|(place, code, message)| {
            let mut one = fields(json!({ "code": code, "message": message, "remedy": remedy(code) }));
            human::put_path(&mut one, "path", place);
            Value::Object(one)
        })
        .collect();
    command.out.document(fields(json!({
        "restored": report.restored,
        "unchanged": report.unchanged,
        "bytes": report.bytes,
        "problems": problems,
        "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    })));
    command.out.note(&format!(
        "restored {} ({}), unchanged {}, problems {} in {}",
        human::count(report.restored, "file"),
        human::size(report.bytes),
        report.unchanged,
        report.problems.len(),
        human::duration(took)
    ));
    for (place, code, message) in &report.problems {
        command.out.say(&format!("problem: `{}`: {}", human::path(place), human::text(message)));
        command.out.say(&format!("hint: {}", remedy(code)));
    }
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Problems })
}

/// What lies in the home or in a vault is landfall's: neither would be backed up, nor be safe there.
fn refuse_ourselves(command: &Command, arguments: &Restore) -> Result<(), Failed> {
    let place = place_of(command, arguments.from.from.as_deref())?;
    let Ok(folder) = real_path(&arguments.folder) else { return Ok(()) };
    match ours(command, &place).into_iter().find(|own| folder.starts_with(own)) {
        None => Ok(()),
        Some(own) => {
            let what = format!("cannot restore to `{}`", arguments.folder.display());
            let why = format!("it is part of `{}`, which is landfall's own", own.display());
            Err(Failed::usage(what, why).hint("name a folder outside of the home and the vault"))
        }
    }
}

fn say_restored(out: &Output, place: &[u8], bytes: u64) {
    if out.is_verbose() {
        out.note(&format!("restored {}", human::path(place)));
    }
    let mut event = fields(json!({ "bytes": bytes }));
    human::put_path(&mut event, "place", place);
    out.event("done", event);
}

fn remedy(code: &str) -> &'static str {
    match code {
        "exists" => "`--overwrite` replaces it, or restore to another folder",
        "in-the-way" => "move it away, or restore to another folder",
        "hostile-name" => "do not trust this vault; nothing was written for that name",
        "tampered" => "do not trust this vault; keep the originals and check the server",
        "name-collision" => "restore it by its number (`landfall ls` shows it) into another folder",
        "cannot-write" => "check the target's disk and rights, then run the command again",
        _ => "run the command again; what is there is not fetched again",
    }
}
