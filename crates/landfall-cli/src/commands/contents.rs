//! `landfall ls`, `verify` and `rm`: what a vault holds.

use landfall::recipes::vault::{self, Entry};
use serde_json::{Value, json};

use super::read;
use crate::{
    arguments::{From, Ls, Rm, Verify},
    command::Command,
    destination::Mode,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::{Format, fields},
};

/// Carries out `landfall ls`.
pub(crate) async fn list(command: &Command, arguments: &Ls) -> Result<Exit, Failed> {
    if let Some(bucket) = super::get::bucket_named(command, arguments.from.as_deref())? {
        return super::get::list(command, &bucket, arguments.prefix.as_deref().unwrap_or_default()).await;
    }
    super::get::refuse_unknown(command, arguments.from.as_deref())?;
    if arguments.prefix.is_some() {
        return Err(Failed::usage("cannot list by prefix", "contents of a vault have numbers, and no keys")
            .hint("name a bucket's destination with `--from NAME`"));
    }
    let from = From { from: arguments.from.clone() };
    let reading = read(command, &from, Mode::Read).await?;
    let mut items = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    let each = |entry: Entry| {
        count += 1;
        bytes += entry.size;
        if count == 1 {
            command.out.line(&format!("{:>8}  {:>9}  {:<19}  {}", "content", "size", "taken", "place"));
        }
        match command.out.format() {
            Format::Human => say(command, &entry),
            Format::Json => items.push(Value::Object(entry_json(&entry))),
            Format::JsonLines => command.out.event("item", entry_json(&entry)),
        }
    };
    vault::list(&reading.engine, &reading.session, each).await.during("cannot list the vault")?;
    match command.out.format() {
        Format::Human => command.out.note(&format!("{}, {}", human::count(count, "content"), human::size(bytes))),
        Format::Json => command.out.document(fields(json!({ "items": items }))),
        Format::JsonLines => command.out.document(fields(json!({ "count": count, "bytes": bytes }))),
    }
    Ok(Exit::Done)
}

fn say(command: &Command, entry: &Entry) {
    let taken = human::moment(entry.taken_at.div_euclid(1000));
    let taken = taken.get(..19).unwrap_or(&taken).replace('T', " ");
    let size = human::size(entry.size);
    if let Some(problem) = &entry.problem {
        command.out.line(&format!("{:>8}  damaged: {}", entry.id, human::text(problem)));
        return;
    }
    let title = entry.title.clone().into_bytes();
    let places = if entry.places.is_empty() { std::slice::from_ref(&title) } else { &entry.places };
    for place in places {
        command.out.line(&format!("{:>8}  {size:>9}  {taken}  {}", entry.id, human::path(place)));
    }
}

fn entry_json(entry: &Entry) -> serde_json::Map<String, Value> {
    let mut one = fields(json!({
        "id": entry.id,
        "size": entry.size,
        "taken_at": human::moment(entry.taken_at.div_euclid(1000)),
        "state": if entry.problem.is_some() { "damaged" } else { "stored" },
    }));
    human::put_paths(&mut one, "paths", &entry.places);
    if let Some(problem) = &entry.problem {
        one.insert("problem".to_owned(), problem.as_str().into());
    }
    one
}

/// Carries out `landfall verify`.
pub(crate) async fn verify(command: &Command, arguments: &Verify) -> Result<Exit, Failed> {
    let reading = read(command, &arguments.from, Mode::Read).await?;
    let report = vault::verify(&reading.engine, &reading.session, arguments.read_data).await;
    let report = report.during("cannot verify the vault")?;
    let problems: Vec<Value> =
        report.problems.iter().map(|(id, message)| json!({ "id": id, "message": message })).collect();
    command.out.document(fields(json!({
        "checked": report.checked,
        "read_data": arguments.read_data,
        "bytes_read": report.bytes_read,
        "problems": problems,
        "duration_ms": u64::try_from(command.took().as_millis()).unwrap_or(u64::MAX),
    })));
    let checked = human::count(report.checked, "content");
    let read =
        if arguments.read_data { format!(" and read {}", human::size(report.bytes_read)) } else { String::new() };
    command.out.note(&format!("checked {checked}{read}, problems {}", report.problems.len()));
    for (id, message) in &report.problems {
        command.out.say(&format!("problem: content {id}: {}", human::text(message)));
    }
    if report.problems.is_empty() {
        return Ok(Exit::Done);
    }
    command.out.say("hint: keep the originals; check the vault's disk or server; then `landfall rm` the contents named and back up again");
    Ok(Exit::Problems)
}

/// Carries out `landfall rm`.
pub(crate) async fn remove(command: &Command, arguments: &Rm) -> Result<Exit, Failed> {
    let reading = read(command, &arguments.from, Mode::Find).await?;
    let removed = vault::remove(&reading.engine, &reading.session, &arguments.ids).await.during("cannot remove")?;
    let mut gone: Vec<i64> = arguments.ids.iter().copied().filter(|id| !removed.contains(id)).collect();
    gone.sort_unstable();
    gone.dedup();
    command.out.document(fields(json!({ "removed": removed, "gone": gone })));
    for id in &gone {
        command.out.note(&format!("content {id} was removed before"));
    }
    command.out.note(&format!("removed {}", human::count(removed.len() as u64, "content")));
    Ok(Exit::Done)
}
