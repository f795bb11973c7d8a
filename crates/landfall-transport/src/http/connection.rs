//! Connections that count what moves on them and can be cut.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{future::BoxFuture, task::AtomicWaker};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower_service::Service;

use crate::BodyError;

/// What is known of a connection while others use it: how many bytes moved, and a switch that cuts it.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<WireState>);

#[derive(Default)]
struct WireState {
    moved: AtomicU64,
    cut: AtomicBool,
    /// The one task that drives the connection, for reading and writing alike.
    driver: AtomicWaker,
}

impl Wire {
    /// Bytes that were read and written since the connection was made.
    pub(super) fn moved(&self) -> u64 {
        self.0.moved.load(Ordering::Relaxed)
    }

    /// Ends the connection, even if the other side takes no byte any more.
    pub(super) fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.driver.wake();
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.0.driver.register(cx.waker());
        if self.0.cut.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the transfer was broken off"));
        }
        Ok(())
    }

    fn count(&self, bytes: usize) {
        self.0.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A socket with its [`Wire`]. It lies below TLS, so a handshake counts as movement, too.
pub(super) struct Counted {
    socket: TcpStream,
    wire: Wire,
}

impl Counted {
    fn new(socket: TcpStream) -> Self {
        // Bytes in the socket's own buffer look as if they had moved. On a slow line a full buffer would drain for
        // longer than the watchdog waits, with nothing to be seen of it. Where it cannot be set, that is the risk.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        Self { socket, wire: Wire::default() }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES_MAX: u32 = 128 << 10;

impl Connection for Counted {
    fn connected(&self) -> Connected {
        self.socket.connected().extra(self.wire.clone())
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.wire.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.wire.count(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.check(cx)?;
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.wire.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.check(cx)?;
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
        self.wire.count(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.check(cx)?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.check(cx)?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Makes connections: name, socket and TLS within one limit of time.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<CountedConnector>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(timeout));
        // The provider is named, so that another one elsewhere in the process does not leave rustls undecided.
        let inner = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring has the cipher suites of TLS 1.2 and 1.3")
            .https_or_http()
            .enable_http1()
            .wrap_connector(CountedConnector(tcp));
        Self { inner, timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<Counted>>;
    type Error = BodyError;
    type Future = BoxFuture<'static, Result<Self::Response, BodyError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("no connection within {} ms", timeout.as_millis()).into()),
            }
        })
    }
}

#[derive(Clone)]
pub(super) struct CountedConnector(HttpConnector);

impl Service<Uri> for CountedConnector {
    type Response = TokioIo<Counted>;
    type Error = BodyError;
    type Future = BoxFuture<'static, Result<Self::Response, BodyError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { Ok(TokioIo::new(Counted::new(connecting.await?.into_inner()))) })
    }
}
