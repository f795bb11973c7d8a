//! The part of the dialect that chats use: leave to put payloads, the payloads, and lanes of sealed messages.
//!
//! [`request`] says which request performs a step, [`answer`] what came of it. They are performed as a vault's are, by
//! [`crate::vault::Vault`].

pub mod answer;
pub mod request;
