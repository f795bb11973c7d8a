//! Fetching a content: verified chunk by chunk, resumed where it broke off.

use std::{io, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use landfall_core::{Code, Failure, Remedy};
use landfall_crypto::{
    BLOB_LEN_MAX, CHUNK_OVERHEAD, DigestState, OpenError, StreamHeader, StreamOpener, open_blob, plain_len, sealed_len,
};
use landfall_env::File;
use landfall_transport::{Body, Loss, vault};

use super::index::OpenRecord;
use crate::{Error, Session, engine::Inner};

/// How often in a row a vault that is there may break off at the same byte before it counts as having no more.
const STUCK_MAX: u32 = 5;

/// Fetches a record's content, checks every chunk and the digest of the whole, and writes it to `sink` if there is one.
/// Returns the sink, not yet synced.
///
/// Reads no byte beyond what the record's own sealed metadata promises, whatever the vault sends.
pub(crate) async fn content(
    engine: &Arc<Inner>,
    session: &Session,
    open: &OpenRecord,
    mut sink: Option<Box<dyn File>>,
) -> Result<Option<Box<dyn File>>, Error> {
    let id = open.record.id;
    let tampered = |what: &str| Error::Tampered(format!("the content of record {id} {what}"));
    let chunk_len = engine.memory.chunk_len();
    let sealed_object = &open.record.file.file;
    let size = match open.content.metadata.size {
        Some(size) => size,
        None => plain_len(sealed_object.size, chunk_len).map_err(|_| tampered("has an impossible length"))?,
    };
    let sealed_size = sealed_len(size, chunk_len);
    if sealed_size != sealed_object.size {
        return Err(tampered("has another length than its metadata says"));
    }
    let header = sealed_object.decryption_header.array().ok_or_else(|| tampered("has a header of a wrong length"))?;
    let mut opener = StreamOpener::new(&open.key, &StreamHeader::from_bytes(header), chunk_len);
    let mut digest = DigestState::new();
    let mut answer = Answer { body: None, rest: Bytes::new() };
    let mut at = 0;
    while at < sealed_size {
        let len = (sealed_size - at).min(chunk_len.sealed_bytes() as u64);
        let mut held = engine.memory.chunk().await;
        let wire = held.get().wire_mut(usize::try_from(len).unwrap_or(usize::MAX));
        answer.fill(engine, session, id, at, wire).await?;
        let work = move || {
            let opened = opener.open_chunk(held.get());
            let written = opened.map(|_| {
                digest.update(held.get().message());
                sink.as_mut().map_or(Ok(()), |sink| sink.append(held.get().message()))
            });
            held.get().wipe();
            (opener, digest, sink, written)
        };
        let (next_opener, next_digest, next_sink, written) = engine.env.blocking.run(work).await;
        (opener, digest, sink) = (next_opener, next_digest, next_sink);
        written
            .map_err(|error: OpenError| tampered(&format!("does not open: {error}")))?
            .map_err(|source: io::Error| Error::Io { action: "write to", path: "the restored file".into(), source })?;
        at += len;
    }
    opener.finish().map_err(|_| tampered("ends too early"))?;
    answer.end(&tampered).await?;
    if digest.finalize().as_bytes()[..] != open.content.digest[..] {
        return Err(tampered("is another than its metadata says"));
    }
    Ok(sink)
}

/// Whether the vault offers the object of a record with the length the record promises. Reads no content.
pub(crate) async fn is_there(session: &Session, id: i64, preview: bool, size: u64) -> Result<bool, Error> {
    let remote = &session.inner.remote;
    match remote.patiently(|| remote.fetch(id, preview, 0)).await {
        Ok(response) => {
            let fetched = vault::answer::fetched(response.status().as_u16(), response.headers(), 0)?;
            Ok(fetched.size == Some(size))
        }
        // The vault is there, and cannot read what it should have.
        Err(failure) if matches!(failure.remedy, Remedy::Block | Remedy::Reopen | Remedy::Retry) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// Fetches a record's thumbnail and checks that it is this record's. What breaks off is as bad as what is wrong: a
/// thumbnail is short.
pub(crate) async fn thumbnail(session: &Session, open: &OpenRecord) -> Result<(), Error> {
    let id = open.record.id;
    let tampered = |what: &str| Error::Tampered(format!("the thumbnail of record {id} {what}"));
    let object = &open.record.file.thumbnail;
    let header = object.decryption_header.array().ok_or_else(|| tampered("has a header of a wrong length"))?;
    let remote = &session.inner.remote;
    let response = remote.patiently(|| remote.fetch(id, true, 0)).await?;
    vault::answer::fetched(response.status().as_u16(), response.headers(), 0)?;
    let mut body = response.into_body();
    let mut sealed = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| tampered("breaks off"))?;
        sealed.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        if sealed.len() as u64 > object.size.min(BLOB_LEN_MAX as u64 + u64::from(CHUNK_OVERHEAD)) {
            return Err(tampered("is longer than it should be"));
        }
    }
    let jpeg =
        open_blob(&open.key, &StreamHeader::from_bytes(header), &sealed).map_err(|_| tampered("does not open"))?;
    let mut digest = DigestState::new();
    digest.update(&jpeg);
    let digest = digest.finalize();
    let is_it = match &open.content.metadata.thumbnail_hash {
        Some(hash) => STANDARD.decode(hash).is_ok_and(|hash| hash == digest.as_bytes()[..]),
        // Another program sealed it. It is at least a JPEG, and not the content.
        None => jpeg.starts_with(&[0xff, 0xd8, 0xff]) && open.content.digest[..] != digest.as_bytes()[..],
    };
    if is_it { Ok(()) } else { Err(tampered("is something else of this record")) }
}

/// An answer that is being read, and what of it was not asked for yet.
struct Answer {
    body: Option<Body>,
    rest: Bytes,
}

impl Answer {
    /// Fills `wire` with the bytes from `at` on. Begins again from there when the transfer breaks.
    async fn fill(
        &mut self,
        engine: &Arc<Inner>,
        session: &Session,
        id: i64,
        at: u64,
        wire: &mut [u8],
    ) -> Result<(), Error> {
        let mut filled = 0;
        let (mut failures, mut stuck) = (0, 0);
        while filled < wire.len() {
            let from = at + filled as u64;
            match self.next(session, id, from).await {
                Ok(mut bytes) => {
                    let take = bytes.len().min(wire.len() - filled);
                    wire[filled..filled + take].copy_from_slice(&bytes.split_to(take));
                    filled += take;
                    self.rest = bytes;
                    (failures, stuck) = (0, 0);
                }
                Err(failure) => {
                    (self.body, self.rest) = (None, Bytes::new());
                    let remote = &session.inner.remote;
                    stuck += u32::from(remote.away().is_none());
                    if stuck > STUCK_MAX {
                        return Err(Error::Tampered(format!(
                            "the content of record {id} breaks off at byte {from}, however often it is asked for: {failure}"
                        )));
                    }
                    let passing =
                        matches!(failure.remedy, Remedy::Wait { .. } | Remedy::Ask | Remedy::Retry | Remedy::Renew);
                    failures += 1;
                    if !passing || remote.is_given_up() {
                        return Err(failure.into());
                    }
                    let pause = engine.settings.reach.delay(failures, engine.env.random.fraction());
                    tokio::time::sleep(pause).await;
                }
            }
        }
        Ok(())
    }

    async fn next(&mut self, session: &Session, id: i64, from: u64) -> Result<Bytes, Failure> {
        if !self.rest.is_empty() {
            return Ok(std::mem::take(&mut self.rest));
        }
        let mut skip = 0;
        if self.body.is_none() {
            let response = session.inner.remote.fetch(id, false, from).await?;
            let fetched = vault::answer::fetched(response.status().as_u16(), response.headers(), from)?;
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

    /// Makes sure nothing follows.
    async fn end(mut self, tampered: &dyn Fn(&str) -> Error) -> Result<(), Error> {
        let more = match self.body.as_mut() {
            _ if !self.rest.is_empty() => true,
            Some(body) => match body.frame().await {
                Some(Ok(frame)) => frame.data_ref().is_some_and(|data| !data.is_empty()),
                _ => false,
            },
            None => false,
        };
        if more { Err(tampered("is followed by more bytes")) } else { Ok(()) }
    }
}

fn ended() -> Failure {
    Failure::new(Remedy::Retry, Code::DamagedInTransit, "the answer ended before the content did")
}
