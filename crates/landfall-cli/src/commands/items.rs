//! `landfall retry`, `cancel`, `skip`, `discard`, `pause` and `resume`: what a person may do to items. None needs a key.

use std::collections::BTreeSet;

use landfall::{Engine, ItemId};
use serde_json::json;

use crate::{
    arguments::Retry,
    buckets,
    command::Command,
    conversations::Conversations,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::fields,
};

/// Carries out `landfall retry`.
pub(crate) async fn retry(command: &Command, arguments: &Retry) -> Result<Exit, Failed> {
    let engine = command.engine().await?;
    let ids = if arguments.all { None } else { Some(known(command, &engine, &arguments.ids, &["blocked"]).await?) };
    let changed = engine.retry(ids).await.during("cannot retry")?;
    super::sessions::export(command, &engine).await;
    Ok(say(command, "retried", changed, Some("`landfall run` goes on with them")))
}

/// Carries out `landfall cancel`.
pub(crate) async fn cancel(command: &Command, ids: &[i64]) -> Result<Exit, Failed> {
    let engine = command.engine().await?;
    let ids = known(command, &engine, ids, &["staged", "active", "paused", "blocked"]).await?;
    let mut destinations = BTreeSet::new();
    for id in &ids {
        destinations.insert(engine.item(*id).await.during(&format!("cannot find item {id}"))?.0.destination);
    }
    let changed = engine.cancel(ids).await.during("cannot cancel")?;
    Conversations::tidy_all(command, &engine).await;
    abort_abandoned(command, &engine, &destinations).await;
    super::sessions::export(command, &engine).await;
    Ok(say(command, "cancelled", changed, None))
}

/// Tells the buckets that items were to go to which uploads nobody wants any more, if they can be reached; else a later run does.
pub(super) async fn abort_abandoned(command: &Command, engine: &Engine, of: &BTreeSet<String>) {
    let destinations = engine.destinations().await.unwrap_or_default();
    for destination in destinations.into_iter().filter(|destination| of.contains(&destination.location)) {
        let Some(Ok(config)) = landfall::bucket::name_of(&destination).map(|name| buckets::named(command, name)) else {
            continue;
        };
        let gone = match buckets::open(command, engine, &config).await {
            Ok(bucket) => {
                let told = bucket.abort_abandoned(false).await;
                told.is_ok() && bucket.abandoned().await.is_ok_and(|left| left == 0)
            }
            Err(_) => false,
        };
        if !gone {
            let name = &config.name;
            command.out.note(&format!("what was uploaded to `{name}` of it is still there; `landfall run` removes it"));
        }
    }
}

/// Carries out `landfall skip`.
pub(crate) async fn skip(command: &Command, ids: &[i64]) -> Result<Exit, Failed> {
    let engine = command.engine().await?;
    let ids = messages(command, &engine, ids, "skip").await?;
    let changed = engine.skip(ids).await.during("cannot skip")?;
    Conversations::tidy_all(command, &engine).await;
    Ok(say(command, "skipped", changed, Some("`landfall run` goes on with those behind")))
}

/// Carries out `landfall discard`.
pub(crate) async fn discard(command: &Command, ids: &[i64]) -> Result<Exit, Failed> {
    let engine = command.engine().await?;
    let ids = messages(command, &engine, ids, "discard").await?;
    let changed = engine.cancel(ids).await.during("cannot discard")?;
    Conversations::tidy_all(command, &engine).await;
    Ok(say(command, "discarded", changed, None))
}

/// Carries out `landfall pause`.
pub(crate) async fn pause(command: &Command, ids: &[i64]) -> Result<Exit, Failed> {
    let engine = command.engine().await?;
    let changed = engine.pause(some(command, &engine, ids, "active").await?).await.during("cannot pause")?;
    Ok(say(command, "paused", changed, Some("`landfall resume` lets them go on")))
}

/// Carries out `landfall resume`.
pub(crate) async fn resume(command: &Command, ids: &[i64]) -> Result<Exit, Failed> {
    let engine = command.engine().await?;
    let changed = engine.unpause(some(command, &engine, ids, "paused").await?).await.during("cannot resume")?;
    Ok(say(command, "resumed", changed, Some("`landfall run` goes on with them")))
}

async fn some(command: &Command, engine: &Engine, ids: &[i64], state: &str) -> Result<Option<Vec<ItemId>>, Failed> {
    if ids.is_empty() { Ok(None) } else { known(command, engine, ids, &[state]).await.map(Some) }
}

/// Refuses numbers that are no items' before anything is changed, and says of which nothing can be done because they are
/// in none of these states.
async fn known(command: &Command, engine: &Engine, ids: &[i64], states: &[&str]) -> Result<Vec<ItemId>, Failed> {
    let mut known = Vec::new();
    for id in ids.iter().copied().map(ItemId) {
        let (item, _) = engine.item(id).await.during(&format!("cannot find item {id}"))?;
        known.push((id, item.state));
    }
    for (id, state) in known.iter().filter(|(_, state)| !states.contains(&state.as_str())) {
        let hint = (state == "active").then_some("`landfall run` tries what waits at once");
        command.out.warn(&format!("item {id} is {state} and stays so"), hint);
    }
    Ok(known.into_iter().map(|(id, _)| id).collect())
}

/// As [`known`], and refuses what is no message.
async fn messages(command: &Command, engine: &Engine, ids: &[i64], verb: &str) -> Result<Vec<ItemId>, Failed> {
    for id in ids.iter().copied().map(ItemId) {
        let what = format!("cannot {verb} item {id}");
        let (item, _) = engine.item(id).await.during(&what)?;
        if item.recipe != "chat" {
            let why = "it is a file, and no message";
            return Err(Failed::usage(what, why).hint(format!("`landfall cancel {id}` takes it back")));
        }
    }
    known(command, engine, ids, &["staged", "active", "paused", "blocked"]).await
}

fn say(command: &Command, word: &str, changed: usize, then: Option<&str>) -> Exit {
    command.out.document(fields(json!({ word: changed })));
    let then = then.filter(|_| changed > 0).map(|then| format!("; {then}")).unwrap_or_default();
    command.out.note(&format!("{word} {}{then}", human::count(changed as u64, "item")));
    Exit::Done
}
