//! One request, by nothing but a socket: a carrier shares no code with those whose files it moves.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::task::{Report, Task};

/// Bytes in memory at once.
const PIECE: usize = 64 << 10;

/// Sends a file as the body of a request, and waits for the answer.
pub(crate) async fn put(task: &Task, root: &Path) -> Report {
    let Ok(file) = File::open(root.join(&task.file)) else { return Report::NotSent };
    let Some((host, target)) = split(&task.url) else { return Report::NotSent };
    let Ok(socket) = TcpStream::connect(host).await else { return Report::NotSent };
    match exchange(task, file, socket, host, target).await {
        Ok(status) => Report::Answered(status),
        Err(_) => Report::Unknown,
    }
}

/// Host with port, and the rest, of a URL without TLS.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    Some(rest.split_at(rest.find('/')?))
}

async fn exchange(task: &Task, mut file: File, mut socket: TcpStream, host: &str, target: &str) -> io::Result<u16> {
    let mut head = format!("{} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", task.method);
    for (name, value) in &task.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !task.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head += &format!("content-length: {}\r\n", task.bytes);
    }
    socket.write_all(format!("{head}\r\n").as_bytes()).await?;
    // A short read of a file is cheaper than a thread for it.
    let mut piece = vec![0; task.fault.bytes_per_second.map_or(PIECE, |pace| PIECE.min(pace as usize / 10))];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        // A server that refuses answers before it has seen everything.
        if socket.write_all(&piece[..count]).await.is_err() {
            break;
        }
        if let Some(pace) = task.fault.bytes_per_second {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / pace as f64)).await;
        }
    }
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if socket.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
