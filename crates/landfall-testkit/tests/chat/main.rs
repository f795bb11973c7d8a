//! Conversations over the server's real router, without faults but those that a test makes.

mod budget;
mod order;
mod pictures;
mod platform;
mod progress;
mod steered;
mod taken_back;
mod uploads;
mod whole;
mod world;
