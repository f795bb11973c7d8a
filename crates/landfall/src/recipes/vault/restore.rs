//! Giving everything back: every place of every content, bytes, names and times.
//!
//! A vault is not trusted with names. A name that is no plain name (`..`, an absolute path, a NUL, a device name where
//! the system has such) is a problem and writes nothing; nothing is written through a link inside the target; an
//! existing file that differs is never replaced unless the caller says so, and a file that this restore has written never:
//! two names may be one where the file system does not tell cases apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt as _, stream};
use landfall_crypto::DigestState;
use landfall_env::{FileKind, FileStatus, Files};

use super::{
    OnFile, PlaceFilter, fetch,
    index::{OpenRecord, open_record},
    layout::{Candidate, Output, Places, lay_out},
    listing::records,
};
use crate::{
    Engine, Error, Session,
    drafts::{self, Draft, Drafts},
    engine::Inner,
    source::path_from_bytes,
};

/// How many contents are fetched at once.
const AT_ONCE: usize = 4;

/// What to restore.
#[derive(Default, Clone)]
pub struct RestoreOptions {
    /// Only these contents, by the vault's numbers.
    pub ids: Option<Vec<i64>>,
    /// Only places for which this holds (the root's name and the segments below it, joined by `/`).
    pub filter: Option<PlaceFilter>,
    /// Only places that belong to the collection of this name.
    pub album: Option<String>,
    /// Older contents of a place as well, with their version in the name.
    pub all_versions: bool,
    /// Replace existing files that differ.
    pub overwrite: bool,
}

/// Where to restore to.
pub struct RestoreTarget {
    /// The folder. Created if it is missing.
    pub folder: PathBuf,
    /// Told of each file when it is durable: its place and length.
    pub on_file: OnFile,
}

/// What was restored.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Files written.
    pub restored: u64,
    /// Files that were there already, equal.
    pub unchanged: u64,
    /// Bytes written.
    pub bytes: u64,
    /// What could not be restored: its place (or the vault's number), a code, a message.
    pub problems: Vec<(Vec<u8>, &'static str, String)>,
}

/// Restores contents of a vault into a folder. A file that is reported to `on_file` is durable, with its name. Called
/// again, it goes on where it stopped: files that are there and equal are left alone.
///
/// # Errors
/// [`Error::Destination`] if the vault cannot be asked, [`Error::Io`] if the target cannot be written to at all. What is
/// wrong with one content is in the report.
pub async fn restore(
    engine: &Engine,
    session: &Session,
    target: &RestoreTarget,
    options: &RestoreOptions,
) -> Result<RestoreReport, Error> {
    let mut report = RestoreReport::default();
    let files = Arc::clone(&engine.inner.env.files);
    let folder = target.folder.clone();
    engine.inner.env.blocking.run(move || files.create_dir_durable(&folder)).await.map_err(|source| Error::Io {
        action: "create",
        path: target.folder.clone(),
        source,
    })?;
    let (env, folder) = (engine.inner.env.clone(), target.folder.clone());
    let drafts = engine.inner.env.blocking.run(move || Drafts::open(&env, &folder)).await;
    let drafts =
        drafts.map(Arc::new).map_err(|source| Error::Io { action: "write to", path: target.folder.clone(), source })?;
    let places = collect(engine, session, options, &mut report).await?;
    let outputs = lay_out(places, options, &mut report);
    let ours = Ours::default();
    let mut done = stream::iter(outputs)
        .map(|(id, outputs)| {
            let (engine, ours, drafts) = (Arc::clone(&engine.inner), ours.clone(), Arc::clone(&drafts));
            let one = One { engine, session, target, overwrite: options.overwrite, ours, drafts };
            async move { one.restore(id, outputs).await }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(part) = done.next().await {
        let part = part?;
        report.restored += part.restored;
        report.unchanged += part.unchanged;
        report.bytes += part.bytes;
        report.problems.extend(part.problems);
    }
    Ok(report)
}

/// Everything the options ask for, by place. Records themselves are asked for again when their turn comes: memory grows
/// with the number of places alone.
async fn collect(
    engine: &Engine,
    session: &Session,
    options: &RestoreOptions,
    report: &mut RestoreReport,
) -> Result<Places, Error> {
    let album = match &options.album {
        None => None,
        Some(name) => {
            super::learn(engine, session, &crate::Silent).await?;
            let (destination, wanted) = (session.inner.destination, name.clone());
            let found = engine.inner.journal.read(move |tx| tx.collection_named(destination, &wanted)).await?;
            Some(found.ok_or_else(|| Error::Invalid(format!("the vault has no album `{name}`")))?.id)
        }
    };
    let mut places: Places = BTreeMap::new();
    let mut missing: BTreeSet<i64> = options.ids.iter().flatten().copied().collect();
    records(engine, session, async |id, open| {
        missing.remove(&id);
        if options.ids.as_ref().is_some_and(|ids| !ids.contains(&id)) {
            return Ok(());
        }
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                report.problems.push((format!("#{id}").into_bytes(), "tampered", error.to_string()));
                return Ok(());
            }
        };
        let is_home = album.is_none_or(|album| album == open.record.file.collection_id);
        let digest: Arc<[u8]> = Arc::from(&open.content.digest[..]);
        let mut any = false;
        for place in open.places.iter() {
            any = true;
            if options.album.as_ref().is_some_and(|album| !place.is_in(album, is_home)) {
                continue;
            }
            let (Some(segments), Ok(modified_ns)) = (place.segments(), place.mtime.parse()) else {
                let message = "a place of it cannot be read".to_owned();
                report.problems.push((format!("#{id}").into_bytes(), "hostile-name", message));
                continue;
            };
            if options.filter.as_ref().is_some_and(|filter| !filter(&segments.join(&b'/'))) {
                continue;
            }
            let candidate = Candidate {
                record: id,
                digest: Arc::clone(&digest),
                modified_ns,
                version: place.v,
                updated: open.record.updation_time,
            };
            places.entry((place.root.clone(), segments)).or_default().push(candidate);
        }
        if !any && is_home {
            // Another program put it there: it has a title, and no place.
            let modified_ns = open.content.metadata.modification_time.saturating_mul(1000);
            let segments = vec![open.content.metadata.title.clone().into_bytes()];
            let candidate = Candidate {
                record: id,
                digest: Arc::clone(&digest),
                modified_ns,
                version: 0,
                updated: open.record.updation_time,
            };
            places.entry((format!("#{id}"), segments)).or_default().push(candidate);
        }
        Ok(())
    })
    .await?;
    match missing.first() {
        Some(id) => Err(Error::NoSuchContent(*id)),
        None => Ok(places),
    }
}

/// Restores one content to all its places.
struct One<'r> {
    engine: Arc<Inner>,
    session: &'r Session,
    target: &'r RestoreTarget,
    overwrite: bool,
    ours: Ours,
    drafts: Arc<Drafts>,
}

/// The files this restore has written or found equal: none of them is replaced, whatever name leads to it.
#[derive(Clone, Default)]
struct Ours(Arc<Mutex<BTreeSet<FileId>>>);

/// Tells files apart: by number, or by name in lower case where files have no numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum FileId {
    Inode(u64, u64),
    Name(String),
}

impl Ours {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<FileId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileId {
    fn of(status: &FileStatus, path: &Path) -> Self {
        match (status.identity.device, status.identity.inode) {
            (_, 0) => Self::Name(path.to_string_lossy().to_lowercase()),
            (device, inode) => Self::Inode(device, inode),
        }
    }
}

enum Existing {
    Absent,
    Equal,
    Different,
    /// It was restored just now, under a name that the file system takes for this one.
    Ours,
    /// Something that is no file, or a link, stands in the way.
    Blocked(String),
}

impl One<'_> {
    async fn restore(&self, id: i64, outputs: Vec<Output>) -> Result<RestoreReport, Error> {
        let mut report = RestoreReport::default();
        let remote = &self.session.inner.remote;
        let open = match remote.patiently(|| remote.file(id)).await? {
            Some(record) => open_record(&self.engine, self.session, record).await,
            None => Err(Error::Tampered(format!("record {id} was listed and is not there"))),
        };
        // What was listed is what is fetched, or the vault exchanges contents between places.
        let open =
            open.and_then(|open| match outputs.iter().any(|output| output.digest[..] != open.content.digest[..]) {
                true => Err(Error::Tampered(format!("record {id} is another than was listed"))),
                false => Ok(open),
            });
        let open = match open {
            Err(error @ Error::Tampered(_)) => {
                report.problems.push((format!("#{id}").into_bytes(), "tampered", error.to_string()));
                return Ok(report);
            }
            other => other?,
        };
        let mut have: Option<PathBuf> = None;
        for output in outputs {
            let place = output.segments.join(&b'/');
            match self.write(&open, &output, have.as_deref()).await {
                Ok(Written::New { path, bytes }) => {
                    report.restored += 1;
                    report.bytes += bytes;
                    (self.target.on_file)(&place, bytes);
                    have = Some(path);
                }
                Ok(Written::Equal(path)) => {
                    report.unchanged += 1;
                    have = Some(path);
                }
                Ok(Written::Refused(code, message)) => report.problems.push((place, code, message)),
                Err(error @ Error::Tampered(_)) => report.problems.push((place, "tampered", error.to_string())),
                Err(Error::Io { source, .. }) if source.kind() != io::ErrorKind::StorageFull => {
                    report.problems.push((place, "cannot-write", source.to_string()));
                }
                Err(Error::Destination(failure))
                    if matches!(failure.remedy, landfall_core::Remedy::Block | landfall_core::Remedy::Reopen) =>
                {
                    report.problems.push((place, failure.code.as_str(), failure.message));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    async fn write(&self, open: &OpenRecord, output: &Output, have: Option<&Path>) -> Result<Written, Error> {
        let env = &self.engine.env;
        let (files, folder, segments) = (Arc::clone(&env.files), self.target.folder.clone(), output.segments.clone());
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        let made = env.blocking.run(move || folders(files.as_ref(), &folder, &segments)).await;
        let path = match made.map_err(io("create", &self.target.folder))? {
            Ok(path) => path,
            Err(message) => return Ok(Written::Refused("in-the-way", message)),
        };
        let (files, there) = (Arc::clone(&env.files), path.clone());
        let wanted = Wanted {
            size: open.content.metadata.size,
            digest: open.content.digest.clone(),
            modified_ns: i128::from(output.modified_ns),
        };
        let ours = self.ours.clone();
        let existing = env.blocking.run(move || compare(files.as_ref(), &there, &wanted, &ours)).await;
        match existing.map_err(io("read", &path))? {
            Existing::Equal => {
                return Ok(Written::Equal(path));
            }
            Existing::Blocked(message) => return Ok(Written::Refused("in-the-way", message)),
            Existing::Ours => return Ok(Written::collision()),
            Existing::Different if !self.overwrite => {
                let message = "another file has this name; `--overwrite` replaces it".to_owned();
                return Ok(Written::Refused("exists", message));
            }
            Existing::Different | Existing::Absent => {}
        }
        let mut written = None;
        if let Some(original) = have {
            // Another place of the same content: the disk is nearer than the vault, if it still has it.
            let (draft, file) = self.draft().await.map_err(io("create", &path))?;
            let (files, original, digest) = (Arc::clone(&env.files), original.to_owned(), open.content.digest.clone());
            let copied = env.blocking.run(move || copy(files.as_ref(), &original, file, &digest)).await;
            written = copied.ok().flatten().map(|file| (draft, file));
        }
        let (draft, file) = match written {
            Some(written) => written,
            None => {
                let (draft, file) = self.draft().await.map_err(io("create", &path))?;
                match fetch::content(&self.engine, self.session, open, Some(file)).await? {
                    Some(file) => (draft, file),
                    None => unreachable!("a sink that is given is given back"),
                }
            }
        };
        let files = Arc::clone(&env.files);
        let name = Name { draft, path: path.clone(), overwrite: self.overwrite, ours: self.ours.clone() };
        let modified_ns = i128::from(output.modified_ns);
        match env.blocking.run(move || settle(files.as_ref(), file, modified_ns, &name)).await {
            Ok(Some(bytes)) => Ok(Written::New { path, bytes }),
            Ok(None) => Ok(Written::collision()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Written::Refused("exists", "another file took this name meanwhile".to_owned()))
            }
            Err(error) => Err(io("write", &path)(error)),
        }
    }

    async fn draft(&self) -> io::Result<(Draft, Box<dyn landfall_env::File>)> {
        let drafts = Arc::clone(&self.drafts);
        self.engine.env.blocking.run(move || drafts.create()).await
    }
}

enum Written {
    New { path: PathBuf, bytes: u64 },
    Equal(PathBuf),
    Refused(&'static str, String),
}

impl Written {
    fn collision() -> Self {
        let message = "the file system takes its name for that of another file restored just now".to_owned();
        Self::Refused("name-collision", message)
    }
}

/// Makes the folders of a path one by one, through no link. The inner error says what stands in the way.
fn folders(files: &dyn Files, target: &Path, segments: &[Vec<u8>]) -> io::Result<Result<PathBuf, String>> {
    let mut folder = target.to_owned();
    let (name, parents) = segments.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    for segment in parents {
        let parent = folder.clone();
        folder.push(path_from_bytes(segment));
        match files.link_status(&folder) {
            Ok(status) if status.kind == FileKind::Dir => {}
            Ok(_) => return Ok(Err(format!("`{}` is in the way and is no folder", folder.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files.create_dir_all(&folder)?;
                files.sync_dir(&parent)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(folder.join(path_from_bytes(name))))
}

/// What a file is to be.
struct Wanted {
    size: Option<u64>,
    digest: Vec<u8>,
    modified_ns: i128,
}

/// Looks at what is at a path. A file with the right bytes is given the right time, too.
fn compare(files: &dyn Files, path: &Path, wanted: &Wanted, ours: &Ours) -> io::Result<Existing> {
    let status = match files.link_status(path) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Existing::Absent),
        Err(error) => return Err(error),
    };
    if status.kind != FileKind::File {
        return Ok(Existing::Blocked(format!("`{}` is in the way and is no file", path.display())));
    }
    let id = FileId::of(&status, path);
    let different = |ours: &BTreeSet<FileId>| if ours.contains(&id) { Existing::Ours } else { Existing::Different };
    if wanted.size.is_some_and(|size| size != status.len) {
        return Ok(different(&ours.lock()));
    }
    let mut file = files.open(path)?;
    let mut state = DigestState::new();
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        let count = file.read_at(at, &mut buffer)?;
        if count == 0 {
            break;
        }
        state.update(&buffer[..count]);
        at += count as u64;
    }
    let mut ours = ours.lock();
    if state.finalize().as_bytes()[..] != wanted.digest[..] {
        return Ok(different(&ours));
    }
    ours.insert(id);
    if status.modified_ns != wanted.modified_ns {
        // Its bytes are what counts: somebody else's file keeps its time.
        let _ = file.set_modified(wanted.modified_ns).and_then(|()| file.sync());
    }
    Ok(Existing::Equal)
}

/// Copies a file that should have this digest; nothing comes of it if it has another by now.
fn copy(
    files: &dyn Files,
    from: &Path,
    mut to: Box<dyn landfall_env::File>,
    digest: &[u8],
) -> io::Result<Option<Box<dyn landfall_env::File>>> {
    let mut file = files.open(from)?;
    let mut state = DigestState::new();
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        let count = file.read_at(at, &mut buffer)?;
        if count == 0 {
            return Ok((state.finalize().as_bytes()[..] == *digest).then_some(to));
        }
        state.update(&buffer[..count]);
        to.append(&buffer[..count])?;
        at += count as u64;
    }
}

/// Where a finished draft is to be.
struct Name {
    draft: Draft,
    path: PathBuf,
    overwrite: bool,
    ours: Ours,
}

/// Gives a finished draft its time and its name, durably. Returns its length, or nothing if the name leads to a file
/// that was restored just now.
fn settle(
    files: &dyn Files,
    mut file: Box<dyn landfall_env::File>,
    modified_ns: i128,
    name: &Name,
) -> io::Result<Option<u64>> {
    let Name { draft, path, overwrite, ours } = name;
    let draft = draft.path();
    file.set_modified(modified_ns)?;
    file.sync()?;
    let status = file.status()?;
    drop(file);
    {
        // Two drafts at once may be on their way to one file.
        let mut ours = ours.lock();
        if files.link_status(path).is_ok_and(|there| ours.contains(&FileId::of(&there, path))) {
            return Ok(None);
        }
        drafts::place(files, draft, path, *overwrite)?;
        ours.insert(FileId::of(&status, path));
    }
    if let Some(parent) = path.parent() {
        files.sync_dir(parent)?;
    }
    Ok(Some(status.len))
}
