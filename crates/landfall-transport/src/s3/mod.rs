//! The dialect of Amazon S3, and of everything that speaks it.
//!
//! A bucket lies at a [`Place`] and opens to [`Credentials`]. An upload is [created](request::create) and gets an id
//! from the store; its parts are [put](request::upload_part), each answered with an ETag; the list of all ETags
//! [completes](request::complete) it, and a [`head`](request::head) proves what lies there now. What is small is
//! [put](request::put) at once. [`request`] says which request performs a step, [`sign`] and [`presign`] make it one that
//! the store accepts, [`answer`] reads what came of it, and [`refusal()`] what to do if nothing did. [`Bucket`] joins them
//! with a carrier and a clock.
//!
//! Stores differ, and some say how: a [`Correction`] is what an answer teaches about the region, the clock, or what the
//! store does not know. No answer is believed because it came: keys, upload ids, part numbers, checksums and the way pages
//! go on are compared with what was asked.
//!
//! Requests are those of <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>.

pub mod answer;
mod client;
mod credentials;
mod listing;
mod moment;
mod percent;
mod place;
mod refusal;
pub mod request;
mod signature;
mod xml;

pub use self::{
    client::Bucket,
    credentials::{BadCredentials, Credentials},
    moment::date,
    place::{BadPlace, Place, Style},
    refusal::{Correction, Refusal, refusal, refusal_of},
    request::{CompletedPart, Condition, NewObject, Payload, Request, UploadMarker},
    signature::{Presigned, presign, sign},
};
pub use crate::vault::{Answer, CallError};
