use std::{net::SocketAddr, time::Duration};

use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy, rt::TokioExecutor};
use landfall_protocol::{Grant, UploadStatus, route};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use crate::world::{Client, World, content, key, put_request};

/// A server on a socket; the client beside it goes in-process.
struct Served {
    address: SocketAddr,
    client: Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
}

async fn serve(world: &World) -> Served {
    let server = world.open().await;
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
