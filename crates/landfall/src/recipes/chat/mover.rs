//! Carrying a transfer in this process: the file as it is, in one request.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future::BoxFuture};
use http::{HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, StreamBody};
use landfall_core::PutReport;
use landfall_env::File;
use landfall_transport::{Body, BodyError, Carrier, Loss};

use super::{Chat, answer, transfer::Transfer};
use crate::Error;

/// Bytes read and handed over at once.
const PIECE: usize = 64 << 10;

/// Carries a transfer, and reports how it ended. Dropped in the middle, it reports nothing: whoever notices that this
/// process is gone asks.
pub(crate) fn carry(
    chat: Chat,
    carrier: Arc<dyn Carrier>,
    transfer: Transfer,
) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let (report, said) = match request(chat.clone(), transfer.clone()).await {
            Ok(request) => put(carrier, request).await,
            // The file could not even be opened: nothing was sent.
            Err(_) => (PutReport::NotSent, None),
        };
        chat.report(transfer.attempt, report, said).await.map(drop)
    })
}

async fn put(carrier: Arc<dyn Carrier>, request: Request<Body>) -> (PutReport, Option<String>) {
    let answered = match carrier.carry(request).await {
        Ok(answered) => answered,
        Err(Loss::NotSent(_) | Loss::BodyFailed(_)) => return (PutReport::NotSent, None),
        Err(Loss::NoAnswer(_) | Loss::Stalled) => return (PutReport::Unknown, None),
    };
    let (head, body) = answered.into_parts();
    let body = if head.status.is_success() { Vec::new() } else { beginning(body).await };
    answer::read(head.status.as_u16(), &head.headers, &body)
}

/// The beginning of an error's body.
async fn beginning(mut body: Body) -> Vec<u8> {
    let mut said = Vec::new();
    while said.len() < answer::ERROR_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => said.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..])),
            Some(Err(_)) | None => break,
        }
    }
    said
}

async fn request(chat: Chat, transfer: Transfer) -> Result<Request<Body>, Error> {
    let inner = &chat.inner;
    let (files, path) = (inner.engine.env.files.clone(), inner.engine.settings.home.join(&transfer.file));
    let opened = path.clone();
    let file = inner.engine.env.blocking.run(move || files.open(&opened)).await;
    let file = file.map_err(|source| Error::Io { action: "read", path, source })?;
    let invalid = |why: String| Error::Invalid(format!("the grant cannot be used: {why}"));
    let mut request = Request::builder().method(transfer.method.as_str()).uri(&transfer.url);
    for (name, value) in &transfer.headers {
        let name: HeaderName = name.parse().map_err(|_| invalid(format!("`{name}` is no header")))?;
        let value: HeaderValue =
            value.parse().map_err(|_| invalid(format!("`{name}` has no value that may be sent")))?;
        request = request.header(name, value);
    }
    let bytes = transfer.bytes;
    let body = Reading { chat: chat.clone(), file: Some(file), transfer, offset: 0, next: None };
    let body = landfall_transport::Measured::new(
        StreamBody::new(body.map(|piece| piece.map(http_body::Frame::data))).boxed_unsync(),
        bytes,
    );
    request.header(header::CONTENT_LENGTH, bytes).body(body.boxed()).map_err(|error| invalid(error.to_string()))
}

type Read = Pin<Box<dyn Future<Output = (Box<dyn File>, std::io::Result<Vec<u8>>)> + Send>>;

/// A file's bytes, piece by piece, read where blocking is fine. Whoever takes one is told of as progress.
struct Reading {
    chat: Chat,
    file: Option<Box<dyn File>>,
    transfer: Transfer,
    offset: u64,
    next: Option<Read>,
}

impl Stream for Reading {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.next.is_none() {
            let Some(mut file) = self.file.take() else { return Poll::Ready(None) };
            let inner = &self.chat.inner;
            // What was asked for before has been taken.
            inner.progress.saw(self.transfer.item, &self.transfer.attempt, self.offset, self.transfer.bytes);
            let (offset, blocking) = (self.offset, inner.engine.env.blocking);
            self.next = Some(Box::pin(blocking.run(move || {
                let mut piece = vec![0; PIECE];
                let read = file.read_at(offset, &mut piece).map(|count| {
                    piece.truncate(count);
                    piece
                });
                (file, read)
            })));
        }
        let next = self.next.as_mut().expect("it was made by the lines before");
        let Poll::Ready((file, read)) = next.as_mut().poll(context) else { return Poll::Pending };
        self.next = None;
        match read {
            Ok(piece) if piece.is_empty() => Poll::Ready(None),
            Ok(piece) => {
                self.offset += piece.len() as u64;
                self.file = Some(file);
                Poll::Ready(Some(Ok(piece.into())))
            }
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}
