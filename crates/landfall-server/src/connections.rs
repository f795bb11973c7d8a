//! Connections: how many are taken at once, how long one may be silent, and how they end.
//!
//! Whoever connects has proved nothing yet. So a connection costs only what is bounded: a place among the others, for as
//! long as heads, bodies and answers keep moving. Bodies are bounded where they are read.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    task::JoinSet,
    time::Sleep,
};

use crate::ServerConfig;

/// Time to wait when the system cannot give another connection, as when the process has too many files open. Trying at
/// once would fail at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The connections of one listener. Dropping this cuts them off.
pub(crate) struct Connections {
    router: Router,
    http: Arc<http1::Builder>,
    most: usize,
    answer_idle_max: Duration,
    is_stopping: watch::Sender<bool>,
    open: JoinSet<()>,
}

impl Connections {
    pub(crate) fn new(router: Router, config: &ServerConfig) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(config.head_time_max);
        Self {
            router,
            http: Arc::new(http),
            most: config.connections_max,
            answer_idle_max: config.answer_idle_max,
            is_stopping: watch::Sender::new(false),
            open: JoinSet::new(),
        }
    }

    /// Takes what `accept` gives until `shutdown` is ready. `accept` may be dropped in the middle.
    pub(crate) async fn take<S, F>(&mut self, mut accept: impl FnMut() -> F, shutdown: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = io::Result<S>>,
    {
        let mut shutdown = pin!(shutdown);
        loop {
            let has_room = self.open.len() < self.most;
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(_) = self.open.join_next() => {}
                // What nobody takes waits with the system.
                socket = next(&mut accept), if has_room => self.add(socket),
            }
        }
    }

    /// Lets requests under way finish. Connections without one end at once.
    pub(crate) async fn finish(&mut self) {
        self.is_stopping.send_replace(true);
        while self.open.join_next().await.is_some() {}
    }

    fn add<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&mut self, socket: S) {
        let socket = Watched { socket, silence_max: self.answer_idle_max, silence: None };
        let service = TowerToHyperService::new(self.router.clone());
        let (http, mut stopping) = (Arc::clone(&self.http), self.is_stopping.subscribe());
        self.open.spawn(async move {
            let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
            let mut result = tokio::select! {
                result = connection.as_mut() => Some(result),
                _ = stopping.wait_for(|is_stopping| *is_stopping) => None,
            };
            if result.is_none() {
                connection.as_mut().graceful_shutdown();
                result = Some(connection.await);
            }
            if let Some(Err(error)) = result {
                tracing::debug!(%error, "A connection ended early");
            }
        });
    }
}

/// The next connection, however long it takes.
async fn next<S, F: Future<Output = io::Result<S>>>(accept: &mut impl FnMut() -> F) -> S {
    loop {
        match accept().await {
            Ok(socket) => return socket,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "No connection can be taken at the moment; if this lasts, allow more open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether a connection that waited to be taken was given up meanwhile; the next may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A socket that fails once its other side has taken nothing for too long while something was to be sent.
struct Watched<S> {
    socket: S,
    silence_max: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    fn watch<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.silence = None;
            return sent;
        }
        let silence_max = self.silence_max;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
        ready!(silence.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of the answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.watch(context, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.watch(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn connections() -> Connections {
        let router = Router::new().route("/", get(async || "ok"));
        Connections::new(router, &ServerConfig::new("nowhere"))
    }

    async fn ask(mut socket: DuplexStream) -> String {
        socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_system_that_gives_no_connection_is_asked_again_now_and_then() {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (mut ours, asked) = (Some(ours), Cell::new(0));
        let accept = || {
            asked.set(asked.get() + 1);
            let answer = match asked.get() {
                // Too many open files.
                1..=50 => Some(Err(io::Error::from_raw_os_error(24))),
                51 => Some(Err(io::ErrorKind::ConnectionAborted.into())),
                _ => ours.take().map(Ok),
            };
            async {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let began = tokio::time::Instant::now();
        let mut connections = connections();
        let answered = Cell::new(false);
        let client = async {
            assert!(ask(theirs).await.starts_with("HTTP/1.1 200"));
            answered.set(true);
        };
        connections.take(accept, client).await;
        assert!(answered.get());
        assert_eq!(began.elapsed(), 50 * ACCEPT_PAUSE);
        assert_eq!(asked.get(), 53);
    }
}
