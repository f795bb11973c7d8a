//! A run of messages, watched.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use landfall::{
    ItemId, Stop,
    recipes::chat::{Chat, ChatRun, Lanes, Stage},
};
use serde_json::json;

use crate::{
    command::Command,
    conversations::{self, Connected, Conversations},
    failed::{During as _, Failed},
    human,
    output::{Output, fields},
};

/// How often it is looked how far messages are.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Without a terminal, a line at least this often.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// How a run of messages ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing is left that could go on now.
    Drained,
    /// The budget is spent, or somebody said stop.
    Stopped,
    /// The destination has been out of reach for too long.
    Away,
}

/// Carries on with the messages of a destination until nothing is left that could go on now, the budget is spent, somebody
/// says stop or the destination is away for too long; and shows it. While other processes work on what those that are
/// `wanted` wait for, it waits for them.
///
/// # Errors
/// The journal's.
pub(crate) async fn work(
    command: &Command,
    conversations: &Conversations,
    connected: &Connected,
    wanted: &[ItemId],
) -> Result<Ended, Failed> {
    let (chat, lanes) = (&connected.chat, &conversations.lanes);
    let mut stages = Stages::new(&command.out);
    // Whoever runs this looks now: nobody is to wait for a moment that was set while the destination was away.
    chat.try_now().await.during("cannot write to the journal")?;
    let ended = loop {
        let ended = run(command, conversations, chat, &mut stages).await.during("cannot go on")?;
        if ended != Ended::Drained || !others_work(conversations, wanted).await.during("cannot read the journal")? {
            break ended;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    stages.finish();
    let_go(chat, lanes).await.during("cannot write to the journal")?;
    Ok(ended)
}

async fn run(
    command: &Command,
    conversations: &Conversations,
    chat: &Chat,
    stages: &mut Stages,
) -> Result<Ended, landfall::Error> {
    let (lanes, stop) = (&conversations.lanes, Stop::default());
    let budget = command.budget.map(|budget| budget.saturating_sub(command.took()));
    stages.show(&look(chat, lanes).await?, chat.progress(), command.took());
    let run = chat.run(ChatRun { budget, stop: stop.clone() });
    tokio::pin!(run);
    let (mut changed_at, mut is_away) = (command.took(), false);
    let report = loop {
        if command.signals.exit().is_some() {
            stop.now();
        }
        tokio::select! {
            biased;
            report = &mut run => break report?,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if stages.show(&look(chat, lanes).await?, chat.progress(), command.took()) {
            changed_at = command.took();
        } else if command.took().saturating_sub(changed_at) > command.patience.max(Duration::from_secs(1))
            && chat.progress() == (0, 0)
            && conversations.engine.counts().await?.working == 0
        {
            // Whatever is left waits for a moment, and was tried in vain before.
            is_away = true;
            stop.now();
        }
    };
    stages.show(&look(chat, lanes).await?, chat.progress(), command.took());
    Ok(match report.is_drained {
        true => Ended::Drained,
        false if is_away && command.signals.exit().is_none() => Ended::Away,
        false => Ended::Stopped,
    })
}

/// Whether any that is wanted is not settled, and another process is at it or at one before it.
async fn others_work(conversations: &Conversations, wanted: &[ItemId]) -> Result<bool, landfall::Error> {
    let active = conversations.engine.items(Some("active".to_owned()), usize::MAX >> 1).await?;
    if !active.iter().any(|item| wanted.contains(&item.id)) {
        return Ok(false);
    }
    let location = conversations::location(&conversations.place);
    let mut active = active.iter().filter(|item| item.destination == location && item.lane.is_some());
    Ok(active.any(|item| matches!(item.waits.as_str(), "nothing" | "transfer")))
}

/// A message, its lane, and how far it is.
type Seen = (ItemId, String, Stage);

async fn look(chat: &Chat, lanes: &Lanes) -> Result<Vec<Seen>, landfall::Error> {
    let mut seen = Vec::new();
    for lane in lanes.all().await? {
        let echoes = chat.echoes(&lane).await?.echoes;
        seen.extend(echoes.into_iter().map(|echo| (echo.id, lane.name.clone(), echo.stage)));
    }
    Ok(seen)
}

/// Nobody shows what is published: whoever wants to see it reads the lane.
async fn let_go(chat: &Chat, lanes: &Lanes) -> Result<(), landfall::Error> {
    let done = look(chat, lanes).await?.into_iter().filter(|(_, _, stage)| *stage == Stage::Completed);
    let done: Vec<ItemId> = done.map(|(id, _, _)| id).collect();
    if !done.is_empty() {
        chat.release(done).await?;
    }
    Ok(())
}

/// How far messages are: one bar on a terminal, lines elsewhere, events for programs.
struct Stages {
    out: Arc<Output>,
    bar: Option<ProgressBar>,
    /// What was said last, and when.
    said: (&'static str, Duration),
    known: BTreeMap<ItemId, &'static str>,
    /// Bytes of each that were handed over.
    handed_over: BTreeMap<ItemId, u64>,
    progress: (u64, u64),
}

impl Stages {
    fn new(out: &Arc<Output>) -> Self {
        let bar = out.has_bars().then(|| {
            let bar = out.draw().add(ProgressBar::no_length());
            let template = "{msg} [{bar:28}] {decimal_bytes} of {decimal_total_bytes}";
            bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self {
            out: Arc::clone(out),
            bar,
            said: ("", Duration::ZERO),
            known: BTreeMap::new(),
            handed_over: BTreeMap::new(),
            progress: (0, 0),
        }
    }

    /// Returns whether anything has changed.
    fn show(&mut self, seen: &[Seen], progress: (u64, u64), now: Duration) -> bool {
        let mut changed = std::mem::replace(&mut self.progress, progress) != progress;
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (id, lane, stage) in seen {
            let word = word(stage);
            *counts.entry(word).or_default() += 1;
            if self.known.insert(*id, word) != Some(word) {
                changed = true;
                self.handed_over.remove(id);
                self.out.event("stage", fields(json!({ "item": id.0, "lane": lane, "stage": word })));
            }
            if let Stage::Uploading(far) = stage
                && self.handed_over.insert(*id, far.bytes) != Some(far.bytes)
            {
                let (bytes, total, fraction) = (far.bytes, far.total, far.fraction());
                let progress = json!({ "item": id.0, "bytes_sent": bytes, "bytes_total": total, "fraction": fraction });
                self.out.event("progress", fields(progress));
            }
        }
        let busy = ["uploading", "preparing", "publishing"].into_iter().find(|word| counts.contains_key(word));
        let Some(word) = busy else { return changed };
        let (sent, total) = progress;
        let text = format!("{word} {}", human::count(counts[word], "message"));
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.set_length(total);
            bar.set_position(sent);
        } else if self.said.0 != word || now.saturating_sub(self.said.1) >= LINE_EVERY {
            self.said = (word, now);
            let bytes = match total {
                0 => String::new(),
                _ => format!(": {} of {}", human::size(sent), human::size(total)),
            };
            self.out.note(&format!("{text}{bytes}"));
        }
        changed
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
            self.out.clear();
        }
    }
}

fn word(stage: &Stage) -> &'static str {
    match stage {
        Stage::Preparing => "preparing",
        Stage::Uploading(_) => "uploading",
        Stage::Staged => "staged",
        Stage::Publishing => "publishing",
        Stage::Completed => "completed",
        Stage::Failed { .. } => "failed",
        Stage::Paused => "paused",
        Stage::Dropped => "dropped",
    }
}
