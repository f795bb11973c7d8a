//! The bucket server behaves like S3 where its script says nothing, and goes wrong exactly as its script says.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bench;
mod checksums;
mod examples;
mod faults;
mod lists;
mod multipart;
mod objects;
mod profiles;
mod signatures;
mod signer;
mod sockets;
