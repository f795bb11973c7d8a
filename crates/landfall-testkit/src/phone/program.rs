//! What happens in a program, one thing after another.

use std::time::Duration;

use landfall::recipes::chat::{EchoContent, Stage};
use landfall_core::{ItemId, OnFailure, PublishOrder};
use tokio::time::Instant;

use super::{
    HOME, Phone, SESSIONS, index,
    person::{Fate, Policy},
};
use crate::process::Done;

/// What may happen, and how often.
const OPERATIONS: [(&str, u64); 19] = [
    ("stage", 18),
    ("send", 16),
    ("text", 10),
    ("discard", 4),
    ("skip", 3),
    ("retry", 4),
    ("edit", 4),
    ("policy", 2),
    ("look", 10),
    ("release", 3),
    ("hand over", 10),
    ("deliver", 12),
    ("reconcile", 2),
    ("network", 4),
    ("kill", 6),
    ("freeze", 2),
    ("suspend", 2),
    ("disk or clock", 3),
    ("power", 1),
];
/// What cannot go wrong, happens in calm programs.
const CALM: [&str; 8] = ["stage", "send", "text", "edit", "look", "hand over", "deliver", "retry"];

impl Phone {
    /// Something happens, and some time passes.
    pub(super) async fn step(&mut self) {
        if self.full_until.is_some_and(|until| until <= Instant::now()) {
            self.full_until = None;
            self.disk.set_free(u64::MAX);
        }
        self.settle_uncertain().await;
        let total: u64 = OPERATIONS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.below(total);
        let mut operation = "look";
        for (name, weight) in OPERATIONS {
            if at < weight {
                operation = name;
                break;
            }
            at -= weight;
        }
        if self.is_calm && !CALM.contains(&operation) {
            operation = "look";
        }
        self.trouble.note(|| format!("-- {operation}"));
        *self.operations.entry(operation).or_default() += 1;
        match operation {
            "stage" => self.stage().await,
            "send" => self.send(true).await,
            "text" => self.send(false).await,
            "discard" => self.end(true).await,
            "skip" => self.end(false).await,
            "retry" => self.retry().await,
            "edit" => self.edit().await,
            "policy" => self.policy().await,
            "release" => self.release().await,
            "hand over" => self.hand_over().await,
            "deliver" => self.deliver().await,
            "reconcile" => {
                if let Some(slot) = self.living().await {
                    self.reconcile(slot).await;
                }
            }
            "network" => {
                let is_down = self.random.chance(0.5);
                self.remote.set_down(is_down);
            }
            "kill" => self.kill().await,
            "freeze" => {
                if let Some(slot) = self.living().await
                    && let Some(process) = &self.processes[slot]
                {
                    self.remote.forget_moments();
                    process.freeze(Duration::from_secs(1 + self.random.below(40)));
                }
            }
            "suspend" => {
                if let Some(slot) = self.living().await
                    && let Some(process) = &self.processes[slot]
                {
                    let pause = Duration::from_secs(self.random.below(40));
                    self.remote.forget_moments();
                    if let Done::Refused(error) = process.suspend_for(&self.disk, pause).await
                        && self.full_until.is_none()
                    {
                        self.complain(format!("it does not resume: {error}"));
                    }
                }
            }
            "disk or clock" => self.disk_or_clock(),
            "power" => self.power_cut().await,
            _ => self.look().await,
        }
        self.bury().await;
        let pause = match self.random.below(20) {
            _ if self.is_hasty => Duration::from_millis(self.random.below(150)),
            _ if self.is_calm => Duration::from_secs(self.random.below(20)),
            0 => Duration::from_secs(60 + self.random.below(1_200)),
            1 if self.random.chance(0.3) => Duration::from_secs(self.random.below(4 * 3600)),
            2..=8 => Duration::from_millis(self.random.below(50)),
            _ => Duration::from_millis(self.random.below(5_000)),
        };
        self.pause(pause).await;
    }

    /// Somebody takes a message back, or leaves it out.
    async fn end(&mut self, takes_back: bool) {
        let staged =
            self.person.chosen.iter().filter(|chosen| chosen.fate == Fate::Staged).filter_map(|chosen| chosen.id);
        let mut ids: Vec<ItemId> = staged.filter(|_| takes_back).collect();
        ids.extend(self.person.messages.iter().map(|message| message.id));
        if ids.is_empty() {
            return;
        }
        let id = ids[index(&self.random, ids.len())];
        let Some(slot) = self.living().await else { return };
        let tick = self.ticks.next();
        self.person.ending(id, tick);
        let Some(process) = &self.processes[slot] else { return };
        let ended = process.perform(&self.disk, |chat| async move {
            if takes_back { chat.discard(id).await } else { chat.skip(id).await }
        });
        match ended.await {
            Done::Did(gone) => {
                self.trouble.note(|| format!("{id} is ended: {gone:?}"));
                if gone.is_empty() {
                    self.person.not_ended(id, tick);
                }
            }
            Done::Refused(_) => self.person.not_ended(id, tick),
            Done::Died => {}
        }
    }

    async fn retry(&mut self) {
        let Some((slot, id)) = self.any_message().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        process.perform(&self.disk, |chat| async move { chat.retry(id).await }).await;
    }

    async fn edit(&mut self) {
        let Some((slot, id)) = self.any_message().await else { return };
        let number = self.person.number();
        let Some(message) = self.person.messages.iter_mut().find(|message| message.id == id && message.is_text) else {
            return;
        };
        let says = format!("{}/e{number}", message.label);
        let before = message.says.clone();
        message.says.insert(says.clone());
        let Some(process) = &self.processes[slot] else { return };
        let text = says.clone();
        let edited = process.perform(&self.disk, |chat| async move { chat.edit(id, &text).await }).await;
        let Some(message) = self.person.messages.iter_mut().find(|message| message.id == id) else { return };
        message.says = match edited {
            Done::Did(true) => [says].into(),
            Done::Did(false) | Done::Refused(_) => before,
            Done::Died => message.says.clone(),
        };
    }

    async fn policy(&mut self) {
        let lane = index(&self.random, self.lanes.len());
        let order = [PublishOrder::Strict, PublishOrder::ByUpload][index(&self.random, 2)];
        let on_failure = [OnFailure::Wait, OnFailure::Pass][index(&self.random, 2)];
        let Some(slot) = self.living().await else { return };
        let begun = self.ticks.next();
        let Some(process) = &self.processes[slot] else { return };
        let name = self.lanes[lane].clone();
        let set = process.perform(&self.disk, |chat| async move {
            let lane = chat.lane(&name).await?;
            chat.set_policy(&lane, order, on_failure).await
        });
        // A publish that had begun under the policy before may still be on its way to the moment that it is counted at.
        let done = matches!(set.await, Done::Did(())).then(|| self.ticks.next());
        self.person.policies.entry(lane).or_default().push(Policy { begun, done, order, on_failure });
    }

    async fn any_message(&mut self) -> Option<(usize, ItemId)> {
        let count = self.person.messages.len();
        if count == 0 {
            return None;
        }
        let id = self.person.messages[index(&self.random, count)].id;
        Some((self.living().await?, id))
    }

    /// Somebody looks at a lane, first at what changed, then at everything.
    pub(super) async fn look(&mut self) {
        let lane = index(&self.random, self.lanes.len());
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        let (name, cursor) = (self.lanes[lane].clone(), self.observers[lane].cursor());
        let read = process.perform(&self.disk, |chat| async move {
            let lane = chat.lane(&name).await?;
            let changes = chat.changes(&lane, cursor).await?;
            Ok((changes, chat.echoes(&lane).await?))
        });
        let Done::Did((changes, snapshot)) = read.await else { return };
        self.observers[lane].apply(changes);
        let echoes = snapshot.echoes.clone();
        if let Some(complaint) = self.observers[lane].compare(snapshot) {
            self.complain(complaint);
        }
        let mut last = 0;
        for echo in echoes {
            let sequence = echo.sequence.unwrap_or(0);
            if sequence <= last {
                self.complain(format!("{} has no place behind the one before", echo.id));
            }
            last = sequence;
            let EchoContent::Attachment { name, image, .. } = &echo.content else { continue };
            let Some(chosen) = self.person.chosen.iter().find(|chosen| chosen.label == *name) else { continue };
            let path = image.as_ref().map(|image| std::path::Path::new(HOME).join(image));
            let shown = path.and_then(|path| self.disk.read(path).ok());
            if shown.as_ref() != Some(&chosen.bytes) && echo.stage != Stage::Dropped {
                let found = shown.map(|shown| shown.len());
                self.complain(format!("the picture of {name} cannot be shown: {found:?} of {}", chosen.bytes.len()));
            }
        }
    }

    async fn release(&mut self) {
        let ids: Vec<ItemId> = self.person.messages.iter().map(|message| message.id).collect();
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        process.perform(&self.disk, |chat| async move { chat.release(ids).await }).await;
    }

    /// The platform is given what it may carry.
    pub(super) async fn hand_over(&mut self) {
        if !self.making.by_platform {
            return;
        }
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        let most = 1 + index(&self.random, 8);
        let Done::Did(transfers) =
            process.perform(&self.disk, |chat| async move { chat.take_transfers(most).await }).await
        else {
            return;
        };
        for transfer in transfers {
            let attempt = transfer.attempt.clone();
            self.trouble.note(|| format!("the platform takes a transfer of {}", transfer.item));
            self.platform.take(SESSIONS[slot], transfer);
            if self.random.chance(0.1) && !self.is_calm {
                // Nobody gets to say that it began.
                continue;
            }
            let Some(process) = &self.processes[slot] else { return };
            let name = attempt.clone();
            let started =
                process.perform(&self.disk, |chat| async move { chat.transfer_started(&name, "task").await }).await;
            match started {
                Done::Did(true) => {}
                Done::Did(false) => self.platform.cancel(&attempt),
                _ => return,
            }
        }
    }

    /// The platform tells of something.
    pub(super) async fn deliver(&mut self) {
        if !self.making.by_platform {
            return;
        }
        let Some(slot) = self.living().await else { return };
        let Some((attempt, report)) = self.platform.next_report() else { return };
        let Some(process) = &self.processes[slot] else { return };
        let (name, told) = (attempt.clone(), report.clone());
        let reported =
            process.perform(&self.disk, |chat| async move { chat.transfer_finished(&name, &told).await }).await;
        self.trouble.note(|| format!("the platform tells: {report:?}: {reported:?}"));
        // Told again, sometimes; never again, if we died of it.
        let forgets = match reported {
            Done::Did(_) => self.is_calm || self.random.chance(0.8),
            Done::Refused(_) => false,
            Done::Died => self.random.chance(0.5),
        };
        if forgets {
            self.platform.told(&attempt);
        }
    }

    /// A process says what the platform should hold, and hears what it does.
    pub(super) async fn reconcile(&mut self, slot: usize) {
        if !self.making.by_platform {
            return;
        }
        let live = self.platform.live(SESSIONS[slot], self.random.chance(0.7));
        let Some(process) = &self.processes[slot] else { return };
        let unwanted = process.perform(&self.disk, |chat| async move {
            let mut unwanted = chat.reconcile(live).await?;
            unwanted.extend(chat.take_cancellations().await?);
            Ok(unwanted)
        });
        if let Done::Did(unwanted) = unwanted.await {
            unwanted.iter().for_each(|attempt| self.platform.cancel(attempt));
        }
    }

    /// A process dies at one of its next writes, or at once.
    async fn kill(&mut self) {
        let slot = usize::from(self.random.chance(0.3));
        let Some(process) = &self.processes[slot] else { return };
        if self.random.chance(0.7) {
            self.disk.kill_after(process.id, self.random.below(60));
        } else if let Some(process) = self.processes[slot].take() {
            process.kill(&self.disk).await;
        }
    }

    fn disk_or_clock(&mut self) {
        match self.random.below(4) {
            0 => {
                self.jumped = true;
                let jump_ms = [-3_600_000, 3_600_000, 0][index(&self.random, 3)];
                self.trouble.note(|| format!("the clock is {jump_ms} ms from the truth"));
                self.clock.set_jump_ms(jump_ms);
            }
            1 => {
                self.disk.set_free(self.random.below(20_000));
                self.full_until = Some(Instant::now() + Duration::from_millis(200 + self.random.below(20_000)));
            }
            _ => self.disk.settle(),
        }
    }

    async fn power_cut(&mut self) {
        for slot in 0..2 {
            if let Some(process) = self.processes[slot].take() {
                process.kill(&self.disk).await;
            }
        }
        self.platform.power_cut();
        self.disk.power_cut(&self.random);
        self.disk.set_free(u64::MAX);
        self.full_until = None;
    }
}
