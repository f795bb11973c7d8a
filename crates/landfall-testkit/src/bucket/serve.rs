//! A bucket server on a socket.

use std::io;

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::BucketServer;

/// A bucket server that listens on the loopback. Dropping this closes it and all its connections.
#[derive(Debug)]
pub struct Served {
    origin: String,
    accepting: JoinHandle<()>,
}

impl Served {
    /// Where it is served, as `http://127.0.0.1:49152`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        let port = self.origin.rsplit(':').next().and_then(|port| port.parse().ok());
        port.expect("an origin of our own ends with its port")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl BucketServer {
    /// Serves this on a port of the loopback that the system chooses, with HTTP/1.1. What the script loses or cuts
    /// breaks the connection off.
    ///
    /// # Errors
    /// If there is no port; nothing is served then.
    pub async fn serve(&self) -> io::Result<Served> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let server = self.clone();
        // The connections end with this task: it owns them.
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let service = TowerToHyperService::new(server.clone());
                connections.spawn(async move {
                    // A connection that the script breaks off is an error here and nobody's concern.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Ok(Served { origin, accepting })
    }
}
