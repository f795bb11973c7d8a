//! The processes that tests of conversations put on a stage: a server, a platform's carrier, and apps.
//!
//! Each is told what to do by lines of JSON on its standard input, answers on its standard output, and ends when its
//! input does, so that a test that dies leaves nobody behind. How it begins is JSON, too: the second argument.

mod app;
mod carrier;
mod lines;
mod publisher;
mod server;

use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (role, begins) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let begins: Value = serde_json::from_str(&begins).expect("the second argument is JSON");
    match role.as_str() {
        "server" => server::serve(&begins).await,
        "carrier" => carrier::carry(&begins).await,
        "app" => app::act(&begins).await,
        other => panic!("nobody plays `{other}`: there are `server`, `carrier` and `app`"),
    }
}
