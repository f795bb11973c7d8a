//! The reference server on a socket, which remembers what it was asked and can be told to take its time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::{self, Next},
    response::Response,
};
use futures_util::future::BoxFuture;
use landfall_env::Env;
use landfall_server::{Server, ServerConfig};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::lines::{Answer, Answers, answer_input, path};

/// What is done about requests.
struct Door {
    /// Method, path and status of every request that was answered, in order.
    answered: Mutex<Vec<(String, String, u16)>>,
    /// How long a message takes before the server sees it.
    pace: Mutex<Duration>,
    /// Messages are taken, and nobody hears of it.
    holds: watch::Sender<bool>,
    /// Messages whose answers are held back.
    held: watch::Sender<usize>,
}

/// Serves the vault at `vault` until standard input ends.
pub(crate) async fn serve(begins: &Value) {
    // A test sends in a second what a person sends in an hour.
    let config = ServerConfig { asset_grants_per_minute_max: 100_000, ..ServerConfig::new(path(&begins["vault"])) };
    let server = Server::open(config, Env::real()).await.expect("the vault opens");
    let token = server.embedded_token(None).await.expect("the vault has one account");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let door = Arc::new(Door {
        answered: Mutex::default(),
        pace: Mutex::default(),
        holds: watch::Sender::new(false),
        held: watch::Sender::new(0),
    });
    let router = server.router().layer(middleware::from_fn_with_state(Arc::clone(&door), pass));
    tokio::spawn(async move { axum::serve(listener, router).await });
    answer_input(&json!({ "url": url, "token": token.as_str() }), door).await;
}

async fn pass(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_message = method == Method::POST && path.contains("/messages");
    if is_message {
        let pace = *door.pace.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(pace).await;
    }
    let response = next.run(request).await;
    let answered = (method.to_string(), path, response.status().as_u16());
    door.answered.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
    let mut holds = door.holds.subscribe();
    if is_message && *holds.borrow() {
        door.held.send_modify(|held| *held += 1);
        let _ = holds.wait_for(|holds| !holds).await;
    }
    response
}

impl Answers for Door {
    fn answer(self: Arc<Self>, question: Value) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            match question["do"].as_str().unwrap_or_default() {
                "pace" => {
                    let pace = Duration::from_millis(question["ms"].as_u64().unwrap_or(0));
                    *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
                }
                "hold" => drop(self.holds.send_replace(true)),
                "let-go" => drop(self.holds.send_replace(false)),
                "await-held" => {
                    let _ = self.held.subscribe().wait_for(|held| *held > 0).await;
                }
                "answered" => return Ok(json!(*self.answered.lock().unwrap_or_else(PoisonError::into_inner))),
                other => return Err(format!("a server cannot `{other}`")),
            }
            Ok(Value::Null)
        })
    }
}
