//! What others have fallen into when they uploaded to buckets: each trap is a test, against a server that sets it on a real
//! socket.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod complete;
mod doubts;
mod requests;
mod rights;
mod sources;
mod trial;
mod world;
