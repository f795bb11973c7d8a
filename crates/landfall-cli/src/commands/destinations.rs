//! `landfall destination`: buckets that files are uploaded to.

use landfall::bucket::{Check, Verdict};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{
    arguments::{NewBucket, NewDestination},
    buckets::{self, BucketConfig},
    command::Command,
    credentials::{CredentialStore, Kept, Secrets},
    endpoint,
    exit::Exit,
    failed::{During as _, Failed, naming},
    human, keyring,
    output::{Format, fields},
    secret,
};

/// Carries out `landfall destination add`.
pub(crate) async fn add(mut command: Command, NewDestination::S3(new): NewDestination) -> Result<Exit, Failed> {
    let cannot = format!("cannot add the destination `{}`", new.name);
    let (config, known) = planned(&command, &new, &cannot).await?;
    let given = match (&config.access_key, secrets(&new, &cannot)?) {
        (None, Some(_)) => {
            return Err(Failed::usage(cannot, "a secret was given, and no access key that it belongs to")
                .hint("name it with `--access-key KEY`"));
        }
        (Some(_), None) if known_secret(&command, &config, known.as_ref()).await?.is_none() => {
            Some(typed(&command, &cannot).await?)
        }
        (_, given) => given,
    };
    let lock = command.lock_home().await?;
    // Somebody else may have changed it while a secret was typed.
    let (config, known) = planned(&command, &new, &cannot).await?;
    let store = CredentialStore::of(&command);
    let kept = match given {
        Some(secrets) => Some(store.keep(&lock, &config.name, &secrets).await?),
        None => known_secret(&command, &config, known.as_ref()).await?,
    };
    buckets::write(&mut command, &lock, &config)?;
    if config.access_key.is_none() {
        store.forget(&lock, &config.name).await?;
    }
    drop(lock);
    say_added(&command, &config, kept);
    Ok(Exit::Done)
}

fn say_added(command: &Command, config: &BucketConfig, kept: Option<Kept>) {
    let mut document = described(config);
    document.insert("secret_in".to_owned(), kept.map(Kept::word).into());
    command.out.document(document);
    command.out.note(&format!("wrote `{}`", command.home.config_path().display()));
    if let Some(kept) = kept {
        command.out.note(&format!("its secret is kept in {}", kept.place()));
    }
    if !config.prefix.is_empty() && !config.prefix.ends_with('/') {
        let example = config.url(&format!("{}monday.zip", config.prefix));
        command.out.warn(
            &format!("the prefix does not end with `/`: a file `monday.zip` goes to `{example}`"),
            Some(&format!("`--prefix {}/` makes a folder of it", config.prefix)),
        );
    }
    if kept == Some(Kept::File) {
        let why = if keyring::is_off() { "LANDFALL_KEYRING is off" } else { "no key store of this system answers" };
        command.out.warn(
            &format!("{why}: whoever reads that file can use the bucket"),
            Some("keep the home private, or use keys that may do nothing but upload"),
        );
    }
    command.out.note(&format!("`landfall destination test {}` tries it out", config.name));
}

/// What is to be configured, and what is there.
async fn planned(
    command: &Command,
    new: &NewBucket,
    cannot: &str,
) -> Result<(BucketConfig, Option<BucketConfig>), Failed> {
    let known = match buckets::find(command, &new.name) {
        // Whoever replaces it sets it right.
        Err(failed) if !new.replace || new.bucket.is_none() || new.region.is_none() => return Err(failed),
        Err(_) => None,
        Ok(known) => known,
    };
    if known.is_some() && !new.replace {
        return Err(Failed::new("destination-exists", cannot, "there is one of that name already")
            .hint(format!("`landfall destination add s3 {} --replace` and what is new changes it", new.name)));
    }
    let config = merged(new, known.clone())
        .and_then(|config| config.check().map(|()| config))
        .map_err(|why| Failed::usage(cannot, why))?;
    stays_where_uploads_go(command, &config, known.as_ref()).await?;
    Ok((config, known))
}

/// Where the secret of this access key is kept already, if it is.
async fn known_secret(
    command: &Command,
    config: &BucketConfig,
    known: Option<&BucketConfig>,
) -> Result<Option<Kept>, Failed> {
    let is_same = config.access_key.is_some() && known.is_some_and(|known| known.access_key == config.access_key);
    if !is_same {
        return Ok(None);
    }
    Ok(CredentialStore::of(command).find(&config.name).await?.map(|(_, kept)| kept))
}

/// What was there, changed by what was said.
fn merged(new: &NewBucket, known: Option<BucketConfig>) -> Result<BucketConfig, String> {
    let needed = |said: &Option<String>, known: Option<&String>, what: &str| {
        said.clone().or_else(|| known.cloned()).ok_or(format!("`--{what}` is missing"))
    };
    let bucket = needed(&new.bucket, known.as_ref().map(|known| &known.bucket), "bucket")?;
    let region = needed(&new.region, known.as_ref().map(|known| &known.region), "region")?;
    if new.endpoint.as_deref() == Some("") {
        return Err("`--endpoint` is empty; give the address of a server, or leave it out for Amazon".to_owned());
    }
    let fresh = BucketConfig::new(new.name.clone(), bucket.clone(), region.clone());
    let known = known.unwrap_or(fresh);
    let or = |said: &Option<String>, known: Option<String>| {
        said.clone().map_or(known, |said| (!said.is_empty()).then_some(said))
    };
    Ok(BucketConfig {
        bucket,
        region,
        endpoint: or(&new.endpoint, known.endpoint),
        prefix: new.prefix.clone().unwrap_or(known.prefix),
        access_key: if new.profile.is_some() { None } else { or(&new.access_key, known.access_key) },
        profile: if new.access_key.is_some() { None } else { or(&new.profile, known.profile) },
        path_style: match (new.path_style, new.virtual_host) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => known.path_style,
        },
        part_size: new.part_size.unwrap_or(known.part_size),
        max_retries: new.max_retries.unwrap_or(known.max_retries),
        transfers: new.transfers.unwrap_or(known.transfers),
        bandwidth: or(&new.bwlimit, known.bandwidth),
        sessions: known.sessions,
        name: known.name,
    })
}

/// What is under way to one place must not end at another.
async fn stays_where_uploads_go(
    command: &Command,
    config: &BucketConfig,
    known: Option<&BucketConfig>,
) -> Result<(), Failed> {
    let moved = known.is_some_and(|known| {
        (&known.endpoint, &known.bucket, &known.prefix) != (&config.endpoint, &config.bucket, &config.prefix)
    });
    if !moved {
        return Ok(());
    }
    let what = format!("cannot move the destination `{}`", config.name);
    let unfinished = unfinished(command, &config.name).await?;
    if unfinished == 0 {
        let left = left_open(command, &config.name).await?;
        if left == 0 {
            return Ok(());
        }
        let uploads = human::count(left, "upload");
        let name = &config.name;
        return Err(Failed::new(
            "destination-moved",
            what,
            format!("still to be aborted where it is now: {uploads} that nobody wants"),
        )
        .hint(format!("`landfall gc --to {name}` does that; `landfall destination rm {name}` gives up on it")));
    }
    let uploads = human::count(unfinished, "upload");
    Err(Failed::new("destination-moved", what, format!("{uploads} to the place where it is now did not finish"))
        .hint("let `landfall run` finish them, or `landfall cancel` them; or give the new place a name of its own"))
}

async fn unfinished(command: &Command, name: &str) -> Result<u64, Failed> {
    let Some(engine) = command.engine_to_look().await? else { return Ok(0) };
    let location = landfall::bucket::location(name);
    let items = engine.items(None, usize::MAX >> 1).await.during("cannot read the journal")?;
    Ok(items.iter().filter(|item| item.destination == location).count() as u64)
}

/// How many uploads to a destination nobody wants, and are still to be aborted there.
async fn left_open(command: &Command, name: &str) -> Result<u64, Failed> {
    let Some(engine) = command.engine_to_look().await? else { return Ok(0) };
    let counts = engine.counts_at(&landfall::bucket::location(name)).await.during("cannot read the journal")?;
    Ok(counts.abandoning)
}

/// Aborts what nobody wants at a destination that is to be removed; what cannot be aborted is left there, and said.
async fn leave_nothing_open(command: &Command, name: &str) -> Result<(), Failed> {
    if left_open(command, name).await? == 0 {
        return Ok(());
    }
    let engine = command.engine().await?;
    if let Ok(Some(config)) = buckets::find(command, name)
        && let Ok(bucket) = buckets::open(command, &engine, &config).await
    {
        let swept = bucket.abort_abandoned(false).await.during("cannot abort what nobody wants")?;
        for (orphan, failure) in &swept.kept {
            command.out.note(&format!("still open: {}: {failure}", human::text(&config.url(&orphan.key))));
        }
    }
    let left = engine.forget_abandoned(&landfall::bucket::location(name)).await.during("cannot write the journal")?;
    if left > 0 {
        let uploads = human::count(left as u64, "upload");
        command.out.warn(
            &format!("{uploads} that nobody wants could not be aborted, and may keep room in the bucket"),
            Some("abort them with the tools of the bucket, or let a lifecycle rule there do it"),
        );
    }
    Ok(())
}

/// The secrets that files hold.
fn secrets(new: &NewBucket, cannot: &str) -> Result<Option<Secrets>, Failed> {
    let both_stdin = [&new.secret_file, &new.session_token_file]
        .into_iter()
        .all(|file| file.as_deref().is_some_and(|path| path == std::path::Path::new("-")));
    if both_stdin {
        return Err(Failed::usage(cannot, "both secrets cannot come from stdin"));
    }
    let Some(file) = &new.secret_file else {
        return match &new.session_token_file {
            None => Ok(None),
            Some(_) => Err(Failed::usage(cannot, "a session token was given without the secret that it belongs to")
                .hint("name its file with `--secret-file FILE`")),
        };
    };
    let read = |file: &std::path::Path| {
        let text = secret::read_file_or_stdin(file)?;
        let text = Zeroizing::new(text.trim().to_owned());
        let wrong = match text.lines().count() {
            0 => "is empty",
            1 => return Ok(text),
            _ => "has more than one line, and a secret has one",
        };
        Err(Failed::usage(cannot, format!("`{}` {wrong}", file.display())))
    };
    let session_token = new.session_token_file.as_deref().map(read).transpose()?;
    Ok(Some(Secrets { secret: read(file)?, session_token }))
}

/// The secret that a person types.
async fn typed(command: &Command, cannot: &str) -> Result<Secrets, Failed> {
    let secret = secret::ask_for(&command.env, &command.out, "secret access key: ").await.map_err(|()| {
        Failed::new("no-credentials", cannot, "no secret is at hand").hint("name its file with `--secret-file FILE`")
    })?;
    Ok(Secrets { secret, session_token: None })
}

/// Carries out `landfall destination rm`.
pub(crate) async fn remove(mut command: Command, name: &str) -> Result<Exit, Failed> {
    let unfinished = unfinished(&command, name).await?;
    if unfinished > 0 {
        let what = format!("cannot remove the destination `{name}`");
        let uploads = human::count(unfinished, "upload");
        return Err(Failed::new("destination-moved", what, format!("{uploads} to it did not finish"))
            .hint("let `landfall run` finish them, or `landfall cancel` them"));
    }
    let lock = command.lock_home().await?;
    if let Ok(Some(config)) = buckets::find(&command, name)
        && let Some(folder) = config.sessions.first()
    {
        let folders: Vec<String> = config.sessions.iter().map(|folder| format!("`{folder}`")).collect();
        let what = format!("cannot remove the destination `{name}`");
        return Err(Failed::new(
            "destination-in-use",
            what,
            format!("the sessions of {} go to it", folders.join(", ")),
        )
        .hint(format!("`landfall sessions rm '{folder}'` first; they stay where they are")));
    }
    leave_nothing_open(&command, name).await?;
    let was_there = buckets::remove(&mut command, &lock, name)?;
    CredentialStore::of(&command).forget(&lock, name).await?;
    drop(lock);
    command.out.document(fields(json!({ "name": name, "was_there": was_there })));
    if was_there {
        command.out.note("what is in the bucket stays there");
        Ok(Exit::Done)
    } else {
        Err(Failed::new("no-such-destination", format!("there is no destination `{name}`"), "")
            .hint("`landfall destination ls` lists them"))
    }
}

/// Carries out `landfall destination ls`.
pub(crate) fn list(command: &Command) -> Result<Exit, Failed> {
    let all = buckets::all(command)?;
    for config in &all {
        let endpoint = config.endpoint.as_deref().unwrap_or("Amazon");
        let line =
            format!("{:<16}  s3  {:<10}  {}  {endpoint}", config.name, config.region, config.url(&config.prefix));
        command.out.line(&line);
    }
    let listed: Vec<Value> = all.iter().map(|config| Value::Object(described(config))).collect();
    command.out.document(fields(json!({ "destinations": listed })));
    if all.is_empty() {
        command.out.note("there is none; `landfall destination add s3 NAME --bucket B --region R` makes one");
    }
    Ok(Exit::Done)
}

/// Carries out `landfall destination show`.
pub(crate) async fn show(command: &Command, name: &str) -> Result<Exit, Failed> {
    let config = buckets::named(command, name)?;
    let kept = CredentialStore::of(command).find(name).await?.map(|(_, kept)| kept);
    let mut document = described(&config);
    for (key, value) in &document {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() {
            command.out.line(&format!("{key:<12}  {}", human::text(&text)));
        }
    }
    if let Some(kept) = kept.filter(|_| config.access_key.is_some()) {
        command.out.line(&format!("{:<12}  in {}", "secret", kept.place()));
    }
    document.insert("secret_in".to_owned(), kept.map(Kept::word).into());
    command.out.document(document);
    Ok(Exit::Done)
}

fn described(config: &BucketConfig) -> Map<String, Value> {
    fields(json!({
        "name": config.name,
        "kind": "s3",
        "bucket": config.bucket,
        "region": config.region,
        "endpoint": config.endpoint,
        "prefix": config.prefix,
        "access_key": config.access_key,
        "profile": config.profile,
        "path_style": config.path_style,
        "part_size": config.part_size,
        "max_retries": config.max_retries,
        "transfers": config.transfers,
        "bandwidth": config.bandwidth,
        "sessions": config.sessions,
    }))
}

/// Carries out `landfall destination test`.
pub(crate) async fn test(command: &Command, name: &str) -> Result<Exit, Failed> {
    let config = buckets::named(command, name)?;
    let engine =
        if command.home.journal().exists() { command.engine().await? } else { command.ephemeral_engine().await? };
    let bucket = buckets::open(command, &engine, &config).await?;
    let checks = bucket.test().await.during("cannot test the destination")?.into_iter();
    let explained = |check: Check| Check { verdict: endpoint::explained(&config, check.verdict), ..check };
    let checks: Vec<Check> = checks.map(explained).collect();
    let mut exit = Exit::Done;
    for check in &checks {
        say(command, check, name);
        if let Verdict::Fail { code, .. } = &check.verdict {
            exit = match Exit::of_code(code.as_str()) {
                Exit::Internal | Exit::Done => Exit::Problems,
                other => other,
            };
        }
    }
    let listed: Vec<Value> = checks.iter().map(|check| json_of(check, name)).collect();
    if command.out.format() == Format::JsonLines {
        listed.iter().for_each(|check| command.out.event("check", fields(check.clone())));
    }
    command.out.document(fields(json!({ "name": name, "ok": exit == Exit::Done, "checks": listed })));
    Ok(exit)
}

fn say(command: &Command, check: &Check, name: &str) {
    let out = &command.out;
    match &check.verdict {
        Verdict::Ok { message } => out.line(&format!("ok    {:<10}  {}", check.name, human::text(message))),
        Verdict::Warn { message, remedy } => {
            out.line(&format!("warn  {:<10}  {}", check.name, human::text(message)));
            out.line(&format!("      {:<10}  hint: {}", "", named(remedy, name)));
        }
        Verdict::Fail { message, remedy, .. } => {
            out.line(&format!("fail  {:<10}  {}", check.name, human::text(message)));
            out.line(&format!("      {:<10}  hint: {}", "", named(remedy, name)));
        }
        Verdict::Skipped => out.line(&format!("-     {:<10}  not tried", check.name)),
    }
}

fn json_of(check: &Check, name: &str) -> Value {
    match &check.verdict {
        Verdict::Ok { message } => json!({ "name": check.name, "verdict": "ok", "message": message }),
        Verdict::Warn { message, remedy } => {
            json!({ "name": check.name, "verdict": "warn", "message": message, "remedy": named(remedy, name) })
        }
        Verdict::Fail { code, message, remedy } => json!({
            "name": check.name, "verdict": "fail", "code": code.as_str(), "message": message, "remedy": named(remedy, name),
        }),
        Verdict::Skipped => json!({ "name": check.name, "verdict": "skipped" }),
    }
}

/// A remedy that names the destination, for whoever tries it out.
fn named(remedy: &str, name: &str) -> String {
    naming(remedy, name).replace(", then `landfall retry`", ", then test it again")
}
