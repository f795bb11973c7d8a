//! A stored content as an answer: whole, one range of it, or not at all because the client has it.

use std::path::PathBuf;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use landfall_env::File;

use crate::{
    Server,
    folder::found,
    range::Wanted,
    refusal::{BlobRefusal, Refusal},
    server::Inner,
};

/// Most bytes read, and held for one answer, at once.
const READ_BYTES_MAX: u64 = 256 << 10;

/// Bytes in files of one folder, one file after another. All but the last have one length.
pub(crate) struct Content {
    pub(crate) folder: PathBuf,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) size: u64,
    /// Strong, in quotes.
    pub(crate) etag: String,
    /// The first file, if whoever gives the content has opened it, and seen that it is whole.
    pub(crate) open: Option<Box<dyn File>>,
}

/// One of the files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// Its name.
    pub(crate) number: u32,
    /// At least so many bytes of it are the content's.
    pub(crate) length: u64,
}

impl Content {
    /// What a `GET` or `HEAD` with these headers is answered.
    pub(crate) async fn answer(
        self,
        server: &Server,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, BlobRefusal> {
        let Self { folder, pieces, size, etag, open } = self;
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if text(header::IF_NONE_MATCH).is_some_and(|list| list == "*" || list.split(',').any(|tag| tag.trim() == etag))
        {
            return Ok(with_etag(StatusCode::NOT_MODIFIED.into_response(), &etag));
        }
        let range = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|tag| tag == etag));
        let (status, start, end) = match Wanted::parse(range, size) {
            Wanted::All => (StatusCode::OK, 0, size),
            Wanted::Slice { start, end } => (StatusCode::PARTIAL_CONTENT, start, end),
            Wanted::Outside => return Ok(outside(size)),
        };
        let reader = Reader { folder, pieces, start, end, open: open.map(|file| (0, file)) };
        let reader = server.blocking(move |inner| reader.check(inner).map(|()| reader)).await?;
        let body = if method == Method::HEAD { Body::empty() } else { body(server, reader).await? };
        let mut response = with_etag((status, body).into_response(), &etag);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if status == StatusCode::PARTIAL_CONTENT {
            headers.insert(header::CONTENT_RANGE, visible(&format!("bytes {start}-{}/{size}", end - 1)));
        }
        Ok(response)
    }
}

/// The first bytes are read before the answer begins, so that a missing file is an error and not half an answer; then
/// one read per demand.
async fn body(server: &Server, reader: Reader) -> Result<Body, Refusal> {
    let (first, reader) = server.blocking(move |inner| reader.next(inner)).await?;
    if reader.is_at_end() {
        return Ok(Body::from(first));
    }
    let server = server.clone();
    let rest = futures_util::stream::try_unfold((server, reader, Some(first)), |(server, reader, first)| async move {
        if let Some(first) = first {
            return Ok(Some((first, (server, reader, None))));
        }
        if reader.is_at_end() {
            return Ok::<_, std::io::Error>(None);
        }
        match server.blocking(move |inner| reader.next(inner)).await {
            Ok((bytes, reader)) => Ok(Some((bytes, (server, reader, None)))),
            Err(refusal) => {
                refusal.log();
                Err(std::io::Error::other("the object could not be read to its end"))
            }
        }
    });
    Ok(Body::from_stream(rest))
}

/// What is still to be read of a content.
struct Reader {
    folder: PathBuf,
    pieces: Vec<Piece>,
    start: u64,
    end: u64,
    /// The file that is open, by its index.
    open: Option<(usize, Box<dyn File>)>,
}

impl Reader {
    fn is_at_end(&self) -> bool {
        self.start >= self.end
    }

    /// That every file which is to be read is there to its end, so that what cannot be answered to its end is
    /// refused before it begins, and whoever asks for an object learns without reading it whether it is whole.
    fn check(&self, inner: &Inner) -> Result<(), BlobRefusal> {
        if self.open.is_some() {
            return Ok(());
        }
        let mut at = 0;
        for piece in &self.pieces {
            let start = at;
            at += piece.length;
            if start >= self.end || at <= self.start {
                continue;
            }
            let path = self.path(*piece);
            let status = found(inner.env.files.status(&path)).map_err(Refusal::from)?;
            let (word, is) = match status {
                // One that is longer does no harm: no more of it is read than its row says.
                Some(status) if status.len >= piece.length => continue,
                Some(_) => ("PartDamaged", "is damaged: it is shorter than it was"),
                None => ("PartMissing", "is missing"),
            };
            tracing::error!(?path, "A part of a content {is}");
            let message = format!("Part {} of the object {is}; restore it from a copy of the vault", piece.number);
            return Err(BlobRefusal::new(StatusCode::GONE, word, message));
        }
        Ok(())
    }

    fn path(&self, piece: Piece) -> PathBuf {
        self.folder.join(piece.number.to_string())
    }

    /// Reads on, within one file.
    fn next(mut self, inner: &Inner) -> Result<(Bytes, Self), Refusal> {
        let (index, offset) = self.position().ok_or_else(|| Refusal::internal("an object is shorter than its size"))?;
        let piece = self.pieces[index];
        let mut file = match self.open.take() {
            Some((open, file)) if open == index => file,
            _ => inner.env.files.open(&self.path(piece))?,
        };
        let length = (self.end - self.start).min(piece.length - offset).min(READ_BYTES_MAX);
        let mut buffer = vec![0; usize::try_from(length).expect("256 KiB fit in memory")];
        let count = file.read_at(offset, &mut buffer)?;
        if count < buffer.len() {
            return Err(Refusal::internal("a part's file is shorter than its row says"));
        }
        self.start += length;
        self.open = Some((index, file));
        Ok((buffer.into(), self))
    }

    /// The file that holds the next byte, and the byte's place in it.
    fn position(&self) -> Option<(usize, u64)> {
        // All but the last have one length, so no search is needed.
        let length = self.pieces.first()?.length;
        let index = usize::try_from(self.start / length).ok()?;
        let piece = self.pieces.get(index)?;
        let offset = self.start - length * index as u64;
        (offset < piece.length).then_some((index, offset))
    }
}

fn outside(size: u64) -> Response {
    let refusal =
        BlobRefusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The range lies outside the object");
    let mut response = refusal.into_response();
    response.headers_mut().insert(header::CONTENT_RANGE, visible(&format!("bytes */{size}")));
    response
}

fn with_etag(mut response: Response, etag: &str) -> Response {
    response.headers_mut().insert(header::ETAG, visible(etag));
    response
}

fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, hex and punctuation are visible ASCII")
}
