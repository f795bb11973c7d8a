//! `landfall get`, and `landfall ls` of a bucket.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::{Component, Path, PathBuf},
};

use landfall::{
    Code, Failure,
    bucket::{Bucket, Fetched},
};
use serde_json::{Value, json};

use super::work::{self, Problem};
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

/// A name that no destination has, and that is no folder either.
///
/// # Errors
/// `no-such-destination`.
pub(crate) fn refuse_unknown(command: &Command, from: Option<&Path>) -> Result<(), Failed> {
    match from.and_then(Path::to_str) {
        Some(name) if buckets::check_name(name).is_ok() && !Path::new(name).exists() => {
            buckets::named(command, name).map(drop)
        }
        _ => Ok(()),
    }
}

/// Carries out `landfall ls --from NAME`.
pub(crate) async fn list(command: &Command, config: &BucketConfig, below: &str) -> Result<Exit, Failed> {
    let engine = command.ephemeral_engine().await?;
    let bucket = buckets::open(command, &engine, config).await?;
    let what = format!("cannot list `{}`", config.name);
    let listing = bucket.list(below).await.during(&what).map_err(|failed| failed.at(config))?;
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

/// Carries out `landfall get`. What goes wrong with one object keeps none of the others.
pub(crate) async fn get(command: &Command, arguments: &Get) -> Result<Exit, Failed> {
    let config = buckets::named(command, &arguments.from)?;
    if arguments.out.exists() && !arguments.out.is_dir() {
        let what = format!("cannot fetch to `{}`", arguments.out.display());
        return Err(Failed::usage(what, "it is no folder").hint("name a folder with `--out DIR`"));
    }
    for key in arguments.keys.iter().filter(|key| !key.ends_with('/')) {
        target(&arguments.out, key)?;
    }
    let engine = command.ephemeral_engine().await?;
    let bucket = buckets::open(command, &engine, &config).await?;
    let mut getting = Getting {
        command,
        arguments,
        config: &config,
        bucket,
        locked: None,
        fetched: Vec::new(),
        problems: Vec::new(),
    };
    let keys = getting.keys().await?;
    let mut exit = Exit::Done;
    for key in &keys {
        let Err(failed) = getting.one(key).await else { continue };
        let concerns_all =
            matches!(failed.exit, Exit::Queued | Exit::Configuration) || failed.code == "bad-credentials";
        if keys.len() == 1 && (concerns_all || failed.exit == Exit::Credentials) {
            return Err(failed);
        }
        exit = exit.or_worse(failed.exit);
        getting.problem(key, &failed);
        if concerns_all {
            break;
        }
    }
    let Getting { fetched, problems, .. } = getting;
    command.out.document(fields(json!({ "files": fetched, "problems": work::problems_json(&problems) })));
    work::say_problems(command, &problems);
    Ok(match exit {
        Exit::Done | Exit::Usage if !problems.is_empty() => Exit::Problems,
        exit => exit,
    })
}

/// Objects that are being fetched.
struct Getting<'c> {
    command: &'c Command,
    arguments: &'c Get,
    config: &'c BucketConfig,
    bucket: Bucket,
    /// Why the keys of what is sealed are not at hand, once that is known.
    locked: Option<Failed>,
    fetched: Vec<Value>,
    problems: Vec<Problem>,
}

impl Getting<'_> {
    /// The keys that are meant, below the destination's prefix: those that are named, and all below what is named as a
    /// folder. Landfall's own are not.
    async fn keys(&mut self) -> Result<Vec<String>, Failed> {
        let (folders, mut keys): (Vec<&String>, Vec<&String>) =
            self.arguments.keys.iter().partition(|key| key.ends_with('/'));
        keys.dedup();
        let mut keys: Vec<String> = keys.into_iter().cloned().collect();
        for below in folders.into_iter().chain(&self.arguments.below) {
            let what = format!("cannot list what is below `{below}`");
            let listing = self.bucket.list(below).await.during(&what).map_err(|failed| failed.at(self.config))?;
            let prefix = self.bucket.prefix();
            let found: Vec<String> = listing
                .files
                .iter()
                .filter_map(|file| file.key.strip_prefix(prefix))
                // What ends with `/` stands for a folder.
                .filter(|key| !key.ends_with('/') && !key.split('/').any(|segment| segment == ".landfall"))
                .map(str::to_owned)
                .collect();
            if found.is_empty() {
                let failed = self.no_object(&format!("nothing is below `{below}`"));
                self.problem(below, &failed);
            }
            if listing.is_cut {
                self.command.out.warn("there are more", Some("name what their keys begin with"));
            }
            keys.extend(found.into_iter().filter(|key| !self.arguments.keys.contains(key)));
        }
        Ok(keys)
    }

    async fn one(&mut self, key: &str) -> Result<(), Failed> {
        let path = target(&self.arguments.out, key)?;
        let (got, was_there) = if path.exists() && !self.arguments.overwrite {
            (self.compared(key, &path).await?, true)
        } else {
            (self.fetched(key, &path).await?, false)
        };
        let out = &self.command.out;
        out.line(&human::path(path.as_os_str().as_encoded_bytes()));
        if was_there {
            out.note(&format!("`{}` was there already", human::path(path.as_os_str().as_encoded_bytes())));
        }
        if !got.is_proved {
            out.note(&format!("the bucket has no checksum to compare all of `{}` with", human::text(key)));
        }
        let mut one =
            fields(json!({ "key": key, "size": got.size, "is_proved": got.is_proved, "was_there": was_there }));
        human::put_path(&mut one, "path", path.as_os_str().as_encoded_bytes());
        self.fetched.push(Value::Object(one));
        Ok(())
    }

    /// Fetches an object; what is sealed is opened.
    async fn fetched(&mut self, key: &str, path: &Path) -> Result<Fetched, Failed> {
        let whole = self.bucket.key(key);
        let fetch = || self.bucket.fetch(&whole, path, self.arguments.overwrite, self.arguments.as_is);
        let mut got = fetch().await;
        if matches!(got, Err(landfall::Error::Locked)) {
            if let Some(failed) = &self.locked {
                return Err(failed.clone());
            }
            if let Err(failed) = buckets::unlock(self.command, &self.bucket, self.config).await {
                self.locked = Some(failed.clone());
                return Err(failed);
            }
            got = fetch().await;
        }
        match got {
            Err(landfall::Error::Destination(failure)) if failure.code == Code::Refused => {
                self.refused(key, &failure).await
            }
            got => got.during(&format!("cannot fetch `{key}`")).map_err(|failed| failed.at(self.config)),
        }
    }

    /// Says what is missing: the object, or the bucket, of which the refusal of a question about an object says nothing.
    async fn refused(&self, key: &str, failure: &Failure) -> Result<Fetched, Failed> {
        let what = format!("cannot fetch `{key}`");
        match self.bucket.list(key).await {
            Err(error @ landfall::Error::Destination(_)) if error.code() == Code::NoSuchBucket.as_str() => {
                Err(error).during(&what).map_err(|failed| failed.at(self.config))
            }
            Ok(listing) if listing.files.iter().any(|file| file.key == self.bucket.key(key)) => {
                Err(Failed::new("refused", what, failure.message.clone()).hint("run the command again"))
            }
            _ => Err(self.no_object(&failure.message)),
        }
    }

    fn no_object(&self, why: &str) -> Failed {
        let hint = format!("`landfall ls --from {}` lists what is there", self.config.name);
        Failed::new("refused", "", why).hint(hint)
    }

    /// Fetches an object beside a file that has its name already, and compares the two.
    async fn compared(&mut self, key: &str, path: &Path) -> Result<Fetched, Failed> {
        let beside = path.with_file_name(format!(".landfall-{}", self.command.env.random.name()));
        let got = self.fetched(key, &beside).await?;
        let (one, other) = (path.to_owned(), beside.clone());
        let same = self.command.env.blocking.run(move || is_same(&one, &other)).await;
        let _ = std::fs::remove_file(&beside);
        match same {
            Ok(true) => Ok(got),
            Ok(false) => Err(Failed::new("differs", "", format!("`{}` is there already, and differs", path.display()))
                .hint("`--overwrite` replaces it; `--out DIR` fetches to another folder")),
            Err(error) => Err(Failed::new(
                "differs",
                "",
                format!("`{}` is there already, and cannot be compared: {error}", path.display()),
            )
            .hint("`--out DIR` fetches to another folder")),
        }
    }

    fn problem(&mut self, key: &str, failed: &Failed) {
        self.problems.push(Problem {
            place: key.as_bytes().to_vec(),
            code: failed.code.clone(),
            message: failed.why.clone(),
            remedy: failed.hint.clone().unwrap_or_default(),
        });
    }
}

/// Whether two files have the same bytes.
fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::with_capacity(1 << 16, one), BufReader::with_capacity(1 << 16, other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let count = left.len().min(right.len());
        if left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(left.len() == right.len());
        }
        one.consume(count);
        other.consume(count);
    }
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
