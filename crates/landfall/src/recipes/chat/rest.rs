//! What the journal keeps of a message's secrets: sealed under the host's key, or not at all.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use landfall_core::ItemId;
use landfall_crypto::{HostKey, secretbox_open, secretbox_seal};
use landfall_env::Env;
use zeroize::Zeroizing;

/// Keeps secrets at rest. Without a host's key they are kept in this process's memory: a restart then begins again from
/// the original.
pub(crate) struct AtRest {
    key: Option<HostKey>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The secrets of a payload, by message and sealing.
    secrets: BTreeMap<(i64, i64), Zeroizing<Vec<u8>>>,
    /// Frozen bytes, by message.
    bodies: BTreeMap<i64, Zeroizing<Vec<u8>>>,
    /// Requests, by attempt.
    requests: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl AtRest {
    pub(crate) fn new(key: Option<HostKey>) -> Self {
        Self { key, memory: Mutex::default() }
    }

    /// Whether what is sealed survives this process.
    pub(crate) fn is_durable(&self) -> bool {
        self.key.is_some()
    }

    /// Seals a record; `None` if there is nothing to seal it with.
    pub(crate) fn seal(&self, env: &Env, record: &[u8]) -> Option<Vec<u8>> {
        let key = self.key.as_ref()?;
        let nonce = env.random.array();
        let mut sealed = nonce.to_vec();
        sealed.extend(secretbox_seal(key, &nonce, record));
        Some(sealed)
    }

    /// Opens what [`AtRest::seal`] sealed; `None` if it was sealed under another key, or damaged.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<24>()?;
        secretbox_open(self.key.as_ref()?, nonce, sealed).ok().map(Zeroizing::new)
    }

    /// A text for the journal: sealed if there is a key. A person wrote it to be kept, so without one it is kept as it is.
    pub(crate) fn seal_text(&self, env: &Env, text: &str) -> Vec<u8> {
        let mut kept = vec![u8::from(self.is_durable())];
        match self.seal(env, text.as_bytes()) {
            Some(sealed) => kept.extend(sealed),
            None => kept.extend_from_slice(text.as_bytes()),
        }
        kept
    }

    /// A text out of the journal; `None` if its key is not at hand.
    pub(crate) fn open_text(&self, kept: &[u8]) -> Option<String> {
        match kept.split_first()? {
            (0, text) => String::from_utf8(text.to_vec()).ok(),
            (_, sealed) => String::from_utf8(self.open(sealed)?.to_vec()).ok(),
        }
    }

    /// Remembers a payload's secrets for as long as this process lives, where there is no key to keep them longer.
    pub(crate) fn remember_secrets(&self, item: ItemId, sealing: i64, secrets: Zeroizing<Vec<u8>>) {
        if !self.is_durable() {
            let mut memory = self.memory();
            memory.secrets.retain(|(other, _), _| *other != item.0);
            memory.secrets.insert((item.0, sealing), secrets);
        }
    }

    /// A payload's secrets: `sealed` opened, or what this process remembers.
    pub(crate) fn secrets(&self, item: ItemId, sealing: i64, sealed: Option<&[u8]>) -> Option<Zeroizing<Vec<u8>>> {
        match sealed {
            Some(sealed) => self.open(sealed),
            None => self.memory().secrets.get(&(item.0, sealing)).cloned(),
        }
    }

    /// Frozen bytes for the journal: sealed, or nothing but a mark that they are in this process's memory.
    pub(crate) fn keep_body(&self, env: &Env, item: ItemId, body: &[u8]) -> Vec<u8> {
        self.seal(env, body).unwrap_or_else(|| {
            self.memory().bodies.insert(item.0, Zeroizing::new(body.to_vec()));
            Vec::new()
        })
    }

    /// Frozen bytes out of the journal; `None` if they were in the memory of a process that is gone.
    pub(crate) fn body(&self, item: ItemId, kept: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if kept.is_empty() { self.memory().bodies.get(&item.0).cloned() } else { self.open(kept) }
    }

    /// An attempt's request for the journal; `None` if it is in this process's memory alone.
    pub(crate) fn keep_request(&self, env: &Env, attempt: &str, request: Zeroizing<Vec<u8>>) -> Option<Vec<u8>> {
        let sealed = self.seal(env, &request);
        if sealed.is_none() {
            self.memory().requests.insert(attempt.to_owned(), request);
        }
        sealed
    }

    /// An attempt's request out of the journal.
    pub(crate) fn request(&self, attempt: &str, sealed: Option<&[u8]>) -> Option<Zeroizing<Vec<u8>>> {
        match sealed {
            Some(sealed) => self.open(sealed),
            None => self.memory().requests.get(attempt).cloned(),
        }
    }

    /// Forgets what was remembered of a message that is finished.
    pub(crate) fn forget(&self, item: ItemId) {
        let mut memory = self.memory();
        memory.secrets.retain(|(other, _), _| *other != item.0);
        memory.bodies.remove(&item.0);
    }

    /// Forgets an attempt's request.
    pub(crate) fn forget_request(&self, attempt: &str) {
        self.memory().requests.remove(attempt);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
