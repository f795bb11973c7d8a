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
use crate::{Engine, Error, Session, engine::Inner, source::path_from_bytes};

/// How many contents are fetched at once.
const AT_ONCE: usize = 4;

/// What to restore.
#[derive(Default, Clone)]
pub struct RestoreOptions {
    /// Only these contents, by the vault's numbers.
    pub ids: Option<Vec<i64>>,
    /// Only places for which this holds (the root's name and the segments below it, joined by `/`).
    pub filter: Option<PlaceFilter>,
    /// Only the collection of this name.
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
    let places = collect(engine, session, options, &mut report).await?;
    let outputs = lay_out(places, options, &mut report);
    let ours = Ours::default();
    let mut done = stream::iter(outputs)
        .map(|(id, outputs)| {
            let (engine, ours) = (Arc::clone(&engine.inner), ours.clone());
            let one = One { engine, session, target, overwrite: options.overwrite, ours };
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
    records(engine, session, async |id, open| {
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
        if album.is_some_and(|album| album != open.record.file.collection_id) {
            return Ok(());
        }
        let mut any = false;
        for place in open.places.iter() {
            any = true;
            let (Some(segments), Ok(modified_ns)) = (place.segments(), place.mtime.parse()) else {
                let message = "a place of it cannot be read".to_owned();
                report.problems.push((format!("#{id}").into_bytes(), "hostile-name", message));
                continue;
            };
            if options.filter.as_ref().is_some_and(|filter| !filter(&segments.join(&b'/'))) {
                continue;
            }
            let candidate = Candidate { record: id, modified_ns, version: place.v, updated: open.record.updation_time };
            places.entry((place.root.clone(), segments)).or_default().push(candidate);
        }
        if !any {
            // Another program put it there: it has a title, and no place.
            let modified_ns = open.content.metadata.modification_time.saturating_mul(1000);
            let segments = vec![open.content.metadata.title.clone().into_bytes()];
            let candidate = Candidate { record: id, modified_ns, version: 0, updated: open.record.updation_time };
            places.entry((format!("#{id}"), segments)).or_default().push(candidate);
        }
        Ok(())
    })
    .await?;
    Ok(places)
}

/// Restores one content to all its places.
struct One<'r> {
    engine: Arc<Inner>,
    session: &'r Session,
    target: &'r RestoreTarget,
    overwrite: bool,
    ours: Ours,
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
        let (parent, path) = match made.map_err(io("create", &self.target.folder))? {
            Ok(paths) => paths,
            Err(message) => return Ok(Written::Refused("in-the-way", message)),
        };
        let (files, there) = (Arc::clone(&env.files), path.clone());
        let (size, digest) = (open.content.metadata.size, open.content.digest.clone());
        let ours = self.ours.clone();
        let existing = env.blocking.run(move || compare(files.as_ref(), &there, size, &digest, &ours)).await;
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
        let draft = parent.join(format!(".landfall-{}", env.random.name()));
        // Also when another file ends the whole restore, and this one is dropped where it is.
        let _removed = Draft { files: Arc::clone(&env.files), path: draft.clone() };
        let (files, draft_path) = (Arc::clone(&env.files), draft.clone());
        let file = env.blocking.run(move || files.create_new(&draft_path)).await.map_err(io("create", &draft))?;
        let written = match have {
            // Another place of the same content: the disk is nearer than the vault.
            Some(original) => {
                let (files, original) = (Arc::clone(&env.files), original.to_owned());
                env.blocking
                    .run(move || copy(files.as_ref(), &original, file))
                    .await
                    .map(Some)
                    .map_err(io("copy", &path))
            }
            None => fetch::content(&self.engine, self.session, open, Some(file)).await,
        };
        let (files, draft_path) = (Arc::clone(&env.files), draft.clone());
        let file = match written {
            Ok(Some(file)) => file,
            Ok(None) => unreachable!("a sink that is given is given back"),
            Err(error) => return Err(error),
        };
        let name = Name { draft: draft_path, path: path.clone(), overwrite: self.overwrite, ours: self.ours.clone() };
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
}

/// A file that has no name of its own yet. What is left of it goes when this is dropped.
struct Draft {
    files: Arc<dyn Files>,
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A panic stands for a crash, and a crash removes nothing.
        if !std::thread::panicking() {
            let _ = self.files.remove_file(&self.path);
        }
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
fn folders(files: &dyn Files, target: &Path, segments: &[Vec<u8>]) -> io::Result<Result<(PathBuf, PathBuf), String>> {
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
    let path = folder.join(path_from_bytes(name));
    Ok(Ok((folder, path)))
}

fn compare(files: &dyn Files, path: &Path, size: Option<u64>, digest: &[u8], ours: &Ours) -> io::Result<Existing> {
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
    if size.is_some_and(|size| size != status.len) {
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
    if state.finalize().as_bytes()[..] != *digest {
        return Ok(different(&ours));
    }
    ours.insert(id);
    Ok(Existing::Equal)
}

fn copy(
    files: &dyn Files,
    from: &Path,
    mut to: Box<dyn landfall_env::File>,
) -> io::Result<Box<dyn landfall_env::File>> {
    let mut file = files.open(from)?;
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        let count = file.read_at(at, &mut buffer)?;
        if count == 0 {
            return Ok(to);
        }
        to.append(&buffer[..count])?;
        at += count as u64;
    }
}

/// Where a finished draft is to be.
struct Name {
    draft: PathBuf,
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
        if *overwrite {
            files.rename(draft, path)?;
        } else {
            match files.hard_link(draft, path) {
                Ok(()) => files.remove_file(draft)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                // A file system without hard links: the check before has to do.
                Err(_) if files.link_status(path).is_err() => files.rename(draft, path)?,
                Err(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            }
        }
        ours.insert(FileId::of(&status, path));
    }
    if let Some(parent) = path.parent() {
        files.sync_dir(parent)?;
    }
    Ok(Some(status.len))
}
