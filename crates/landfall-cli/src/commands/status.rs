//! `landfall status` and `show`: the queue, looked at without a key.

use std::collections::BTreeMap;

use landfall::{Counts, Engine, ItemId, ItemSummary};
use serde_json::{Map, Value, json};

use super::work::{self, place_of, remedy};
use crate::{
    arguments::Status,
    buckets,
    command::Command,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::{Format, fields},
};

/// Carries out `landfall status`.
pub(crate) async fn status(command: &Command, arguments: &Status) -> Result<Exit, Failed> {
    let Some(engine) = command.engine_to_look().await? else {
        return Ok(if arguments.safe_to_quit {
            safe_to_quit(command, &Counts::default())
        } else {
            all(command, &Counts::default(), &[])
        });
    };
    let mut counts = engine.counts().await.during("cannot read the journal")?;
    counts.bytes_left = work::bytes_left(&engine, &counts).await?;
    if arguments.safe_to_quit {
        return Ok(safe_to_quit(command, &counts));
    }
    let items = engine.items(None, arguments.limit).await.during("cannot read the journal")?;
    let items = with_blockers(&engine, items).await?;
    Ok(all(command, &counts, &items))
}

fn safe_to_quit(command: &Command, counts: &Counts) -> Exit {
    let safe = counts.queued() == 0;
    command.out.line(if safe { "yes" } else { "no" });
    command.out.document(fields(json!({ "safe_to_quit": safe, "queued": counts.queued() })));
    if safe { Exit::Done } else { Exit::Queued }
}

/// An item, and the blocked one that holds it up.
struct Shown {
    item: ItemSummary,
    blocked_by: Option<ItemId>,
}

/// Follows what each waits for to where it ends.
async fn with_blockers(engine: &Engine, items: Vec<ItemSummary>) -> Result<Vec<Shown>, Failed> {
    let waits = items.iter().filter(|item| item.waits_item.is_some()).count();
    let known = match waits {
        0 => Vec::new(),
        _ => engine.items(None, usize::MAX >> 1).await.during("cannot read the journal")?,
    };
    let known: BTreeMap<ItemId, (Option<ItemId>, bool)> =
        known.iter().map(|item| (item.id, (item.waits_item, item.blocked.is_some()))).collect();
    let mut ends: BTreeMap<ItemId, Option<ItemId>> = BTreeMap::new();
    let shown = items.into_iter().map(|item| {
        let (mut way, mut at) = (Vec::new(), item.waits_item);
        let end = loop {
            let Some(id) = at else { break None };
            if let Some(end) = ends.get(&id) {
                break *end;
            }
            match known.get(&id) {
                Some((_, true)) => break Some(id),
                // Each waits for one that was sent before it.
                Some((next, false)) => {
                    way.push(id);
                    at = next.filter(|next| *next < id);
                }
                None => break None,
            }
        };
        ends.extend(way.into_iter().map(|id| (id, end)));
        Shown { item, blocked_by: end }
    });
    Ok(shown.collect())
}

fn all(command: &Command, counts: &Counts, items: &[Shown]) -> Exit {
    match command.out.format() {
        Format::Human => say(command, counts, items),
        Format::Json => {
            let items: Vec<Value> = items.iter().map(|item| Value::Object(item_json(item))).collect();
            command.out.document(fields(json!({ "counts": counts_json(counts), "items": items })));
        }
        Format::JsonLines => {
            items.iter().for_each(|item| command.out.event("item", item_json(item)));
            command.out.document(fields(json!({ "counts": counts_json(counts) })));
        }
    }
    Exit::Done
}

fn say(command: &Command, counts: &Counts, items: &[Shown]) {
    let Counts { done, blocked, paused, working, waiting, .. } = counts;
    let noun = if items.iter().any(|Shown { item, .. }| item.lane.is_some()) { "item" } else { "file" };
    let (queued, left) = (human::count(counts.queued(), noun), human::size(counts.bytes_left));
    command.out.line(&format!(
        "{queued} queued ({left} left): {working} being worked on, {waiting} waiting; {paused} paused, {blocked} blocked, {done} done"
    ));
    if counts.abandoning > 0 {
        let uploads = human::count(counts.abandoning, "upload");
        command.out.line(&format!("still to be removed: {uploads} that nobody wants (`landfall run`)"));
    }
    if !items.is_empty() {
        let (state, phase, sent) = ("state", "phase", "sent");
        command.out.line(&format!("{:>8}  {state:<8} {phase:<8} {sent:<18}  place", "item"));
    }
    for Shown { item, blocked_by } in items {
        let (place, size) = (human::path(&place_of(item)), human::size(item.bytes_total));
        let percent = (item.bytes_sent * 100).checked_div(item.bytes_total).unwrap_or(0);
        let waits = match blocked_by {
            Some(other) => format!(", held up by item {other}"),
            None if item.waits == "nothing" => String::new(),
            None => format!(", {}", waits_for(item)),
        };
        let lane = item.lane.as_deref().map(|lane| format!(" in lane {}", human::text(lane))).unwrap_or_default();
        let goes = url_of(command, item).map(|url| format!(" -> {}", human::text(&url))).unwrap_or_default();
        command.out.line(&format!(
            "{:>8}  {:<8} {:<8} {percent:>3} % of {size:>9}  {place}{goes}{lane}{waits}",
            item.id.0, item.state, item.phase
        ));
        if let Some((code, message)) = &item.blocked {
            command.out.line(&format!("          {}", human::text(message)));
            command.out.line(&format!("          hint: {}", remedy(item, *code)));
        } else if let Some(why) = item.last_error.as_deref().filter(|_| item.waits == "until") {
            command.out.line(&format!("          {}", human::text(why)));
        }
    }
    let shown = items.len() as u64;
    if let Some(more) = (counts.queued() + paused + blocked).checked_sub(shown).filter(|more| *more > 0) {
        command.out.line(&format!("and {more} more"));
    }
}

/// `s3://bucket/key` of what goes to a bucket.
fn url_of(command: &Command, item: &ItemSummary) -> Option<String> {
    let name = item.destination.strip_prefix("s3:")?;
    let config = buckets::find(command, name).ok()??;
    item.objects.first().map(|object| config.url(&object.location))
}

/// What an item waits for, as people say it.
fn waits_for(item: &ItemSummary) -> String {
    match (item.waits.as_str(), item.not_before) {
        ("until", Some(moment)) => format!("tried again at {}, or by the next `landfall run`", human::moment(moment.0)),
        ("token", _) => "waits until somebody logs in".to_owned(),
        (other, _) => format!("waits for {other}"),
    }
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "ready": counts.ready,
        "working": counts.working,
        "waiting": counts.waiting,
        "locked": counts.locked,
        "paused": counts.paused,
        "blocked": counts.blocked,
        "done": counts.done,
        "dropped": counts.dropped,
        "abandoning": counts.abandoning,
        "queued": counts.queued(),
        "bytes_left": counts.bytes_left,
    })
}

fn item_json(Shown { item, blocked_by }: &Shown) -> Map<String, Value> {
    let blocked = item.blocked.as_ref().map(|(code, message)| {
        json!({
            "code": code.map(|code| code.as_str()),
            "message": message,
            "remedy": remedy(item, *code),
        })
    });
    let objects: Vec<Value> =
        item.objects.iter().map(|object| json!({ "role": object.role, "location": object.location })).collect();
    let waits = match item.waits_item {
        Some(other) => format!("item {other}"),
        None => item.waits.clone(),
    };
    let mut one = fields(json!({
        "id": item.id.0,
        "key": item.key,
        "recipe": item.recipe,
        "lane": item.lane,
        "destination": item.destination,
        "state": item.state,
        "phase": item.phase,
        "waits": waits,
        "bytes_total": item.bytes_total,
        "bytes_sent": item.bytes_sent,
        "attempts": item.attempts,
        "not_before": item.not_before.map(|moment| human::moment(moment.0)),
        "blocked": blocked,
        "blocked_by": blocked_by.map(|other| other.0),
        "objects": objects,
        "created_at": human::moment(item.created_at.0),
        "updated_at": human::moment(item.updated_at.0),
    }));
    human::put_path(&mut one, "path", &place_of(item));
    one
}

/// Carries out `landfall show`.
pub(crate) async fn show(command: &Command, id: i64) -> Result<Exit, Failed> {
    let nothing = || Failed::new("no-such-item", format!("cannot show item {id}"), "this home has no journal yet");
    let engine: Engine = command.engine_to_look().await?.ok_or_else(nothing)?;
    let (item, history) = engine.item(ItemId(id)).await.during(&format!("cannot show item {id}"))?;
    let events: Vec<Value> = history
        .iter()
        .map(|event| json!({ "number": event.number, "at": human::moment(event.at.0), "kind": event.kind, "detail": event.detail }))
        .collect();
    let shown = with_blockers(&engine, vec![item]).await?.remove(0);
    let mut document = item_json(&shown);
    let Shown { item, blocked_by } = shown;
    document.insert("last_error".to_owned(), json!(item.last_error));
    document.insert("history".to_owned(), events.into());
    command.out.document(document);
    let out = &command.out;
    out.line(&format!("item {id}: {}", human::path(&place_of(&item))));
    out.line(&format!("  state        {}, {} ({})", item.state, item.phase, waits_for(&item)));
    if let Some(lane) = &item.lane {
        out.line(&format!("  lane         {}", human::text(lane)));
    }
    if let Some(other) = blocked_by {
        out.line(&format!("  held up by   item {other}; `landfall retry`, `skip` or `discard` it"));
    }
    let destination = url_of(command, &item).unwrap_or_else(|| item.destination.clone());
    out.line(&format!("  destination  {}", human::text(&destination)));
    out.line(&format!("  bytes        {} of {}", human::size(item.bytes_sent), human::size(item.bytes_total)));
    if let Some((code, message)) = &item.blocked {
        out.line(&format!("  blocked      {}", human::text(message)));
        out.line(&format!("  hint         {}", remedy(&item, *code)));
    }
    for object in &item.objects {
        out.line(&format!("  {:<12} {}, {}, {}", object.role, object.state, human::size(object.size), object.location));
    }
    for event in &history {
        let detail = event.detail.as_deref().map(human::text).unwrap_or_default();
        out.line(format!("  {}  {} {detail}", human::moment(event.at.0), event.kind).trim_end());
    }
    Ok(Exit::Done)
}
