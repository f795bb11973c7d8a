//! What a client sees of the server, called in-process and over a socket, alone and with others over one folder.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accounts;
mod attachments;
mod faults;
mod files;
mod folder;
mod isolation;
mod lanes;
mod parts;
mod processes;
mod reading;
mod socket;
mod uploads;
mod world;
