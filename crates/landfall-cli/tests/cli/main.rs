//! The real binary, driven as a person or a script drives it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abandoned;
mod buckets;
mod chat;
mod damage;
mod items;
mod keys;
mod main_job;
mod output;
mod serve;
mod sessions;
mod stop;
mod vanished;
mod vault;
mod world;
