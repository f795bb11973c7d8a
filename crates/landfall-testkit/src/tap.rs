//! Sees what passes the wires of a world, and what the journals say at that moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use http::{Method, Request, Response, Uri};
use landfall::{ItemId, Observer, Progress};
use landfall_protocol::{NewFile, NewUpload, UploadState, UploadStatus, route};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, config::DbConfig};

use crate::{ProcessId, SeededRandom, SimDisk, SimVfs, chaos::Chaos, world::THUMBNAIL_SEALED};

/// Watches all wires of a world, and complains as soon as something passes that must not.
#[derive(Default)]
pub(crate) struct Tap {
    seen: Mutex<Seen>,
    /// By home.
    journals: Mutex<Vec<JournalTap>>,
}

/// What passed.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) objects: BTreeMap<String, Sent>,
    pub(crate) complaints: BTreeSet<String>,
    /// Bytes of files that workers said were stored, and whether that was too many at any moment.
    pub(crate) progress_bytes: u64,
    /// Items that somebody was told are done, by home.
    pub(crate) promised: BTreeSet<(usize, ItemId)>,
}

/// An object as it passed the wire.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) home: usize,
    pub(crate) size: u64,
    part_size: u64,
    /// Each part's bytes as they were sent first, whether or not they arrived.
    pub(crate) parts: BTreeMap<u32, Bytes>,
    /// Parts the server says it holds, with their lengths.
    held: BTreeMap<u32, u64>,
    /// Parts whose receipt reached a device.
    heard: BTreeSet<u32>,
}

impl Sent {
    fn part_count(&self) -> u32 {
        u32::try_from(self.size.div_ceil(self.part_size.max(1))).unwrap_or(u32::MAX)
    }
}

/// A part or an object in a path.
enum Target<'a> {
    Part(&'a str, u32),
    Open,
    Upload(&'a str),
    Complete,
    Files,
    Other,
}

fn target(path: &str) -> Target<'_> {
    if path == route::UPLOADS {
        return Target::Open;
    }
    if path == route::FILES {
        return Target::Files;
    }
    let mut words = path.trim_start_matches('/').split('/');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("blobs"), Some(_), Some(key), Some(number)) => {
            number.parse().map_or(Target::Other, |number| Target::Part(key, number))
        }
        (Some("vault"), Some("uploads"), Some(key), None) => Target::Upload(key),
        (Some("vault"), Some("uploads"), Some(_), Some("complete")) => Target::Complete,
        _ => Target::Other,
    }
}

impl Tap {
    /// Lets the tap look into a home's journal. Homes are numbered in this order.
    pub(crate) fn watch(&self, disk: &Arc<SimDisk>, home: &Path, random: SeededRandom, chaos: &Arc<Chaos>) {
        let (disk, path, chaos) = (Arc::clone(disk), home.join("journal.db"), Arc::clone(chaos));
        lock(&self.journals).push(JournalTap { disk, path, random, chaos, open: None });
    }

    /// Lets go of the journals, as a process does that is killed: nothing is tidied.
    pub(crate) fn let_go(&self) {
        lock(&self.journals).iter_mut().for_each(JournalTap::let_go);
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    pub(crate) fn complain(&self, complaint: String) {
        self.seen().complaints.insert(complaint);
    }

    /// A request leaves a process.
    pub(crate) fn sent(&self, home: usize, process: ProcessId, request: &Request<Bytes>) {
        match (request.method(), target(request.uri().path())) {
            (&Method::PUT, Target::Part(key, number)) => self.sent_part(home, process, key, number, request),
            (&Method::POST, Target::Open) => {
                let Ok(new) = serde_json::from_slice::<NewUpload>(request.body()) else { return };
                if self.journal(home, &new.object_key, 0).is_some_and(|row| row.is_none_or(|row| row.0 == "absent")) {
                    self.complain(format!("{} is opened without a row that says so", new.object_key));
                }
                let mut seen = self.seen();
                let sent = seen.objects.entry(new.object_key).or_default();
                (sent.home, sent.size, sent.part_size) = (home, new.size, new.part_size);
            }
            (&Method::DELETE, Target::Upload(key)) => {
                let is_given_up = |row: Option<Row>| row.is_some_and(|row| row.0.starts_with("abandon"));
                if self.journal(home, key, 0).is_some_and(|row| !is_given_up(row)) {
                    self.complain(format!("{key} is deleted before the journal says so"));
                }
            }
            (&Method::POST, Target::Files) => self.sent_record(request.body()),
            _ => {}
        }
    }

    fn sent_part(&self, home: usize, process: ProcessId, key: &str, number: u32, request: &Request<Bytes>) {
        let body = request.body();
        let planned = request.headers().get(route::CRC32C_HEADER).and_then(|value| value.to_str().ok());
        let crc32c = u32::try_from(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, body)).unwrap_or(0);
        if planned != Some(&route::crc32c_text(crc32c)) {
            self.complain(format!("part {number} of {key} left with other bytes than were prepared"));
        }
        match self.journal(home, key, number) {
            None => {}
            Some(None) => self.complain(format!("part {number} of {key} is sent and no journal knows the object")),
            Some(Some((state, _))) if state == "absent" => {
                self.complain(format!("part {number} of {key} is sent and the journal does not say it was opened"));
            }
            // A worker that stood still may send what another has sent meanwhile.
            Some(Some((_, Some(part)))) if part != "sent" && !self.ever_stopped(home, process) => {
                self.complain(format!("part {number} of {key} is sent while the journal calls it {part}"));
            }
            Some(Some(_)) => {}
        }
        let mut seen = self.seen();
        let first = seen.objects.entry(key.to_owned()).or_default().parts.entry(number).or_insert_with(|| body.clone());
        if first != body {
            seen.complaints.insert(format!("part {number} of {key} was sent with two contents"));
        }
    }

    fn ever_stopped(&self, home: usize, process: ProcessId) -> bool {
        lock(&self.journals).get(home).is_some_and(|journal| journal.chaos.ever_stopped(process))
    }

    fn sent_record(&self, body: &Bytes) {
        let Ok(new) = serde_json::from_slice::<NewFile>(body) else { return };
        let mut seen = self.seen();
        for object in [new.thumbnail, new.file] {
            let proven = seen.objects.get(&object.object_key).is_some_and(|sent| {
                sent.size > 0 && (1..=sent.part_count()).all(|number| sent.heard.contains(&number))
            });
            if !proven {
                seen.complaints.insert(format!("{} is registered without a receipt of every part", object.object_key));
            }
        }
    }

    /// The server has answered; the answer may still be lost.
    pub(crate) fn answered(&self, method: &Method, uri: &Uri, answer: &Response<Bytes>) {
        self.receipts(method, uri, answer, |sent, number, length| {
            sent.held.insert(number, length);
        });
    }

    /// An answer has reached a device.
    pub(crate) fn heard(&self, method: &Method, uri: &Uri, answer: &Response<Bytes>) {
        self.receipts(method, uri, answer, |sent, number, _| {
            sent.heard.insert(number);
        });
    }

    fn receipts(
        &self,
        method: &Method,
        uri: &Uri,
        answer: &Response<Bytes>,
        mut note: impl FnMut(&mut Sent, u32, u64),
    ) {
        if !answer.status().is_success() {
            return;
        }
        let mut seen = self.seen();
        match (method, target(uri.path())) {
            (&Method::PUT, Target::Part(key, number)) => {
                let Some(sent) = seen.objects.get_mut(key) else { return };
                let length = sent.parts.get(&number).map_or(0, |body| body.len() as u64);
                note(sent, number, length);
            }
            (&Method::POST, Target::Open | Target::Complete) | (&Method::GET, Target::Upload(_)) => {
                let Ok(status) = serde_json::from_slice::<UploadStatus>(answer.body()) else { return };
                let Some(sent) = seen.objects.get_mut(&status.object_key) else { return };
                status.parts.iter().for_each(|part| note(sent, part.number, part.length));
                debug_assert!(status.state == UploadState::Open || status.parts.len() == sent.part_count() as usize);
            }
            _ => {}
        }
    }

    /// Bytes of files that the server ever said it holds.
    pub(crate) fn held_bytes(&self) -> u64 {
        let seen = self.seen();
        let files = seen.objects.values().filter(|sent| sent.size != THUMBNAIL_SEALED);
        files.flat_map(|sent| sent.held.values()).sum()
    }

    /// What a journal says of an object and one of its parts. `None` if it cannot be asked.
    fn journal(&self, home: usize, key: &str, number: u32) -> Option<Option<Row>> {
        lock(&self.journals).get_mut(home)?.row(key, number)
    }
}

/// State of an object, and of a part if it has a row.
type Row = (String, Option<String>);

/// A look into a home's journal, from a process of its own.
struct JournalTap {
    disk: Arc<SimDisk>,
    path: PathBuf,
    random: SeededRandom,
    chaos: Arc<Chaos>,
    open: Option<OpenJournal>,
}

struct OpenJournal {
    connection: Connection,
    process: ProcessId,
    _vfs: SimVfs,
}

impl JournalTap {
    fn row(&mut self, key: &str, number: u32) -> Option<Option<Row>> {
        let open = match self.open.take() {
            Some(open) if self.disk.is_alive(open.process) => open,
            _ => self.connect()?,
        };
        let row = open
            .connection
            .prepare_cached(
                "SELECT object.state, part.state FROM object LEFT JOIN part ON part.object = object.id AND part.number = ?2
                  WHERE object_key = ?1",
            )
            .and_then(|mut statement| {
                statement.query_row((key, number), |row| Ok((row.get(0)?, row.get(1)?))).optional()
            });
        self.open = Some(open);
        row.ok()
    }

    fn connect(&self) -> Option<OpenJournal> {
        let process = self.disk.spawn();
        let vfs = SimVfs::register(&self.disk, process, self.random.fork("tap"));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(&self.path, flags, vfs.name()).ok()?;
        // Otherwise the statement is prepared anew for every value that is bound to it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).ok()?;
        Some(OpenJournal { connection, process, _vfs: vfs })
    }

    fn let_go(&mut self) {
        if let Some(open) = self.open.take() {
            self.disk.kill(open.process);
        }
    }
}

/// Watches one process's run.
pub(crate) struct Witness {
    pub(crate) tap: Arc<Tap>,
    pub(crate) home: usize,
}

impl Observer for Witness {
    fn saw(&self, progress: Progress) {
        match progress {
            Progress::Stored { bytes, .. } => self.tap.seen().progress_bytes += bytes,
            Progress::Done { item, .. } => drop(self.tap.seen().promised.insert((self.home, item))),
            _ => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
