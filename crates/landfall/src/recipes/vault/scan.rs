//! Finding what is new.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use landfall_core::Class;
use landfall_crypto::{MasterKey, TagKey};
use landfall_env::{DirEntry, FileKind, FileStatus};
use landfall_images::{MediaClass, sniff};
use landfall_store::{DestinationId, Offer, OfferOutcome, Root, RootId, SourceIdentity};

use super::PlaceFilter;
use crate::{
    Engine, Error, Session,
    engine::Inner,
    prepare::HEAD_BYTES,
    session::{root_tag, tag_key},
    source::{below, bytes_of, identity_of},
    sources::{Disk, DiskFiles, is_no_thread},
};

/// How many files are looked at, and committed, together.
const BATCH: usize = 256;
/// How many files are opened at once: a disk that hangs is not waited for file by file.
const JUDGED_AT_ONCE: usize = 4;

/// What a scan takes.
#[derive(Default, Clone)]
pub struct ScanOptions {
    /// Any regular file, not only media.
    pub all: bool,
    /// Goes to this collection instead of one named like the root. What the vault has already joins it.
    pub album: Option<String>,
    /// Decides by a file's place (the root's name and the segments below it, joined by `/`) whether it is looked at at
    /// all.
    pub filter: Option<PlaceFilter>,
    /// Look only: take nothing in charge.
    pub dry_run: bool,
}

/// What a scan found.
#[derive(Debug, Clone, Default)]
pub struct ScanReport {
    /// Files looked at.
    pub scanned: u64,
    /// Files the vault has as they are.
    pub unchanged: u64,
    /// Files taken in charge now, or that would be.
    pub taken: u64,
    /// Files an earlier scan took in charge that are not done yet.
    pub queued: u64,
    /// Bytes of the files taken in charge.
    pub bytes: u64,
    /// The files that would be taken, of a [`ScanOptions::dry_run`]; otherwise they are in the journal.
    pub files: Vec<FoundFile>,
    /// Files not taken, with the reason.
    pub skipped: Vec<SkippedFile>,
    /// Files and folders that could not be looked at.
    pub problems: Vec<ScanProblem>,
}

/// A file that would be taken.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// Its place: the root's name and the segments below it, joined by `/`.
    pub place: Vec<u8>,
    /// What it is: the name of a kind of media, `sidecar`, `other`, or `unknown` if reading it fails.
    pub kind: String,
    /// Its length.
    pub bytes: u64,
}

/// A file that was not taken.
#[derive(Debug, Clone)]
pub struct SkippedFile {
    /// Its place: the root's name and the segments below it, joined by `/`.
    pub place: Vec<u8>,
    /// `not-media`, `empty`, `dangling-link`, `linked-folder` or `special-file`.
    pub code: &'static str,
}

/// A file or folder that could not be looked at.
#[derive(Debug, Clone)]
pub struct ScanProblem {
    /// Its place.
    pub place: Vec<u8>,
    /// For programs.
    pub code: landfall_core::Code,
    /// For people.
    pub message: String,
}

/// Walks folders, and takes in charge what is new or has changed. When this returns, everything it counts as taken is in
/// the journal: the caller may lose power or exit.
///
/// Content is read only of files that are new or changed, and of these only the first 4 KiB. Calling it twice takes
/// nothing twice, also from two processes at once. Without a session it only looks, as with
/// [`ScanOptions::dry_run`]: whether anything is new can be told without a key.
///
/// # Errors
/// [`Error::Invalid`] if a root does not exist. Trouble below a root is in the report.
pub async fn scan(
    engine: &Engine,
    session: Option<&Session>,
    destination: DestinationId,
    roots: &[PathBuf],
    options: &ScanOptions,
) -> Result<ScanReport, Error> {
    let means = session.map_or(Means::Look, |session| Means::Take(session.inner.tags.clone()));
    scan_by(engine, means, destination, roots, options).await
}

/// Scans while the vault is out of reach, and takes in charge what is new or has changed; a later run sends it. Nothing is
/// asked of the vault, so what others have brought to it meanwhile is found out then.
///
/// A root that was backed up before needs no key; any other needs the vault's master key.
///
/// # Errors
/// As [`scan`]; [`Error::Locked`] if a root is new and there is no key: nothing is taken of that one and of those after it.
pub async fn scan_offline(
    engine: &Engine,
    master: Option<&MasterKey>,
    destination: DestinationId,
    roots: &[PathBuf],
    options: &ScanOptions,
) -> Result<ScanReport, Error> {
    let means = master.map_or(Means::TakeKnown, |master| Means::Take(tag_key(master)));
    scan_by(engine, means, destination, roots, options).await
}

async fn scan_by(
    engine: &Engine,
    means: Means,
    destination: DestinationId,
    roots: &[PathBuf],
    options: &ScanOptions,
) -> Result<ScanReport, Error> {
    let mut scan = Scan {
        engine: Arc::clone(&engine.inner),
        options: options.clone(),
        means: if options.dry_run { Means::Look } else { means },
        report: ScanReport::default(),
        batch: Vec::new(),
    };
    for path in roots {
        let root = scan.root(destination, path).await?;
        scan.walk(&root, path).await?;
        scan.flush(&root).await?;
    }
    Ok(scan.report)
}

/// What a scan may do.
enum Means {
    /// Nothing but look.
    Look,
    /// Take in charge what is below roots that are known.
    TakeKnown,
    /// Take in charge, naming new roots with this key.
    Take(TagKey),
}

struct Scan {
    engine: Arc<Inner>,
    options: ScanOptions,
    means: Means,
    report: ScanReport,
    batch: Vec<Found>,
}

#[derive(Clone)]
struct Found {
    relative: Vec<u8>,
    path: PathBuf,
    identity: SourceIdentity,
    sidecar: bool,
    /// The vault has it, in another album than is asked for.
    joins: bool,
}

/// What a folder holds, seen in one go.
struct Folder {
    folders: Vec<DirEntry>,
    files: Vec<(DirEntry, io::Result<FileStatus>)>,
}

impl Scan {
    async fn root(&self, destination: DestinationId, path: &Path) -> Result<Root, Error> {
        let bytes = bytes_of(path.as_os_str());
        let name = path.file_name().map_or_else(|| b"root".to_vec(), bytes_of);
        if let Means::Take(tags) = &self.means {
            let tag = root_tag(tags, &self.engine.settings.device, &bytes);
            return Ok(self.engine.journal.write(move |tx| tx.root_at(destination, &bytes, &name, &tag)).await?);
        }
        let known = self.engine.journal.read({
            let bytes = bytes.clone();
            move |tx| tx.find_root(destination, &bytes)
        });
        match (known.await?, &self.means) {
            (Some(known), _) => Ok(known),
            (None, Means::TakeKnown) => Err(Error::Locked),
            (None, _) => Ok(Root { id: RootId(0), destination, path: bytes, name, tag: Vec::new() }),
        }
    }

    async fn walk(&mut self, root: &Root, path: &Path) -> Result<(), Error> {
        let sources = &self.engine.sources;
        let (files, start) = (sources.on(Disk::around(path)), path.to_owned());
        let status = match sources.run(move || files.status(&start)).await.and_then(|status| status) {
            Ok(status) => status,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Invalid(format!("`{}` does not exist", path.display())));
            }
            // The other roots may be on disks that do answer.
            Err(error) if is_unanswered(&error) => {
                self.problem(root, &[], &error);
                return Ok(());
            }
            Err(source) => return Err(Error::Io { action: "look at", path: path.to_owned(), source }),
        };
        if status.kind != FileKind::Dir {
            self.file(root, Vec::new(), path.to_owned(), Ok(status), false).await?;
            return Ok(());
        }
        // Depth first by an explicit stack: a deep tree must not overflow ours.
        let mut folders = vec![Vec::new()];
        while let Some(relative) = folders.pop() {
            let folder = match self.list(below(path, &relative)).await {
                Ok(folder) => folder,
                Err(error) => {
                    self.problem(root, &relative, &error);
                    continue;
                }
            };
            let media = sidecar_stems(&folder);
            for (entry, status) in folder.files {
                let relative = join(&relative, &bytes_of(&entry.name));
                let path = below(path, &relative);
                let sidecar = is_sidecar(&entry.name, &media);
                let status = match (entry.kind, &status) {
                    (FileKind::Link, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                        self.skip(root, &relative, "dangling-link");
                        continue;
                    }
                    (FileKind::Link, Ok(status)) if status.kind == FileKind::Dir => {
                        self.skip(root, &relative, "linked-folder");
                        continue;
                    }
                    _ => status,
                };
                self.file(root, relative, path, status, sidecar).await?;
            }
            folders.extend(folder.folders.iter().rev().map(|inner| join(&relative, &bytes_of(&inner.name))));
        }
        Ok(())
    }

    /// A folder's entries, and what each file is. One that does not answer costs the others nothing but time.
    async fn list(&self, path: PathBuf) -> io::Result<Folder> {
        let sources = &self.engine.sources;
        let (around, inside) = (sources.on(Disk::around(&path)), sources.on(Disk::inside(&path)));
        sources
            .run(move || {
                let (folders, files): (Vec<_>, Vec<_>) =
                    around.list(&path)?.into_iter().partition(|entry| entry.kind == FileKind::Dir);
                let look = |entry: DirEntry| {
                    let status = inside.status(&path.join(&entry.name));
                    (entry, status)
                };
                Ok(Folder { folders, files: files.into_iter().map(look).collect() })
            })
            .await?
    }

    async fn file(
        &mut self,
        root: &Root,
        relative: Vec<u8>,
        path: PathBuf,
        status: io::Result<FileStatus>,
        sidecar: bool,
    ) -> Result<(), Error> {
        let place = place(root, &relative);
        if self.options.filter.as_ref().is_some_and(|filter| !filter(&place)) {
            return Ok(());
        }
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                self.problem(root, &relative, &error);
                return Ok(());
            }
        };
        if status.kind != FileKind::File {
            self.skip(root, &relative, "special-file");
            return Ok(());
        }
        self.report.scanned += 1;
        self.batch.push(Found { relative, path, identity: identity_of(&status), sidecar, joins: false });
        if self.batch.len() >= BATCH {
            self.flush(root).await?;
        }
        Ok(())
    }

    /// Compares a batch with the journal, looks into what is new, and takes it in charge.
    async fn flush(&mut self, root: &Root) -> Result<(), Error> {
        let batch = Arc::new(std::mem::take(&mut self.batch));
        if batch.is_empty() {
            return Ok(());
        }
        let (id, album, found) = (root.id, self.options.album.clone(), Arc::clone(&batch));
        let (outcomes, there) = self
            .engine
            .journal
            .read(move |tx| {
                let outcomes = found
                    .iter()
                    .map(|found| tx.look(id, &found.relative, &found.identity))
                    .collect::<Result<Vec<_>, _>>()?;
                let there = match &album {
                    Some(album) if outcomes.contains(&OfferOutcome::Unchanged) => Some(tx.places_in(id, album)?),
                    _ => None,
                };
                Ok((outcomes, there))
            })
            .await?;
        let mut fresh = Vec::new();
        for (found, outcome) in Arc::unwrap_or_clone(batch).into_iter().zip(outcomes) {
            match outcome {
                OfferOutcome::Unchanged if there.as_ref().is_some_and(|there| !there.contains(&found.relative)) => {
                    fresh.push(Found { joins: true, ..found });
                }
                OfferOutcome::Unchanged => self.report.unchanged += 1,
                OfferOutcome::Queued(_) => self.report.queued += 1,
                OfferOutcome::Skipped if !self.options.all && !found.sidecar => {
                    let code = if found.identity.size == 0 { "empty" } else { "not-media" };
                    self.skip(root, &found.relative, code);
                }
                OfferOutcome::Skipped if found.identity.size == 0 => self.skip(root, &found.relative, "empty"),
                OfferOutcome::Skipped | OfferOutcome::Retried(_) | OfferOutcome::New(_) => fresh.push(found),
            }
        }
        self.offer(root, fresh).await
    }

    async fn offer(&mut self, root: &Root, fresh: Vec<Found>) -> Result<(), Error> {
        if fresh.is_empty() {
            return Ok(());
        }
        let album = self.options.album.clone().unwrap_or_else(|| String::from_utf8_lossy(&root.name).into_owned());
        let all = self.options.all;
        let judged = stream::iter(fresh)
            .map(|found| {
                let sources = &self.engine.sources;
                let files = sources.on(Disk::of(found.identity.device, &found.path));
                let relative = found.relative.clone();
                let judged = sources.run(move || judge(&files, &found, all).map(|verdict| (found, verdict)));
                async { judged.await.and_then(|judged| judged).map_err(|error| (relative, error)) }
            })
            .buffered(JUDGED_AT_ONCE)
            .collect::<Vec<Result<(Found, Verdict), (Vec<u8>, io::Error)>>>()
            .await;
        let mut offers = Vec::new();
        let mut skips = Vec::new();
        for judged in judged {
            let (found, verdict) = match judged {
                Ok(judged) => judged,
                // Not even whether it is wanted can be told: the next scan looks again.
                Err((relative, error)) => {
                    self.problem(root, &relative, &error);
                    continue;
                }
            };
            match verdict {
                Verdict::Take { class, kind } => offers.push(offer(found, class, kind, &album)),
                Verdict::TakeUnread(error) if self.options.dry_run => self.problem(root, &found.relative, &error),
                // The item then says what is wrong with it, and nothing is left out in silence.
                Verdict::TakeUnread(_) => offers.push(offer(found, Class::Photo, "unknown", &album)),
                Verdict::Skip(code) => {
                    self.skip(root, &found.relative, code);
                    skips.push((found.relative, found.identity, code));
                }
            }
        }
        if matches!(self.means, Means::Look) {
            self.report.taken += offers.len() as u64;
            self.report.bytes += offers.iter().map(|offer| offer.identity.size as u64).sum::<u64>();
            if self.options.dry_run {
                let found = |offer: Offer| FoundFile {
                    place: place(root, &offer.path),
                    kind: offer.kind,
                    bytes: offer.identity.size as u64,
                };
                self.report.files.extend(offers.into_iter().map(found));
            }
            return Ok(());
        }
        let (target, now) = (root.clone(), self.engine.now());
        let (taken, queued, bytes) = self
            .engine
            .journal
            .write(move |tx| {
                let (mut taken, mut queued, mut bytes) = (0, 0, 0);
                for (relative, identity, code) in &skips {
                    tx.skip_place(target.id, relative, identity, code)?;
                }
                for offer in &offers {
                    match tx.offer(&target, offer, now)? {
                        OfferOutcome::New(_) | OfferOutcome::Retried(_) => {
                            taken += 1;
                            bytes += offer.identity.size as u64;
                        }
                        _ => queued += 1,
                    }
                }
                Ok((taken, queued, bytes))
            })
            .await?;
        self.report.taken += taken;
        self.report.queued += queued;
        self.report.bytes += bytes;
        Ok(())
    }

    fn skip(&mut self, root: &Root, relative: &[u8], code: &'static str) {
        self.report.skipped.push(SkippedFile { place: place(root, relative), code });
    }

    fn problem(&mut self, root: &Root, relative: &[u8], error: &io::Error) {
        let failure = crate::source::failure_of(error);
        self.report.problems.push(ScanProblem {
            place: place(root, relative),
            code: failure.code,
            message: failure.message,
        });
    }
}

enum Verdict {
    Take {
        class: Class,
        kind: &'static str,
    },
    /// It cannot be read. It is taken in charge all the same.
    TakeUnread(io::Error),
    Skip(&'static str),
}

fn offer(found: Found, class: Class, kind: &str, album: &str) -> Offer {
    Offer {
        priority: -found.identity.modified_ns.div_euclid(1_000_000_000),
        path: found.relative,
        identity: found.identity,
        class,
        kind: kind.to_owned(),
        album: album.to_owned(),
        joins: found.joins,
    }
}

/// Whether nothing has come of asking, so that nothing is known.
fn is_unanswered(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut || is_no_thread(error)
}

/// Looks at the first bytes of a file.
fn judge(files: &DiskFiles, found: &Found, all: bool) -> io::Result<Verdict> {
    if found.identity.size == 0 {
        return Ok(Verdict::Skip("empty"));
    }
    let mut head = [0; HEAD_BYTES];
    let read = files.open(&found.path).and_then(|mut file| file.read_at(0, &mut head));
    Ok(match read {
        Ok(_) if found.sidecar => Verdict::Take { class: Class::Photo, kind: "sidecar" },
        Ok(count) => match sniff(&head[..count]) {
            Some(kind) => {
                let class = match kind.class() {
                    MediaClass::Image => Class::Photo,
                    MediaClass::Video => Class::Video,
                };
                Verdict::Take { class, kind: kind.name() }
            }
            None if all => Verdict::Take { class: Class::Photo, kind: "other" },
            None => Verdict::Skip("not-media"),
        },
        Err(error) if is_unanswered(&error) => return Err(error),
        Err(error) => Verdict::TakeUnread(error),
    })
}

fn place(root: &Root, relative: &[u8]) -> Vec<u8> {
    join(&root.name, relative)
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => folder.to_vec(),
        _ => [folder, b"/", name].concat(),
    }
}

/// Names of a folder that have a media file's ending, without it: what a sidecar may stand beside.
fn sidecar_stems(folder: &Folder) -> std::collections::BTreeSet<Vec<u8>> {
    let mut stems = std::collections::BTreeSet::new();
    for (entry, _) in &folder.files {
        let name = bytes_of(&entry.name);
        if is_media_name(&name) {
            if let Some(stem) = stem(&name) {
                stems.insert(stem.to_ascii_lowercase());
            }
            stems.insert(name.to_ascii_lowercase());
        }
    }
    stems
}

/// `photo.xmp` and `photo.jpg.xmp` stand beside `photo.jpg`.
fn is_sidecar(name: &std::ffi::OsStr, media: &std::collections::BTreeSet<Vec<u8>>) -> bool {
    let name = bytes_of(name).to_ascii_lowercase();
    let has_ending = [&b".xmp"[..], b".aae", b".json"].iter().any(|ending| name.ends_with(ending));
    has_ending && stem(&name).is_some_and(|stem| media.contains(stem))
}

fn stem(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    Some(&name[..dot])
}

fn is_media_name(name: &[u8]) -> bool {
    const ENDINGS: [&[u8]; 33] = [
        b"jpg", b"jpeg", b"png", b"webp", b"gif", b"heic", b"heif", b"hif", b"avif", b"tif", b"tiff", b"bmp", b"jxl",
        b"dng", b"cr2", b"cr3", b"crw", b"nef", b"arw", b"raf", b"orf", b"rw2", b"mp4", b"m4v", b"mov", b"3gp", b"avi",
        b"mkv", b"webm", b"mts", b"m2ts", b"mpg", b"wmv",
    ];
    let lower = name.to_ascii_lowercase();
    lower.iter().rposition(|byte| *byte == b'.').is_some_and(|dot| ENDINGS.contains(&&lower[dot + 1..]))
}
