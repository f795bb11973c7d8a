//! Any bytes as the answer of a store, to every question.
//!
//! The first byte is the status; the second says how many bytes of the rest are a header's value; what is left is the body.

#![no_main]

use landfall_core::{Algorithm, Checksum};
use landfall_transport::s3::{
    Answer, NewObject, UploadMarker,
    answer::{self, HeldPart},
    refusal, refusal_of, request,
};
use libfuzzer_sys::fuzz_target;

/// Of each class one, and those that have a meaning of their own.
const STATUSES: [u16; 8] = [200, 204, 206, 301, 400, 403, 404, 501];
const HEADERS: [&str; 8] = [
    "content-length",
    "content-range",
    "date",
    "etag",
    "retry-after",
    "x-amz-bucket-region",
    "x-amz-checksum-sha256",
    "x-amz-meta-landfall-id",
];

fuzz_target!(|input: &[u8]| {
    let Some((&[status, header, length], rest)) = input.split_first_chunk::<3>() else { return };
    let (value, body) = rest.split_at(usize::from(length).min(rest.len()));
    let mut answer = Answer {
        status: STATUSES[usize::from(status) % STATUSES.len()],
        headers: Default::default(),
        body: body.to_vec().into(),
    };
    if let Ok(value) = value.try_into() {
        answer.headers.insert(HEADERS[usize::from(header) % HEADERS.len()], value);
    }
    ask(&answer);
});

fn ask(answer: &Answer) {
    if let Ok(page) = answer::parts(answer, "k", "id") {
        assert!(page.parts.is_sorted_by_key(|part| part.number), "parts are in order");
        let last = page.parts.iter().map(|HeldPart { number, .. }| number.0).max().unwrap_or(0);
        assert!(page.next.is_none_or(|next| next > 0 && next >= last), "the next page begins behind this one");
    }
    let marker = UploadMarker { key: "p/k".to_owned(), upload_id: "id".to_owned() };
    if let Ok(page) = answer::uploads(answer, "p/", Some(&marker)) {
        assert!(page.uploads.iter().all(|upload| upload.key.starts_with("p/") && !upload.upload_id.is_empty()));
        assert_ne!(page.next, Some(marker), "a page that goes on does so");
    }
    if let Ok(page) = answer::objects(answer, "p/", Some("token")) {
        assert!(page.objects.iter().all(|object| object.key.starts_with("p/")), "objects are those asked for");
        assert_ne!(page.next.as_deref(), Some("token"), "a page that goes on does so");
    }
    let sum = Checksum::new(Algorithm::Sha256, vec![7; 32]).expect("a checksum of 32 bytes");
    if let Ok(receipt) = answer::part_stored(answer, Some(&sum)) {
        assert!(!receipt.etag.is_empty(), "a receipt says something");
    }
    let _ = answer::created(answer, "k");
    let _ = answer::stored(answer, None);
    let _ = answer::completed(answer);
    let _ = answer::aborted(answer);
    let _ = answer::deleted(answer);
    let _ = answer::bucket(answer);
    let _ = answer::head(answer);
    let _ = answer::fetched(answer.status, &answer.headers, 5);

    let put = request::put("k", &NewObject::default(), 1, Some(&sum), None, &request::Condition::Absent);
    for refusal in [refusal(answer), refusal_of(&put, answer)] {
        assert!(!refusal.failure.message.chars().any(char::is_control), "nothing that a terminal obeys is shown");
    }
}
