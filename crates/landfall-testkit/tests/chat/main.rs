//! Conversations over the server's real router, without faults but those that a test makes.

mod order;
mod platform;
mod whole;
mod world;
