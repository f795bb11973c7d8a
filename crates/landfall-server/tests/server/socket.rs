use std::{net::SocketAddr, time::Duration};

use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy, rt::TokioExecutor};
use landfall_protocol::{Grant, PresignedUpload, UploadStatus, route};
use landfall_server::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use crate::world::{Client, World, asset_request, content, key, put_request};

/// A server on a socket; the client beside it goes in-process.
struct Served {
    address: SocketAddr,
    client: Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

async fn serve(world: &World) -> Served {
    serve_with(world, |_| {}).await
}

async fn serve_with(world: &World, change: impl FnOnce(&mut ServerConfig)) -> Served {
    let server = world.open_with(change).await;
    let client = Client::embedded(&server).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async move {
        let _ = stopped.await;
    }));
    Served { address, client, stop, serving }
}

impl Served {
    fn http(&self) -> legacy::Client<legacy::connect::HttpConnector, Body> {
        legacy::Client::builder(TokioExecutor::new()).build_http()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection over which half a head has gone.
    async fn half_open(&self) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
        socket
    }

    fn absolute(&self, grant: &Grant) -> Grant {
        Grant { url: format!("http://{}{}", self.address, grant.url), ..grant.clone() }
    }
}

/// Waits until `done` answers true. The other side of a socket notices things in its own time.
async fn eventually(done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never happened");
}

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the other side has closed the connection.
async fn closed(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the connection stays open");
}

const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

/// Reads the answer to [`ASK`].
async fn answered(socket: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        let count = timeout(PATIENCE, socket.read_buf(&mut answer)).await.expect("no answer comes").unwrap();
        assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_goes_up_and_comes_down_over_a_socket() {
    let world = World::threaded();
    let served = serve(&world).await;
    let http = served.http();
    let bytes = content(3 << 20);
    let key = key();
    let status = served.client.open(&key, &bytes, 1 << 20).await;
    for (grant, part) in status.grants.iter().zip(bytes.chunks(1 << 20)) {
        let body = Body::from(part.to_vec());
        let response = http.request(put_request(&served.absolute(grant), 1 << 20, body)).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let complete = crate::world::completion(&bytes, 1 << 20);
    served.client.post(&route::complete(&key), &complete).await.json::<UploadStatus>();
    let collection = served.client.collection().await.id;
    served.client.upload("00000000000000000000000000000000", b"t", 1).await;
    let body = crate::world::new_file(collection, (&key, bytes.len()), ("00000000000000000000000000000000", 1), None);
    let file: landfall_protocol::FileRecord = served.client.post(route::FILES, &body).await.json();
    let location = served.client.get(&route::download(file.id)).await.header("location").to_owned();
    let request = Request::get(format!("http://{}{location}", served.address)).body(Body::empty()).unwrap();
    let response = http.request(request).await.unwrap();
    assert_eq!(response.headers()["content-length"], (3 << 20).to_string());
    assert!(!response.headers().contains_key("transfer-encoding"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attachment_goes_up_and_comes_down_over_a_socket() {
    let world = World::threaded();
    let served = serve(&world).await;
    let (http, bytes) = (served.http(), content(3 << 20));
    let granted = served.client.presign().await;
    let absolute = |url: &str| format!("http://{}{url}", served.address);
    let grant = PresignedUpload { upload_url: absolute(&granted.upload_url), ..granted };
    let put = asset_request(&grant, bytes.len(), Body::from(bytes.clone()));
    assert_eq!(http.request(put).await.unwrap().status(), 200);
    let forged = PresignedUpload { headers: vec![("content-type".into(), "text/html".into())], ..grant.clone() };
    let put = asset_request(&forged, bytes.len(), Body::from(bytes.clone()));
    assert_eq!(http.request(put).await.unwrap().status(), 403, "the refusal is heard although the body is on its way");
    let request = Request::get(absolute(&grant.asset_url)).header("range", "bytes=1000000-").body(Body::empty());
    let response = http.request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()["content-type"], "image/jpeg");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), bytes[1_000_000..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_the_middle_of_a_part_leaves_nothing() {
    let world = World::threaded();
    let served = serve(&world).await;
    let bytes = content(1 << 20);
    let status = served.client.open(&key(), &bytes, 1 << 20).await;
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    let grant = &status.grants[0];
    let (name, value) = &grant.headers[0];
    let head =
        format!("PUT {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{name}: {value}\r\n\r\n", grant.url, 1 << 20);
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&bytes[..700_000]).await.unwrap();
    eventually(|| world.files("incoming").len() == 1).await;
    drop(socket);
    eventually(|| world.files("incoming").is_empty()).await;
    assert!(world.files("blobs").is_empty());
    assert_eq!(served.client.put(grant, bytes).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_part_is_asked_for_its_length() {
    let world = World::threaded();
    let served = serve(&world).await;
    let status = served.client.open(&key(), b"chunked", 7).await;
    let grant = served.absolute(&status.grants[0]);
    let (name, value) = &grant.headers[0];
    let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"chunked"))]));
    let request = Request::put(&grant.url).header(name, value).body(body).unwrap();
    assert_eq!(served.http().request(request).await.unwrap().status(), 411);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_finishes_what_is_running() {
    let world = World::threaded();
    let served = serve(&world).await;
    let status = served.client.open(&key(), b"abcdef", 6).await;
    let grant = &status.grants[0];
    let (name, value) = &grant.headers[0];
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 6\r\n{name}: {value}\r\n\r\nabc",
        grant.url
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    eventually(|| world.files("incoming").len() == 1).await;
    served.stop.send(()).unwrap();
    socket.write_all(b"def").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    served.serving.await.unwrap().unwrap();
    drop(served.client);
    assert!(world.files("instances").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_ends_connections_without_a_request() {
    let world = World::threaded();
    let served = serve(&world).await;
    let mut idle = served.connect().await;
    idle.write_all(ASK).await.unwrap();
    answered(&mut idle).await;
    served.stop.send(()).unwrap();
    timeout(Duration::from_secs(10), served.serving).await.expect("the server waits").unwrap().unwrap();
    closed(&mut idle).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_waits_for_requests_no_longer_than_allowed() {
    let world = World::threaded();
    let served = serve_with(&world, |config| config.shutdown_grace = Duration::from_millis(100)).await;
    let grant = served.client.open(&key(), b"abcdef", 6).await.grants.remove(0);
    let (name, value) = &grant.headers[0];
    let mut socket = served.connect().await;
    let head = format!("PUT {} HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n{name}: {value}\r\n\r\nabc", grant.url);
    socket.write_all(head.as_bytes()).await.unwrap();
    eventually(|| world.files("incoming").len() == 1).await;
    served.stop.send(()).unwrap();
    timeout(PATIENCE, served.serving).await.expect("the server waits").unwrap().unwrap();
    closed(&mut socket).await;
    eventually(|| world.files("incoming").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_without_a_token() {
    let world = World::threaded();
    let served = serve(&world).await;
    for path in ["healthz", "readyz"] {
        let request = Request::get(format!("http://{}/{path}", served.address)).body(Body::empty()).unwrap();
        assert_eq!(served.http().request(request).await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let world = World::threaded();
    let served = serve(&world).await;
    let bytes = Bytes::from(content(8 << 20));
    let status = served.client.open(&key(), &bytes, 8 << 20).await;
    let grant = served.absolute(&status.grants[0]);
    world.clock.advance(Duration::from_millis(grant.ttl_ms));
    for _ in 0..20 {
        let pieces =
            bytes.chunks(1 << 16).map(|piece| Ok::<_, std::io::Error>(bytes.slice_ref(piece))).collect::<Vec<_>>();
        let body = Body::from_stream(stream::iter(pieces));
        let response = served.http().request(put_request(&grant, 8 << 20, body)).await.unwrap();
        assert_eq!(response.status(), 403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_come_whole_in_time_ends_its_connection() {
    let world = World::threaded();
    let served = serve_with(&world, |config| config.head_time_max = Duration::from_millis(100)).await;
    let (mut half, mut silent, mut idle) = (served.half_open().await, served.connect().await, served.connect().await);
    idle.write_all(ASK).await.unwrap();
    answered(&mut idle).await;
    for socket in [&mut half, &mut silent, &mut idle] {
        closed(socket).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_hold_up_nobody_for_long() {
    let world = World::threaded();
    let served = serve_with(&world, |config| {
        config.connections_max = 8;
        config.head_time_max = Duration::from_millis(100);
    })
    .await;
    let mut half_open = Vec::new();
    for _ in 0..40 {
        half_open.push(served.half_open().await);
    }
    let mut socket = served.connect().await;
    socket.write_all(ASK).await.unwrap();
    answered(&mut socket).await;
    for socket in &mut half_open {
        closed(socket).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_beyond_the_limit_waits_until_another_ends() {
    let world = World::threaded();
    let served = serve_with(&world, |config| config.connections_max = 1).await;
    let mut first = served.connect().await;
    first.write_all(ASK).await.unwrap();
    answered(&mut first).await;
    let mut second = served.connect().await;
    second.write_all(ASK).await.unwrap();
    for _ in 0..20 {
        first.write_all(ASK).await.unwrap();
        answered(&mut first).await;
    }
    let early = second.try_read(&mut [0; 1]);
    assert!(early.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "the second waits");
    drop(first);
    answered(&mut second).await;
}

/// A download whose client has read no more than the beginning of the answer.
async fn slow_download(served: &Served) -> TcpStream {
    let bytes = content(32 << 20);
    let object = key();
    served.client.upload(&object, &bytes, 32 << 20).await;
    served.client.upload(&"0".repeat(32), b"t", 1).await;
    let collection = served.client.collection().await.id;
    let body = crate::world::new_file(collection, (&object, bytes.len()), (&"0".repeat(32), 1), None);
    let file: landfall_protocol::FileRecord = served.client.post(route::FILES, &body).await.json();
    let location = served.client.get(&route::download(file.id)).await.header("location").to_owned();
    let mut socket = served.connect().await;
    socket.write_all(format!("GET {location} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 15];
    timeout(PATIENCE, socket.read_exact(&mut head)).await.expect("no answer comes").unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_download_counts_as_a_request_until_it_ends() {
    let world = World::threaded();
    let served = serve_with(&world, |config| config.requests_in_flight_max = 1).await;
    let download = slow_download(&served).await;
    assert_eq!(served.client.get(route::ACCOUNT).await.status, 503);
    assert_eq!(served.client.get("/healthz").await.status, 200);
    drop(download);
    let account = async {
        while served.client.get(route::ACCOUNT).await.status == 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, account).await.expect("the request still counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_nobody_takes_is_ended() {
    let world = World::threaded();
    let served = serve_with(&world, |config| {
        config.requests_in_flight_max = 1;
        config.answer_idle_max = Duration::from_millis(100);
    })
    .await;
    let mut download = slow_download(&served).await;
    let account = async {
        while served.client.get(route::ACCOUNT).await.status == 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, account).await.expect("the request still counts");
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, download.read_to_end(&mut rest)).await.expect("the connection stays open");
    assert!(rest.len() < 32 << 20, "it was cut off");
}
