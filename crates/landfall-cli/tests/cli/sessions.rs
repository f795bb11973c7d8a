//! Recorded sessions: what may happen to their folders, and to their uploads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use landfall_testkit::bucket::{Answer, Fault, On, Operation};
use serde_json::{Value, json};

use crate::{buckets::Lab, world::Done};

/// A moment long ago, in milliseconds.
const LONG_AGO: i64 = 1_700_000_000_000;

impl Lab {
    /// With a folder of sessions.
    fn recording() -> Self {
        let lab = Self::new();
        fs::create_dir(lab.world.path("recordings")).unwrap();
        let added = lab.run(&["sessions", "add", "recordings", "--to", "lab"]);
        assert!(added.exits(0).stderr().contains("no session is there yet"), "{}", added.stderr());
        lab
    }

    /// A session that was recorded long ago.
    fn record(&self, folder: &str, id: &str, is_exported: bool) -> PathBuf {
        let path = self.world.path(folder).join(id);
        fs::create_dir_all(&path).unwrap();
        write_meta(&path, id, LONG_AGO);
        fs::write(path.join("actions.json"), "[]").unwrap();
        if is_exported {
            fs::write(path.join(".exported"), "").unwrap();
        }
        age(&path);
        path
    }

    fn status(&self, id: &str) -> Value {
        let listed = self.run(&["sessions", "ls", "--json"]).exits(0).json()["sessions"].clone();
        listed.as_array().unwrap().iter().find(|one| one["id"] == id).unwrap()["status"].clone()
    }
}

fn write_meta(folder: &Path, id: &str, created_at: i64) {
    let meta = json!({ "sessionId": id, "createdAt": created_at });
    fs::write(folder.join("session-meta.json"), meta.to_string()).unwrap();
}

fn state(id: &str, status: &str) -> String {
    json!({ "sessionId": id, "status": status, "bytesUploaded": 0, "totalBytes": 1, "retryCount": 0, "maxRetries": 10,
            "createdAt": 1, "updatedAt": 2 })
    .to_string()
}

/// Has a folder and all in it last changed long ago.
fn age(path: &Path) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            age(&entry.unwrap().path());
        }
    }
    let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(LONG_AGO as u64);
    fs::File::open(path).unwrap().set_modified(moment).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn cleaning_removes_only_what_is_surely_an_abandoned_session() {
    let lab = Lab::recording();
    let folder = lab.world.path("recordings");
    lab.record("recordings", "abandoned", false);
    lab.record("recordings", "exported", true);
    let kept = [
        ("no meta", "session-meta.json", None),
        ("broken meta", "session-meta.json", Some("{".to_owned())),
        ("broken state", "upload-state.json", Some("{".to_owned())),
        ("state of another", "upload-state.json", Some(state("another", "not_uploaded"))),
        ("pending", "upload-state.json", Some(state("pending", "pending"))),
    ];
    for (id, name, text) in &kept {
        let path = lab.record("recordings", id, false);
        match text {
            Some(text) => fs::write(path.join(name), text).unwrap(),
            None => fs::remove_file(path.join(name)).unwrap(),
        }
        age(&path);
    }
    let other = lab.record("recordings", "of another", false);
    write_meta(&other, "somebody else", LONG_AGO);
    age(&other);
    let there = names(&folder);
    let tried = lab.run(&["sessions", "clean", "--dry-run", "--json"]);
    assert_eq!(tried.exits(0).json()["removed"].as_array().unwrap().len(), 1);
    assert_eq!(names(&folder), there);
    lab.run(&["sessions", "clean"]).exits(0);
    assert_eq!(names(&folder), there.into_iter().filter(|name| name != "abandoned").collect::<Vec<_>>());
}

#[test]
fn cleaning_ends_what_a_kill_left_and_puts_a_finished_session_back() {
    let lab = Lab::recording();
    let folder = lab.world.path("recordings");
    for (digit, id, is_exported) in [("0", "abandoned", false), ("1", "finished", true), ("2", "half", false)] {
        let path = lab.record("recordings", id, is_exported);
        // Of one some is gone already, a moment ago: it is never put back.
        let name = if id == "half" { ".removed-" } else { ".removing-" };
        let away = folder.join(format!("{name}{}", digit.repeat(32)));
        fs::rename(path, &away).unwrap();
        if id == "half" {
            fs::remove_file(away.join("actions.json")).unwrap();
        }
    }
    fs::create_dir(folder.join(".removing-by hand")).unwrap();
    lab.run(&["sessions", "clean", "--dry-run"]).exits(0);
    assert_eq!(names(&folder).len(), 4);
    lab.run(&["sessions", "clean"]).exits(0);
    assert_eq!(names(&folder), [".removing-by hand", "finished"]);
}

#[test]
fn a_folder_is_not_added_if_it_is_a_session_or_overlaps_another() {
    let lab = Lab::recording();
    lab.record("recordings", "one", true);
    fs::create_dir_all(lab.world.path("recordings/deeper/still")).unwrap();
    for (folder, why) in
        [("recordings/one", "it is a session itself"), ("recordings/deeper", "it is inside"), (".", "is inside it")]
    {
        let refused = lab.run(&["sessions", "add", folder]);
        assert!(refused.exits(2).stderr().contains(why), "{folder}: {}", refused.stderr());
    }
    let again = lab.run(&["sessions", "add", "recordings"]);
    assert!(again.exits(0).stderr().contains("1 session there"), "{}", again.stderr());
    let refused = lab.run(&["destination", "rm", "lab"]);
    assert!(refused.exits(2).stderr().contains("recordings"), "{}", refused.stderr());
    lab.run(&["sessions", "rm", "recordings"]).exits(0);
    lab.run(&["destination", "rm", "lab"]).exits(0);
}

#[test]
fn a_session_that_is_recorded_anew_under_an_old_name_is_not_taken_for_the_old_one() {
    let lab = Lab::recording();
    let path = lab.record("recordings", "one", true);
    lab.run(&["sessions", "upload", "one"]).exits(0);
    assert_eq!(lab.status("one"), "done");
    let now = now_ms();
    write_meta(&path, "one", now);
    age(&path);
    assert_eq!(lab.status("one"), "not_uploaded");
    lab.server.remove("one.zip");
    lab.run(&["sessions", "upload", "one"]).exits(0);
    assert_eq!((lab.status("one"), lab.keys()), ("done".into(), vec!["one.zip".to_owned()]));
}

#[test]
fn what_was_noted_of_a_copied_session_is_not_believed() {
    let lab = Lab::recording();
    let path = lab.record("recordings", "copy", true);
    fs::write(path.join("upload-state.json"), state("original", "done")).unwrap();
    age(&path);
    assert_eq!(lab.status("copy"), "not_uploaded");
    lab.run(&["sessions", "upload", "copy"]).exits(0);
    assert_eq!(lab.keys(), ["copy.zip"]);
}

#[test]
fn a_session_that_waits_is_gone_on_with_by_upload_and_by_retry() {
    let lab = Lab::recording();
    for id in ["one", "two", "three"] {
        lab.record("recordings", id, true);
    }
    lab.run(&["sessions", "upload", "one", "two", "--queue"]).exits(5);
    lab.run(&["sessions", "upload", "one", "three", "one"]).exits(0);
    assert_eq!(lab.keys(), ["one.zip", "three.zip", "two.zip"]);
    lab.record("recordings", "four", true);
    lab.run(&["sessions", "upload", "four", "--queue"]).exits(5);
    lab.run(&["sessions", "retry", "four"]).exits(0);
    lab.run(&["sessions", "retry", "four"]).exits(2);
    lab.run(&["sessions", "upload", "four"]).exits(2);
}

#[test]
fn of_two_sessions_of_one_name_the_folder_tells_which() {
    let lab = Lab::recording();
    fs::create_dir(lab.world.path("others")).unwrap();
    lab.add("second", &["--prefix", "second/"]).exits(0);
    lab.run(&["sessions", "add", "others", "--to", "second"]).exits(0);
    for folder in ["recordings", "others"] {
        lab.record(folder, "one", true);
    }
    let refused = lab.run(&["sessions", "upload", "one"]);
    assert!(refused.exits(2).stderr().contains("there are several sessions `one`"), "{}", refused.stderr());
    lab.run(&["sessions", "upload", "others/one"]).exits(0);
    assert_eq!(lab.keys(), ["second/one.zip"]);
}

#[test]
fn an_upload_that_is_cancelled_elsewhere_says_so_and_does_not_end_well() {
    let lab = Lab::recording();
    lab.record("recordings", "one", true);
    lab.server.script(On::every(Operation::PutObject), Fault::Answer(Answer::error(503, "SlowDown")));
    let mut command = lab.landfall();
    let uploading = command.args(["sessions", "upload", "one"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let uploading = uploading.unwrap();
    while lab.server.requests_for(Operation::PutObject).is_empty() {
        std::thread::yield_now();
    }
    lab.run(&["sessions", "cancel", "one"]).exits(0);
    let ended = Done(uploading.wait_with_output().unwrap());
    assert!(ended.exits(3).stderr().contains("`one` was cancelled"), "{}", ended.stderr());
}

#[test]
fn a_folder_of_sessions_that_goes_away_ends_neither_a_run_nor_a_list() {
    let lab = Lab::recording();
    lab.record("recordings", "one", true);
    lab.server.script(On::every(Operation::PutObject), Fault::Answer(Answer::error(503, "SlowDown")));
    let mut command = lab.landfall();
    let uploading = command.args(["sessions", "upload", "one"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let uploading = uploading.unwrap();
    while lab.server.requests_for(Operation::PutObject).is_empty() {
        std::thread::yield_now();
    }
    fs::rename(lab.world.path("recordings"), lab.world.path("away")).unwrap();
    let listed = lab.run(&["sessions", "ls"]);
    assert!(listed.exits(0).stderr().contains("attach its disk"), "{}", listed.stderr());
    lab.server.clear_script();
    let ended = Done(uploading.wait_with_output().unwrap());
    assert!(ended.exits(3).stderr().contains("attach its disk"), "{}", ended.stderr());
    fs::rename(lab.world.path("away"), lab.world.path("recordings")).unwrap();
    lab.run(&["sessions", "retry", "one"]).exits(0);
    assert_eq!(lab.keys(), ["one.zip"]);
}

fn now_ms() -> i64 {
    landfall_env::Clock::wall_ms(&landfall_env::SystemClock::new())
}
