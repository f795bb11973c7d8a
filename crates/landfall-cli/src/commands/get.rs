//! `landfall get`, and `landfall ls` of a bucket.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    arguments::Get,
    buckets::{self, BucketConfig},
    command::Command,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::{Format, fields},
};

/// The bucket that `--from` names, if it names one: a name is no folder and no address.
pub(crate) fn bucket_named(command: &Command, from: Option<&Path>) -> Result<Option<BucketConfig>, Failed> {
    match from.and_then(Path::to_str) {
        Some(name) if buckets::check_name(name).is_ok() => buckets::find(command, name),
        _ => Ok(None),
    }
}

/// Carries out `landfall ls --from NAME`.
pub(crate) async fn list(command: &Command, config: &BucketConfig, below: &str) -> Result<Exit, Failed> {
    let engine = command.ephemeral_engine().await?;
    let bucket = buckets::open(command, &engine, config).await?;
    let listing = bucket.list(below).await.during(&format!("cannot list `{}`", config.name))?;
    let bytes: u64 = listing.files.iter().map(|file| file.size).sum();
    let mut items: Vec<Value> = Vec::new();
    for file in &listing.files {
        let key = file.key.strip_prefix(bucket.prefix()).unwrap_or(&file.key);
        let modified = file.last_modified.map(|moment| human::moment(moment.0));
        let one = json!({ "key": key, "size": file.size, "modified_at": modified, "location": config.url(&file.key) });
        match command.out.format() {
            Format::Human => {
                let day = modified.as_deref().and_then(|text| text.get(..19)).unwrap_or_default().replace('T', " ");
                command.out.line(&format!("{:>9}  {day:<19}  {}", human::size(file.size), human::text(key)));
            }
            Format::Json => items.push(one),
            Format::JsonLines => command.out.event("item", fields(one)),
        }
    }
    let count = listing.files.len() as u64;
    match command.out.format() {
        Format::Human => command.out.note(&format!("{}, {}", human::count(count, "object"), human::size(bytes))),
        Format::Json => command.out.document(fields(json!({ "items": items, "is_cut": listing.is_cut }))),
        Format::JsonLines => {
            command.out.document(fields(json!({ "count": count, "bytes": bytes, "is_cut": listing.is_cut })));
        }
    }
    if listing.is_cut {
        command.out.warn("there are more", Some("name what their keys begin with"));
    }
    Ok(Exit::Done)
}

/// Carries out `landfall get`.
pub(crate) async fn get(command: &Command, arguments: &Get) -> Result<Exit, Failed> {
    let config = buckets::named(command, &arguments.from)?;
    let engine = command.ephemeral_engine().await?;
    let bucket = buckets::open(command, &engine, &config).await?;
    let mut targets = Vec::new();
    for key in &arguments.keys {
        targets.push((key, target(&arguments.out, key)?));
    }
    let mut fetched: Vec<Value> = Vec::new();
    for (key, path) in targets {
        let what = format!("cannot fetch `{key}`");
        let whole = bucket.key(key);
        let fetch = || bucket.fetch(&whole, &path, arguments.overwrite, arguments.as_is);
        let mut got = fetch().await;
        if matches!(got, Err(landfall::Error::Locked)) {
            buckets::unlock(command, &bucket, &config).await?;
            got = fetch().await;
        }
        let got = got.during(&what).map_err(|failed| match path.exists() && failed.code == "io" {
            true => failed.hint("it is there already; `--overwrite` replaces it"),
            false => failed,
        })?;
        command.out.line(&human::path(path.as_os_str().as_encoded_bytes()));
        if !got.is_proved {
            command.out.note(&format!("the bucket has no checksum to compare all of `{key}` with"));
        }
        let mut one = fields(json!({ "key": key, "size": got.size, "is_proved": got.is_proved }));
        human::put_path(&mut one, "path", path.as_os_str().as_encoded_bytes());
        fetched.push(Value::Object(one));
    }
    command.out.document(fields(json!({ "files": fetched })));
    Ok(Exit::Done)
}

/// Where an object goes: its key below the folder. No key leads out of it.
fn target(folder: &Path, key: &str) -> Result<PathBuf, Failed> {
    let below = Path::new(key);
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    if key.is_empty() || key.ends_with('/') || key.contains(['\\', '\0']) || !is_plain {
        return Err(Failed::usage(format!("cannot fetch `{key}`"), "its key is not the name of a file below a folder"));
    }
    std::path::absolute(folder.join(below))
        .map_err(|error| Failed::new("not-found", format!("cannot use `{}`", folder.display()), error.to_string()))
}
