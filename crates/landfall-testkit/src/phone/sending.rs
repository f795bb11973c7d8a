//! Choosing, staging and sending; and finding out what became of it where nobody was told.

use std::time::Duration;

use landfall::recipes::chat::{EchoContent, NewFile, Part, Treatment};
use landfall_core::ItemId;

use super::{
    Phone, index,
    person::{Chosen, Fate, Uncertain},
};
use crate::process::Done;

impl Phone {
    /// A person picks a file.
    fn choose(&mut self) -> (NewFile, Chosen) {
        let number = self.person.number();
        let is_photo = self.random.chance(0.1);
        let label = format!("p{number}.{}", if is_photo { "jpg" } else { "bin" });
        let bytes = if is_photo {
            landfall_images::fixture::jpeg(number, 48, 32)
        } else {
            let mut bytes = vec![0; index(&self.random, 3_000)];
            landfall_env::Random::fill(&self.random, &mut bytes);
            bytes.extend(label.as_bytes());
            bytes
        };
        let path = format!("/photos/{label}");
        let is_full = self.full_until.is_some();
        self.disk.set_free(u64::MAX);
        self.disk.put(&path, &bytes).expect("the outside world writes whatever the engine does");
        self.disk.set_free(if is_full { 0 } else { u64::MAX });
        let file = NewFile {
            path: path.into(),
            name: label.clone(),
            mime: if is_photo { "image/jpeg".to_owned() } else { "application/octet-stream".to_owned() },
            treatment: if is_photo { Treatment::Photo } else { Treatment::AsItIs },
        };
        (file, Chosen { label, composer: None, is_photo, bytes, id: None, fate: Fate::GivenUp })
    }

    pub(super) async fn stage(&mut self) {
        let (file, mut chosen) = self.choose();
        let (path, label) = (file.path.clone(), chosen.label.clone());
        chosen.composer = self.random.chance(0.4).then(|| format!("composer {}", self.random.below(2)));
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        let named = chosen.composer.clone();
        let staged = process.perform(&self.disk, |chat| async move { chat.stage(file, named.as_deref()).await }).await;
        chosen.id = match staged {
            Done::Did(id) => Some(id),
            // Nobody has heard of it: it is given up by itself after a while.
            Done::Died => None,
            Done::Refused(_) => {
                self.trouble.note(|| format!("{label} is refused"));
                return;
            }
        };
        // Another in the same composer is given up, if this one came about. Where nobody knows, either may be sent.
        let replaces = chosen.id.is_some() && chosen.composer.is_some();
        for other in &mut self.person.chosen {
            if replaces && other.composer == chosen.composer && other.fate == Fate::Staged {
                other.fate = Fate::GivenUp;
            }
        }
        self.trouble.note(|| format!("{label} is staged as {:?}", chosen.id));
        if chosen.id.is_some() {
            chosen.fate = Fate::Staged;
        }
        self.person.chosen.push(chosen);
        if self.random.chance(0.5) {
            // Whoever handed it over may do as they like.
            self.disk.remove(path).expect("it was put there");
        }
    }

    pub(super) async fn send(&mut self, with_staged: bool) {
        let lane = index(&self.random, self.lanes.len());
        let mut parts = Vec::new();
        let mut batch = Uncertain { lane, parts: Vec::new() };
        let mut has_given_up = false;
        if with_staged {
            let allowed = |chosen: &&Chosen| match chosen.fate {
                Fate::Staged => true,
                // To send what was given up must be refused.
                Fate::GivenUp => chosen.id.is_some() && chosen.label.ends_with("7.bin"),
                Fate::Sent => false,
            };
            let count = 1 + index(&self.random, 2);
            let mut staged: Vec<Chosen> = self.person.chosen.iter().filter(allowed).cloned().collect();
            for _ in 0..count.min(staged.len()) {
                let chosen = staged.remove(index(&self.random, staged.len()));
                has_given_up |= chosen.fate == Fate::GivenUp;
                parts.push(Part::Staged(chosen.id.expect("what is staged has a number")));
                batch.parts.push((chosen.label, false));
                if self.random.chance(0.5) {
                    self.add_text(&mut parts, &mut batch);
                }
            }
            if self.random.chance(0.2) {
                // Nobody staged it before: it goes with the batch, or nobody has heard of it.
                let (file, chosen) = self.choose();
                batch.parts.push((chosen.label.clone(), false));
                self.person.chosen.push(chosen);
                parts.push(Part::New(file));
            }
        }
        if !with_staged || parts.is_empty() {
            self.add_text(&mut parts, &mut batch);
        }
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        let name = self.lanes[lane].clone();
        let sent = process.perform(&self.disk, |chat| async move {
            let lane = chat.lane(&name).await?;
            let ids = chat.send(&lane, parts).await?;
            Ok((ids, chat.echoes(&lane).await.ok()))
        });
        match sent.await {
            Done::Did((ids, echoes)) => {
                self.trouble.note(|| format!("{:?} are sent as {ids:?}", batch.parts));
                if has_given_up {
                    self.complain(format!("what was given up could be sent: {:?}", batch.parts));
                }
                if let Some(echoes) = echoes {
                    let missing = ids.iter().filter(|id| !echoes.echoes.iter().any(|echo| echo.id == **id)).count();
                    if missing > 0 {
                        self.complain(format!("{missing} of {:?} have no echo", batch.parts));
                    }
                }
                self.person.sent(&batch, &ids);
            }
            // Also when it was sent and only the echoes could not be read.
            Done::Died | Done::Refused(_) => self.person.uncertain = Some(batch),
        }
    }

    fn add_text(&mut self, parts: &mut Vec<Part>, batch: &mut Uncertain) {
        let label = format!("t{}", self.person.number());
        parts.push(Part::Text(label.clone()));
        batch.parts.push((label, true));
    }

    /// Finds out whether a batch was sent: all of it, or nothing.
    pub(super) async fn settle_uncertain(&mut self) {
        while let Some(batch) = self.person.uncertain.clone() {
            let Some(slot) = self.living().await else {
                self.pause(Duration::from_secs(1)).await;
                self.free_disk();
                continue;
            };
            let Some(process) = &self.processes[slot] else { continue };
            let name = self.lanes[batch.lane].clone();
            let read = process.perform(&self.disk, |chat| async move {
                let lane = chat.lane(&name).await?;
                chat.echoes(&lane).await
            });
            let Done::Did(snapshot) = read.await else {
                self.free_disk();
                self.pause(Duration::from_secs(1)).await;
                continue;
            };
            let is_it = |content: &EchoContent, label: &str| match content {
                EchoContent::Text(text) => text.as_deref() == Some(label),
                EchoContent::Attachment { name, .. } => name == label,
            };
            let find =
                |label: &str| snapshot.echoes.iter().find(|echo| is_it(&echo.content, label)).map(|echo| echo.id);
            let found: Vec<Option<ItemId>> = batch.parts.iter().map(|(label, _)| find(label)).collect();
            let ids: Vec<ItemId> = found.iter().copied().flatten().collect();
            self.trouble.note(|| format!("{:?}: found {found:?}", batch.parts));
            if ids.len() == batch.parts.len() {
                self.person.sent(&batch, &ids);
            } else if !ids.is_empty() {
                self.complain(format!("a part of a batch was sent: {:?}, of which {found:?}", batch.parts));
            }
            self.person.uncertain = None;
        }
    }

    fn free_disk(&mut self) {
        self.full_until = None;
        self.disk.set_free(u64::MAX);
    }
}
