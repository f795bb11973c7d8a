//! `landfall put`: upload files to a bucket, as they are.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use landfall::{Engine, Enqueued, ItemId, ItemSummary, NewUpload, RunOptions, RunReport, UploadKind, bucket::Bucket};
use serde_json::{Map, Value, json};

use super::work::{self, Problem};
use crate::{
    arguments::{BucketLimits, Put},
    buckets::{self, BucketConfig},
    command::Command,
    damage, endpoint,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::{Format, fields},
    tally::Tally,
};

/// Longest key that S3 takes, in bytes.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const KEY_BYTES_MAX: usize = 1024;
/// How many files are taken in charge in one transaction.
const BATCH: usize = 1000;

/// Carries out `landfall put`.
pub(crate) async fn put(mut command: Command, arguments: Put) -> Result<Exit, Failed> {
    limit(&mut command, &arguments.limits);
    let config = buckets::named(&command, &arguments.to)?;
    damage::forgetting(&command, async || once(&command, &config, &arguments).await).await
}

/// What the command line says about time.
pub(crate) fn limit(command: &mut Command, limits: &BucketLimits) {
    command.patience = limits.patience.unwrap_or(command.patience);
    command.budget = limits.budget;
    command.bandwidth.clone_from(&limits.bwlimit);
    if let Some(budget) = command.budget {
        command.patience = command.patience.min(budget);
    }
}

async fn once(command: &Command, config: &BucketConfig, arguments: &Put) -> Result<Exit, Failed> {
    let mut found = Found::new(config);
    find(arguments, &mut found)?;
    found.settle()?;
    let engine = engine(command, config, arguments.limits.transfers).await?;
    let bucket = buckets::open(command, &engine, config).await?;
    if arguments.seal {
        buckets::unlock(command, &bucket, config).await?;
    }
    let tally = Tally::new(&command.out);
    engine.watch_journal(Arc::clone(&tally) as _);
    let mut queued = Queued { items: Vec::new(), problems: found.problems, links: found.links };
    for batch in found.files.chunks(BATCH) {
        let new = batch.iter().map(|file| upload(&bucket, arguments, file)).collect();
        let enqueued = bucket.enqueue(new).await.during("cannot queue the files")?;
        for (file, enqueued) in batch.iter().zip(enqueued) {
            match enqueued {
                Enqueued::New(item) | Enqueued::Same(item) => queued.items.push(item),
                Enqueued::Taken(item) => queued.problems.push(Problem {
                    place: file.path.as_os_str().as_encoded_bytes().to_vec(),
                    code: "key-taken".to_owned(),
                    message: format!("item {item} is on its way to `{}`", bucket.key(&file.key)),
                    remedy: format!("let it finish, or `landfall cancel {item}`; or choose another key"),
                }),
            }
        }
    }
    drop(found.files);
    let report = if arguments.queue {
        None
    } else {
        Some(work(command, &engine, &bucket, &tally, arguments.limits.budget).await?)
    };
    finish(command, config, &engine, &tally, report.as_ref(), queued).await
}

/// What came of the files that were named.
struct Queued {
    items: Vec<ItemId>,
    problems: Vec<Problem>,
    links: Vec<Vec<u8>>,
}

/// The home, with as many uploads at once as were asked for.
pub(crate) async fn engine(command: &Command, config: &BucketConfig, transfers: Option<u16>) -> Result<Engine, Failed> {
    let mut settings = command.settings();
    settings.limits.upload = usize::from(transfers.unwrap_or(config.transfers));
    Engine::open(settings, command.env.clone()).await.during("cannot open the home")
}

/// Works on everything queued for a bucket, and shows it.
pub(crate) async fn work(
    command: &Command,
    engine: &Engine,
    bucket: &Bucket,
    tally: &Arc<Tally>,
    budget: Option<Duration>,
) -> Result<RunReport, Failed> {
    show(engine, tally).await?;
    watched(tally, bucket.run(options(command, budget), Arc::clone(tally) as _)).await
}

/// From now on shows how much of what goes on by itself is done.
pub(crate) async fn show(engine: &Engine, tally: &Tally) -> Result<(), Failed> {
    let counts = engine.counts().await.during("cannot read the journal")?;
    tally.show(counts.queued(), work::bytes_left(engine, &counts).await?, "uploading");
    Ok(())
}

/// How a run is limited.
pub(crate) fn options(command: &Command, budget: Option<Duration>) -> RunOptions {
    RunOptions {
        budget: budget.map(|budget| budget.saturating_sub(command.took())),
        patience: Some(command.patience),
        stop: command.signals.stop(),
    }
}

/// Lets the tally speak while a run goes on.
pub(crate) async fn watched(
    tally: &Tally,
    run: impl Future<Output = Result<RunReport, landfall::Error>>,
) -> Result<RunReport, Failed> {
    tokio::pin!(run);
    loop {
        tokio::select! {
            biased;
            report = &mut run => return report.during("cannot go on"),
            () = tokio::time::sleep(Duration::from_secs(1)) => tally.tick(),
        }
    }
}

/// A file that is to be uploaded.
struct Chosen {
    path: PathBuf,
    /// Below the destination's prefix.
    key: String,
    size: u64,
}

struct Found {
    /// What the destination puts before every key.
    prefix: String,
    files: Vec<Chosen>,
    problems: Vec<Problem>,
    /// Links in folders: they are not followed.
    links: Vec<Vec<u8>>,
}

/// The files that are meant. What cannot be uploaded is a problem of its own.
fn find(arguments: &Put, found: &mut Found) -> Result<(), Failed> {
    if arguments.key.is_some() && arguments.files.len() > 1 {
        return Err(Failed::usage("cannot put several files under one key", "").hint("give one file, or use `--below`"));
    }
    if arguments.key.as_deref() == Some("") {
        return Err(Failed::usage("cannot put a file under an empty key", "").hint("leave `--key` out for its name"));
    }
    if let Some(key) = arguments.key.as_deref().or((!arguments.below.is_empty()).then_some("")) {
        // Of a folder's files the rest of the key is their names, which say nothing of their own.
        let key = format!("{}{key}", arguments.below);
        found.check(&key).map_err(|why| {
            Failed::usage(format!("cannot put anything under `{key}`"), why).hint("choose another `--key` or `--below`")
        })?;
    }
    for named in &arguments.files {
        let path = std::path::absolute(named).map_err(|error| {
            Failed::new("not-found", format!("cannot read `{}`", named.display()), error.to_string())
        })?;
        let status = std::fs::metadata(&path).map_err(|error| {
            Failed::new("not-found", format!("cannot read `{}`", named.display()), error.to_string())
                .hint("check the path; nothing was queued")
        })?;
        let name = path.file_name().map(Path::new).map(Path::to_owned).unwrap_or_default();
        if status.is_dir() {
            if arguments.key.is_some() {
                return Err(Failed::usage("cannot put a folder under one key", "").hint("use `--below`"));
            }
            walk(&path, &name, arguments, found);
        } else if let Some(key) = &arguments.key {
            found.take(path, arguments, key.clone(), status.len());
        } else {
            found.take_below(path, &name, arguments, &status);
        }
    }
    Ok(())
}

/// All files below a folder; links are counted, and not followed.
fn walk(folder: &Path, below: &Path, arguments: &Put, found: &mut Found) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return found.problem(folder, "source-unreadable", error.to_string(), "make it readable"),
    };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, below) = (entry.path(), below.join(entry.file_name()));
        match entry.metadata() {
            Ok(status) if status.is_dir() => walk(&path, &below, arguments, found),
            Ok(status) if status.is_symlink() => found.links.push(path.into_os_string().into_encoded_bytes()),
            Ok(status) => found.take_below(path, &below, arguments, &status),
            Err(error) => found.problem(&path, "source-unreadable", error.to_string(), "make it readable"),
        }
    }
}

impl Found {
    fn new(config: &BucketConfig) -> Self {
        Self { prefix: config.prefix.clone(), files: Vec::new(), problems: Vec::new(), links: Vec::new() }
    }

    fn take_below(&mut self, path: PathBuf, below: &Path, arguments: &Put, status: &std::fs::Metadata) {
        if !status.is_file() {
            return self.problem(&path, "not-a-file", "it is neither a file nor a folder".into(), "leave it out");
        }
        let segments: Option<Vec<&str>> = below.iter().map(std::ffi::OsStr::to_str).collect();
        match segments {
            Some(segments) => self.take(path, arguments, segments.join("/"), status.len()),
            None => self.problem(&path, "name-not-text", "its name is not UTF-8, and keys are".into(), "rename it"),
        }
    }

    fn take(&mut self, path: PathBuf, arguments: &Put, key: String, size: u64) {
        let key = format!("{}{key}", arguments.below);
        match self.check(&key) {
            Ok(()) => self.files.push(Chosen { path, key, size }),
            Err(why) => self.problem(&path, "invalid", why, "choose another key with `--key` or `--below`"),
        }
    }

    /// Whether something may lie under a key.
    fn check(&self, key: &str) -> Result<(), String> {
        let most = KEY_BYTES_MAX.saturating_sub(self.prefix.len());
        if key.is_empty() || key.len() > most || key.starts_with('/') {
            return Err(format!("a key has 1 to {most} bytes and does not begin with `/`"));
        }
        if key.split('/').any(|segment| segment == ".landfall") {
            return Err("keys with `.landfall` in them are Landfall's own".to_owned());
        }
        Ok(())
    }

    /// Refuses two files that would have one key; the same file, named twice, is one.
    fn settle(&mut self) -> Result<(), Failed> {
        let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
        for file in std::mem::take(&mut self.files) {
            let Some(other) = known.get(&file.key) else {
                known.insert(file.key.clone(), file.path.clone());
                self.files.push(file);
                continue;
            };
            let is_same = |one: &Path, two: &Path| Some(one.canonicalize().ok()? == two.canonicalize().ok()?);
            if *other != file.path && is_same(other, &file.path) != Some(true) {
                let (one, two) = (other.display(), file.path.display());
                return Err(Failed::usage(
                    "cannot put both",
                    format!("`{one}` and `{two}` would both be `{}`", file.key),
                )
                .hint(
                    "put one of them with `--key`, or below a prefix of its own with `--below`; nothing was queued",
                ));
            }
        }
        Ok(())
    }

    fn problem(&mut self, path: &Path, code: &str, message: String, remedy: &str) {
        let place = path.as_os_str().as_encoded_bytes().to_vec();
        self.problems.push(Problem { place, code: code.to_owned(), message, remedy: remedy.to_owned() });
    }
}

fn upload(bucket: &Bucket, arguments: &Put, file: &Chosen) -> NewUpload {
    NewUpload {
        kind: UploadKind::File,
        source: file.path.as_os_str().as_encoded_bytes().to_vec(),
        size: file.size,
        object_key: bucket.key(&file.key),
        content_type: arguments.content_type.clone(),
        overwrites: arguments.overwrite,
        is_sealed: arguments.seal,
        recipe: "files",
    }
}

async fn finish(
    command: &Command,
    config: &BucketConfig,
    engine: &Engine,
    tally: &Tally,
    report: Option<&RunReport>,
    queued: Queued,
) -> Result<Exit, Failed> {
    let Queued { items, mut problems, links } = queued;
    let counted = tally.finish();
    let mut files: Vec<Value> = Vec::new();
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for id in &items {
        let (item, _) = engine.item(*id).await.during("cannot read the journal")?;
        let location = item.objects.first().map(|object| config.url(&object.location));
        match item.state.as_str() {
            "done" => {
                *states.entry("done").or_default() += 1;
                command.out.line(&human::text(location.as_deref().unwrap_or_default()));
            }
            "blocked" => problems.push(work::problem(&item)),
            "cancelled" => problems.push(Problem {
                place: work::place_of(&item),
                code: "cancelled".to_owned(),
                message: "it was cancelled".to_owned(),
                remedy: "put it again if that was not meant".to_owned(),
            }),
            _ => *states.entry("queued").or_default() += 1,
        }
        match command.out.format() {
            Format::Human => {}
            Format::Json => files.push(json_of(&item, location.as_deref()).into()),
            // They may be very many.
            Format::JsonLines => command.out.event("file", json_of(&item, location.as_deref())),
        }
    }
    let exit = match report {
        Some(report) => work::exit(command, Some(report), &problems),
        None if !problems.is_empty() => Exit::Problems,
        None => Exit::Queued,
    };
    let mut document = fields(json!({
        "uploaded": counted.uploaded,
        "there_already": counted.linked,
        "skipped": work::skipped_json(links.iter().map(|path| (&path[..], "link"))),
        "queued": states.get("queued").copied().unwrap_or(0),
        "bytes_sent": counted.bytes_sent,
        "problems": work::problems_json(&problems),
        "duration_ms": u64::try_from(command.took().as_millis()).unwrap_or(u64::MAX),
    }));
    if command.out.format() == Format::Json {
        document.insert("files".to_owned(), files.into());
    }
    command.put_recovery_key(&mut document);
    command.out.document(document);
    work::say_problems(command, &problems);
    if !links.is_empty() {
        command.out.note(&format!("{} skipped", human::count(links.len() as u64, "link")));
    }
    let Some(report) = report else {
        let queued = human::count(items.len() as u64, "file");
        command.out.note(&format!("queued {queued}; `landfall run` uploads them"));
        return Ok(exit);
    };
    let (sent, took) = (human::size(counted.bytes_sent), human::duration(report.took));
    command.out.note(&format!("uploaded {}, {sent} in {took}", human::count(counted.uploaded, "file")));
    match counted.linked {
        0 => {}
        1 => command.out.note("1 was there already"),
        more => command.out.note(&format!("{more} were there already")),
    }
    work::say_paused(command, report);
    work::say_end(command, report);
    endpoint::say_away(command, config, report);
    Ok(exit)
}

fn json_of(item: &ItemSummary, location: Option<&str>) -> Map<String, Value> {
    let mut one = fields(json!({ "item": item.id.0, "state": item.state, "size": item.bytes_total }));
    human::put_path(&mut one, "path", &item.source.1);
    if item.state == "done" {
        one.insert("location".to_owned(), location.into());
    }
    one
}
