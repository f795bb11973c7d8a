//! What a run did so far: counted, shown, and told to programs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landfall::{ItemId, Observer, Progress};
use serde_json::{Map, json};

use crate::{bars::Bars, human, output::Output};

/// Watches a run.
pub(crate) struct Tally {
    out: Arc<Output>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counted,
    /// Items under way: their length, and how much of it the destination holds.
    active: BTreeMap<ItemId, (u64, u64)>,
    bars: Option<Bars>,
    waiting: bool,
}

/// What a run came to, as far as it saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    /// Files whose bytes were uploaded.
    pub uploaded: u64,
    /// Files whose content the vault had.
    pub linked: u64,
    /// Bytes of files read.
    pub bytes_read: u64,
    /// Bytes that were sent and that the destination took.
    pub bytes_sent: u64,
    /// Files that were not taken after all.
    pub skipped: Vec<(Vec<u8>, &'static str)>,
}

impl Tally {
    /// Begins to count.
    pub(crate) fn new(out: &Arc<Output>) -> Arc<Self> {
        Arc::new(Self { out: Arc::clone(out), state: Mutex::default() })
    }

    /// From now on shows how much of this is done.
    pub(crate) fn show(&self, files: u64, bytes: u64, title: &str) {
        if !self.out.is_quiet() && files > 0 {
            self.lock().bars = Some(Bars::begin(&self.out, files, bytes, title));
        }
    }

    /// Says where it stands, if it has not for long.
    pub(crate) fn tick(&self) {
        if let Some(bars) = &mut self.lock().bars {
            bars.tick(&self.out);
        }
    }

    /// Takes the bars away, and says what was counted.
    pub(crate) fn finish(&self) -> Counted {
        let mut state = self.lock();
        if let Some(bars) = state.bars.take() {
            bars.finish(&self.out);
        }
        state.counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, kind: &str, fields: serde_json::Value) {
        self.out.event(kind, crate::output::fields(fields));
    }

    fn tell_of_place(&self, kind: &str, place: &[u8], fields: serde_json::Value) {
        let mut fields: Map<_, _> = crate::output::fields(fields);
        human::put_path(&mut fields, "place", place);
        self.out.event(kind, fields);
    }
}

impl Observer for Tally {
    fn saw(&self, progress: Progress) {
        let mut state = self.lock();
        let state = &mut *state;
        match progress {
            Progress::Started { item, name, bytes } => {
                state.active.insert(item, (bytes, 0));
                if let Some(bars) = &mut state.bars {
                    bars.begin_file(item, &name, bytes);
                }
                self.tell("started", json!({ "item": item.0, "name": name, "bytes": bytes }));
            }
            Progress::Prepared { item } => {
                state.counts.bytes_read += state.active.get(&item).map_or(0, |(bytes, _)| *bytes);
                self.tell("prepared", json!({ "item": item.0 }));
            }
            Progress::Stored { item, bytes, is_found } => {
                if !is_found {
                    state.counts.bytes_sent += bytes;
                }
                state.counts.bytes_read += bytes;
                let (total, held) = state.active.entry(item).or_default();
                // What is stored is sealed, and a little longer than the file.
                let grown = bytes.min(total.saturating_sub(*held));
                *held += grown;
                let held = *held;
                if let Some(bars) = &mut state.bars {
                    bars.grow(&self.out, item, held, grown);
                }
                self.tell("stored", json!({ "item": item.0, "bytes": bytes, "found": is_found }));
            }
            Progress::Done { item, place, uploaded, bytes } => {
                let held = state.active.remove(&item).map_or(0, |(_, held)| held);
                *(if uploaded { &mut state.counts.uploaded } else { &mut state.counts.linked }) += 1;
                if let Some(bars) = &mut state.bars {
                    bars.end_file(&self.out, item, bytes.saturating_sub(held), true);
                }
                if self.out.is_verbose() {
                    let word = if uploaded { "uploaded" } else { "linked" };
                    self.out.note(&format!("{word} {}", human::path(&place)));
                }
                self.tell_of_place("done", &place, json!({ "item": item.0, "bytes": bytes, "uploaded": uploaded }));
            }
            Progress::Put { item } => {
                let held = state.active.remove(&item).map_or(0, |(_, held)| held);
                if let Some(bars) = &mut state.bars {
                    bars.put_file(item, held);
                }
            }
            Progress::Blocked { item, place, code, message } => {
                state.active.remove(&item);
                if let Some(bars) = &mut state.bars {
                    bars.end_file(&self.out, item, 0, true);
                }
                let fields =
                    json!({ "item": item.0, "code": code.as_str(), "message": message, "remedy": code.advice() });
                self.tell_of_place("blocked", &place, fields);
            }
            Progress::Skipped { item, place, code } => {
                state.active.remove(&item);
                if let Some(bars) = &mut state.bars {
                    bars.end_file(&self.out, item, 0, true);
                }
                self.tell_of_place("skipped", &place, json!({ "item": item.0, "code": code }));
                state.counts.skipped.push((place, code));
            }
            Progress::Waiting { code, message } => {
                if !std::mem::replace(&mut state.waiting, true) {
                    self.out.note(&format!("waiting for the destination: {message}"));
                }
                self.tell("waiting", json!({ "code": code.as_str(), "message": message }));
            }
            Progress::Back => {
                if std::mem::take(&mut state.waiting) {
                    self.out.note("the destination answers again");
                }
                self.tell("back", json!({}));
            }
            Progress::TookOver { pid, items } => {
                self.out.note(&format!("took over {} of process {pid}", human::count(items as u64, "item")));
                self.tell("took-over", json!({ "pid": pid, "items": items }));
            }
            Progress::JournalHeld { pid } => {
                let holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                self.out.note(&format!("waiting: {holder} is writing to the journal and does not go on"));
                self.tell("journal-held", json!({ "pid": pid }));
            }
            Progress::Note { message } => {
                self.out.warn(&human::text(&message), None);
            }
            _ => {}
        }
    }
}
