//! `landfall send`: a batch of files and a text, taken in charge at once and published in order.

use landfall::{
    ItemId, ItemSummary,
    recipes::chat::{NewFile, Part, Treatment},
};
use serde_json::{Value, json};

use super::{
    place_of,
    stages::{self, Ended},
    work::{self, Problem},
};
use crate::{
    arguments::Send,
    command::Command,
    conversations::Conversations,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::fields,
};

/// Carries out `landfall send`.
pub(crate) async fn send(mut command: Command, arguments: Send) -> Result<Exit, Failed> {
    if let Some(patience) = arguments.patience {
        command.patience = patience;
    }
    command.budget = arguments.budget;
    if let Some(budget) = arguments.budget {
        command.patience = command.patience.min(budget);
    }
    let place = place_of(&command, arguments.to.to.as_deref())?;
    let taken = command.signals.unless_stopped(async {
        let conversations = Conversations::open(&command, command.engine().await?, place).await?;
        let ids = take(&command, &conversations, &arguments).await?;
        Ok((conversations, ids))
    });
    let (conversations, ids) = taken.await.map_err(not_taken)?;
    command.out.event("taken", fields(json!({ "lane": arguments.lane, "items": numbers(&ids) })));
    let ended = carry(&command, &conversations, &ids).await.map_err(|failed| explain(failed, ids.len() as u64))?;
    finish(&command, &conversations, &arguments.lane, &ids, ended).await
}

/// Takes the whole batch in charge, or nothing. The destination need not be there.
async fn take(command: &Command, conversations: &Conversations, arguments: &Send) -> Result<Vec<ItemId>, Failed> {
    let lane = &arguments.lane;
    // So that whoever publishes has it, and others can be given it.
    let what = format!("cannot open the lane `{lane}`");
    if conversations.lanes.key(lane).await.during(&what)?.is_none() {
        conversations.lanes.key_or_new(lane).await.during(&what)?;
        command.out.warn(
            &format!("`{}` is a new lane at {}: nobody else can read it", human::text(lane), conversations.place),
            Some("`landfall lane key` shows its key, for those who are to read it; `landfall lane ls` lists the lanes"),
        );
    }
    let mut parts = Vec::new();
    for path in &arguments.files {
        let found = NewFile::found(&conversations.engine, path).await;
        let mut file = found.during(&format!("cannot send `{}`", path.display()))?;
        match file.treatment {
            _ if arguments.as_file => file.treatment = Treatment::AsItIs,
            Treatment::AsItIs => say_as_it_is(command, &file),
            Treatment::Photo => {}
        }
        parts.push(Part::New(file));
    }
    parts.extend(arguments.text.clone().map(Part::Text));
    let chat = conversations.to_take().await?;
    let lane = chat.lane(lane).await.during("cannot write to the journal")?;
    chat.send(&lane, parts).await.during("cannot take the batch in charge")
}

/// Whoever reads 5 takes it that something waits: here nothing does.
fn not_taken(failed: Failed) -> Failed {
    if matches!(failed.exit, Exit::Interrupted | Exit::Terminated) {
        // It may have happened at the very moment at which the batch was written.
        let why = "it was not told whether the batch is in charge; `landfall status` shows what is";
        return Failed { why: why.to_owned(), ..failed };
    }
    let exit = if failed.exit == Exit::Queued { Exit::Configuration } else { failed.exit };
    let why = if failed.why.is_empty() { String::new() } else { format!("{}; ", failed.why) };
    Failed { exit, why: format!("{why}nothing of it was taken in charge"), queued: Some(0), ..failed }
}

fn say_as_it_is(command: &Command, file: &NewFile) {
    let name = human::text(&file.name);
    if file.mime.starts_with("image/") || file.mime.starts_with("video/") {
        command.out.warn(
            &format!("`{name}` goes as it is, with the time and the place that its camera may have noted"),
            Some("a JPEG or a PNG is made smaller, and goes without them"),
        );
    } else {
        command.out.note(&format!("`{name}` is no photo: it goes as it is"));
    }
}

async fn carry(command: &Command, conversations: &Conversations, ids: &[ItemId]) -> Result<Ended, Failed> {
    let connected = command.signals.unless_stopped(conversations.connect(command)).await?;
    stages::work(command, conversations, &connected, ids).await
}

/// The same failure, saying what waits.
fn explain(failed: Failed, count: u64) -> Failed {
    if failed.is_damage || matches!(failed.code.as_str(), "journal-damaged" | "tampered" | "internal") {
        // Whether anything waits is what nobody knows now.
        return failed;
    }
    let verb = if count == 1 { "waits" } else { "wait" };
    let waiting = format!("{} {verb} for it", human::count(count, "message"));
    let why = if failed.why.is_empty() { waiting } else { format!("{}; {waiting}", failed.why) };
    // Whoever followed another hint by sending it once more would have sent it twice.
    let hint = match (failed.code.as_str(), failed.hint) {
        ("home-full", _) => "free space on the disk of the home; ".to_owned(),
        (_, hint) => hint.map_or_else(String::new, |hint| format!("{hint}; ")),
    };
    let exit = match failed.exit {
        Exit::Credentials | Exit::Interrupted | Exit::Terminated => failed.exit,
        _ => Exit::Queued,
    };
    Failed { why, hint: Some(format!("{hint}`landfall run` sends what waits")), queued: Some(count), exit, ..failed }
}

/// What became of the batch.
async fn finish(
    command: &Command,
    conversations: &Conversations,
    lane: &str,
    ids: &[ItemId],
    ended: Ended,
) -> Result<Exit, Failed> {
    let mut items = Vec::new();
    for id in ids {
        items.push(conversations.engine.item(*id).await.during("cannot read the journal")?.0);
    }
    let count = |test: fn(&ItemSummary) -> bool| items.iter().filter(|item| test(item)).count() as u64;
    let (published, queued) = (count(|item| item.state == "done"), count(|item| item.state == "active"));
    let dropped = count(|item| matches!(item.state.as_str(), "cancelled" | "skipped"));
    let holders = holders(conversations, &items).await?;
    let problems = holders.iter().map(work::problem).collect::<Vec<Problem>>();
    let took = command.took();
    command.out.document(fields(json!({
        "lane": lane,
        "items": items.iter().map(item_json).collect::<Vec<Value>>(),
        "published": published,
        "queued": queued,
        "dropped": dropped,
        "problems": work::problems_json(&problems),
        "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    })));
    let summary = format!("sent {} in `{}`", human::count(published, "message"), human::text(lane));
    command.out.note(&format!("{summary} in {}", human::duration(took)));
    if dropped > 0 {
        let verb = if dropped == 1 { "was" } else { "were" };
        command.out.note(&format!("{} {verb} taken back or left out meanwhile", human::count(dropped, "message")));
    }
    work::say_problems(command, &problems);
    for holder in &holders {
        let id = holder.id;
        command.out.say(&format!(
            "hint: `landfall skip {id}` leaves item {id} out, `retry {id}` tries it again, `discard {id}` takes it back"
        ));
    }
    if let Some(exit) = command.signals.exit() {
        command.out.note(&format!("{} still queued; `landfall run` goes on", human::count(queued, "message")));
        return Ok(exit);
    }
    if items.iter().any(|item| item.waits == "token") {
        command.out.say("error: the destination refuses the token");
        command.out.say("hint: run `landfall login` with a fresh token; then `landfall run` goes on");
        return Ok(Exit::Credentials);
    }
    if !problems.is_empty() || dropped > 0 {
        return Ok(Exit::Problems);
    }
    if queued > 0 {
        let last_error = items.iter().filter(|item| item.state == "active").find_map(|item| item.last_error.as_deref());
        let why = match last_error {
            Some(why) => format!("{}; ", human::text(why)),
            None if ended == Ended::Away => "the destination is out of reach; ".to_owned(),
            None => String::new(),
        };
        let waiting = human::count(queued, "message");
        command.out.note(&format!("{why}{waiting} still queued; `landfall run` goes on"));
        return Ok(Exit::Queued);
    }
    Ok(Exit::Done)
}

/// The blocked messages that are of the batch, or hold it up.
async fn holders(conversations: &Conversations, items: &[ItemSummary]) -> Result<Vec<ItemSummary>, Failed> {
    let blocked = conversations.engine.items(Some("blocked".to_owned()), usize::MAX >> 1).await;
    let mut blocked = blocked.during("cannot read the journal")?;
    let Some(last) = items
        .iter()
        .filter(|item| matches!(item.state.as_str(), "active" | "blocked" | "paused"))
        .map(|item| item.id)
        .max()
    else {
        return Ok(Vec::new());
    };
    blocked
        .retain(|other| other.lane == items[0].lane && other.destination == items[0].destination && other.id <= last);
    blocked.sort_by_key(|other| other.id);
    Ok(blocked)
}

fn item_json(item: &ItemSummary) -> Value {
    let kind = if item.source.1.is_empty() { "text" } else { "attachment" };
    let name = (kind == "attachment").then(|| String::from_utf8_lossy(&item.source.1).into_owned());
    json!({ "id": item.id.0, "kind": kind, "name": name, "state": item.state })
}

fn numbers(ids: &[ItemId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}
