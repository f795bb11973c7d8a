//! The server on a socket.

use std::time::Duration;

use landfall_testkit::bucket::{Fault, On, Operation, Outcome, Served};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::bench::{Ask, Bench};

/// For what must come. Nothing waits for as long as this unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a request and reads until the server closes.
async fn converse(served: &Served, ask: Ask<'_>) -> String {
    let mut socket = send(served, ask).await;
    let mut answer = Vec::new();
    // A connection that is broken off with bytes on the way may also be reset.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn send(served: &Served, ask: Ask<'_>) -> TcpStream {
    let host = served.origin().strip_prefix("http://").unwrap().to_owned();
    let (head, body) = ask.host(&host).request().into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    let mut text = format!(
        "{} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n",
        head.method,
        head.uri.path_and_query().unwrap()
    );
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    let mut socket = TcpStream::connect(&host).await.unwrap();
    socket.write_all(&[text.as_bytes(), &body].concat()).await.unwrap();
    socket
}

#[tokio::test]
async fn requests_are_answered_over_sockets_as_within_the_process() {
    let bench = Bench::new();
    let served = bench.server.serve().await.unwrap();
    assert!(converse(&served, bench.put("a b", "123456789")).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(bench.server.object("a b").unwrap().bytes, "123456789");
    let answer = converse(&served, bench.get("a b").header("range", "bytes=2-4")).await;
    assert!(answer.starts_with("HTTP/1.1 206 ") && answer.ends_with("\r\n\r\n345"), "{answer}");
    let answer = converse(&served, bench.head("a b")).await;
    assert!(answer.contains("content-length: 9\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("date: Fri, 24 May 2013 00:00:00 GMT\r\n"), "the server's own clock: {answer}");
    assert_eq!(answer.matches("date:").count(), 1, "{answer}");
    let answer = converse(&served, bench.head("missing")).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = converse(&served, bench.ask("DELETE", "a b")).await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && !answer.contains("content-length"), "{answer}");
}

#[tokio::test]
async fn what_the_script_loses_closes_the_connection() {
    let bench = Bench::new();
    let served = bench.server.serve().await.unwrap();
    bench.server.script(On::first(Operation::PutObject), Fault::EffectThenLoseAnswer);
    bench.server.script(On::nth(Operation::PutObject, 2), Fault::LoseRequest);
    bench.server.script(On::nth(Operation::PutObject, 3), Fault::CutRequestAfter(2));
    for _ in 0..3 {
        assert_eq!(converse(&served, bench.put("a", "123")).await, "");
    }
    assert!(bench.server.requests().iter().all(|seen| seen.outcome == Outcome::Lost));
    bench.server.script(On::first(Operation::GetObject), Fault::CutBodyAfter(2));
    let answer = converse(&served, bench.get("a")).await;
    assert!(answer.contains("content-length: 3\r\n") && answer.ends_with("\r\n\r\n12"), "{answer}");
}

#[tokio::test]
async fn a_stall_keeps_the_connection_until_the_server_is_dropped() {
    let bench = Bench::new();
    let served = bench.server.serve().await.unwrap();
    bench.server.script(On::every(Operation::PutObject), Fault::StallRequestAfter(2));
    let mut socket = send(&served, bench.put("a", "123")).await;
    let stalled = bench.server.until(|state| state.bytes_received(Operation::PutObject) == 2);
    tokio::time::timeout(PATIENCE, stalled).await.unwrap();
    drop(served);
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
    tokio::time::timeout(PATIENCE, bench.server.until(|state| state.requests()[0].outcome == Outcome::Lost))
        .await
        .unwrap();
}
