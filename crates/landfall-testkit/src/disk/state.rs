//! The simulated disk behind its lock: inodes, names, open files, and who is alive.

mod locks;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use landfall_env::{DirEntry, FileKind, FileStatus, Identity};

use super::{
    Op, ProcessId,
    content::{Content, Fate},
    fingerprint::{Fingerprint, Shape},
    inode::{Body, Inode},
    names::{self, Ino, NameChange, Names},
};
use crate::{SeededRandom, vfs::SharedMemory};

const ROOT: Ino = 1;
const DEVICE: u64 = 1;

/// Names one opening of a file.
pub(crate) type OpenId = u64;

pub(crate) struct State {
    inodes: BTreeMap<Ino, Inode>,
    pending: Vec<NameChange>,
    open: BTreeMap<OpenId, OpenFile>,
    /// Locks of whole files, by the opening that holds them.
    locks: BTreeMap<Ino, OpenId>,
    shared_memory: BTreeMap<Ino, Arc<SharedMemory>>,
    living: BTreeSet<ProcessId>,
    kill_after: BTreeMap<ProcessId, u64>,
    faults: Vec<(Op, io::ErrorKind)>,
    pub(crate) skip_database_sync: bool,
    pub(super) capacity: u64,
    pub(super) used: u64,
    pub(super) writes: u64,
    pub(super) trace: Fingerprint,
    next_inode: Ino,
    next_open: OpenId,
    next_process: u64,
    /// Inodes after the last sweep.
    swept: usize,
    /// Names that differ only in case are one.
    pub(super) folds_names: bool,
}

/// An opening of a file by a process, with the locks SQLite holds through it.
struct OpenFile {
    process: ProcessId,
    inode: Ino,
    level: LockLevel,
    shared_mask: u8,
    exclusive_mask: u8,
    maps_memory: bool,
}

/// SQLite's locks of a database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LockLevel {
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

/// Processes.
impl State {
    pub(super) fn new(now_ns: i128) -> Self {
        let root = Inode::new(Body::Dir(Names::default()), now_ns);
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            pending: Vec::new(),
            open: BTreeMap::new(),
            locks: BTreeMap::new(),
            shared_memory: BTreeMap::new(),
            living: BTreeSet::new(),
            kill_after: BTreeMap::new(),
            faults: Vec::new(),
            skip_database_sync: false,
            capacity: 1 << 40,
            used: 0,
            writes: 0,
            trace: Fingerprint::default(),
            next_inode: ROOT + 1,
            next_open: 1,
            next_process: 1,
            swept: 1,
            folds_names: false,
        }
    }

    pub(super) fn spawn(&mut self) -> ProcessId {
        let process = ProcessId(self.next_process);
        self.next_process += 1;
        self.living.insert(process);
        process
    }

    pub(super) fn is_alive(&self, process: ProcessId) -> bool {
        self.living.contains(&process)
    }

    pub(super) fn kill_after(&mut self, process: ProcessId, writes: u64) {
        self.kill_after.insert(process, writes);
    }

    pub(super) fn kill(&mut self, process: ProcessId) {
        if !self.living.remove(&process) {
            return;
        }
        self.trace.word(process.0);
        self.kill_after.remove(&process);
        let dead: Vec<OpenId> =
            self.open.iter().filter(|(_, open)| open.process == process).map(|(id, _)| *id).collect();
        dead.into_iter().for_each(|id| self.close(id));
    }

    pub(super) fn fail_next(&mut self, op: Op, kind: io::ErrorKind) {
        self.faults.push((op, kind));
    }

    /// Power goes, and comes back: every process is dead, and the disk is in a state it can be found in.
    pub(super) fn power_cut(&mut self, random: &SeededRandom) {
        self.living.clear();
        self.kill_after.clear();
        self.open.clear();
        self.locks.clear();
        self.shared_memory.clear();
        self.faults.clear();
        names::power_cut(&mut self.pending, Fate::draw(random), random, &mut self.inodes);
        for inode in self.inodes.values_mut() {
            match &mut inode.body {
                Body::Dir(names) => names.now.clone_from(&names.durable),
                Body::File(content) => {
                    let fate = Fate::draw(random);
                    content.power_cut(fate, random);
                    if fate == Fate::Lost {
                        inode.modified_ns = inode.durable_modified_ns;
                    }
                    inode.durable_modified_ns = inode.modified_ns;
                }
            }
            inode.links = 0;
        }
        self.sweep();
        let named: Vec<Ino> =
            self.inodes.values().filter_map(|inode| inode.names().ok()).flat_map(Names::all).collect();
        for inode in named {
            self.inodes.entry(inode).and_modify(|inode| inode.links += 1);
        }
        self.used = self.inodes.values().map(Inode::len).sum();
        self.trace.word(self.used);
    }

    /// Every call comes by here first.
    pub(crate) fn enter(&mut self, process: ProcessId, op: Op) -> io::Result<()> {
        if !self.living.contains(&process) {
            return Err(dead());
        }
        if let Some(at) = self.faults.iter().position(|(failing, _)| *failing == op) {
            return Err(self.faults.remove(at).1.into());
        }
        if op.writes() {
            match self.kill_after.get_mut(&process) {
                Some(0) => {
                    self.kill(process);
                    return Err(dead());
                }
                Some(left) => *left -= 1,
                None => {}
            }
            self.writes += 1;
            self.trace.word(process.0 << 8 | op as u64);
        }
        Ok(())
    }

    /// The file behind an opening, if its process lives and `op` may go on.
    fn enter_open(&mut self, id: OpenId, op: Op) -> io::Result<Ino> {
        let open = self.open.get(&id).ok_or_else(dead)?;
        let (process, inode) = (open.process, open.inode);
        self.enter(process, op)?;
        Ok(inode)
    }
}

/// Names.
impl State {
    pub(crate) fn status(&self, path: &Path) -> io::Result<FileStatus> {
        let ino = self.resolve(path)?;
        Ok(self.status_of(ino))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let names = self.inode(self.resolve(path)?).names()?;
        let entries = names.now.iter();
        Ok(entries.map(|(name, ino)| DirEntry { name: name.clone(), kind: self.inode(*ino).kind() }).collect())
    }

    /// The files with names, sorted.
    pub(super) fn files(&self) -> Vec<(PathBuf, Ino)> {
        let mut files = Vec::new();
        let mut folders = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, ino)) = folders.pop() {
            match &self.inode(ino).body {
                Body::File(_) => files.push((path, ino)),
                Body::Dir(names) => {
                    folders.extend(names.now.iter().rev().map(|(name, ino)| (path.join(name), *ino)));
                }
            }
        }
        files.sort();
        files
    }

    pub(super) fn create_dir_all(&mut self, path: &Path, now_ns: i128) -> io::Result<()> {
        let mut dir = ROOT;
        for name in components(path)? {
            dir = match self.inode(dir).names()?.now.get(name) {
                Some(ino) => *ino,
                None => {
                    let made = self.add_inode(Body::Dir(Names::default()), now_ns);
                    let edits = vec![(dir, name.to_owned(), Some(made))];
                    self.change_names(NameChange { edits, makes_dir: Some(made), ..NameChange::default() }, now_ns);
                    made
                }
            };
        }
        self.inode(dir).names().map(|_| ()).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, now_ns: i128) -> io::Result<()> {
        let (from_dir, from_name) = self.resolve_parent(from)?;
        let (to_dir, to_name) = self.resolve_parent(to)?;
        let moved = self.lookup(from_dir, &from_name)?;
        if self.inode(moved).kind() == FileKind::Dir {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the simulated disk moves files only"));
        }
        let replaced = self.lookup(to_dir, &to_name).ok();
        match replaced {
            // Two names of one file: POSIX has rename do nothing, and both stay.
            Some(replaced) if replaced == moved => return Ok(()),
            Some(replaced) => drop(self.inode(replaced).content()?),
            None => {}
        }
        self.change_names(
            NameChange {
                // The new name first: a file without any, and not open, gives back its space.
                edits: vec![(to_dir, to_name, Some(moved)), (from_dir, from_name, None)],
                adds: Some(moved),
                removes: [Some(moved), replaced].into_iter().flatten().collect(),
                moves_into: Some(to_dir),
                ..NameChange::default()
            },
            now_ns,
        );
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path, now_ns: i128) -> io::Result<()> {
        let linked = self.resolve(from)?;
        let (dir, name) = self.resolve_parent(to)?;
        if self.inode(linked).kind() == FileKind::Dir {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if self.lookup(dir, &name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.name(dir, name, linked, now_ns);
        Ok(())
    }

    pub(crate) fn remove_file(&mut self, path: &Path, now_ns: i128) -> io::Result<()> {
        let (dir, name) = self.resolve_parent(path)?;
        let removed = self.lookup(dir, &name)?;
        self.inode(removed).content()?;
        let edits = vec![(dir, name, None)];
        self.change_names(NameChange { edits, removes: vec![removed], ..NameChange::default() }, now_ns);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path, now_ns: i128) -> io::Result<()> {
        let (dir, name) = self.resolve_parent(path)?;
        let removed = self.lookup(dir, &name)?;
        if !self.inode(removed).names()?.now.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let edits = vec![(dir, name, None)];
        self.change_names(NameChange { edits, removes_dir: Some(removed), ..NameChange::default() }, now_ns);
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.resolve(path)?;
        self.inode(dir).names()?;
        names::sync_dir(&mut self.pending, dir, &mut self.inodes);
        if self.inodes.len() > 2 * self.swept + 64 {
            self.sweep();
        }
        Ok(())
    }

    /// Everything there is becomes durable, as it does when nothing happens for a while.
    pub(super) fn sync_all(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.make_durable(&mut self.inodes);
        }
        for inode in self.inodes.values_mut() {
            inode.sync();
        }
        self.sweep();
    }

    fn name(&mut self, dir: Ino, name: OsString, inode: Ino, now_ns: i128) {
        let edits = vec![(dir, name, Some(inode))];
        self.change_names(NameChange { edits, adds: Some(inode), ..NameChange::default() }, now_ns);
    }

    fn change_names(&mut self, change: NameChange, now_ns: i128) {
        for (dir, name, inode) in &change.edits {
            self.trace.word(*dir);
            self.trace.bytes(name.as_encoded_bytes());
            self.trace.word(inode.unwrap_or(0));
            let folder = self.inode_mut(*dir);
            (folder.modified_ns, folder.changed_ns) = (now_ns, now_ns);
            let Some(names) = folder.names_mut() else { continue };
            let before = match inode {
                Some(inode) => names.now.insert(name.clone(), *inode),
                None => names.now.remove(name),
            };
            if let Some(gained) = *inode {
                let gained = self.inode_mut(gained);
                gained.links += 1;
                gained.changed_ns = now_ns;
            }
            if let Some(lost) = before {
                let inode = self.inode_mut(lost);
                inode.links -= 1;
                inode.changed_ns = now_ns;
                self.free_if_gone(lost);
            }
        }
        self.pending.push(change);
    }

    fn resolve(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for name in components(path)? {
            at = self.lookup(at, name)?;
        }
        Ok(at)
    }

    fn resolve_parent(&self, path: &Path) -> io::Result<(Ino, OsString)> {
        let mut names = components(path)?;
        let Some(last) = names.pop() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut dir = ROOT;
        for name in names {
            dir = self.lookup(dir, name)?;
        }
        let names = self.inode(dir).names()?;
        let there = names.now.keys().find(|there| self.folds_names && is_folded_alike(there, last));
        Ok((dir, there.map_or_else(|| last.to_owned(), Clone::clone)))
    }

    fn lookup(&self, dir: Ino, name: &OsStr) -> io::Result<Ino> {
        let names = &self.inode(dir).names()?.now;
        let folded = || names.iter().find(|(there, _)| self.folds_names && is_folded_alike(there, name));
        names.get(name).or_else(|| folded().map(|(_, ino)| ino)).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Files.
impl State {
    pub(super) fn open(&mut self, process: ProcessId, path: &Path) -> io::Result<OpenId> {
        let ino = self.resolve(path)?;
        Ok(self.add_open(process, ino))
    }

    pub(super) fn create_new(&mut self, process: ProcessId, path: &Path, now_ns: i128) -> io::Result<OpenId> {
        let (dir, name) = self.resolve_parent(path)?;
        if self.lookup(dir, &name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ino = self.add_inode(Body::File(Content::default()), now_ns);
        self.name(dir, name, ino, now_ns);
        Ok(self.add_open(process, ino))
    }

    /// Opens a file of SQLite's. Without a path it is a file that never has a name.
    pub(crate) fn open_database(
        &mut self,
        process: ProcessId,
        path: Option<&Path>,
        shape: Shape,
        create: bool,
        now_ns: i128,
    ) -> io::Result<OpenId> {
        self.enter(process, Op::Open)?;
        let Some(path) = path else {
            let ino = self.add_inode(Body::File(Content::default()), now_ns);
            return Ok(self.add_open(process, ino));
        };
        let id = match self.open(process, path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                self.enter(process, Op::Create)?;
                self.create_new(process, path, now_ns)?
            }
            opened => opened?,
        };
        let ino = self.open[&id].inode;
        let inode = self.inode_mut(ino);
        if let Err(error) = inode.content() {
            self.close(id);
            return Err(error);
        }
        inode.shape = shape;
        Ok(id)
    }

    /// Locks a file as a whole; `None` if it is locked.
    pub(super) fn try_lock(&mut self, process: ProcessId, path: &Path, now_ns: i128) -> io::Result<Option<OpenId>> {
        let id = match self.open(process, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_new(process, path, now_ns)?,
            opened => opened?,
        };
        let ino = self.open[&id].inode;
        if self.locks.contains_key(&ino) {
            self.close(id);
            return Ok(None);
        }
        self.locks.insert(ino, id);
        Ok(Some(id))
    }

    pub(crate) fn close(&mut self, id: OpenId) {
        let Some(closed) = self.open.remove(&id) else { return };
        self.locks.retain(|_, holder| *holder != id);
        if closed.maps_memory {
            self.forget_unmapped(closed.inode);
        }
        self.free_if_gone(closed.inode);
    }

    pub(crate) fn read(&mut self, id: OpenId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let ino = self.enter_open(id, Op::Read)?;
        Ok(self.inode(ino).content()?.read(offset, buffer))
    }

    pub(crate) fn write(&mut self, id: OpenId, offset: u64, bytes: &[u8], now_ns: i128) -> io::Result<()> {
        let ino = self.enter_open(id, Op::Write)?;
        self.write_inode(ino, offset, bytes, now_ns)
    }

    pub(super) fn write_inode(&mut self, ino: Ino, offset: u64, bytes: &[u8], now_ns: i128) -> io::Result<()> {
        let (capacity, used) = (self.capacity, self.used);
        let inode = self.inode_mut(ino);
        let content = inode.content_mut()?;
        let growth = (offset + bytes.len() as u64).saturating_sub(content.len());
        if growth > capacity.saturating_sub(used) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.write(offset, bytes);
        (inode.modified_ns, inode.changed_ns) = (now_ns, now_ns);
        let shape = inode.shape;
        self.used += growth;
        self.trace.write(shape, ino, offset, bytes);
        Ok(())
    }

    pub(crate) fn set_len(&mut self, id: OpenId, len: u64, now_ns: i128) -> io::Result<()> {
        let ino = self.enter_open(id, Op::SetLen)?;
        self.set_len_inode(ino, len, now_ns)
    }

    pub(super) fn set_len_inode(&mut self, ino: Ino, len: u64, now_ns: i128) -> io::Result<()> {
        let inode = self.inode_mut(ino);
        let content = inode.content_mut()?;
        let before = content.len();
        content.set_len(len);
        (inode.modified_ns, inode.changed_ns) = (now_ns, now_ns);
        self.used = (self.used + len).saturating_sub(before);
        self.trace.word(ino);
        self.trace.word(len);
        Ok(())
    }

    pub(super) fn set_modified(&mut self, id: OpenId, modified_ns: i128, now_ns: i128) -> io::Result<()> {
        let ino = self.enter_open(id, Op::SetModified)?;
        let inode = self.inode_mut(ino);
        (inode.modified_ns, inode.changed_ns) = (modified_ns, now_ns);
        Ok(())
    }

    pub(crate) fn sync(&mut self, id: OpenId) -> io::Result<()> {
        let ino = self.enter_open(id, Op::Sync)?;
        self.trace.word(ino);
        self.inode_mut(ino).sync();
        Ok(())
    }

    pub(crate) fn len(&mut self, id: OpenId) -> io::Result<u64> {
        let ino = self.enter_open(id, Op::Status)?;
        Ok(self.inode(ino).len())
    }

    pub(super) fn open_status(&mut self, id: OpenId) -> io::Result<FileStatus> {
        let ino = self.enter_open(id, Op::Status)?;
        Ok(self.status_of(ino))
    }

    pub(super) fn content(&self, path: &Path) -> io::Result<&[u8]> {
        Ok(self.inode(self.resolve(path)?).content()?.now())
    }

    /// What the outside world does to a file: its new content is durable at once.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8], now_ns: i128) -> io::Result<()> {
        let ino = match self.resolve(path) {
            Ok(ino) => ino,
            Err(_) => {
                let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
                self.put_dir(parent, now_ns)?;
                let (dir, name) = self.resolve_parent(path)?;
                let ino = self.add_inode(Body::File(Content::default()), now_ns);
                self.name(dir, name, ino, now_ns);
                self.sync_dir(parent)?;
                ino
            }
        };
        self.set_len_inode(ino, 0, now_ns)?;
        self.write_inode(ino, 0, bytes, now_ns)?;
        self.inode_mut(ino).sync();
        Ok(())
    }

    /// Creates a folder and its parents, durable at once.
    pub(super) fn put_dir(&mut self, path: &Path, now_ns: i128) -> io::Result<()> {
        if self.resolve(path).is_err() {
            self.create_dir_all(path, now_ns)?;
            path.ancestors().skip(1).try_for_each(|folder| self.sync_dir(folder))?;
        }
        self.inode(self.resolve(path)?).names().map(|_| ())
    }

    /// A fingerprint of everything on the disk, durable or not yet.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = Fingerprint::default();
        for (path, ino) in self.files() {
            let inode = self.inode(ino);
            let Ok(content) = inode.content() else { continue };
            digest.bytes(path.as_os_str().as_encoded_bytes());
            digest.content(inode.shape, content.now());
            digest.content(inode.shape, content.durable());
        }
        digest.word(self.pending.len() as u64);
        digest.value()
    }

    fn status_of(&self, ino: Ino) -> FileStatus {
        let inode = self.inode(ino);
        FileStatus {
            kind: inode.kind(),
            len: inode.len(),
            modified_ns: inode.modified_ns,
            identity: Identity { device: DEVICE, inode: ino, changed_ns: inode.changed_ns },
        }
    }

    fn add_open(&mut self, process: ProcessId, inode: Ino) -> OpenId {
        let id = self.next_open;
        self.next_open += 1;
        let level = LockLevel::None;
        self.open.insert(id, OpenFile { process, inode, level, shared_mask: 0, exclusive_mask: 0, maps_memory: false });
        id
    }

    fn add_inode(&mut self, body: Body, now_ns: i128) -> Ino {
        let ino = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(ino, Inode::new(body, now_ns));
        ino
    }

    /// Gives back the space of a file without a name that nobody has open.
    fn free_if_gone(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get(&ino) else { return };
        if inode.links == 0 && !self.open.values().any(|open| open.inode == ino) {
            self.used -= inode.len();
        }
    }

    /// Forgets what neither processes nor the platter can reach.
    fn sweep(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        todo.extend(self.open.values().map(|open| open.inode));
        todo.extend(self.pending.iter().flat_map(|change| change.edits.iter().filter_map(|(.., inode)| *inode)));
        todo.extend(self.pending.iter().flat_map(|change| change.edits.iter().map(|(dir, ..)| *dir)));
        reached.extend(&todo);
        while let Some(ino) = todo.pop() {
            let Some(names) = self.inodes.get(&ino).and_then(|inode| inode.names().ok()) else { continue };
            todo.extend(names.all().filter(|ino| reached.insert(*ino)));
        }
        self.inodes.retain(|ino, _| reached.contains(ino));
        self.swept = self.inodes.len();
    }

    fn inode(&self, ino: Ino) -> &Inode {
        self.inodes.get(&ino).expect("names and openings keep their inode")
    }

    fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("names and openings keep their inode")
    }
}

fn components(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

fn dead() -> io::Error {
    io::Error::other("this process is dead")
}

fn is_folded_alike(one: &OsStr, other: &OsStr) -> bool {
    one.to_string_lossy().to_lowercase() == other.to_string_lossy().to_lowercase()
}
