//! Getting objects back: listed, fetched, checked, and resumed where a transfer broke off.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use http::header::ETAG;
use http_body_util::BodyExt as _;
use landfall_core::{Code, Failure, Proof, Remedy, Timestamp};
use landfall_crypto::{ChunkBuffer, MasterKey, SEALED_HEAD_LEN, SealedHead, StreamOpener};
use landfall_env::File;
use landfall_transport::{
    Body, Loss,
    s3::{
        answer::{self, ObjectHead},
        request,
    },
    vault,
};

use super::{Bucket, checksum::Summing, remote::Sight};
use crate::{
    Error,
    drafts::{self, Drafts},
};

/// How often in a row a bucket that is there may break off at the same byte before it counts as having no more.
const STUCK_MAX: u32 = 5;
/// Most keys that a listing gathers: more are a matter for the bucket's own tools.
const LISTED_MAX: usize = 1_000_000;

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its whole key.
    pub key: String,
    /// Its length, in bytes.
    pub size: u64,
    /// When it was put there, by the bucket's clock.
    pub last_modified: Option<Timestamp>,
}

/// What a bucket holds below a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects, by key.
    pub files: Vec<RemoteFile>,
    /// There are more.
    pub is_cut: bool,
}

/// An object that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its length, in bytes.
    pub size: u64,
    /// The bucket keeps a checksum of it, and it is the right one. Without one only its length is known to be right.
    pub is_proved: bool,
}

impl Bucket {
    /// Lists the objects whose keys begin with this destination's prefix and `below`.
    ///
    /// # Errors
    /// [`Error::Destination`].
    pub async fn list(&self, below: &str) -> Result<Listing, Error> {
        let (remote, prefix) = (&self.inner.remote, self.key(below));
        let mut listing = Listing::default();
        let mut after: Option<String> = None;
        loop {
            let page = remote
                .patiently(|| {
                    remote.ask(
                        || request::list(&prefix, None, after.as_deref()),
                        |page| answer::objects(page, &prefix, after.as_deref()),
                    )
                })
                .await?;
            listing.files.extend(page.objects.into_iter().map(|object| RemoteFile {
                key: object.key,
                size: object.size,
                last_modified: object.last_modified,
            }));
            after = page.next;
            if after.is_none() || listing.files.len() >= LISTED_MAX {
                listing.is_cut = after.is_some();
                return Ok(listing);
            }
        }
    }

    /// Fetches the object under a whole key into a file, which has its name only once all its bytes were checked and are
    /// durable. An existing file is replaced only if `overwrites`. What is sealed is opened, unless it is wanted `as_is`.
    ///
    /// # Errors
    /// [`Error::Locked`] if it is sealed and the keys are not at hand: see [`Bucket::unlock`]; [`Error::WrongPassword`] if
    /// it was sealed under others. [`Error::Destination`] with [`Code::Refused`] if there is no such object; [`Error::Tampered`] if what comes is not
    /// what the bucket says it has; [`Error::Io`] if it cannot be written.
    pub async fn fetch(&self, key: &str, target: &Path, overwrites: bool, as_is: bool) -> Result<Fetched, Error> {
        let env = &self.inner.engine.env;
        let remote = &self.inner.remote;
        let head = match remote.patiently(|| remote.head(key)).await? {
            Sight::Object(head) => head,
            Sight::Hidden(failure) => return Err(failure.into()),
            Sight::Nothing => {
                let message = format!("the bucket has no object `{key}`");
                return Err(Failure::new(Remedy::Block, Code::Refused, message).into());
            }
        };
        let cannot = |action: &'static str, source: io::Error| Error::Io { action, path: target.to_owned(), source };
        let folder = target.parent().unwrap_or(Path::new(".")).to_owned();
        let (inner, within) = (env.clone(), folder.clone());
        let drafted = env.blocking.run(move || {
            inner.files.create_dir_all(&within)?;
            let drafts = Arc::new(Drafts::open(&inner, &within)?);
            drafts.create()
        });
        let (draft, file) = drafted.await.map_err(|source| cannot("write", source))?;
        let (file, is_proved, size) = self.fill(key, &head, file, as_is).await?;
        let (files, from, to) = (Arc::clone(&env.files), draft.path().to_owned(), target.to_owned());
        let placed = env.blocking.run(move || {
            let mut file = file;
            file.sync()?;
            drop(file);
            drafts::place(files.as_ref(), &from, &to, overwrites)?;
            files.sync_dir(&folder)
        });
        placed.await.map_err(|source| cannot("write", source))?;
        Ok(Fetched { size, is_proved })
    }

    async fn fill(
        &self,
        key: &str,
        head: &ObjectHead,
        mut file: Box<dyn File>,
        as_is: bool,
    ) -> Result<(Box<dyn File>, bool, u64), Error> {
        let env = &self.inner.engine.env;
        let proof = head.checksum.as_ref().map(|checksum| Proof::Checksum(checksum.algorithm()));
        let mut summing = proof.map(Summing::new);
        let mut transfer = Transfer { bucket: self, key, etag: head.etag.clone(), body: None };
        let mut opening = Opening::new(head.size, as_is);
        let mut at = 0;
        while at < head.size {
            let bytes = transfer.next(at).await?;
            at += bytes.len() as u64;
            if at > head.size {
                return Err(Error::Tampered(format!("`{key}` is longer than the bucket says")));
            }
            let master = self.master().cloned();
            let (next_file, next_summing, next_opening, written) = env
                .blocking
                .run(move || {
                    if let Some(summing) = &mut summing {
                        summing.update(&bytes);
                    }
                    let written = opening.write(&bytes, master.as_ref(), file.as_mut());
                    (file, summing, opening, written)
                })
                .await;
            (file, summing, opening) = (next_file, next_summing, next_opening);
            written.map_err(|failed| failed.of(key))?;
        }
        let (is_sealed, size) = opening.finish().map_err(|failed| failed.of(key))?;
        let summed = summing.map(Summing::finish);
        let is_proved = match (&head.checksum, summed) {
            // An object of several parts may have a checksum of checksums, which says nothing of the bytes in a row.
            (Some(checksum), _) if !checksum.algorithm().covers_object() && head.etag.contains('-') => is_sealed,
            (Some(checksum), Some(summed)) if checksum.as_bytes() == summed => true,
            (Some(_), _) => return Err(Error::Tampered(format!("`{key}` is not what its checksum says"))),
            // Each chunk of a sealed file proves itself.
            (None, _) => is_sealed,
        };
        Ok((file, is_proved, size))
    }
}

/// What comes of an object's bytes: they are written as they are, or opened if they are a sealed file.
enum Opening {
    /// Its first bytes, which say what it is.
    Unknown { begin: Vec<u8>, size: u64 },
    /// Written as it is.
    Plain { written: u64 },
    /// Opened.
    Sealed(Box<OpeningSealed>),
}

struct OpeningSealed {
    opener: StreamOpener,
    buffer: ChunkBuffer,
    chunk: usize,
    /// Of the present chunk, how much is there.
    wire: Vec<u8>,
    /// Sealed bytes that have not come yet.
    missing: u64,
    written: u64,
}

/// Why an object's bytes cannot be written.
enum Unwritten {
    Locked,
    OtherKeys,
    Damaged(&'static str),
    Disk(io::Error),
}

impl Unwritten {
    fn of(self, key: &str) -> Error {
        match self {
            Self::Locked => Error::Locked,
            Self::OtherKeys => Error::WrongPassword,
            Self::Damaged(what) => Error::Tampered(format!("`{key}` {what}")),
            Self::Disk(source) => Error::Io { action: "write", path: "the fetched file".into(), source },
        }
    }
}

impl Opening {
    fn new(size: u64, as_is: bool) -> Self {
        if as_is { Self::Plain { written: 0 } } else { Self::Unknown { begin: Vec::new(), size } }
    }

    fn write(&mut self, bytes: &[u8], master: Option<&MasterKey>, file: &mut dyn File) -> Result<(), Unwritten> {
        match self {
            Self::Plain { written } => {
                file.append(bytes).map_err(Unwritten::Disk)?;
                *written += bytes.len() as u64;
                Ok(())
            }
            Self::Sealed(sealed) => sealed.write(bytes, file),
            Self::Unknown { begin, size } => {
                begin.extend_from_slice(bytes);
                let is_decided = begin.len() >= SEALED_HEAD_LEN || begin.len() as u64 == *size;
                if !is_decided {
                    return Ok(());
                }
                let (begin, size) = (std::mem::take(begin), *size);
                let head = if SealedHead::begins(&begin) { SealedHead::parse(&begin).ok() } else { None };
                let Some(head) = head else {
                    *self = Self::Plain { written: 0 };
                    return self.write(&begin, master, file);
                };
                let key = head.open(master.ok_or(Unwritten::Locked)?).map_err(|_| Unwritten::OtherKeys)?;
                let mut sealed = OpeningSealed {
                    opener: StreamOpener::new(&key, head.header(), head.chunk_len()),
                    buffer: ChunkBuffer::with_capacity(head.chunk_len()),
                    chunk: head.chunk_len().sealed_bytes(),
                    wire: Vec::new(),
                    missing: size - SEALED_HEAD_LEN as u64,
                    written: 0,
                };
                sealed.write(&begin[SEALED_HEAD_LEN..], file)?;
                *self = Self::Sealed(Box::new(sealed));
                Ok(())
            }
        }
    }

    /// Whether it was sealed, and how many bytes were written.
    fn finish(self) -> Result<(bool, u64), Unwritten> {
        match self {
            // An empty object.
            Self::Unknown { .. } => Ok((false, 0)),
            Self::Plain { written } => Ok((false, written)),
            Self::Sealed(sealed) => {
                let written = sealed.written;
                sealed.opener.finish().map_err(|_| Unwritten::Damaged("ends too early"))?;
                Ok((true, written))
            }
        }
    }
}

impl OpeningSealed {
    fn write(&mut self, mut bytes: &[u8], file: &mut dyn File) -> Result<(), Unwritten> {
        while !bytes.is_empty() {
            let whole = usize::try_from(self.missing.min(self.chunk as u64)).unwrap_or(self.chunk);
            let (now, rest) = bytes.split_at(bytes.len().min(whole - self.wire.len()));
            self.wire.extend_from_slice(now);
            bytes = rest;
            if self.wire.len() < whole {
                return Ok(());
            }
            self.buffer.wire_mut(whole).copy_from_slice(&self.wire);
            self.wire.clear();
            self.missing -= whole as u64;
            self.opener
                .open_chunk(&mut self.buffer)
                .map_err(|_| Unwritten::Damaged("does not open: it was altered"))?;
            file.append(self.buffer.message()).map_err(Unwritten::Disk)?;
            self.written += self.buffer.message().len() as u64;
            self.buffer.wipe();
        }
        Ok(())
    }
}

/// An object's bytes as they come, begun again where they broke off.
struct Transfer<'b> {
    bucket: &'b Bucket,
    key: &'b str,
    etag: String,
    body: Option<Body>,
}

impl Transfer<'_> {
    /// The next bytes, from `from` on.
    async fn next(&mut self, from: u64) -> Result<Bytes, Error> {
        let engine = &self.bucket.inner.engine;
        let remote = &self.bucket.inner.remote;
        let (mut failures, mut stuck) = (0, 0);
        loop {
            let failure = match self.try_next(from).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => failure,
            };
            self.body = None;
            stuck += u32::from(remote.away().is_none());
            if stuck > STUCK_MAX {
                return Err(Error::Tampered(format!("`{}` breaks off at byte {from}: {failure}", self.key)));
            }
            let is_passing =
                matches!(failure.remedy, Remedy::Wait { .. } | Remedy::Ask | Remedy::Retry | Remedy::Renew);
            failures += 1;
            if !is_passing || remote.is_given_up() {
                return Err(failure.into());
            }
            tokio::time::sleep(engine.settings.reach.delay(failures, engine.env.random.fraction())).await;
        }
    }

    async fn try_next(&mut self, from: u64) -> Result<Bytes, Failure> {
        let mut skip = 0;
        if self.body.is_none() {
            let response = self.bucket.inner.remote.fetch(self.key, from).await?;
            let fetched = answer::fetched(response.status().as_u16(), response.headers(), from)?;
            let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
            if etag.trim_matches('"') != self.etag {
                let message = "the object was replaced by another while it was fetched; fetch it again";
                return Err(Failure::new(Remedy::Block, Code::Refused, message));
            }
            skip = from - fetched.start;
            self.body = Some(response.into_body());
        }
        loop {
            let Some(body) = self.body.as_mut() else { return Err(ended()) };
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(vault::loss(&Loss::of_answer(error))),
                None => return Err(ended()),
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let dropped = skip.min(data.len() as u64);
            let _ = data.split_to(usize::try_from(dropped).unwrap_or(0));
            skip -= dropped;
            if !data.is_empty() {
                return Ok(data);
            }
        }
    }
}

fn ended() -> Failure {
    Failure::new(Remedy::Retry, Code::DamagedInTransit, "the answer ended before the object did")
}
