//! Giving everything back: every place of every content, bytes, names and times.
//!
//! A vault is not trusted with names. A name that is no plain name (`..`, an absolute path, a NUL, a device name where
//! the system has such) is a problem and writes nothing; nothing is written through a link inside the target; an
//! existing file that differs is never replaced unless the caller says so.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use landfall_crypto::DigestState;
use landfall_env::{FileKind, Files};

use super::{
    OnFile, PlaceFilter, fetch,
    index::{OpenRecord, open_record},
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

/// One file to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Output {
    segments: Vec<Vec<u8>>,
    modified_ns: i64,
}

/// A place as some record has it.
struct Candidate {
    record: i64,
    modified_ns: i64,
    version: i64,
    updated: i64,
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
    let mut done = stream::iter(outputs)
        .map(|(id, outputs)| {
            let one = One { engine: Arc::clone(&engine.inner), session, target, overwrite: options.overwrite };
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

/// A path and the contents that were at it, the present one first.
type Wanted = (Vec<Vec<u8>>, Vec<Candidate>);

type Places = BTreeMap<(String, Vec<Vec<u8>>), Vec<Candidate>>;

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

/// Decides which content each path gets. Roots of one name from several devices share a folder while they agree, and
/// get folders of their own when they do not.
fn lay_out(places: Places, options: &RestoreOptions, report: &mut RestoreReport) -> BTreeMap<i64, Vec<Output>> {
    let mut by_root: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
    for ((root, segments), mut candidates) in places {
        candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.version, candidate.updated)));
        by_root.entry(root).or_default().push((segments, candidates));
    }
    let mut taken: BTreeMap<Vec<Vec<u8>>, i64> = BTreeMap::new();
    let mut outputs: BTreeMap<i64, Vec<Output>> = BTreeMap::new();
    for (_, files) in by_root {
        let clashes = |number: u32, taken: &BTreeMap<Vec<Vec<u8>>, i64>| {
            files.iter().any(|(segments, candidates)| {
                taken.get(&numbered(segments, number)).is_some_and(|record| *record != candidates[0].record)
            })
        };
        let number = (1..).find(|number| !clashes(*number, &taken)).unwrap_or(1);
        for (segments, candidates) in &files {
            let versions = if options.all_versions { candidates.len() } else { 1 };
            for (age, candidate) in candidates.iter().take(versions).enumerate() {
                let mut segments = numbered(segments, number);
                if !segments.iter().all(|segment| is_plain_name(segment)) || segments.is_empty() {
                    let place = segments.join(&b'/');
                    let message = "the vault names a path that must not be written".to_owned();
                    report.problems.push((place, "hostile-name", message));
                    continue;
                }
                if age > 0 {
                    old_version(&mut segments, candidate.version);
                }
                if taken.insert(segments.clone(), candidate.record).is_none() {
                    let output = Output { segments, modified_ns: candidate.modified_ns };
                    outputs.entry(candidate.record).or_default().push(output);
                }
            }
        }
    }
    outputs
}

/// The same path below a root's second, third … folder.
fn numbered(segments: &[Vec<u8>], number: u32) -> Vec<Vec<u8>> {
    let mut segments = segments.to_vec();
    if number > 1
        && let Some(first) = segments.first_mut()
    {
        first.extend_from_slice(format!(" ({number})").as_bytes());
    }
    segments
}

/// `photo.jpg` becomes `photo (version 2).jpg`.
fn old_version(segments: &mut [Vec<u8>], version: i64) {
    if let Some(name) = segments.last_mut() {
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(name.len());
        let ending = name.split_off(dot);
        name.extend_from_slice(format!(" (version {version})").as_bytes());
        name.extend_from_slice(&ending);
    }
}

/// A name that stays in its folder, on this system.
fn is_plain_name(name: &[u8]) -> bool {
    let plain = !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    plain && (!cfg!(windows) || is_plain_windows_name(name))
}

/// Windows gives meaning to more: device names, drive letters, streams, backslashes, ends that it drops.
fn is_plain_windows_name(name: &[u8]) -> bool {
    const DEVICES: [&str; 22] = [
        "CON", "PRN", "AUX", "NUL", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9", "LPT1",
        "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
    ];
    let Ok(text) = std::str::from_utf8(name) else { return false };
    let stem = text.split('.').next().unwrap_or_default().trim_end();
    !text.contains(['\\', ':', '*', '?', '"', '<', '>', '|'])
        && !text.chars().any(|c| c.is_control())
        && !text.ends_with(['.', ' '])
        && !DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device))
}

/// Restores one content to all its places.
struct One<'r> {
    engine: Arc<Inner>,
    session: &'r Session,
    target: &'r RestoreTarget,
    overwrite: bool,
}

enum Existing {
    Absent,
    Equal,
    Different,
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
        let existing = env.blocking.run(move || compare(files.as_ref(), &there, size, &digest)).await;
        match existing.map_err(io("read", &path))? {
            Existing::Equal => {
                return Ok(Written::Equal(path));
            }
            Existing::Blocked(message) => return Ok(Written::Refused("in-the-way", message)),
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
        let (modified_ns, overwrite, target) = (i128::from(output.modified_ns), self.overwrite, path.clone());
        let bytes =
            env.blocking.run(move || settle(files.as_ref(), file, &draft_path, &target, modified_ns, overwrite)).await;
        match bytes {
            Ok(bytes) => Ok(Written::New { path, bytes }),
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

fn compare(files: &dyn Files, path: &Path, size: Option<u64>, digest: &[u8]) -> io::Result<Existing> {
    let status = match files.link_status(path) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Existing::Absent),
        Err(error) => return Err(error),
    };
    if status.kind != FileKind::File {
        return Ok(Existing::Blocked(format!("`{}` is in the way and is no file", path.display())));
    }
    if size.is_some_and(|size| size != status.len) {
        return Ok(Existing::Different);
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
    Ok(if state.finalize().as_bytes()[..] == *digest { Existing::Equal } else { Existing::Different })
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

/// Gives a finished draft its time and its name, durably. Returns its length.
fn settle(
    files: &dyn Files,
    mut file: Box<dyn landfall_env::File>,
    draft: &Path,
    path: &Path,
    modified_ns: i128,
    overwrite: bool,
) -> io::Result<u64> {
    file.set_modified(modified_ns)?;
    file.sync()?;
    let bytes = file.status()?.len;
    drop(file);
    if overwrite {
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
    if let Some(parent) = path.parent() {
        files.sync_dir(parent)?;
    }
    Ok(bytes)
}
