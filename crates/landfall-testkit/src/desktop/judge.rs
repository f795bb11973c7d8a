//! Peace, rest, and a look at everything from outside.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
    time::Duration,
};

use landfall::{Code, Engine, ItemId, ItemSummary, StoreError, bucket::Bucket};
use tokio::time::Instant;

use super::{
    Desktop, HOME,
    person::{Fate, Version, Want},
};
use crate::{bucket::Object, process::Done};

impl Desktop {
    pub(super) async fn judge(&mut self) {
        self.heal();
        let Some(items) = self.rest().await else { return };
        self.judge_ends(&items);
        self.judge_objects(&items);
        self.judge_leftovers().await;
        self.judge_home(&items).await;
    }

    fn heal(&mut self) {
        self.network.set_chance(0.0);
        self.network.set_down(false);
        self.trouble.set_chance(0.0);
        self.clock.set_jump_ms(0);
        self.disk.set_free(u64::MAX);
        self.full_until = None;
    }

    /// A person tries again what was given up, until there is nothing left to do.
    async fn rest(&mut self) -> Option<BTreeMap<ItemId, ItemSummary>> {
        let deadline = Instant::now() + Duration::from_secs(12 * 3600);
        let mut left = Vec::new();
        while Instant::now() < deadline {
            // Whoever was doomed to die at one of the next writes may still do so.
            let _ = self.ask(|engine, _| async move { engine.retry(None).await }).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            let Some(items) = self.items().await else { continue };
            left = items.values().filter(|item| !self.is_at_rest(item)).map(|item| format!("{item:?}")).collect();
            if left.is_empty() {
                return Some(items);
            }
        }
        self.complain(format!("it does not come to rest: {left:?}"));
        None
    }

    fn is_at_rest(&self, item: &ItemSummary) -> bool {
        let want = self.wants.iter().find(|want| want.source.as_os_str().as_encoded_bytes() == item.source.1);
        match (&*item.state, &item.blocked) {
            ("done" | "cancelled", _) => true,
            ("blocked", Some((Some(Code::KeyTaken), _))) => want.is_some_and(|want| self.is_taken(want)),
            ("blocked", Some((Some(Code::SourceVanished), _))) => want.is_some_and(|want| want.is_removed),
            _ => false,
        }
    }

    /// Somebody else's object is in its place, and stays.
    fn is_taken(&self, want: &Want) -> bool {
        !want.overwrites && self.observed.foreign(&want.key).is_some()
    }

    /// What is unfinished, and what anybody was ever told of.
    async fn items(&mut self) -> Option<BTreeMap<ItemId, ItemSummary>> {
        let mut ids = self.observed.done();
        ids.extend(self.wants.iter().filter_map(|want| want.item));
        let all = self.ask(|engine, _| async move {
            let mut items = engine.items(None, 10_000).await?;
            for id in ids {
                match engine.item(id).await {
                    Ok((item, _)) => items.push(item),
                    // It is missed later.
                    Err(landfall::Error::Store(StoreError::NoSuchItem(_))) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(items)
        });
        Some(all.await?.into_iter().map(|item| (item.id, item)).collect())
    }

    async fn ask<T: Send + 'static, F>(&mut self, what: impl FnOnce(Engine, Bucket) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, landfall::Error>> + Send + 'static,
    {
        let slot = self.living().await?;
        match self.processes[slot].as_ref()?.perform(&self.disk, what).await {
            Done::Did(value) => Some(value),
            Done::Refused(_) | Done::Died => None,
        }
    }

    /// What was taken in charge came to its end, and to one.
    fn judge_ends(&mut self, items: &BTreeMap<ItemId, ItemSummary>) {
        let mut complaints = Vec::new();
        for want in &self.wants {
            let Some(id) = want.item else { continue };
            let Some(item) = items.get(&id) else {
                complaints.push(format!("`{}` was taken in charge, and the journal knows nothing of it", want.key));
                continue;
            };
            match want.fate {
                Fate::Taken if item.state == "cancelled" => {
                    complaints.push(format!("`{}` is cancelled, and nobody said so", want.key));
                }
                Fate::Cancelled if item.state != "cancelled" => {
                    complaints.push(format!("`{}` was taken back, and is {}", want.key, item.state));
                }
                _ => {}
            }
        }
        for id in self.observed.done() {
            if items.get(&id).is_none_or(|item| item.state != "done") {
                complaints.push(format!("{id} was said to be done, and is not"));
            }
        }
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
    }

    /// What is done is in the bucket, whole and of one moment; what somebody else put there is as it was.
    fn judge_objects(&mut self, items: &BTreeMap<ItemId, ItemSummary>) {
        let mut objects: BTreeMap<String, Object> =
            self.server.objects().into_iter().map(|object| (object.key.clone(), object)).collect();
        let mut complaints = Vec::new();
        for want in &self.wants {
            let object = objects.remove(&want.key);
            let foreign = self.observed.foreign(&want.key);
            let is_done = want.item.and_then(|id| items.get(&id)).is_some_and(|item| item.state == "done");
            let is_foreign = match (&object, &foreign) {
                (Some(object), Some(foreign)) => object.bytes == foreign,
                _ => false,
            };
            if foreign.is_some() && !is_foreign && !want.overwrites {
                complaints.push(format!("`{}` was somebody else's, and was overwritten", want.key));
            } else if is_done && (object.is_none() || is_foreign) {
                complaints.push(format!("`{}` is done, and not there", want.key));
            } else if let Some(object) = object.filter(|_| !is_foreign)
                && let Err(why) = is_whole(want, &object)
            {
                complaints.push(format!("`{}`: {why}", want.key));
            }
        }
        // What a bucket can do is tried with an object that is deleted; whoever tries may die before.
        objects.retain(|key, _| !key.contains(".landfall/canary-"));
        complaints.extend(objects.keys().map(|key| format!("`{key}` is there, and nobody wanted it")));
        complaints.into_iter().for_each(|complaint| self.complain(complaint));
    }

    /// Nothing is left of what came to nothing.
    async fn judge_leftovers(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(3600);
        let clean = |_: Engine, bucket: Bucket| async move {
            bucket.abort_abandoned(false).await?;
            Ok(bucket.abandoned().await? == 0)
        };
        while self.ask(clean).await != Some(true) {
            if Instant::now() > deadline {
                return self.complain("what was abandoned is not aborted within an hour");
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        for upload in self.server.incomplete_uploads() {
            self.complain(format!("an incomplete upload to `{}` is left", upload.key));
        }
    }

    /// Nothing is in the home but the journal, and copies of what waits for a person.
    async fn judge_home(&mut self, items: &BTreeMap<ItemId, ItemSummary>) {
        // By then a run has come to its end, and has tidied up.
        tokio::time::sleep(Duration::from_secs(600)).await;
        let waits = items.values().filter(|item| item.state == "blocked");
        let needed: Vec<String> = waits.map(|item| format!("{HOME}/spool/bundles/{}-", item.id)).collect();
        let needed = needed.into_iter().chain([format!("{HOME}/workers/"), format!("{HOME}/journal.db")]);
        let needed: Vec<String> = needed.collect();
        let files = self.disk.files().into_iter().map(|path| path.to_string_lossy().into_owned());
        let is_left = |path: &String| path.starts_with(HOME) && !needed.iter().any(|needed| path.starts_with(needed));
        let left: Vec<String> = files.filter(is_left).collect();
        if !left.is_empty() {
            self.complain(format!("left in the home: {left:?}"));
        }
    }
}

/// Whether an object is what a source held at one moment.
fn is_whole(want: &Want, object: &Object) -> Result<(), String> {
    let there = if want.is_folder {
        unpacked(&object.bytes).map_err(|error| format!("the archive cannot be read: {error}"))?
    } else {
        Version::from([(String::new(), object.bytes.to_vec())])
    };
    let is_one = want.versions.contains(&there);
    is_one.then_some(()).ok_or_else(|| "it holds what its source never held at one moment".to_owned())
}

/// What is in an archive, by a reader that is not ours.
fn unpacked(bytes: &[u8]) -> zip::result::ZipResult<Version> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
    let mut files = Version::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let name = entry.name()?.into_owned();
        files.insert(name, bytes);
    }
    Ok(files)
}
