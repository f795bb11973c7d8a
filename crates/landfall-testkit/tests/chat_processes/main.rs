//! Conversations in real processes: apps that are killed, a platform's carrier that outlives them, a server on a socket,
//! real files.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod budget;
mod host;
mod kills;
mod lies;
mod memory;
mod process;
mod stage;
mod suspension;
mod together;
