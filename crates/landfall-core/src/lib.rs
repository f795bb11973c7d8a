//! The decisions of an upload: what to do next, when to try again, who may act.
//!
//! Nothing here reads a clock, a file, a socket or a random generator. Callers pass in what they saw and carry out
//! what they are told, so a thousand timelines can be decided in a millisecond.

mod failure;

pub use self::failure::{Code, Failure, Remedy};
