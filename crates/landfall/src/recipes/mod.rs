//! What applications do with the engine: one module each, none imports another.

pub mod chat;
pub mod sessions;
pub mod vault;
