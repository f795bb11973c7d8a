//! `landfall run`: go on with what is queued.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use landfall::{Destination, Engine, ItemSummary, RunReport};
use serde_json::json;

use super::work::{self, Problem};
use crate::{
    arguments::Run,
    command::Command,
    damage,
    destination::{self, Mode, Place},
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::fields,
    tally::Tally,
};

/// Carries out `landfall run`.
pub(crate) async fn run(mut command: Command, arguments: Run) -> Result<Exit, Failed> {
    if let Some(patience) = arguments.limits.patience {
        command.patience = patience;
    }
    command.budget = arguments.limits.budget;
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
        Some(to) => Some(Place::parse(Some(to), &command.home.default_vault)?.location()),
        None => None,
    };
    let abandoning = engine.counts().await.during("cannot read the journal")?.abandoning;
    let active = engine.items(Some("active".to_owned()), usize::MAX >> 1).await.during("cannot read the journal")?;
    let elsewhere = elsewhere(&active, wanted.as_deref());
    let mut reports: Vec<RunReport> = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    let mut unreached: Vec<(String, Failed)> = Vec::new();
    for destination in engine.destinations().await.during("cannot read the journal")? {
        if wanted.as_ref().is_some_and(|wanted| *wanted != destination.location) {
            continue;
        }
        let has_work = active.iter().any(|item| item.destination == destination.location);
        // Whose uploads are to be deleted is not told; asking a vault that was reached before is cheap.
        if has_work || (abandoning > 0 && destination.vault.is_some()) {
            match one(command, arguments, &engine, &destination, &tally).await {
                Ok(report) => reports.push(report),
                Err(failed) if failed.is_damage || command.signals.exit().is_some() => return Err(failed),
                // One that cannot be reached keeps none of the others.
                Err(failed) => unreached.push((destination.location.clone(), failed)),
            }
        }
        problems.extend(work::blocked(&engine, &destination.location).await?);
    }
    if reports.is_empty() && !unreached.is_empty() {
        return Err(unreached.remove(0).1);
    }
    problems.extend(unreached.iter().map(|(location, failed)| unreached_problem(command, location, failed)));
    let exit = finish(command, &tally, &reports, &problems, &elsewhere);
    Ok(unreached.first().map_or(exit, |(_, failed)| failed.exit))
}

fn unreached_problem(command: &Command, location: &str, failed: &Failed) -> Problem {
    let place = Place::of_location(location, &command.home.default_vault);
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
    for item in active.iter().filter(|item| item.destination != wanted) {
        *elsewhere.entry(item.destination.clone()).or_default() += 1;
    }
    elsewhere
}

fn say_elsewhere(command: &Command, elsewhere: &BTreeMap<String, u64>) {
    for (location, count) in elsewhere {
        let place = Place::of_location(location, &command.home.default_vault);
        let place = place.map_or_else(|| human::text(location), |place| place.to_string());
        let verb = if *count == 1 { "waits" } else { "wait" };
        let files = human::count(*count, "file");
        command.out.note(&format!("{files} {verb} for {place}; `landfall run` without `--to` sends all that waits"));
    }
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

fn finish(
    command: &Command,
    tally: &Tally,
    reports: &[RunReport],
    problems: &[Problem],
    elsewhere: &BTreeMap<String, u64>,
) -> Exit {
    let counts = tally.finish();
    let took = command.took();
    // One that could not end says how the whole ended.
    let report = reports.iter().find(|report| report.end != landfall::RunEnd::Drained).or(reports.first());
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
    command.put_recovery_key(&mut document);
    command.out.document(document);
    let summary = work::counted(&counts);
    command.out.note(&format!("{summary}, problems {} in {}", problems.len(), human::duration(took)));
    if let Some(report) = report {
        work::say_end(command, report);
    }
    say_elsewhere(command, elsewhere);
    work::say_problems(command, problems);
    work::exit(command, report, problems)
}
