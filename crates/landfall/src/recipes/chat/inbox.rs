//! Files that arrived: fetched, verified, and only then given a name.
//!
//! Nothing of an attachment can be trusted before its last byte is there, so what is opened goes to a draft that nobody
//! looks for. Its sender chose its name: that is taken for a name and never for a path, and nothing that is there already is
//! replaced.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use http_body_util::BodyExt as _;
use landfall_core::{Failure, Remedy};
use landfall_crypto::xmtp::{AttachmentOpener, PAYLOAD_LEN_MAX, PayloadError, RemoteAttachment};
use landfall_env::{Env, File, FileKind, Files};
use landfall_transport::{Loss, vault};

use super::ChatServer;
use crate::{
    Engine, Error,
    drafts::{Draft, Drafts},
    plain_name::is_plain_name,
};

/// How often an attachment is fetched before it is given up.
const FETCHES_MAX: u32 = 3;
/// Longest name that is given to a file, in bytes: systems take 255, and a number may come to it.
const NAME_BYTES_MAX: usize = 200;
/// A payload may be longer than its message says by so much and once more what it says: some clients count what they sealed
/// instead of the payload.
const LENGTH_SLACK: u64 = 1 << 20;
/// What a file is called whose name cannot be used.
const UNNAMED: &str = "attachment";

/// A folder for what arrived.
pub struct Inbox {
    env: Env,
    server: ChatServer,
    folder: PathBuf,
    drafts: Arc<Drafts>,
}

/// A file that arrived, whole and durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// It was there already, equal.
    pub was_there: bool,
}

/// Bytes that were opened and are not trusted yet.
struct Staged {
    draft: Draft,
    file: Box<dyn File>,
}

impl Inbox {
    /// A folder, created if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written to.
    pub async fn open(engine: &Engine, server: ChatServer, folder: &Path) -> Result<Self, Error> {
        let env = engine.inner.env.clone();
        let (opening, target) = (env.clone(), folder.to_owned());
        let drafts = env.blocking.run(move || {
            opening.files.create_dir_durable(&target)?;
            Drafts::open(&opening, &target)
        });
        let drafts =
            drafts.await.map_err(|source| Error::Io { action: "write to", path: folder.to_owned(), source })?;
        Ok(Self { env, server, folder: folder.to_owned(), drafts: Arc::new(drafts) })
    }

    /// Fetches an attachment, and gives it its name once it is known to be what was sent. One that is there already,
    /// equal, is left alone; beside another of its name it gets a number.
    ///
    /// # Errors
    /// [`Error::Destination`] if it cannot be fetched, [`Error::Tampered`] if it is not what was sent, [`Error::Io`] if it
    /// cannot be written.
    pub async fn receive(&self, remote: &RemoteAttachment) -> Result<Received, Error> {
        let mut fetches = 1;
        let (staged, name) = loop {
            match self.fetch(remote).await {
                Err(Error::Destination(failure)) if is_passing(&failure) && fetches < FETCHES_MAX => {
                    tokio::time::sleep(std::time::Duration::from_millis(500) * fetches).await;
                    fetches += 1;
                }
                other => break other?,
            }
        };
        let (files, folder) = (Arc::clone(&self.env.files), self.folder.clone());
        let placed = self.env.blocking.run(move || place(files.as_ref(), staged, &folder, &name));
        placed.await.map_err(|source| self.unwritten(source))
    }

    /// Gives a name to a small attachment that came inside its message.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub async fn keep(&self, name: Option<&str>, content: Vec<u8>) -> Result<Received, Error> {
        let (name, drafts) = (file_name(name), Arc::clone(&self.drafts));
        let (files, folder) = (Arc::clone(&self.env.files), self.folder.clone());
        let placed = self.env.blocking.run(move || {
            let (draft, mut file) = drafts.create()?;
            file.append(&content)?;
            place(files.as_ref(), Staged { draft, file }, &folder, &name)
        });
        placed.await.map_err(|source| self.unwritten(source))
    }

    /// Opens an attachment into a draft. When this returns it is what was sent; its name is one that a file may have.
    async fn fetch(&self, remote: &RemoteAttachment) -> Result<(Staged, String), Error> {
        let mut body = self.server.fetch(remote.url()).await?.into_body();
        let drafts = Arc::clone(&self.drafts);
        let created = self.env.blocking.run(move || drafts.create()).await;
        let (draft, file) = created.map_err(|source| self.unwritten(source))?;
        let mut staged = Staged { draft, file };
        let said =
            remote.payload_len().map_or(PAYLOAD_LEN_MAX, |said| said.saturating_mul(2).saturating_add(LENGTH_SLACK));
        let mut opener = AttachmentOpener::new(remote.secrets(), *remote.digest(), said.min(PAYLOAD_LEN_MAX));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| vault::loss(&Loss::of_answer(error)))?;
            let Ok(data) = frame.into_data() else { continue };
            let work = move || {
                let mut piece = Vec::from(data);
                let written = opener.update(&mut piece).map(|opened| staged.file.append(opened.for_staging()));
                (opener, staged, written)
            };
            let written;
            (opener, staged, written) = self.env.blocking.run(work).await;
            written.map_err(not_what_was_sent)?.map_err(|source| self.unwritten(source))?;
        }
        let attachment = opener.finish().map_err(not_what_was_sent)?;
        Ok((staged, file_name(attachment.filename.as_deref().or(remote.filename()))))
    }

    fn unwritten(&self, source: io::Error) -> Error {
        Error::Io { action: "write to", path: self.folder.clone(), source }
    }
}

fn is_passing(failure: &Failure) -> bool {
    matches!(failure.remedy, Remedy::Wait { .. } | Remedy::Ask | Remedy::Retry)
}

fn not_what_was_sent(error: PayloadError) -> Error {
    Error::Tampered(format!("an attachment is not what was sent: {error}"))
}

/// Gives a draft the first free name. Blocks.
fn place(files: &dyn Files, staged: Staged, folder: &Path, name: &str) -> io::Result<Received> {
    let Staged { draft, mut file } = staged;
    file.sync()?;
    let bytes = file.status()?.len;
    drop(file);
    for number in 0u64.. {
        let path = folder.join(numbered(name, number));
        match files.link_status(&path) {
            Ok(there) if there.kind == FileKind::File && there.len == bytes && equal(files, &path, draft.path())? => {
                return Ok(Received { path, bytes, was_there: true });
            }
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match files.hard_link(draft.path(), &path) {
            Ok(()) => files.remove_file(draft.path())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            // A file system without hard links: the look before has to do.
            Err(_) => files.rename(draft.path(), &path)?,
        }
        files.sync_dir(folder)?;
        return Ok(Received { path, bytes, was_there: false });
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn equal(files: &dyn Files, one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (files.open(one)?, files.open(other)?);
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    loop {
        let (count, same) = (one.read_at(at, &mut left)?, other.read_at(at, &mut right)?);
        if count != same || left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
        at += count as u64;
    }
}

/// `photo.jpg`, `photo (1).jpg`, …
fn numbered(name: &str, number: u64) -> String {
    match (number, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (_, Some((stem, ending))) => format!("{stem} ({number}).{ending}"),
        (_, None) => format!("{name} ({number})"),
    }
}

/// A name for a file out of what its sender called it: no path, nothing hidden, nothing that reads as something else.
fn file_name(said: Option<&str>) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '/' | '\\' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    let said: String = said.unwrap_or_default().chars().map(|c| if is_odd(c) { '_' } else { c }).collect();
    let said = said.trim_start_matches(|c: char| c == '.' || c.is_whitespace()).trim_end_matches(['.', ' ']);
    let name = shortened(said);
    if is_plain_name(name.as_bytes()) { name } else { UNNAMED.to_owned() }
}

/// Cuts a name where it is too long, and leaves its ending.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 16 => (stem, format!(".{ending}")),
        _ => (name, String::new()),
    };
    let mut end = NAME_BYTES_MAX - ending.len();
    while !stem.is_char_boundary(end.min(stem.len())) {
        end -= 1;
    }
    format!("{}{ending}", &stem[..end.min(stem.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_elsewhere_is_no_path_and_hides_nothing() {
        for (said, name) in [
            ("../../.profile", "_.._.profile"),
            ("/etc/passwd", "_etc_passwd"),
            (".bashrc", "bashrc"),
            ("a\0b\x1b[2J.jpg", "a_b_[2J.jpg"),
            ("photo\u{202e}gpj.exe", "photo_gpj.exe"),
            ("..", UNNAMED),
            ("", UNNAMED),
            ("ü 1.jpg", "ü 1.jpg"),
        ] {
            assert_eq!(file_name(Some(said)), name, "{said:?}");
        }
        assert_eq!(file_name(None), UNNAMED);
        let long = file_name(Some(&format!("{}.jpg", "é".repeat(300))));
        assert!(long.len() <= NAME_BYTES_MAX && long.ends_with("é.jpg"), "{long}");
    }

    #[test]
    fn a_number_comes_before_the_ending() {
        assert_eq!([numbered("a.jpg", 0), numbered("a.jpg", 2), numbered("a", 1)], ["a.jpg", "a (2).jpg", "a (1)"]);
    }
}
