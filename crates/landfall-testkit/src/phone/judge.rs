//! Peace, rest, and a look at everything from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use landfall::recipes::chat::{Echo, Stage};
use landfall_core::{Code, ItemId, OnFailure, PublishOrder};
use landfall_crypto::xmtp::{AttachmentOpener, Content, RemoteAttachment};
use tokio::time::Instant;

use super::{
    HOME, Phone,
    person::{Fate, Message},
};
use crate::process::Done;

/// How often one message is published within an hour at most: its pauses are half a minute at the longest, budgets that end in
/// the middle of a publish charge nothing, and people ask for more.
const PUBLISHES_AN_HOUR_MAX: usize = 1_000;

impl Phone {
    pub(super) async fn judge(&mut self) {
        self.heal();
        self.disk.settle();
        self.settle_uncertain().await;
        self.rest().await;
        if !self.complaints.is_empty() {
            return;
        }
        self.look_at_all().await;
        self.judge_messages();
        self.judge_order().await;
        self.judge_haste();
        self.judge_puts().await;
        self.judge_files().await;
    }

    fn heal(&mut self) {
        self.remote.heal();
        self.platform.set_oddity(0.0);
        self.trouble.set_chance(0.0);
        self.clock.set_jump_ms(0);
        self.disk.set_free(u64::MAX);
        self.full_until = None;
    }

    /// A person and the platform see to everything until nothing is left to do.
    async fn rest(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(12 * 3600);
        let mut tried: BTreeSet<ItemId> = BTreeSet::new();
        while Instant::now() < deadline {
            // Whoever was doomed to die at one of the next writes may still do so.
            self.settle_all().await;
            self.pause(Duration::from_secs(5)).await;
            let Some(left) = self.unfinished().await else { continue };
            if left.is_empty() && (!self.making.by_platform || self.platform.is_idle()) {
                return;
            }
            for echo in left {
                let Stage::Failed { code, .. } = echo.stage else { continue };
                self.mend(echo.id, code, tried.insert(echo.id)).await;
            }
        }
        let left = self.unfinished().await;
        self.complain(format!("it does not come to rest: {left:?}"));
    }

    async fn settle_all(&mut self) {
        self.bury().await;
        for slot in 0..2 {
            // Each session is asked by a process of its own.
            if self.processes[slot].is_none() && (slot == 0 || self.making.by_platform && self.making.has_key) {
                self.start(slot).await;
            }
            if self.processes[slot].is_some() {
                self.reconcile(slot).await;
            }
        }
        while self.making.by_platform && self.platform.next_report().is_some() {
            self.deliver().await;
            self.pause(Duration::from_millis(10)).await;
        }
        self.hand_over().await;
    }

    /// A person helps: tries again, and leaves out what does not help.
    async fn mend(&mut self, id: ItemId, code: Code, is_first: bool) {
        let Some(slot) = self.living().await else { return };
        let retries = is_first && code != Code::AnswerLost;
        let tick = self.ticks.next();
        if !retries {
            self.person.ending(id, tick);
        }
        let Some(process) = &self.processes[slot] else { return };
        process
            .perform(&self.disk, |chat| async move {
                if retries { chat.retry(id).await.map(drop) } else { chat.skip(id).await.map(drop) }
            })
            .await;
    }

    /// Messages that are sent and not finished.
    async fn unfinished(&mut self) -> Option<Vec<Echo>> {
        let slot = self.living().await?;
        let process = self.processes[slot].as_ref()?;
        let names = self.lanes.clone();
        let read = process.perform(&self.disk, |chat| async move {
            let mut left = Vec::new();
            for name in names {
                let lane = chat.lane(&name).await?;
                let echoes = chat.echoes(&lane).await?.echoes.into_iter();
                left.extend(echoes.filter(|echo| !matches!(echo.stage, Stage::Completed | Stage::Dropped)));
            }
            Ok(left)
        });
        match read.await {
            Done::Did(left) => Some(left),
            _ => None,
        }
    }

    async fn look_at_all(&mut self) {
        for _ in 0..4 {
            self.look().await;
        }
    }

    /// Everything that was sent is seen once, as it was sent, and nothing else is.
    fn judge_messages(&mut self) {
        let shown = self.remote.shown();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for one in &shown {
            *seen.entry(one.label.clone()).or_default() += 1;
        }
        for (label, times) in &seen {
            if *times > 1 {
                self.complain(format!("`{label}` is seen {times} times"));
            }
        }
        let messages = self.person.messages.clone();
        for message in &messages {
            if message.ended.is_none() && !seen.contains_key(&message.label) {
                self.complain(format!("`{}` was sent and is never seen", message.label));
            }
        }
        let known: BTreeMap<&str, &Message> = messages.iter().map(|message| (&*message.label, message)).collect();
        for one in &shown {
            let Some(message) = known.get(&*one.label) else {
                self.complain(format!("`{}` is seen, and nobody sent it ({})", one.label, one.key));
                continue;
            };
            if self.lanes[message.lane] != one.lane {
                self.complain(format!("`{}` is seen in the wrong lane", one.label));
            }
            match Content::decode(&one.content) {
                Ok(Content::Text(text)) if message.says.contains(&text) => {}
                Ok(Content::Text(text)) => self.complain(format!("`{}` says `{text}`", one.label)),
                Ok(Content::RemoteAttachment(remote)) => {
                    if let Err(complaint) = self.open(&one.label, &remote) {
                        self.complain(complaint);
                    }
                }
                other => self.complain(format!("`{}` is {other:?}", one.label)),
            }
        }
        for chosen in self.person.chosen.clone() {
            if chosen.fate != Fate::Sent && seen.contains_key(&chosen.label) {
                self.complain(format!("`{}` was never sent and is seen", chosen.label));
            }
        }
    }

    /// The payload that a message names is there, is the one, and opens to what was chosen.
    fn open(&self, label: &str, remote: &RemoteAttachment) -> Result<(), String> {
        let payload = self.remote.asset(remote.url()).ok_or(format!("the payload of `{label}` is not there"))?;
        let mut opener = AttachmentOpener::new(remote.secrets(), *remote.digest(), payload.len() as u64);
        let mut bytes = payload.to_vec();
        let opened = opener.update(&mut bytes).map(|plain| plain.for_staging().to_vec());
        let content = opened.map_err(|error| format!("the payload of `{label}` does not open: {error}"))?;
        let attachment = opener.finish().map_err(|error| format!("the payload of `{label}` does not open: {error}"))?;
        let chosen = self.person.chosen.iter().find(|chosen| chosen.label == label);
        let chosen = chosen.ok_or(format!("nobody chose `{label}`"))?;
        if attachment.filename.as_deref() != Some(label) {
            return Err(format!("the payload of `{label}` is of {:?}", attachment.filename));
        }
        if !chosen.is_photo && content != chosen.bytes || chosen.is_photo && !content.starts_with(&[0xff, 0xd8]) {
            return Err(format!("the payload of `{label}` holds something else"));
        }
        Ok(())
    }

    /// Nobody was told of a message while one before it might still come.
    async fn judge_order(&mut self) {
        let told = self.remote.told();
        let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
        for one in &told {
            if let Some(tick) = one.taken {
                let first = taken.entry(&one.label).or_insert(tick);
                *first = tick.min(*first);
            }
        }
        for (id, times) in self.ever(&["done", "skipped", "cancelled"]).await {
            if times > 1 {
                self.complain(format!("{id} was finished {times} times"));
            }
        }
        let was_blocked = self.ever(&["blocked"]).await;
        let mut complaints = BTreeSet::new();
        let mut begun = BTreeSet::new();
        for one in &told {
            // What may be seen already is told again whatever order was set meanwhile.
            if !begun.insert(&one.label) {
                continue;
            }
            let Some(at) = self.person.messages.iter().position(|message| message.label == one.label) else { continue };
            let this = &self.person.messages[at];
            let policies = self.person.policies_at(this.lane, one.began);
            let is_strict = policies.iter().all(|(order, _)| *order == PublishOrder::Strict);
            let may_pass = policies.iter().any(|(_, on_failure)| *on_failure == OnFailure::Pass);
            for before in self.person.messages[..at].iter().filter(|before| before.lane == this.lane) {
                // Where a photo is passed, so is the text that goes with it.
                let was_blocked = |id: ItemId| was_blocked.contains_key(&id);
                let was_held = was_blocked(before.id) || before.with.is_some_and(was_blocked);
                let is_over = taken.get(&*before.label).is_some_and(|tick| *tick < one.began)
                    || before.ended.is_some_and(|tick| tick < one.began)
                    || may_pass && was_held;
                if !is_over && (is_strict || before.batch == this.batch) {
                    complaints.insert(format!("`{}` was published before `{}`", this.label, before.label));
                }
            }
        }
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
    }

    /// Whatever does not succeed is tried again after a pause: nothing spins.
    fn judge_haste(&mut self) {
        let mut begun: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
        for one in self.remote.told() {
            begun.entry(one.label).or_default().push(one.at);
        }
        for (label, moments) in begun {
            let within_an_hour = |first: usize| {
                moments[first..]
                    .iter()
                    .take_while(|moment| **moment - moments[first] < Duration::from_secs(3600))
                    .count()
            };
            let most = (0..moments.len()).map(within_an_hour).max().unwrap_or(0);
            if most > PUBLISHES_AN_HOUR_MAX {
                self.complain(format!("`{label}` was published {most} times within an hour"));
            }
        }
    }

    /// How often events of these kinds happened to each message.
    async fn ever(&mut self, kinds: &'static [&'static str]) -> BTreeMap<ItemId, usize> {
        let mut counts = BTreeMap::new();
        let Some(slot) = self.living().await else { return counts };
        let Some(process) = &self.processes[slot] else { return counts };
        let read = process.perform(&self.disk, |chat| async move { chat.events_since(0, 100_000).await });
        if let Done::Did(landfall::recipes::chat::Events::These(events)) = read.await {
            let mut number = 0;
            let mut has_gap = false;
            for event in events {
                has_gap |= event.number != number + 1;
                number = event.number;
                if kinds.contains(&&*event.kind) {
                    *counts.entry(event.item).or_default() += 1;
                }
            }
            if has_gap {
                self.complain("events have a gap");
            }
        }
        counts
    }

    /// No payload is put twice without a reason, and no two payloads under one key and nonce.
    async fn judge_puts(&mut self) {
        let puts = self.remote.puts();
        let mut times: BTreeMap<[u8; 32], usize> = BTreeMap::new();
        for put in &puts {
            *times.entry(put.digest).or_default() += 1;
        }
        // Where the clock jumped, leave may have seemed to have ended while a carrier was at it.
        let may_repeat = self.jumped || self.began.elapsed() >= self.making.settings.reuse;
        for (digest, times) in times {
            if times > 1 && !may_repeat && !self.remote.is_excused(&digest) {
                self.complain(format!("a payload was put {times} times without a reason"));
            }
        }
        let mut begins: BTreeMap<Vec<u8>, [u8; 32]> = BTreeMap::new();
        for put in &puts {
            let Some(payload) = self.remote.asset(&put.asset_url) else { continue };
            // All of them begin with the same plaintext: what is equal here is equal in key and nonce.
            let begin = payload[..16.min(payload.len())].to_vec();
            if *begins.entry(begin).or_insert(put.digest) != put.digest {
                self.complain("two payloads are sealed under one key and nonce");
            }
        }
        if self.is_calm {
            let attachments = self.person.messages.iter().filter(|message| !message.is_text).count();
            let staged = self.person.chosen.iter().filter(|chosen| chosen.fate != Fate::Sent).count();
            if puts.len() > attachments + staged {
                self.complain(format!("{} payloads were put of {attachments} and {staged}", puts.len()));
            }
        }
        // What lay too long is put anew; nothing else that was once uploaded is.
        if self.making.has_key && !self.jumped && self.began.elapsed() < self.making.settings.reuse {
            for (id, times) in self.ever(&["uploaded"]).await {
                if times > 1 {
                    self.complain(format!("{id} was uploaded {times} times"));
                }
            }
        }
    }

    /// What is on the disk is what is needed, and nothing in the end.
    async fn judge_files(&mut self) {
        // Longer than anything stays staged.
        self.pause(self.making.settings.staged_ttl + Duration::from_secs(3600)).await;
        self.rest().await;
        self.pause(Duration::from_secs(60)).await;
        self.rest().await;
        let shown = self.pictures().await;
        let files = self.spool();
        if Some(&files) != shown.as_ref() {
            self.complain(format!("the spool holds {files:?}, and {shown:?} are shown"));
        }
        let ids: Vec<ItemId> = self.person.messages.iter().map(|message| message.id).collect();
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        let released = process.perform(&self.disk, |chat| async move { chat.release(ids).await }).await;
        let files = self.spool();
        if !files.is_empty() {
            self.complain(format!("in the end the spool holds {files:?} ({released:?})"));
        }
    }

    /// Names of the files that echoes show.
    async fn pictures(&mut self) -> Option<BTreeSet<String>> {
        let slot = self.living().await?;
        let process = self.processes[slot].as_ref()?;
        let names = self.lanes.clone();
        let read = process.perform(&self.disk, |chat| async move {
            let mut pictures = BTreeSet::new();
            for name in names {
                let lane = chat.lane(&name).await?;
                for echo in chat.echoes(&lane).await?.echoes {
                    if let landfall::recipes::chat::EchoContent::Attachment { image: Some(image), .. } = echo.content {
                        pictures.extend(image.file_name().and_then(|name| name.to_str()).map(str::to_owned));
                    }
                }
            }
            Ok(pictures)
        });
        match read.await {
            Done::Did(pictures) => Some(pictures),
            _ => None,
        }
    }

    /// Files of the spool, but for locks of processes that live.
    fn spool(&self) -> BTreeSet<String> {
        let spool = Path::new(HOME).join("spool");
        let files = self.disk.files().into_iter();
        let files = files.filter_map(|path| Some(path.strip_prefix(&spool).ok()?.to_string_lossy().into_owned()));
        files.filter(|name| !name.ends_with(".lock")).collect()
    }
}
