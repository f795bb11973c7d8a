//! Whoever is told what becomes of uploads, and looks whether it is so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use landfall::{ItemId, Observer, Progress};

use crate::bucket::BucketServer;

/// What all processes told.
pub(crate) struct Observed {
    server: BucketServer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What somebody else had put under a key.
    foreign: BTreeMap<String, Bytes>,
    done: BTreeSet<ItemId>,
    complaints: Vec<String>,
}

impl Observed {
    pub(crate) fn new(server: BucketServer) -> Self {
        Self { server, state: Mutex::default() }
    }

    /// Somebody else puts an object, before anybody else wants its key.
    pub(crate) fn put_foreign(&self, key: &str, bytes: Bytes) {
        self.server.put(key, bytes.clone());
        self.lock().foreign.insert(key.to_owned(), bytes);
    }

    pub(crate) fn foreign(&self, key: &str) -> Option<Bytes> {
        self.lock().foreign.get(key).cloned()
    }

    /// What was said to be done.
    pub(crate) fn done(&self) -> BTreeSet<ItemId> {
        self.lock().done.clone()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Observed {
    fn saw(&self, progress: Progress) {
        let Progress::Done { item, place, .. } = progress else { return };
        let key = String::from_utf8_lossy(&place).into_owned();
        let object = self.server.object(&key);
        let mut state = self.lock();
        match object {
            None => state.complaints.push(format!("`{key}` was said to be done, and is not there")),
            Some(object) if state.foreign.get(&key) == Some(&object.bytes) => {
                state.complaints.push(format!("`{key}` was said to be done, and is somebody else's"));
            }
            Some(_) => {}
        }
        if !state.done.insert(item) {
            state.complaints.push(format!("`{key}` was said to be done twice"));
        }
    }
}
