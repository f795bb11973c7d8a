//! The dialect of Landfall's own server.
//!
//! An upload is [opened](request::open) under a key the client chose, and the server *grants* leave to put its parts;
//! each part is [put](request::put_part) with its checksum and answered with the same; the upload is
//! [completed](request::complete), and the file [registered](request::register) with a body that never changes. Every
//! step may be repeated. [`request`] says which request performs a step, [`answer`] what came of it, [`refusal`] and
//! [`loss`] what to do if nothing did. [`Vault`] joins them with a carrier, an [`Origin`] and a [`Token`].
//!
//! No answer is believed because it came: sizes, numbers and checksums are compared with what was asked, and what the
//! protocol does not allow is a failure with [`landfall_core::Code::BadAnswer`].

pub mod answer;
pub(crate) mod client;
mod origin;
mod plan;
pub(crate) mod refusal;
pub mod request;
pub(crate) mod retry_after;
mod token;

pub use self::{
    answer::Answer,
    client::{CallError, Vault},
    origin::{BadOrigin, Origin},
    plan::Plan,
    refusal::{is_own_word, loss, refusal},
    request::{Request, RequestBody, Target},
    token::{BadToken, Token},
};
