//! The carrier over sockets, against servers that do exactly what a test tells them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use landfall_core::{Code, Timestamp};
use landfall_transport::{
    Body, BodyError, Carrier, HttpCarrier, HttpSettings, Loss, Measured, empty,
    s3::{Credentials, Place, Style, request, sign},
    vault::{Origin, loss},
    whole,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_refused_port_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(carrier().carry(put(&url, whole("x"))).await, Err(Loss::NotSent(_))));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_sent() {
    assert!(matches!(carrier().carry(get("http://nowhere.invalid/")).await, Err(Loss::NotSent(_))));
}

#[tokio::test]
async fn a_server_without_tls_is_not_sent() {
    let server = Server::once(async |mut socket: TcpStream| {
        socket.read_u8().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 What\r\n\r\n").await.unwrap();
    })
    .await;
    let error = carrier().carry(get(&server.url.replace("http:", "https:"))).await.unwrap_err();
    assert!(matches!(error, Loss::NotSent(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_not_sent() {
    let server = Server::once(async |mut socket: TcpStream| until_closed(&mut socket).await).await;
    let mut settings = HttpSettings::default();
    settings.connect_timeout = Duration::from_millis(200);
    let error = HttpCarrier::new(settings).carry(get(&server.url.replace("http:", "https:"))).await.unwrap_err();
    assert!(matches!(error, Loss::NotSent(_)), "{error}");
    server.done().await;
}

#[tokio::test]
async fn a_close_after_the_head_is_no_answer() {
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
    })
    .await;
    let error = carrier().carry(put(&server.url, endless())).await.unwrap_err();
    assert!(matches!(error, Loss::NoAnswer(_)), "{error}");
}

#[tokio::test]
async fn a_close_amid_the_body_is_no_answer() {
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
        take(&mut socket, MIB).await;
    })
    .await;
    let error = carrier().carry(put(&server.url, endless())).await.unwrap_err();
    assert!(matches!(error, Loss::NoAnswer(_)), "{error}");
}

#[tokio::test]
async fn a_close_after_the_body_is_no_answer() {
    let server = Server::once(async |mut socket: TcpStream| {
        let rest = head(&mut socket).await;
        take(&mut socket, 4 - rest.len() as u64).await;
    })
    .await;
    let error = carrier().carry(put(&server.url, whole("four"))).await.unwrap_err();
    assert!(matches!(error, Loss::NoAnswer(_)), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_no_answer() {
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
        socket.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
    })
    .await;
    let error = carrier().carry(get(&server.url)).await.unwrap_err();
    assert!(matches!(error, Loss::NoAnswer(_)), "{error}");
}

#[tokio::test]
async fn a_truncated_answer_is_noticed_while_it_is_read() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let server = Server::once(async move |mut socket: TcpStream| {
            head(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let mut body = carrier().carry(get(&server.url)).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        let error = Loss::of_answer(body.frame().await.unwrap().unwrap_err());
        assert!(matches!(error, Loss::NoAnswer(_)), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_more_bytes_is_stalled_and_cut() {
    let (stalled, resume) = oneshot::channel();
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
        resume.await.unwrap();
        until_closed(&mut socket).await;
    })
    .await;
    let error = impatient().carry(put(&server.url, endless())).await.unwrap_err();
    assert!(matches!(error, Loss::Stalled), "{error}");
    stalled.send(()).unwrap();
    server.done().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_stalled_and_cut() {
    let server = Server::once(async |mut socket: TcpStream| until_closed(&mut socket).await).await;
    let error = impatient().carry(put(&server.url, whole("four"))).await.unwrap_err();
    assert!(matches!(error, Loss::Stalled), "{error}");
    server.done().await;
}

#[tokio::test]
async fn an_answer_that_stops_is_stalled_and_cut() {
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        until_closed(&mut socket).await;
    })
    .await;
    let mut body = impatient().carry(get(&server.url)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    let error = Loss::of_answer(body.frame().await.unwrap().unwrap_err());
    assert!(matches!(error, Loss::Stalled), "{error}");
    server.done().await;
    drop(body);
}

#[tokio::test]
async fn a_slow_line_is_not_a_stalled_one() {
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n").await.unwrap();
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            socket.write_all(b".").await.unwrap();
        }
    })
    .await;
    // Ten times the pause between two bytes, and less than all of them together.
    let carrier = stalled_after(Duration::from_millis(500));
    let body = carrier.carry(get(&server.url)).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 12);
}

#[tokio::test]
async fn a_reader_who_pauses_is_not_a_stalled_line() {
    let (reads_again, told) = oneshot::channel();
    let server = Server::once(async move |mut socket: TcpStream| {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await.unwrap();
        told.await.unwrap();
        socket.write_all(b"full").await.unwrap();
    })
    .await;
    let mut body = impatient().carry(get(&server.url)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    // Longer than a line may be silent.
    tokio::time::sleep(STALLED_AFTER * 2).await;
    reads_again.send(()).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "full");
}

#[tokio::test]
async fn a_source_without_bytes_is_to_blame_itself() {
    let server = Server::once(async |mut socket: TcpStream| until_closed(&mut socket).await).await;
    let some = stream::iter([Ok(Frame::data(Bytes::from_static(b"some")))]);
    let body = StreamBody::new(some.chain(stream::pending())).boxed_unsync();
    let error = impatient().carry(put(&server.url, Measured::new(body, 9).boxed())).await.unwrap_err();
    assert!(matches!(error, Loss::BodyFailed(_)), "{error}");
    assert_eq!(loss(&error).code, Code::SourceStalled);
    server.done().await;
}

#[tokio::test]
async fn a_body_that_fails_comes_back_as_it_was() {
    let server = Server::once(async |mut socket: TcpStream| until_closed(&mut socket).await).await;
    let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"some"))), Err(BodyError::from(OwnError(7)))]);
    let error = carrier().carry(put(&server.url, StreamBody::new(frames).boxed_unsync())).await.unwrap_err();
    let Loss::BodyFailed(error) = error else { panic!("{error}") };
    assert_eq!(error.downcast_ref::<OwnError>().unwrap().0, 7);
    server.done().await;
}

#[tokio::test]
async fn a_dropped_request_is_cut_even_if_the_server_takes_no_byte() {
    let (reached, reaching) = oneshot::channel();
    let (dropped, resume) = oneshot::channel();
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
        reached.send(()).unwrap();
        resume.await.unwrap();
        until_closed(&mut socket).await;
    })
    .await;
    let carrier = carrier();
    tokio::select! {
        _ = carrier.carry(put(&server.url, endless())) => panic!("there is no answer"),
        reached = reaching => reached.unwrap(),
    }
    dropped.send(()).unwrap();
    server.done().await;
}

#[tokio::test]
async fn an_early_refusal_is_read_and_the_rest_of_the_body_not_sent() {
    let server = Server::once(async |mut socket: TcpStream| {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await.unwrap();
        until_closed(&mut socket).await;
    })
    .await;
    let response = carrier().carry(put(&server.url, endless())).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "big");
    server.done().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = Server::start(async |mut socket: TcpStream| {
        loop {
            let rest = head(&mut socket).await;
            take(&mut socket, 4 - rest.len() as u64).await;
            socket.write_all(OK).await.unwrap();
        }
    })
    .await;
    let carrier = carrier();
    for _ in 0..20 {
        let response = carrier.carry(put(&server.url, whole("four"))).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_request_and_repeats_none() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    // Every connection is good for one answer, which does not say so.
    let server = Server::start(move |mut socket: TcpStream| {
        let seen = Arc::clone(&seen);
        async move {
            let rest = head(&mut socket).await;
            take(&mut socket, 4 - rest.len() as u64).await;
            seen.fetch_add(1, Ordering::Relaxed);
            socket.write_all(OK).await.unwrap();
        }
    })
    .await;
    let carrier = carrier();
    for sent in 1..=50 {
        let body = StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from_static(b"four")))]));
        match carrier.carry(put(&server.url, Measured::new(body.boxed_unsync(), 4).boxed())).await {
            Ok(response) => drop(response.into_body().collect().await),
            // The close crossed the request. Nobody can know, so it is not sent again.
            Err(error) => {
                assert!(matches!(error, Loss::NoAnswer(_)), "{error}");
                requests.fetch_add(1, Ordering::Relaxed);
            }
        }
        assert_eq!(requests.load(Ordering::Relaxed), sent);
    }
}

#[tokio::test]
async fn a_request_that_a_kept_connection_took_is_not_sent_again() {
    let server = Server::start(async |mut socket: TcpStream| {
        let rest = head(&mut socket).await;
        take(&mut socket, 4 - rest.len() as u64).await;
        socket.write_all(OK).await.unwrap();
        head(&mut socket).await;
    })
    .await;
    let carrier = carrier();
    let first = carrier.carry(put(&server.url, whole("four"))).await.unwrap();
    first.into_body().collect().await.unwrap();
    let error = carrier.carry(put(&server.url, endless())).await.unwrap_err();
    assert!(matches!(error, Loss::NoAnswer(_)), "{error}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn much_goes_out_with_a_known_length_and_little_memory() {
    let sent = Arc::new(AtomicU64::new(0));
    let taken = Arc::clone(&sent);
    let server = Server::once(async move |mut socket: TcpStream| {
        let rest = head(&mut socket).await;
        let mut received = rest.len() as u64;
        let mut ahead_max = 0;
        let mut chunk = vec![0; 64 << 10];
        while received < 64 * MIB {
            received += socket.read(&mut chunk).await.unwrap() as u64;
            ahead_max = ahead_max.max(taken.load(Ordering::Relaxed) - received);
            // The reader is the slower of the two.
            tokio::task::yield_now().await;
        }
        assert_eq!(received, 64 * MIB);
        assert!(ahead_max < 16 * MIB, "{ahead_max} bytes were taken from the source before they were sent");
        socket.write_all(OK).await.unwrap();
    })
    .await;
    let body = Measured::new(counted_body(&sent), 64 * MIB).boxed();
    let response = carrier().carry(put(&server.url, body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    server.done().await;
}

#[tokio::test]
async fn much_comes_in_with_little_memory() {
    let written = Arc::new(AtomicU64::new(0));
    let writing = Arc::clone(&written);
    let server = Server::once(async move |mut socket: TcpStream| {
        head(&mut socket).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 * MIB);
        socket.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![7; MIB as usize];
        for _ in 0..64 {
            socket.write_all(&chunk).await.unwrap();
            writing.fetch_add(MIB, Ordering::Relaxed);
        }
    })
    .await;
    let mut body = carrier().carry(get(&server.url)).await.unwrap().into_body();
    let (mut received, mut ahead_max) = (0, 0);
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().into_data().unwrap().len() as u64;
        ahead_max = ahead_max.max(written.load(Ordering::Relaxed).saturating_sub(received));
    }
    assert_eq!(received, 64 * MIB);
    assert!(ahead_max < 24 * MIB, "{ahead_max} bytes were received before they were asked for");
}

#[tokio::test]
async fn a_body_of_known_length_says_so_and_is_not_chunked() {
    let server = Server::once(async |mut socket: TcpStream| {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\nfour") {
            text.push(socket.read_u8().await.unwrap());
        }
        let text = String::from_utf8(text).unwrap().to_lowercase();
        assert!(text.contains("content-length: 4\r\n") && !text.contains("transfer-encoding"), "{text}");
        socket.write_all(OK).await.unwrap();
    })
    .await;
    let body = StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from_static(b"four")))])).boxed_unsync();
    carrier().carry(put(&server.url, Measured::new(body, 4).boxed())).await.unwrap();
    server.done().await;
}

/// A store signs what it reads, so that a slash less, or a dot that is resolved, would be refused.
#[tokio::test]
async fn a_key_goes_out_byte_for_byte_as_it_was_signed() {
    let place = |url: &str, style| {
        let endpoint = Origin::parse(&url.replace("127.0.0.1", "localhost")).unwrap();
        Place::new(Some(endpoint), "media", "x", Some(style)).unwrap()
    };
    for (style, expected) in [
        (Style::Path, "GET /media//a/../b//./%C3%BC%2B%20%25?uploadId=a%2Fb HTTP/1.1\r\n"),
        (Style::VirtualHost, "GET //a/../b//./%C3%BC%2B%20%25?uploadId=a%2Fb HTTP/1.1\r\n"),
    ] {
        let server = Server::once(async move |mut socket: TcpStream| {
            let mut bytes = vec![0; expected.len()];
            socket.read_exact(&mut bytes).await.unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
            head(&mut socket).await;
            socket.write_all(OK).await.unwrap();
        })
        .await;
        let credentials = Credentials::new("k", "s", None).unwrap();
        let request = request::list_parts("/a/../b//./ü+ %", "a/b", None);
        let now = Timestamp(1_369_353_600_000);
        let mut parts = sign(&request, &place(&server.url, style), &credentials, now).unwrap();
        // The name with the bucket in it is known to nobody; the connection is made to the address.
        let authority = server.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let path = parts.uri.path_and_query().unwrap().clone();
        parts.uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build().unwrap();
        carrier().carry(Request::from_parts(parts, empty())).await.unwrap();
        server.done().await;
    }
}

fn carrier() -> HttpCarrier {
    HttpCarrier::default()
}

/// One that gives up after 240 ms.
fn impatient() -> HttpCarrier {
    stalled_after(STALLED_AFTER)
}

/// How long a line may be silent for an impatient carrier.
const STALLED_AFTER: Duration = Duration::from_millis(240);

fn stalled_after(silence: Duration) -> HttpCarrier {
    let mut settings = HttpSettings::default();
    settings.stall_timeout = silence;
    HttpCarrier::new(settings)
}

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(empty()).unwrap()
}

fn put(url: &str, body: Body) -> Request<Body> {
    Request::put(url).body(body).unwrap()
}

/// A tebibyte, which no test sends to its end.
fn endless() -> Body {
    Measured::new(counted_body(&Arc::default()), MIB << 20).boxed()
}

fn counted_body(taken: &Arc<AtomicU64>) -> Body {
    let chunk = Bytes::from(vec![5; MIB as usize]);
    let taken = Arc::clone(taken);
    let frames = stream::repeat_with(move || {
        taken.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok::<_, BodyError>(Frame::data(chunk.clone()))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A server that runs a script for every connection.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start<F, R>(script: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (listener, url) = listen().await;
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(script(socket));
            }
        });
        Self { url, connections, task }
    }

    /// For one connection alone; what comes after is refused.
    async fn once<F, R>(script: F) -> Self
    where
        F: FnOnce(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (listener, url) = listen().await;
        let task = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            drop(listener);
            script(socket).await;
        });
        Self { url, connections: Arc::default(), task }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits for the script's end, and for its assertions.
    async fn done(self) {
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("the script comes to its end").unwrap();
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// Reads a request's head, and gives what came after it already.
async fn head(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return bytes.split_off(end + 4);
        }
        if socket.read_buf(&mut bytes).await.unwrap() == 0 {
            return Vec::new();
        }
    }
}

async fn take(socket: &mut TcpStream, bytes: u64) {
    tokio::io::copy(&mut socket.take(bytes), &mut tokio::io::sink()).await.unwrap();
}

/// Reads to the end, be it an orderly one or not.
async fn until_closed(socket: &mut TcpStream) {
    let _ = tokio::io::copy(socket, &mut tokio::io::sink()).await;
}

#[derive(Debug)]
struct OwnError(u32);

impl fmt::Display for OwnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "own error {}", self.0)
    }
}

impl std::error::Error for OwnError {}
