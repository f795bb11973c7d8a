//! Uploads that nobody wants any more: aborted, or said to be there.

use std::fs;

use landfall_testkit::bucket::{Answer, BucketServer, Credential, Fault, On, Operation};

use crate::buckets::Lab;

/// A home that has given up an upload of two parts, one of which is in the bucket, and could not abort it.
fn with_abandoned_upload() -> Lab {
    let lab = Lab::new();
    lab.server.allow(Credential::default().denied(&[Operation::AbortMultipartUpload], ""));
    fs::write(lab.world.path("film.mov"), vec![1; 11 << 20]).unwrap();
    lab.server.script(On::every(Operation::UploadPart).part(2), Fault::Answer(Answer::error(403, "AccessDenied")));
    lab.run(&["put", "film.mov", "--to", "lab"]).exits(3);
    let cancelled = lab.run(&["cancel", "1"]);
    assert!(cancelled.exits(0).stderr().contains("is still there"), "{}", cancelled.stderr());
    lab.server.clear_script();
    assert_eq!(lab.server.incomplete_uploads().len(), 1);
    lab
}

#[test]
fn what_cannot_be_aborted_is_said_until_it_is() {
    let lab = with_abandoned_upload();
    let status = lab.run(&["status"]);
    assert!(status.exits(0).stdout().contains("1 upload that nobody wants"), "{}", status.stdout());
    let rehearsal = lab.run(&["gc", "--dry-run"]);
    assert!(rehearsal.exits(0).stdout().contains("film.mov"), "{}", rehearsal.stdout());
    assert!(rehearsal.stderr().contains("would abort 1 incomplete upload, 10"), "{}", rehearsal.stderr());
    for command in ["gc", "run"] {
        let refused = lab.run(&[command]);
        assert!(refused.exits(3).stderr().contains("s3:AbortMultipartUpload"), "{command}: {}", refused.stderr());
    }
    lab.server.allow(Credential::default());
    let swept = lab.run(&["gc"]);
    assert!(swept.exits(0).stderr().contains("aborted 1 incomplete upload, 10"), "{}", swept.stderr());
    assert_eq!(lab.server.incomplete_uploads().len(), 0);
    let status = lab.run(&["status"]);
    assert!(!status.exits(0).stdout().contains("nobody wants"), "{}", status.stdout());
    lab.run(&["run"]).exits(0);
}

#[test]
fn a_destination_with_an_upload_to_abort_stays_where_it_is_and_can_be_removed() {
    let lab = with_abandoned_upload();
    let moved = lab.add("lab", &["--replace", "--prefix", "elsewhere/"]);
    moved.exits(2);
    assert!(moved.stderr().contains("landfall gc --to lab"), "{}", moved.stderr());
    let removed = lab.run(&["destination", "rm", "lab"]);
    assert!(
        removed.exits(0).stderr().contains("1 upload that nobody wants could not be aborted"),
        "{}",
        removed.stderr()
    );
    // Nobody asks for it any more, at a new place under the old name either.
    lab.add("lab", &["--prefix", "elsewhere/"]).exits(0);
    lab.run(&["run"]).exits(0);
    fs::write(lab.world.path("a.txt"), b"a").unwrap();
    lab.run(&["put", "a.txt", "--to", "lab"]).exits(0);
    assert_eq!(lab.keys(), ["elsewhere/a.txt"]);
}

#[test]
fn a_destination_that_is_removed_leaves_nothing_open_if_it_may() {
    let lab = with_abandoned_upload();
    lab.server.allow(Credential::default());
    let removed = lab.run(&["destination", "rm", "lab"]);
    assert!(!removed.exits(0).stderr().contains("nobody wants"), "{}", removed.stderr());
    assert_eq!(lab.server.incomplete_uploads().len(), 0);
}

#[test]
fn what_was_in_a_bucket_that_is_gone_is_gone() {
    let lab = with_abandoned_upload();
    lab.server.allow(Credential::default());
    lab.server.remove_bucket(BucketServer::BUCKET);
    lab.run(&["run"]).exits(0);
    let status = lab.run(&["status"]);
    assert!(!status.exits(0).stdout().contains("nobody wants"), "{}", status.stdout());
}

/// What waits for one destination keeps no other from being worked on.
#[test]
fn an_upload_to_abort_at_one_destination_opens_no_other() {
    let lab = with_abandoned_upload();
    lab.add("other", &["--endpoint", "http://127.0.0.1:1"]).exits(0);
    lab.server.allow(Credential::default());
    lab.run(&["run"]).exits(0);
    assert_eq!(lab.server.incomplete_uploads().len(), 0);
}

/// A bucket that is busy with one of them is said to be, and keeps no other.
#[test]
fn what_is_put_off_is_said_as_well() {
    let lab = with_abandoned_upload();
    lab.server.allow(Credential::default());
    let busy = Fault::Answer(Answer::error(503, "SlowDown"));
    lab.server.script(On::every(Operation::AbortMultipartUpload), busy);
    for command in [&["gc"][..], &["run", "--patience", "1s"]] {
        let refused = lab.run(command);
        assert!(refused.exits(3).stderr().contains("film.mov"), "{command:?}: {}", refused.stderr());
    }
}
