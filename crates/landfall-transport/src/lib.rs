//! Destinations and the ways to them.
//!
//! A *transport* says, a *carrier* does. A transport is a destination's dialect in values: which HTTP request performs
//! a step, and what an answer, or its absence, means. It never sends. [`vault`] is the dialect of Landfall's own
//! server, [`chat`] the part of it that conversations use, [`s3`] that of Amazon S3 and its kin. A [`Carrier`] performs
//! requests and knows no dialect: [`ServiceCarrier`] calls a server's router in this process; with feature `http`,
//! `HttpCarrier` goes over sockets. So one tested dialect serves all carriers, and one tested carrier all dialects.

mod body;
mod carrier;
pub mod chat;
#[cfg(feature = "http")]
mod http;
pub mod s3;
mod service;
pub mod vault;

#[cfg(feature = "http")]
pub use self::http::{HttpCarrier, HttpSettings};
pub use self::vault::retry_after::retry_after;
pub use self::{
    body::Measured,
    carrier::{Body, BodyError, Carrier, Loss, empty, whole},
    service::ServiceCarrier,
};
