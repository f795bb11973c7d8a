//! The reference server: one vault folder, its rows in SQLite and its objects in files, behind an HTTP router.
//!
//! A [`Server`] is opened over a folder. Its router answers in-process, without a socket, or on a listener
//! ([`Server::serve`]); any number of processes may do either over one folder at once. They meet in the folder alone: rows
//! change in immediate transactions, a part's file is moved to its place in the transaction that notes it, and all sign
//! their URLs with the folder's key. Beside an account's files there are attachments of chats, which anybody reads who
//! knows their URL, and lanes, which anybody with a token reads and writes who knows their name. The server sees ciphertext, lengths, checksums and tags; it links nothing that could
//! open content.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use landfall_server::{Server, ServerConfig};
//!
//! let folder = tempfile::tempdir()?;
//! let server = Server::open(ServerConfig::new(folder.path()), landfall_env::Env::real()).await?;
//! let _router = server.router(); // a `tower::Service`
//! let _token = server.embedded_token(None).await?; // opening the folder is the authority
//! # Ok(())
//! # }
//! ```
mod account;
mod arrival;
mod asset;
mod assets;
mod audit;
mod blobs;
mod collections;
mod config;
mod connections;
mod content;
mod database;
mod diff;
mod files;
mod folder;
mod instance;
mod json;
mod keys;
mod lanes;
mod linger;
mod magic;
mod maintenance;
mod parts;
mod presigned;
mod range;
mod read_only;
mod record;
mod refusal;
mod renewal;
mod router;
mod server;
mod signing;
mod trash;
mod uploads;

#[doc(hidden)]
pub use self::audit::{audit, audit_in};
pub use self::{
    account::{AccountEntry, AccountError, NewAccount, Token},
    config::ServerConfig,
    maintenance::Maintenance,
    server::{OpenError, Server, VaultError},
};
