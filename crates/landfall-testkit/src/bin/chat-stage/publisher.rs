//! A publisher that notes, where all processes do, whom it tells when.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
};

use futures_util::future::BoxFuture;
use landfall::recipes::chat::{LanePublisher, Publication, Published, Publisher};

/// Notes the beginning and the end of every publish in a file that several processes append to. A line is written at
/// once, so lines stand in the order in which things happened.
pub(crate) struct Noted {
    publisher: LanePublisher,
    notes: File,
}

impl Noted {
    pub(crate) fn new(publisher: LanePublisher, notes: &Path) -> Self {
        let notes = OpenOptions::new().create(true).append(true).open(notes).expect("notes can be taken");
        Self { publisher, notes }
    }

    fn note(&self, what: &str, key: &str) {
        let line = format!("{what} {} {key}\n", std::process::id());
        (&self.notes).write_all(line.as_bytes()).expect("notes can be taken");
    }
}

impl Publisher for Noted {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, Published> {
        Box::pin(async move {
            let key = publication.idempotency_key.clone();
            self.note("begin", &key);
            let _end = End { noted: self, key };
            self.publisher.publish(publication).await
        })
    }
}

/// Notes the end, also of a publish that is dropped in the middle.
struct End<'n> {
    noted: &'n Noted,
    key: String,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.noted.note("end", &self.key);
    }
}
