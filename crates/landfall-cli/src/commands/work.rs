//! What `backup` and `run` share: a run, watched, and what it came to.

use std::{sync::Arc, time::Duration};

use landfall::{
    Code, Counts, Engine, ItemSummary, RunEnd, RunOptions, RunReport, Session, Settings,
    recipes::vault::{SkippedFile, learn},
};
use serde_json::{Map, Value, json};

use crate::{
    arguments::Limits,
    command::Command,
    exit::Exit,
    failed::{During as _, Failed, naming},
    human,
    output::{Format, fields},
    tally::{Counted, Tally},
};

/// Something a person has to look into.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// Where.
    pub place: Vec<u8>,
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Most problems that are read from the journal.
const PROBLEMS_MAX: usize = 100_000;
/// Most problems that are said one by one.
const PROBLEMS_SHOWN: usize = 50;

/// The engine's settings, limited as the command line and the configuration say.
///
/// # Errors
/// If a configured number is none.
pub(crate) fn settings(command: &Command, limits: &Limits) -> Result<Settings, Failed> {
    let mut settings = command.settings();
    let given = |option: Option<u16>, key| match option {
        Some(number) => Ok(Some(usize::from(number))),
        None => command.home.number(key),
    };
    if let Some(total) = given(limits.transfers, "transfers")? {
        settings.limits.total = total.clamp(1, 64);
    }
    if let Some(videos) = given(limits.videos, "videos")? {
        settings.limits.video = videos.max(1);
    }
    settings.limits.video = settings.limits.video.min(settings.limits.total);
    Ok(settings)
}

/// Works on everything queued for a vault, and shows it.
///
/// # Errors
/// The journal's.
pub(crate) async fn work(
    command: &Command,
    engine: &Engine,
    session: &Session,
    tally: &Arc<Tally>,
    budget: Option<Duration>,
    patience: Option<Duration>,
) -> Result<RunReport, Failed> {
    let counts = engine.counts().await.during("cannot read the journal")?;
    tally.show(counts.queued(), bytes_left(engine, &counts).await?, "uploading");
    let options = RunOptions {
        budget: budget.map(|budget| budget.saturating_sub(command.took())),
        patience,
        stop: command.signals.stop(),
    };
    let watched = Arc::clone(tally);
    let run = engine.run(session, options, watched);
    tokio::pin!(run);
    let report = loop {
        tokio::select! {
            biased;
            report = &mut run => break report.during("cannot go on")?,
            () = tokio::time::sleep(Duration::from_secs(1)) => tally.tick(),
        }
    };
    if report.end == RunEnd::Drained {
        // So that this home knows how far the vault has got: one that has got less is an older copy. The next backup
        // does the same if this fails.
        let _ = learn(engine, session, tally.as_ref()).await;
    }
    Ok(report)
}

/// Bytes of what goes on by itself: what is blocked or paused does not.
///
/// # Errors
/// The journal's.
pub(crate) async fn bytes_left(engine: &Engine, counts: &Counts) -> Result<u64, Failed> {
    let mut left = counts.bytes_left;
    for (state, count) in [("blocked", counts.blocked), ("paused", counts.paused)] {
        if count > 0 {
            let items = engine.items(Some(state.to_owned()), PROBLEMS_MAX).await.during("cannot read the journal")?;
            left = left.saturating_sub(items.iter().map(|item| item.bytes_total).sum());
        }
    }
    Ok(left)
}

/// Items of a destination that need a person.
///
/// # Errors
/// The journal's.
pub(crate) async fn blocked(engine: &Engine, location: &str) -> Result<Vec<Problem>, Failed> {
    let items = engine.items(Some("blocked".to_owned()), PROBLEMS_MAX).await.during("cannot read the journal")?;
    Ok(items.iter().filter(|item| item.destination == location).map(problem).collect())
}

/// A blocked item, as something to look into.
pub(crate) fn problem(item: &ItemSummary) -> Problem {
    let (code, message) = match &item.blocked {
        Some((code, message)) => (*code, message.clone()),
        None => (None, String::new()),
    };
    Problem {
        place: place_of(item),
        code: code.map_or_else(|| "unknown".to_owned(), |code| code.as_str().to_owned()),
        message,
        remedy: remedy(item, code),
    }
}

/// What a person can do about a blocked item.
pub(crate) fn remedy(item: &ItemSummary, code: Option<Code>) -> String {
    let id = item.id;
    match code {
        None => format!("`landfall retry {id}` tries it again"),
        Some(Code::SourceVanished | Code::SourceUnreadable | Code::SourceChanged | Code::TooManyAttempts)
            if item.recipe == "chat" && !item.source.1.is_empty() =>
        {
            format!(
                "`landfall retry {id}` tries it again; or take it back with `landfall discard {id}`, and send the file as it is with `--as-file`"
            )
        }
        Some(Code::Locked) if item.recipe == "chat" => {
            format!("put the file `host.key` of this home back, then `landfall retry {id}`")
        }
        Some(code) => {
            let advice = code
                .advice()
                .replace("`landfall retry`", &format!("`landfall retry {id}`"))
                .replace("`landfall cancel`", &format!("`landfall cancel {id}`"));
            match item.destination.strip_prefix("s3:") {
                Some(name) => naming(&advice, name),
                None => advice,
            }
        }
    }
}

/// Where an item was found: the root's name, then the segments below it. A message has the name of its file, or none.
pub(crate) fn place_of(item: &ItemSummary) -> Vec<u8> {
    let (root, below) = &item.source;
    if item.recipe == "chat" {
        return if below.is_empty() { b"(text)".to_vec() } else { below.clone() };
    }
    if root.is_empty() {
        // An upload to a bucket: a whole path.
        return below.clone();
    }
    let mut place = root.rsplit(|byte| *byte == b'/').next().unwrap_or(root).to_vec();
    if !below.is_empty() {
        place.push(b'/');
        place.extend_from_slice(below);
    }
    place
}

/// How the command ends.
pub(crate) fn exit(command: &Command, report: Option<&RunReport>, problems: &[Problem]) -> Exit {
    if let Some(exit) = command.signals.exit() {
        return exit;
    }
    let end = report.map_or(&RunEnd::Drained, |report| &report.end);
    match end {
        RunEnd::LoggedOut(_) => Exit::Credentials,
        _ if report.is_some_and(|report| report.queued + report.paused > 0) => Exit::Queued,
        _ if !problems.is_empty() => Exit::Problems,
        _ => Exit::Done,
    }
}

/// Says how many files of a run's destination wait until a person lets them go on.
pub(crate) fn say_paused(command: &Command, report: &RunReport) {
    if report.paused > 0 {
        let paused = human::count(report.paused, "file");
        command.out.warn(&format!("{paused} paused"), Some("`landfall resume` lets them go on"));
    }
}

/// Says how a run ended, if it did not end by itself, and what to type.
pub(crate) fn say_end(command: &Command, report: &RunReport) {
    let queued = human::count(report.queued, "file");
    let resume = "`landfall run` goes on";
    match &report.end {
        RunEnd::Drained => {}
        RunEnd::Stopped => command.out.note(&format!("{queued} still queued; {resume}")),
        RunEnd::BudgetSpent => command.out.note(&format!("the budget is spent; {queued} still queued; {resume}")),
        RunEnd::Away(failure) => {
            command.out.warn(
                &format!("the destination is out of reach: {failure}; {queued} still queued"),
                Some(&format!("{}; {resume}", failure.code.advice())),
            );
        }
        RunEnd::LoggedOut(failure) => {
            command.out.say(&format!("error: the destination refuses the token: {failure}"));
            command.out.say(&format!("hint: {}; then {resume}", failure.code.advice()));
        }
    }
}

/// Names each problem and what to do about it.
pub(crate) fn say_problems(command: &Command, problems: &[Problem]) {
    for problem in problems.iter().take(PROBLEMS_SHOWN) {
        let (place, message) = (human::path(&problem.place), human::text(&problem.message));
        command.out.say(&format!("problem: `{place}`: {message}"));
        command.out.say(&format!("hint: {}", problem.remedy));
    }
    if let Some(more) = problems.len().checked_sub(PROBLEMS_SHOWN).filter(|more| *more > 0) {
        command.out.say(&format!("and {more} more; `landfall status` lists them"));
    }
}

/// `[{path, code}]`.
pub(crate) fn skipped_json<'s>(skipped: impl Iterator<Item = (&'s [u8], &'s str)>) -> Value {
    let each = |(place, code): (&[u8], &str)| {
        let mut one = fields(json!({ "code": code }));
        human::put_path(&mut one, "path", place);
        Value::Object(one)
    };
    skipped.map(each).collect()
}

/// One event per skipped file.
pub(crate) fn skipped_events(command: &Command, skipped: &[SkippedFile]) {
    for skipped in skipped {
        let mut fields = fields(json!({ "code": skipped.code }));
        human::put_path(&mut fields, "place", &skipped.place);
        command.out.event("skipped", fields);
    }
}

/// `[{path, code, message, remedy}]`.
pub(crate) fn problems_json(problems: &[Problem]) -> Value {
    let each = |problem: &Problem| {
        let Problem { code, message, remedy, .. } = problem;
        let mut one = fields(json!({ "code": code, "message": message, "remedy": remedy }));
        human::put_path(&mut one, "path", &problem.place);
        Value::Object(one)
    };
    problems.iter().map(each).collect()
}

/// How a run ended, for programs.
pub(crate) fn end_json(report: &RunReport) -> Map<String, Value> {
    let (end, why) = match &report.end {
        RunEnd::Drained => ("drained", None),
        RunEnd::BudgetSpent => ("budget-spent", None),
        RunEnd::Stopped => ("stopped", None),
        RunEnd::Away(failure) => ("away", Some(failure)),
        RunEnd::LoggedOut(failure) => ("logged-out", Some(failure)),
    };
    let why = why.map(|failure| json!({ "code": failure.code.as_str(), "message": failure.message }));
    fields(json!({ "end": end, "why": why, "queued": report.queued }))
}

/// Whether a document may hold more than its contract names: events may, the one document may not.
pub(crate) fn may_add(command: &Command) -> bool {
    command.out.format() == Format::JsonLines
}

/// `uploaded 12 files (34.5 MB), linked 3`.
pub(crate) fn counted(counts: &Counted) -> String {
    let uploaded = human::count(counts.uploaded, "file");
    format!("uploaded {uploaded} ({}), linked {}", human::size(counts.bytes_sent), counts.linked)
}
