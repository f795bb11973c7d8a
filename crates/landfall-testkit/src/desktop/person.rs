//! What a person does, and what becomes of the files meanwhile.

use std::{collections::BTreeMap, path::PathBuf};

use landfall::{Enqueued, ItemId, NewUpload, UploadKind};

use super::{Desktop, index, process::PART};
use crate::process::Done;

/// What a source held at one moment: its files by name; a file alone has an empty one.
pub(crate) type Version = BTreeMap<String, Vec<u8>>;

/// Something that is to be in the bucket.
pub(crate) struct Want {
    /// Under which key.
    pub(crate) key: String,
    pub(crate) source: PathBuf,
    pub(crate) is_folder: bool,
    pub(crate) overwrites: bool,
    /// All that it ever held, the last now.
    pub(crate) versions: Vec<Version>,
    pub(crate) is_removed: bool,
    /// The last item that was to bring it there.
    pub(crate) item: Option<ItemId>,
    pub(crate) fate: Fate,
}

/// What the person knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was taken in charge.
    Taken,
    /// It was taken back.
    Cancelled,
    /// Whoever was told to take it in charge, or back, died before it answered.
    Unknown,
}

impl Desktop {
    /// A person adds a file or a folder, and wants it in the bucket.
    pub(super) async fn add(&mut self, is_folder: bool) {
        let number = self.sources;
        self.sources += 1;
        let source = PathBuf::from(format!("/files/{number}"));
        let version = if is_folder {
            let names = ["manifest.json", "events.jsonl", "media/screen.mp4", "media/a b.png"];
            let files = 1 + index(&self.random, names.len());
            names[..files].iter().map(|&name| (name.to_owned(), self.content(name.starts_with("media")))).collect()
        } else {
            Version::from([(String::new(), self.content(true))])
        };
        for (name, bytes) in &version {
            let path = if name.is_empty() { source.clone() } else { source.join(name) };
            if self.disk.put(path, bytes).is_err() {
                // The disk is full.
                return;
            }
        }
        let key = format!("{}{number}{}", self.making.prefix, if is_folder { ".zip" } else { "" });
        if self.random.chance(0.15) {
            let same_length = version.values().map(Vec::len).sum();
            let length = if self.random.chance(0.5) { same_length } else { index(&self.random, 5_000) };
            self.observed.put_foreign(&key, vec![b'!'; length.max(1)].into());
        }
        self.wants.push(Want {
            key,
            source,
            is_folder,
            overwrites: self.random.chance(0.2),
            versions: vec![version],
            is_removed: false,
            item: None,
            fate: Fate::Cancelled,
        });
        self.enqueue(self.wants.len() - 1).await;
    }

    /// Somebody wants what was taken back.
    pub(super) async fn again(&mut self) {
        let is_one = |at: &usize| self.wants[*at].fate == Fate::Cancelled && !self.wants[*at].is_removed;
        let cancelled: Vec<usize> = (0..self.wants.len()).filter(is_one).collect();
        if !cancelled.is_empty() {
            let at = cancelled[index(&self.random, cancelled.len())];
            self.enqueue(at).await;
        }
    }

    async fn enqueue(&mut self, at: usize) {
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        let want = &self.wants[at];
        let new = NewUpload {
            kind: if want.is_folder { UploadKind::Bundle } else { UploadKind::File },
            source: want.source.as_os_str().as_encoded_bytes().to_vec(),
            size: 0,
            object_key: want.key.clone(),
            content_type: want.is_folder.then(|| "application/zip".to_owned()),
            overwrites: want.overwrites,
            is_sealed: false,
            recipe: "files",
        };
        let enqueued = process.perform(&self.disk, |_, bucket| async move { bucket.enqueue(vec![new]).await }).await;
        let want = &mut self.wants[at];
        match enqueued {
            Done::Did(enqueued) => match enqueued[0] {
                Enqueued::New(item) | Enqueued::Same(item) => (want.item, want.fate) = (Some(item), Fate::Taken),
                Enqueued::Taken(_) => {
                    let complaint = format!("something else is said to be on its way to `{}`", want.key);
                    self.complain(complaint);
                }
            },
            Done::Refused(_) => {}
            Done::Died => want.fate = Fate::Unknown,
        }
    }

    /// Somebody takes an upload back.
    pub(super) async fn cancel(&mut self) {
        let taken: Vec<usize> = (0..self.wants.len()).filter(|at| self.wants[*at].fate == Fate::Taken).collect();
        let Some(slot) = self.living().await else { return };
        let Some(process) = &self.processes[slot] else { return };
        if taken.is_empty() {
            return;
        }
        let at = taken[index(&self.random, taken.len())];
        let ids: Vec<ItemId> = self.wants[at].item.into_iter().collect();
        match process.perform(&self.disk, |engine, _| async move { engine.cancel(ids).await }).await {
            Done::Did(1) => self.wants[at].fate = Fate::Cancelled,
            // It was done.
            Done::Did(_) | Done::Refused(_) => {}
            Done::Died => self.wants[at].fate = Fate::Unknown,
        }
    }

    /// An application writes to what is to be uploaded.
    pub(super) fn change(&mut self) {
        if self.wants.is_empty() {
            return;
        }
        let at = index(&self.random, self.wants.len());
        let want = &self.wants[at];
        let Some(mut version) = want.versions.last().cloned().filter(|_| !want.is_removed) else { return };
        let names: Vec<String> = version.keys().cloned().collect();
        let name = names[index(&self.random, names.len())].clone();
        let bytes = if self.random.chance(0.3) {
            self.content(true)
        } else {
            // As long as before, and other bytes everywhere.
            version[&name].iter().map(|byte| byte.wrapping_add(1)).collect()
        };
        let path = if want.is_folder { want.source.join(&name) } else { want.source.clone() };
        // On a full disk it may hold less of it.
        let _ = self.disk.put(&path, &bytes);
        version.insert(name, self.disk.read(&path).unwrap_or_default());
        self.wants[at].versions.push(version);
    }

    /// A file vanishes.
    pub(super) fn remove(&mut self) {
        let files: Vec<usize> =
            (0..self.wants.len()).filter(|at| !self.wants[*at].is_folder && !self.wants[*at].is_removed).collect();
        if !files.is_empty() {
            let at = files[index(&self.random, files.len())];
            self.wants[at].is_removed = self.disk.remove(&self.wants[at].source).is_ok();
        }
    }

    /// Bytes of which no stretch is like another; or text, of which many are.
    fn content(&self, is_media: bool) -> Vec<u8> {
        let length = match self.random.below(10) {
            0 => 0,
            1..=6 => self.random.below(20_000),
            7 => self.random.below(PART),
            // In parts.
            _ => PART + self.random.below(3 * PART),
        };
        let length = if is_media { length } else { length.min(20_000) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !is_media {
            let line = format!("{{\"event\": {}}}\n", self.random.below(1000));
            return line.bytes().cycle().take(length).collect();
        }
        let mut state = self.random.next_u64() | 1;
        let mut made = Vec::with_capacity(length + 8);
        while made.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            made.extend_from_slice(&state.to_le_bytes());
        }
        made.truncate(length);
        made
    }
}
