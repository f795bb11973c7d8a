//! `landfall sessions`: recorded sessions, uploaded on a person's word.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use landfall::{
    Engine, RunEnd, RunReport,
    recipes::sessions::{Refusal, Session, Sessions, Status},
};
use serde_json::{Value, json};

use super::{put, work};
use crate::{
    arguments::{BucketLimits, SessionsCommand},
    buckets::{self, BucketConfig},
    command::Command,
    destination::real_path,
    endpoint,
    exit::Exit,
    failed::{During as _, Failed, causes},
    human,
    output::{Format, fields},
    tally::Tally,
};

/// Carries out `landfall sessions`.
pub(crate) async fn sessions(mut command: Command, what: SessionsCommand) -> Result<Exit, Failed> {
    match what {
        SessionsCommand::Add { folder, to } => add(&mut command, &folder, to.as_deref()).await,
        SessionsCommand::Rm { folder } => forget(&mut command, &folder).await,
        SessionsCommand::Ls => list(&command).await,
        SessionsCommand::Upload { ids, queue, limits } => {
            put::limit(&mut command, &limits);
            upload(&command, &ids, queue, &limits).await
        }
        SessionsCommand::Retry { ids, queue, limits } => {
            put::limit(&mut command, &limits);
            retry(&command, &ids, queue, &limits).await
        }
        SessionsCommand::Cancel { ids } => cancel(&command, &ids).await,
        SessionsCommand::Clean { dry_run } => clean(&command, dry_run).await,
    }
}

/// A folder of sessions that is configured, opened.
struct Opened {
    engine: Engine,
    sessions: Sessions,
    config: BucketConfig,
}

/// Opens all folders of sessions that are configured.
async fn all(command: &Command, transfers: Option<u16>) -> Result<Vec<Opened>, Failed> {
    let mut opened = Vec::new();
    for config in buckets::all(command)? {
        if config.sessions.is_empty() {
            continue;
        }
        let engine = put::engine(command, &config, transfers).await?;
        // Sessions are listed also by somebody who lacks what it takes to upload them.
        let bucket = buckets::open(command, &engine, &config).await.ok();
        for folder in &config.sessions {
            let folder = PathBuf::from(folder);
            match Sessions::open(&engine, folder.clone(), bucket.clone(), config.max_retries).await {
                Ok(sessions) => opened.push(Opened { engine: engine.clone(), sessions, config: config.clone() }),
                // A disk that is away keeps none of the others.
                Err(error @ landfall::Error::Io { .. }) => say_away(command, &folder, &error),
                Err(error) => return Err(error).during("cannot open a folder of sessions"),
            }
        }
    }
    Ok(opened)
}

fn say_away(command: &Command, folder: &Path, error: &landfall::Error) {
    let hint = format!("attach its disk, or `landfall sessions rm '{}'`", folder.display());
    command.out.warn(&causes(error), Some(&hint));
}

/// The sessions of a folder that can be read; what cannot is said.
async fn look(command: &Command, one: &Opened) -> Result<Vec<Session>, Failed> {
    match one.sessions.look().await {
        Ok((sessions, unread)) => {
            for unread in unread {
                let refusal = Refusal::Unread(unread.id, unread.why);
                command.out.warn(&human::text(&refusal.to_string()), Some(&refusal.hint()));
            }
            Ok(sessions)
        }
        Err(error @ landfall::Error::Io { .. }) => {
            say_away(command, one.sessions.folder(), &error);
            Ok(Vec::new())
        }
        Err(error) => Err(error).during("cannot read the sessions"),
    }
}

/// The session that somebody names: by its name, or as FOLDER/NAME if several have it.
async fn named<'o>(command: &Command, opened: &'o [Opened], name: &str) -> Result<(&'o Opened, Session), Failed> {
    let (folder, id) = match name.trim_end_matches('/').rsplit_once('/') {
        Some((folder, id)) => (Some(Path::new(if folder.is_empty() { "/" } else { folder })), id),
        None => (None, name),
    };
    let folder = folder.map(|folder| real_path(folder).unwrap_or_else(|_| folder.to_owned()));
    let mut refusal = Refusal::NoSession(name.to_owned());
    let mut found = Vec::new();
    for one in opened.iter().filter(|one| folder.as_deref().is_none_or(|folder| one.sessions.folder() == folder)) {
        match one.sessions.get(id).await {
            Ok(Ok(session)) => found.push((one, session)),
            Ok(Err(unread @ Refusal::Unread(..))) => refusal = unread,
            Ok(Err(_)) => {}
            Err(error @ landfall::Error::Io { .. }) => say_away(command, one.sessions.folder(), &error),
            Err(error) => return Err(error).during("cannot read the sessions"),
        }
    }
    if let [(first, _), (second, _), ..] = found.as_slice() {
        let (first, second) = (first.sessions.folder().display(), second.sessions.folder().display());
        return Err(Failed::usage(
            format!("there are several sessions `{id}`"),
            format!("one in `{first}`, another in `{second}`"),
        )
        .hint(format!("say which: `{first}/{id}`")));
    }
    let hint = if opened.is_empty() { no_folder() } else { refusal.hint() };
    found.pop().ok_or_else(|| Failed::new("no-such-session", refusal.to_string(), "").hint(hint))
}

/// A session that something is done to: where it lies, and its name.
type Chosen<'o> = (&'o Opened, String);

fn is_chosen(chosen: &[Chosen<'_>], one: &Opened, id: &str) -> bool {
    chosen.iter().any(|(other, known)| std::ptr::eq(*other, one) && known == id)
}

fn no_folder() -> String {
    "`landfall sessions add DIR --to NAME` says where sessions are, and where they go".to_owned()
}

async fn add(command: &mut Command, folder: &Path, to: Option<&str>) -> Result<Exit, Failed> {
    let cannot = format!("cannot add the sessions of `{}`", folder.display());
    let real = real_path(folder).map_err(|error| Failed::new("not-found", &cannot, error.to_string()))?;
    let holder = "name the folder that holds one folder per session";
    if !real.is_dir() {
        return Err(Failed::new("not-found", cannot, "it is no folder").hint(holder));
    }
    if real.join("session-meta.json").exists() || real.join(".exported").exists() {
        return Err(Failed::usage(cannot, "it is a session itself").hint(holder));
    }
    let Some(path) = real.to_str().map(str::to_owned) else {
        return Err(Failed::usage(cannot, "its path is not UTF-8"));
    };
    let lock = command.lock_home().await?;
    let mut config = match to {
        Some(name) => buckets::named(command, name)?,
        None => {
            let mut all = buckets::all(command)?;
            match all.len() {
                1 => all.remove(0),
                0 => {
                    return Err(Failed::new("no-such-destination", cannot, "no destination is configured")
                        .hint("`landfall destination add s3 NAME --bucket B --region R` makes one; then `--to NAME`"));
                }
                _ => {
                    return Err(
                        Failed::usage(cannot, "there are several destinations").hint("choose one with `--to NAME`")
                    );
                }
            }
        }
    };
    for other in buckets::all(command)? {
        if other.name != config.name && other.sessions.contains(&path) {
            let why = format!("they go to `{}` already", other.name);
            return Err(
                Failed::new("destination-exists", cannot, why).hint(format!("`landfall sessions rm '{path}'` first"))
            );
        }
    }
    let others = buckets::all(command)?.into_iter().flat_map(|config| config.sessions);
    for other in others.filter(|other| *other != path) {
        let why = match (real.starts_with(&other), Path::new(&other).starts_with(&real)) {
            (true, _) => format!("it is inside `{other}`, whose sessions were added"),
            (_, true) => format!("`{other}` is inside it, and its sessions were added"),
            _ => continue,
        };
        return Err(
            Failed::usage(cannot, why).hint(format!("`landfall sessions rm '{other}'` first, or name another folder"))
        );
    }
    if !config.sessions.contains(&path) {
        config.sessions.push(path.clone());
        buckets::write(command, &lock, &config)?;
    }
    drop(lock);
    let opened = all(command, None).await?;
    let mut count = 0;
    for one in opened.iter().filter(|one| one.sessions.folder() == real) {
        count = look(command, one).await?.iter().filter(|session| session.meta.is_some()).count();
    }
    let there = match count {
        0 => "no session is there yet".to_owned(),
        _ => format!("{} there", human::count(count as u64, "session")),
    };
    command.out.note(&format!("{there}; they go to `{}`", config.name));
    command.out.document(fields(json!({ "folder": path, "to": config.name, "sessions": count })));
    Ok(Exit::Done)
}

async fn forget(command: &mut Command, folder: &Path) -> Result<Exit, Failed> {
    let path = real_path(folder).unwrap_or_else(|_| folder.to_owned());
    let mut was_there = false;
    let lock = command.lock_home().await?;
    for mut config in buckets::all(command)? {
        let before = config.sessions.len();
        config.sessions.retain(|known| Path::new(known) != path && Path::new(known) != folder);
        if config.sessions.len() < before {
            was_there = true;
            buckets::write(command, &lock, &config)?;
        }
    }
    drop(lock);
    command.out.document(fields(json!({ "folder": path.display().to_string(), "was_there": was_there })));
    command.out.note(if was_there { "the sessions stay where they are" } else { "it was not added" });
    Ok(Exit::Done)
}

async fn list(command: &Command) -> Result<Exit, Failed> {
    let opened = all(command, None).await?;
    let mut listed: Vec<(Session, &Opened)> = Vec::new();
    for one in &opened {
        listed.extend(look(command, one).await?.into_iter().map(|session| (session, one)));
    }
    listed.sort_by_key(|(session, _)| std::cmp::Reverse(session.created_at));
    let mut items: Vec<Value> = Vec::new();
    for (session, one) in &listed {
        match command.out.format() {
            Format::Human => say(command, session),
            Format::Json => items.push(json_of(session, one)),
            Format::JsonLines => command.out.event("session", fields(json_of(session, one))),
        }
    }
    let count = listed.len() as u64;
    match command.out.format() {
        Format::Human if opened.is_empty() => {
            command.out.note(&format!("there is no folder of sessions; {}", no_folder()))
        }
        Format::Human => command.out.note(&human::count(count, "session")),
        Format::Json => command.out.document(fields(json!({ "sessions": items }))),
        Format::JsonLines => command.out.document(fields(json!({ "count": count }))),
    }
    Ok(Exit::Done)
}

fn say(command: &Command, session: &Session) {
    let created = human::moment(session.created_at.0);
    let created = created.get(..16).unwrap_or(&created).replace('T', " ");
    let status = match session.state.status {
        Status::Uploading | Status::Pending => {
            format!("{} {} %", session.state.status.as_str(), session.state.percent())
        }
        Status::NotUploaded if !session.is_exported => "not_exported".to_owned(),
        other => other.as_str().to_owned(),
    };
    let actions = session
        .meta
        .as_ref()
        .and_then(|meta| meta.action_count)
        .map_or_else(|| "-".to_owned(), |count| count.to_string());
    let size = human::size(session.size);
    let id = human::text(&session.id);
    command.out.line(&format!("{created}  {status:<14}  {size:>9}  {actions:>6} actions  {id}"));
    if let Some(error) = &session.state.last_error {
        command.out.line(&format!("                  {}", human::text(error)));
    }
}

fn json_of(session: &Session, one: &Opened) -> Value {
    let meta = session.meta.as_ref();
    json!({
        "id": session.id,
        "folder": one.sessions.folder().display().to_string(),
        "created_at": human::moment(session.created_at.0),
        "ended_at": meta.and_then(|meta| meta.ended_at).map(human::moment),
        "actions": meta.and_then(|meta| meta.action_count),
        "screenshots": meta.and_then(|meta| meta.screenshot_count),
        "video": meta.and_then(|meta| meta.video_ref.clone()),
        "zip": meta.and_then(|meta| meta.zip_path.clone()),
        "size": session.size,
        "is_exported": session.is_exported,
        "status": session.state.status.as_str(),
        "percent": session.state.percent(),
        "attempts": session.state.retry_count,
        "last_error": session.state.last_error,
        "item": session.item.map(|item| item.0),
        "location": session.state.s3_key.as_ref().map(|key| one.config.url(key)),
    })
}

async fn upload(command: &Command, names: &[String], queue: bool, limits: &BucketLimits) -> Result<Exit, Failed> {
    let opened = all(command, limits.transfers).await?;
    // All of them or none: what is missing is said before anything is taken in charge.
    let mut wanted: Vec<Chosen<'_>> = Vec::new();
    let refused = |refusal: Refusal| Failed::new("session-refused", refusal.to_string(), "").hint(refusal.hint());
    for name in names {
        let (one, session) = named(command, &opened, name).await?;
        let id = session.id;
        if !one.sessions.can_upload() {
            // Says why there is no way to the bucket.
            buckets::open(command, &one.engine, &one.config).await?;
        }
        one.sessions.check(&id).await.during(&format!("cannot upload the session `{id}`"))?.map_err(refused)?;
        if !is_chosen(&wanted, one, &id) {
            wanted.push((one, id));
        }
    }
    for (one, id) in &wanted {
        one.sessions.upload(id).await.during(&format!("cannot upload the session `{id}`"))?.map_err(refused)?;
    }
    go_on(command, &wanted, queue, limits).await
}

async fn retry(command: &Command, names: &[String], queue: bool, limits: &BucketLimits) -> Result<Exit, Failed> {
    let opened = all(command, limits.transfers).await?;
    let mut wanted: Vec<Chosen<'_>> = Vec::new();
    for name in names {
        let (one, session) = named(command, &opened, name).await?;
        let (id, status) = (session.id, session.state.status);
        // What waits, or is sent, is gone on with.
        if !matches!(status, Status::Failed | Status::Pending | Status::Uploading) {
            let what = format!("the session `{id}` is {}, and has not failed", status.as_str());
            return Err(Failed::new("session-refused", what, "").hint("`landfall sessions ls` shows where each stands"));
        }
        if !is_chosen(&wanted, one, &id) {
            wanted.push((one, id));
        }
    }
    for (one, id) in &wanted {
        one.sessions.retry(id).await.during(&format!("cannot retry the session `{id}`"))?.ok();
    }
    go_on(command, &wanted, queue, limits).await
}

async fn cancel(command: &Command, names: &[String]) -> Result<Exit, Failed> {
    let opened = all(command, None).await?;
    let mut cancelled: Vec<String> = Vec::new();
    for name in names {
        let (one, session) = named(command, &opened, name).await?;
        let id = session.id;
        let taken_back = one.sessions.cancel(&id).await.during(&format!("cannot cancel the session `{id}`"))?;
        let location = landfall::bucket::location(&one.config.name);
        super::items::abort_abandoned(command, &one.engine, &[location].into()).await;
        if matches!(taken_back, Ok(true)) {
            cancelled.push(id);
        } else {
            command.out.note(&format!("the upload of `{id}` was not under way"));
        }
    }
    command.out.note(&format!("cancelled {}", human::count(cancelled.len() as u64, "upload")));
    command.out.document(fields(json!({ "cancelled": cancelled })));
    Ok(Exit::Done)
}

async fn clean(command: &Command, dry_run: bool) -> Result<Exit, Failed> {
    let mut removed: Vec<Value> = Vec::new();
    let (mut count, mut bytes, mut exit) = (0, 0, Exit::Done);
    for one in all(command, None).await? {
        let found = match one.sessions.clean(dry_run).await {
            Err(error @ landfall::Error::Io { .. }) => {
                say_away(command, one.sessions.folder(), &error);
                continue;
            }
            found => found.during("cannot clean up the sessions")?,
        };
        for cleaned in found {
            if let Some(problem) = &cleaned.problem {
                command.out.say(&format!("problem: `{}`: {}", human::text(&cleaned.id), human::text(problem)));
                exit = Exit::Problems;
            } else {
                command.out.line(&human::text(&cleaned.id));
                count += 1;
                bytes += cleaned.bytes;
            }
            removed.push(json!({ "id": cleaned.id, "bytes": cleaned.bytes, "problem": cleaned.problem }));
        }
    }
    let did = if dry_run { "would remove" } else { "removed" };
    let sessions = human::count(count, "unfinished session");
    command.out.note(&format!("{did} {sessions}, {}", human::size(bytes)));
    command.out.document(fields(json!({ "removed": removed, "bytes": bytes, "dry_run": dry_run })));
    Ok(exit)
}

/// Works on what is queued, and says what became of these sessions.
async fn go_on(command: &Command, wanted: &[Chosen<'_>], queue: bool, limits: &BucketLimits) -> Result<Exit, Failed> {
    let reports = if queue { Vec::new() } else { work_on(command, wanted, limits).await? };
    let (mut states, mut problems, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
    for (one, id) in wanted {
        let session = match one.sessions.get(id).await {
            Ok(Ok(session)) => session,
            Ok(Err(refusal)) => {
                problems.push(problem(id, "no-such-session", refusal.to_string(), refusal.hint()));
                continue;
            }
            // Its disk went away meanwhile; the journal knows where it stands.
            Err(error @ landfall::Error::Io { .. }) => {
                problems.push(problem(id, error.code(), causes(&error), "attach its disk, then look again".to_owned()));
                continue;
            }
            Err(error) => return Err(error).during("cannot read the sessions"),
        };
        let location = session.state.s3_key.as_ref().map(|key| one.config.url(key));
        match (session.state.status, session.item) {
            (Status::Done, _) => command.out.line(&human::text(location.as_deref().unwrap_or_default())),
            (Status::Failed, Some(item)) => {
                let (item, _) = one.engine.item(item).await.during("cannot read the journal")?;
                let work::Problem { code, message, remedy, .. } = work::problem(&item);
                let retry = format!("`landfall sessions retry {id}`");
                let remedy = match code.as_str() {
                    "key-taken" => format!("record it under another name, or make room in the bucket and {retry}"),
                    _ => remedy.replace(&format!("`landfall retry {}`", item.id), &retry),
                };
                problems.push(problem(id, &code, message, remedy));
            }
            // Taken in charge by this very command, and taken back since.
            (Status::NotUploaded, _) => {
                let again = format!("`landfall sessions upload {id}` queues it again");
                cancelled.push(problem(id, "cancelled", "it was cancelled".to_owned(), again));
            }
            _ => {}
        }
        states.push(json!({ "id": id, "status": session.state.status.as_str(), "location": location }));
    }
    work::say_problems(command, &problems);
    for one in &cancelled {
        command.out.say(&format!("problem: `{}` was cancelled", human::path(&one.place)));
        command.out.say(&format!("hint: {}", one.remedy));
    }
    problems.append(&mut cancelled);
    command.out.document(fields(json!({ "sessions": states, "problems": work::problems_json(&problems) })));
    // One that could not end says how the whole ended.
    let is_unfinished = |report: &&RunReport| report.end != RunEnd::Drained || report.queued + report.paused > 0;
    let report = reports.iter().find(is_unfinished).or(reports.first());
    if let Some(report) = report {
        work::say_paused(command, report);
        work::say_end(command, report);
    }
    if queue {
        command.out.note("queued; `landfall run` uploads them");
        return Ok(if problems.is_empty() { Exit::Queued } else { Exit::Problems });
    }
    Ok(work::exit(command, report, &problems))
}

fn problem(id: &str, code: &str, message: String, remedy: String) -> work::Problem {
    work::Problem { place: id.as_bytes().to_vec(), code: code.to_owned(), message, remedy }
}

/// Works on the folders in which one of these sessions waits, or is sent by somebody else, until none does.
async fn work_on(command: &Command, wanted: &[Chosen<'_>], limits: &BucketLimits) -> Result<Vec<RunReport>, Failed> {
    let tally = Tally::new(&command.out);
    let mut reports: Vec<RunReport> = Vec::new();
    for (one, id) in wanted {
        let session = one.sessions.get(id).await.ok().and_then(Result::ok);
        let waits = session.is_some_and(|session| matches!(session.state.status, Status::Pending | Status::Uploading));
        if !waits || command.signals.exit().is_some() || reports.iter().any(|report| report.end != RunEnd::Drained) {
            continue;
        }
        one.engine.watch_journal(Arc::clone(&tally) as _);
        put::show(&one.engine, &tally).await?;
        let run = one.sessions.run(put::options(command, limits.budget), Arc::clone(&tally) as _);
        let report = put::watched(&tally, run).await?;
        endpoint::say_away(command, &one.config, &report);
        reports.push(report);
    }
    tally.finish();
    for (one, _) in wanted {
        // Also where another folder's run has sent them.
        let _ = one.sessions.export().await;
    }
    Ok(reports)
}

/// Writes the states of all sessions beside them, after something else has changed them.
pub(crate) async fn export(command: &Command, engine: &Engine) {
    for config in buckets::all(command).unwrap_or_default() {
        for folder in &config.sessions {
            if let Ok(sessions) = Sessions::open(engine, folder.into(), None, config.max_retries).await {
                let _ = sessions.export().await;
            }
        }
    }
}
