//! `landfall sessions`: recorded sessions, uploaded on a person's word.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use landfall::{
    Engine, RunOptions, RunReport,
    recipes::sessions::{Refusal, Session, Sessions, Status},
};
use serde_json::{Value, json};

use super::{put, work};
use crate::{
    arguments::{BucketLimits, SessionsCommand},
    buckets::{self, BucketConfig},
    command::Command,
    destination::real_path,
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
        SessionsCommand::Rm { folder } => forget(&mut command, &folder),
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
                Ok(sessions) => opened.push(Opened { sessions, config: config.clone() }),
                // A disk that is away keeps none of the others.
                Err(error @ landfall::Error::Io { .. }) => {
                    let hint = format!("attach its disk, or `landfall sessions rm '{}'`", folder.display());
                    command.out.warn(&causes(&error), Some(&hint));
                }
                Err(error) => return Err(error).during("cannot open a folder of sessions"),
            }
        }
    }
    Ok(opened)
}

/// The folder that has a session.
async fn having<'o>(opened: &'o [Opened], id: &str) -> Result<(&'o Opened, Session), Failed> {
    for one in opened {
        if let Ok(session) = one.sessions.get(id).await.during("cannot read the sessions")? {
            return Ok((one, session));
        }
    }
    let refusal = Refusal::NoSession(id.to_owned());
    let hint = if opened.is_empty() { no_folder() } else { refusal.hint() };
    Err(Failed::new("no-such-session", refusal.to_string(), "").hint(hint))
}

fn no_folder() -> String {
    "`landfall sessions add DIR --to NAME` says where sessions are, and where they go".to_owned()
}

async fn add(command: &mut Command, folder: &Path, to: Option<&str>) -> Result<Exit, Failed> {
    let cannot = format!("cannot add the sessions of `{}`", folder.display());
    let real = real_path(folder).map_err(|error| Failed::new("not-found", &cannot, error.to_string()))?;
    if !real.is_dir() {
        return Err(Failed::new("not-found", cannot, "it is no folder")
            .hint("name the folder that holds one folder per session"));
    }
    let Some(path) = real.to_str().map(str::to_owned) else {
        return Err(Failed::usage(cannot, "its path is not UTF-8"));
    };
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
    if !config.sessions.contains(&path) {
        config.sessions.push(path.clone());
        buckets::write(command, &config)?;
    }
    let opened = all(command, None).await?;
    let mut count = 0;
    for one in opened.iter().filter(|one| one.sessions.folder() == real) {
        count = one.sessions.list().await.during("cannot read the sessions")?.len();
    }
    command.out.note(&format!("{} there; they go to `{}`", human::count(count as u64, "session"), config.name));
    command.out.document(fields(json!({ "folder": path, "to": config.name, "sessions": count })));
    Ok(Exit::Done)
}

fn forget(command: &mut Command, folder: &Path) -> Result<Exit, Failed> {
    let path = real_path(folder).unwrap_or_else(|_| folder.to_owned());
    let mut was_there = false;
    for mut config in buckets::all(command)? {
        let before = config.sessions.len();
        config.sessions.retain(|known| Path::new(known) != path && Path::new(known) != folder);
        if config.sessions.len() < before {
            was_there = true;
            buckets::write(command, &config)?;
        }
    }
    command.out.document(fields(json!({ "folder": path.display().to_string(), "was_there": was_there })));
    command.out.note(if was_there { "the sessions stay where they are" } else { "it was not added" });
    Ok(Exit::Done)
}

async fn list(command: &Command) -> Result<Exit, Failed> {
    let opened = all(command, None).await?;
    let mut listed: Vec<(Session, &Opened)> = Vec::new();
    for one in &opened {
        let sessions = one.sessions.list().await.during("cannot read the sessions")?;
        listed.extend(sessions.into_iter().map(|session| (session, one)));
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

async fn upload(command: &Command, ids: &[String], queue: bool, limits: &BucketLimits) -> Result<Exit, Failed> {
    let opened = all(command, limits.transfers).await?;
    // All of them or none: what is missing is said before anything is taken in charge.
    let mut wanted = Vec::new();
    let refused = |refusal: Refusal| Failed::new("session-refused", refusal.to_string(), "").hint(refusal.hint());
    for id in ids {
        let one = having(&opened, id).await?.0;
        if !one.sessions.can_upload() {
            // Says why there is no way to the bucket.
            let engine = command.engine().await?;
            buckets::open(command, &engine, &one.config).await?;
        }
        one.sessions.check(id).await.during(&format!("cannot upload the session `{id}`"))?.map_err(refused)?;
        wanted.push(one);
    }
    for (id, one) in ids.iter().zip(&wanted) {
        one.sessions.upload(id).await.during(&format!("cannot upload the session `{id}`"))?.map_err(refused)?;
    }
    go_on(command, &opened, ids, queue, limits).await
}

async fn retry(command: &Command, ids: &[String], queue: bool, limits: &BucketLimits) -> Result<Exit, Failed> {
    let opened = all(command, limits.transfers).await?;
    for id in ids {
        let (one, session) = having(&opened, id).await?;
        let retried = one.sessions.retry(id).await.during(&format!("cannot retry the session `{id}`"))?;
        if !matches!(retried, Ok(true)) {
            let what = format!("the session `{id}` is {}, and has not failed", session.state.status.as_str());
            return Err(Failed::new("session-refused", what, "").hint("`landfall sessions ls` shows where each stands"));
        }
    }
    go_on(command, &opened, ids, queue, limits).await
}

async fn cancel(command: &Command, ids: &[String]) -> Result<Exit, Failed> {
    let opened = all(command, None).await?;
    let mut cancelled: Vec<&str> = Vec::new();
    for id in ids {
        let (one, _) = having(&opened, id).await?;
        let taken_back = one.sessions.cancel(id).await.during(&format!("cannot cancel the session `{id}`"))?;
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
    let (mut bytes, mut exit) = (0, Exit::Done);
    for one in all(command, None).await? {
        for cleaned in one.sessions.clean(dry_run).await.during("cannot clean up the sessions")? {
            command.out.line(&human::text(&cleaned.id));
            if let Some(problem) = &cleaned.problem {
                command.out.say(&format!("problem: `{}`: {}", human::text(&cleaned.id), human::text(problem)));
                exit = Exit::Problems;
            }
            bytes += cleaned.bytes;
            removed.push(json!({ "id": cleaned.id, "bytes": cleaned.bytes, "problem": cleaned.problem }));
        }
    }
    let did = if dry_run { "would remove" } else { "removed" };
    let sessions = human::count(removed.len() as u64, "unfinished session");
    command.out.note(&format!("{did} {sessions}, {}", human::size(bytes)));
    command.out.document(fields(json!({ "removed": removed, "bytes": bytes, "dry_run": dry_run })));
    Ok(exit)
}

/// Works on what is queued, and says what became of these sessions.
async fn go_on(
    command: &Command,
    opened: &[Opened],
    ids: &[String],
    queue: bool,
    limits: &BucketLimits,
) -> Result<Exit, Failed> {
    let mut report = None;
    if !queue {
        let tally = Tally::new(&command.out);
        for id in ids {
            let (one, session) = having(opened, id).await?;
            if matches!(session.state.status, Status::Pending | Status::Uploading) {
                report = Some(work_on(command, &one.sessions, &tally, limits.budget).await?);
            }
        }
        tally.finish();
    }
    let (mut states, mut problems) = (Vec::new(), Vec::new());
    for id in ids {
        let (one, session) = having(opened, id).await?;
        let location = session.state.s3_key.as_ref().map(|key| one.config.url(key));
        match session.state.status {
            Status::Done => command.out.line(&human::text(location.as_deref().unwrap_or_default())),
            Status::Failed => {
                let engine = command.engine().await?;
                if let Some(item) = session.item {
                    let (item, _) = engine.item(item).await.during("cannot read the journal")?;
                    let problem = work::problem(&item);
                    let remedy = problem
                        .remedy
                        .replace(&format!("`landfall retry {}`", item.id), &format!("`landfall sessions retry {id}`"));
                    problems.push(work::Problem { place: id.clone().into_bytes(), remedy, ..problem });
                }
            }
            _ => {}
        }
        states.push(json!({ "id": id, "status": session.state.status.as_str(), "location": location }));
    }
    command.out.document(fields(json!({ "sessions": states, "problems": work::problems_json(&problems) })));
    work::say_problems(command, &problems);
    match &report {
        Some(report) => work::say_end(command, report),
        None => command.out.note("queued; `landfall run` uploads them"),
    }
    Ok(match report {
        Some(report) => work::exit(command, Some(&report), &problems),
        None => Exit::Queued,
    })
}

async fn work_on(
    command: &Command,
    sessions: &Sessions,
    tally: &Arc<Tally>,
    budget: Option<Duration>,
) -> Result<RunReport, Failed> {
    let options = RunOptions {
        budget: budget.map(|budget| budget.saturating_sub(command.took())),
        patience: Some(command.patience),
        stop: command.signals.stop(),
    };
    let run = sessions.run(options, Arc::clone(tally) as _);
    tokio::pin!(run);
    loop {
        tokio::select! {
            biased;
            report = &mut run => return report.during("cannot go on"),
            () = tokio::time::sleep(Duration::from_secs(1)) => tally.tick(),
        }
    }
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
