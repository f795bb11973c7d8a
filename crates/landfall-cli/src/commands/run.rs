//! `landfall run`: go on with what is queued.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use landfall::{Destination, Engine, ItemId, ItemSummary, RunEnd, RunReport};
use serde_json::{Value, json};

use super::{
    stages,
    work::{self, Problem},
};
use crate::{
    arguments::Run,
    buckets,
    command::Command,
    conversations::{self, Conversations},
    damage,
    destination::{self, Mode, Place},
    endpoint,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::fields,
    tally::Tally,
};

/// So many paused items are named.
const PAUSED_NAMED: usize = 10;

/// Carries out `landfall run`.
pub(crate) async fn run(mut command: Command, arguments: Run) -> Result<Exit, Failed> {
    if let Some(patience) = arguments.limits.patience {
        command.patience = patience;
    }
    command.budget = arguments.limits.budget;
    if let Some(budget) = command.budget {
        command.patience = command.patience.min(budget);
    }
    if arguments.once {
        command.patience = Duration::ZERO;
    }
    damage::forgetting(&command, async || all(&command, &arguments).await).await
}

/// Works on the destinations that have something queued, one after the other.
async fn all(command: &Command, arguments: &Run) -> Result<Exit, Failed> {
    let settings = work::settings(command, &arguments.limits)?;
    let engine = Engine::open(settings, command.env.clone()).await.during("cannot open the home")?;
    let tally = Tally::new(&command.out);
    engine.watch_journal(Arc::clone(&tally) as _);
    let wanted = match &arguments.to.to {
        Some(to) => Some(match super::get::bucket_named(command, Some(to))? {
            Some(config) => landfall::bucket::location(&config.name),
            None => Place::parse(Some(to), &command.home.default_vault)?.location(),
        }),
        None => None,
    };
    let active = engine.items(Some("active".to_owned()), usize::MAX >> 1).await.during("cannot read the journal")?;
    let elsewhere = elsewhere(&active, wanted.as_deref());
    let mut messages = Messages::default();
    let mut locked: BTreeMap<String, u64> = BTreeMap::new();
    let mut reports: Vec<RunReport> = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    let mut unreached: Vec<(String, Failed)> = Vec::new();
    for destination in engine.destinations().await.during("cannot read the journal")? {
        if wanted.as_ref().is_some_and(|wanted| wanted != without_chat(&destination.location)) {
            continue;
        }
        let has_work = active.iter().any(|item| item.destination == destination.location);
        let left = engine.counts_at(&destination.location).await.during("cannot read the journal")?.abandoning;
        if let Some(place) = conversations::place_of_location(&destination.location, &command.home.default_vault) {
            if has_work {
                match chat(command, &engine, place, &active).await {
                    Ok(carried) => messages.add(&carried),
                    Err(failed) if failed.is_damage || command.signals.exit().is_some() => return Err(failed),
                    Err(failed) => unreached.push((destination.location.clone(), failed)),
                }
            }
            problems.extend(work::blocked(&engine, &destination.location).await?);
            continue;
        }
        if let Some(name) = landfall::bucket::name_of(&destination) {
            // What nobody wants at a destination that nobody knows any more nobody can remove.
            if has_work || (left > 0 && buckets::find(command, name).is_ok_and(|config| config.is_some())) {
                match bucket(command, arguments, name, &tally).await {
                    Ok((report, waiting, kept)) => {
                        reports.push(report);
                        problems.extend(kept);
                        if waiting > 0 {
                            locked.insert(name.to_owned(), waiting);
                        }
                    }
                    Err(failed) if failed.is_damage || command.signals.exit().is_some() => return Err(failed),
                    Err(failed) => unreached.push((destination.location.clone(), failed)),
                }
            }
            problems.extend(work::blocked(&engine, &destination.location).await?);
            continue;
        }
        if has_work || (left > 0 && destination.vault.is_some()) {
            match one(command, arguments, &engine, &destination, &tally).await {
                Ok(report) => reports.push(report),
                Err(failed) if failed.is_damage || command.signals.exit().is_some() => return Err(failed),
                // One that cannot be reached keeps none of the others.
                Err(failed) => unreached.push((destination.location.clone(), failed)),
            }
        }
        problems.extend(work::blocked(&engine, &destination.location).await?);
    }
    Conversations::tidy_all(command, &engine).await;
    super::sessions::export(command, &engine).await;
    if reports.is_empty() && messages == Messages::default() && unreached.len() == 1 {
        return Err(unreached.remove(0).1);
    }
    problems.extend(unreached.iter().map(|(location, failed)| unreached_problem(command, location, failed)));
    let paused = paused(&engine, wanted.as_deref()).await?;
    let waits = Waiting { messages, locked, paused, elsewhere };
    let exit = finish(command, &tally, &reports, &waits, &problems);
    Ok(unreached.first().map_or(exit, |(_, failed)| failed.exit))
}

/// What does not go on by itself, and what was not meant.
struct Waiting {
    messages: Messages,
    /// Files that wait for the password of a bucket.
    locked: BTreeMap<String, u64>,
    /// What a person has paused.
    paused: Vec<ItemId>,
    /// Files that wait for destinations that were not worked on.
    elsewhere: BTreeMap<String, u64>,
}

async fn paused(engine: &Engine, wanted: Option<&str>) -> Result<Vec<ItemId>, Failed> {
    let paused = engine.items(Some("paused".to_owned()), usize::MAX >> 1).await.during("cannot read the journal")?;
    let is_meant = |item: &&ItemSummary| wanted.is_none_or(|wanted| without_chat(&item.destination) == wanted);
    let mut ids: Vec<ItemId> = paused.iter().filter(is_meant).map(|item| item.id).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn say_paused(command: &Command, paused: &[ItemId]) {
    let ids: Vec<String> = paused.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [] => {}
        [id] => command.out.note(&format!("item {id} is paused; `landfall resume {id}`")),
        few if few.len() <= PAUSED_NAMED => {
            command.out.note(&format!("items {} are paused; `landfall resume {}`", few.join(", "), few.join(" ")));
        }
        many => command.out.note(&format!("{} items are paused; `landfall resume`", many.len())),
    }
}

fn say_locked(command: &Command, locked: &BTreeMap<String, u64>) {
    for (name, count) in locked {
        let verb = if *count == 1 { "waits" } else { "wait" };
        command.out.warn(
            &format!("{} {verb} for the password of `{name}`", human::count(*count, "file")),
            Some("set LANDFALL_PASSWORD or give `--password-file FILE`; `landfall run` goes on"),
        );
    }
}

fn unreached_problem(command: &Command, location: &str, failed: &Failed) -> Problem {
    let place = Place::of_location(without_chat(location), &command.home.default_vault);
    Problem {
        place: place.map_or_else(|| location.to_owned(), |place| place.to_string()).into_bytes(),
        code: failed.code.clone(),
        message: failed.message(),
        remedy: failed.hint.clone().unwrap_or_default(),
    }
}

/// How many files wait for which destination that is not worked on.
fn elsewhere(active: &[ItemSummary], wanted: Option<&str>) -> BTreeMap<String, u64> {
    let mut elsewhere = BTreeMap::new();
    let Some(wanted) = wanted else { return elsewhere };
    for item in active.iter().filter(|item| without_chat(&item.destination) != wanted) {
        *elsewhere.entry(without_chat(&item.destination).to_owned()).or_default() += 1;
    }
    elsewhere
}

fn say_elsewhere(command: &Command, elsewhere: &BTreeMap<String, u64>) {
    for (location, count) in elsewhere {
        let place = match location.strip_prefix("s3:") {
            Some(name) => name.to_owned(),
            None => Place::of_location(location, &command.home.default_vault)
                .map_or_else(|| human::text(location), |place| place.to_string()),
        };
        let verb = if *count == 1 { "waits" } else { "wait" };
        let files = human::count(*count, "file");
        command.out.note(&format!("{files} {verb} for {place}; `landfall run` without `--to` sends all that waits"));
    }
}

/// Where messages go is where backups may go as well.
fn without_chat(location: &str) -> &str {
    location.strip_prefix("chat:").unwrap_or(location)
}

/// What became of messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Messages {
    published: u64,
    queued: u64,
    is_logged_out: bool,
}

impl Messages {
    fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.queued += other.queued;
        self.is_logged_out |= other.is_logged_out;
    }
}

/// Carries on with the messages of a destination.
async fn chat(command: &Command, engine: &Engine, place: Place, active: &[ItemSummary]) -> Result<Messages, Failed> {
    let location = conversations::location(&place);
    let conversations = Conversations::open(command, engine.clone(), place).await?;
    let connected = command.signals.unless_stopped(conversations.connect(command)).await?;
    let sent = active.iter().filter(|item| item.destination == location && item.lane.is_some());
    let sent: Vec<ItemId> = sent.map(|item| item.id).collect();
    stages::work(command, &conversations, &connected, &sent).await?;
    let mut messages = Messages::default();
    for id in sent {
        let (item, _) = engine.item(id).await.during("cannot read the journal")?;
        messages.published += u64::from(item.state == "done");
        messages.queued += u64::from(item.state == "active");
        messages.is_logged_out |= item.waits == "token";
    }
    Ok(messages)
}

/// Carries on with the uploads to a bucket. Returns as well how many files wait for its password, and what could not be
/// removed.
async fn bucket(
    command: &Command,
    arguments: &Run,
    name: &str,
    tally: &Arc<Tally>,
) -> Result<(RunReport, u64, Vec<Problem>), Failed> {
    let config = buckets::named(command, name)?;
    let engine = super::put::engine(command, &config, arguments.limits.transfers).await?;
    let bucket = buckets::open(command, &engine, &config).await?;
    if bucket.needs_keys().await.during("cannot read the journal")? && command.secrets.is_at_hand() {
        buckets::unlock(command, &bucket, &config).await?;
    }
    let report = super::put::work(command, &engine, &bucket, tally, arguments.limits.budget).await?;
    endpoint::say_away(command, &config, &report);
    let active = engine.items(Some("active".to_owned()), usize::MAX >> 1).await.during("cannot read the journal")?;
    let location = landfall::bucket::location(name);
    let locked = active.iter().filter(|item| item.destination == location && item.waits == "unlock").count();
    // A run that has nothing else to do may end because of that alone.
    let is_done = matches!(report.end, RunEnd::Drained) || matches!(report.end, RunEnd::Away(_)) && report.queued == 0;
    let kept = if is_done { super::gc::kept_open(&bucket, &config).await? } else { Vec::new() };
    Ok((report, locked as u64, kept))
}

async fn one(
    command: &Command,
    arguments: &Run,
    engine: &Engine,
    destination: &Destination,
    tally: &Arc<Tally>,
) -> Result<RunReport, Failed> {
    let place = Place::of_location(&destination.location, &command.home.default_vault).ok_or_else(|| {
        Failed::new("bad-config", "cannot go on", format!("`{}` is no destination", destination.location))
    })?;
    let reached = command.signals.unless_stopped(async {
        let opened = destination::open(command, engine, destination, &place, Mode::Make, None).await?;
        let session = destination::session(command, engine, destination, &opened).await?;
        Ok((opened, session))
    });
    let (_opened, session) = reached.await?;
    work::work(command, engine, &session, tally, arguments.limits.budget, Some(command.patience)).await
}

fn finish(command: &Command, tally: &Tally, reports: &[RunReport], waits: &Waiting, problems: &[Problem]) -> Exit {
    let Waiting { messages, locked, paused, elsewhere } = waits;
    let counts = tally.finish();
    let took = command.took();
    // One that could not end says how the whole ended.
    let report = reports.iter().find(|report| report.end != RunEnd::Drained).or(reports.first());
    let mut document = fields(json!({
        "linked": counts.linked,
        "uploaded": counts.uploaded,
        "skipped": work::skipped_json(counts.skipped.iter().map(|(place, code)| (&place[..], *code))),
        "problems": work::problems_json(problems),
        "bytes_read": counts.bytes_read,
        "bytes_sent": counts.bytes_sent,
        "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "queued": 0,
        "end": "drained",
        "why": null,
        "elsewhere": elsewhere
            .iter()
            .map(|(destination, queued)| json!({ "destination": destination, "queued": queued }))
            .collect::<Vec<_>>(),
    }));
    if let Some(report) = report {
        document.extend(work::end_json(report));
    }
    if *messages != Messages::default() {
        let queued = document.get("queued").and_then(Value::as_u64).unwrap_or(0) + messages.queued;
        document.extend(fields(json!({ "published": messages.published, "queued": queued })));
    }
    if !locked.is_empty() {
        let each = |(name, count): (&String, &u64)| json!({ "destination": name, "queued": count });
        document.insert("locked".to_owned(), locked.iter().map(each).collect());
    }
    if !paused.is_empty() {
        document.insert("paused".to_owned(), paused.iter().map(|id| id.0).collect());
    }
    command.put_recovery_key(&mut document);
    command.out.document(document);
    let published = format!("published {}", human::count(messages.published, "message"));
    let summary = match (reports.is_empty(), *messages != Messages::default()) {
        (true, true) => published,
        (_, false) => work::counted(&counts),
        (false, true) => format!("{}, {published}", work::counted(&counts)),
    };
    command.out.note(&format!("{summary}, problems {} in {}", problems.len(), human::duration(took)));
    if messages.queued > 0 {
        let queued = human::count(messages.queued, "message");
        command.out.note(&format!("{queued} still queued; `landfall run` goes on"));
    }
    if let Some(report) = report {
        work::say_end(command, report);
    }
    say_paused(command, paused);
    say_locked(command, locked);
    say_elsewhere(command, elsewhere);
    work::say_problems(command, problems);
    if messages.is_logged_out {
        command.out.say("error: the destination of messages refuses the token");
        command.out.say("hint: run `landfall login` with a fresh token; then `landfall run` goes on");
    }
    match work::exit(command, report, problems) {
        Exit::Done | Exit::Problems if messages.is_logged_out => Exit::Credentials,
        Exit::Done | Exit::Problems | Exit::Queued if !locked.is_empty() => Exit::Credentials,
        Exit::Done | Exit::Problems if !paused.is_empty() => Exit::Queued,
        // What a blocked one holds up waits for a person.
        Exit::Done if messages.queued > 0 => Exit::Queued,
        exit => exit,
    }
}
