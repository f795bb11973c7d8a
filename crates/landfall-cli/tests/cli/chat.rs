//! Conversations: what is sent, what arrives, and what a person may do in between.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
};

use landfall_images::fixture::Jpeg;
use serde_json::Value;

use crate::{
    stop::signal,
    world::{Done, World, tree},
};

/// A vault folder in which both homes of a world meet.
const POST: &str = "post";

/// What a second person of the same world does.
fn other<const N: usize>(world: &World, arguments: [&str; N]) -> Done {
    Done(world.landfall().env("LANDFALL_HOME", world.path("other")).args(arguments).output().unwrap())
}

fn photo(world: &World, name: &str) {
    let jpeg = Jpeg::new(2400, 1600).seed(7).orientation(6).gps(27.59, 86.56).camera("Canary Optics", "One");
    fs::write(world.path(name), jpeg.bytes()).unwrap();
}

fn acquainted() -> World {
    let world = World::empty();
    world.run(["lane", "key", "family", "--out", "family.key", "--to", POST]).exits(0);
    other(&world, ["lane", "join", "family", "--key-file", "family.key", "--to", POST]).exits(0);
    world
}

fn arrived(world: &World) -> Vec<Value> {
    let tail = other(world, ["lane", "tail", "family", "--from", POST, "--save", "inbox", "--json"]);
    tail.exits(0).json()["messages"].as_array().unwrap().clone()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_photo_and_a_text_arrive_in_order_without_what_the_camera_noted() {
    let world = acquainted();
    photo(&world, "photo.jpg");
    let send = world.run(["send", "photo.jpg", "--text", "Look", "--lane", "family", "--to", POST, "--json"]);
    let document = send.exits(0).json();
    assert_eq!((&document["published"], &document["queued"]), (&2.into(), &0.into()));
    let arrived = arrived(&world);
    assert_eq!((&arrived[0]["kind"], &arrived[1]["text"]), (&"attachment".into(), &"Look".into()));
    let saved = fs::read(world.path("inbox/photo.jpg")).unwrap();
    assert_eq!(arrived[0]["attachments"][0]["bytes"], saved.len());
    assert!(saved.starts_with(&[0xff, 0xd8]) && !saved.windows(6).any(|bytes| bytes == b"Canary"));
    assert_eq!(fs::read_dir(world.path("home/spool")).unwrap().count(), 1, "nothing but the folder for what comes");
}

#[test]
fn a_photo_sent_as_a_file_is_the_file() {
    let world = acquainted();
    photo(&world, "photo.jpg");
    world.run(["send", "photo.jpg", "--as-file", "--lane", "family", "--to", POST]).exits(0);
    arrived(&world);
    assert_eq!(fs::read(world.path("inbox/photo.jpg")).unwrap(), fs::read(world.path("photo.jpg")).unwrap());
}

#[test]
fn what_is_no_photo_goes_as_it_is_and_is_told() {
    let world = acquainted();
    fs::write(world.path("note.txt"), "a note").unwrap();
    let send = world.run(["send", "note.txt", "--lane", "family", "--to", POST]);
    assert!(send.exits(0).stderr().contains("it goes as it is"), "{}", send.stderr());
    arrived(&world);
    assert_eq!(fs::read(world.path("inbox/note.txt")).unwrap(), b"a note");
}

#[test]
fn what_is_there_is_never_replaced_and_nothing_is_saved_twice() {
    let world = acquainted();
    fs::write(world.path("note.txt"), "theirs").unwrap();
    fs::create_dir(world.path("inbox")).unwrap();
    fs::write(world.path("inbox/note.txt"), "mine").unwrap();
    world.run(["send", "note.txt", "--lane", "family", "--to", POST]).exits(0);
    for _ in 0..2 {
        arrived(&world);
    }
    assert_eq!(fs::read(world.path("inbox/note.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(world.path("inbox/note (1).txt")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(world.path("inbox")).unwrap().count(), 2);
}

#[test]
fn keys_are_in_files_that_only_their_owner_reads() {
    let world = acquainted();
    assert_eq!((mode(&world.path("home/host.key")), mode(&world.path("family.key"))), (0o600, 0o600));
    let again = world.run(["lane", "key", "family", "--to", POST]);
    assert_eq!(again.exits(0).stdout(), fs::read_to_string(world.path("family.key")).unwrap());
    world.run(["lane", "key", "family", "--out", "family.key", "--to", POST]).exits(2);
}

#[test]
fn a_mistyped_key_and_another_key_are_refused_with_a_remedy() {
    let world = acquainted();
    let key = fs::read_to_string(world.path("family.key")).unwrap();
    let typo = key.replacen(|c: char| c.is_ascii_digit(), "f", 1);
    fs::write(world.path("typo.key"), typo).unwrap();
    let refused = other(&world, ["lane", "join", "new", "--key-file", "typo.key", "--to", POST]);
    assert!(refused.exits(2).stderr().contains("digits is wrong"), "{}", refused.stderr());
    world.run(["lane", "key", "friends", "--out", "friends.key", "--to", POST]).exits(0);
    let refused = other(&world, ["lane", "join", "family", "--key-file", "friends.key", "--to", POST]);
    assert!(refused.exits(2).stderr().contains("another name"), "{}", refused.stderr());
    other(&world, ["lane", "join", "family", "--key-file", "family.key", "--to", POST]).exits(0);
}

#[test]
fn what_cannot_be_sent_is_in_charge_all_the_same_and_a_run_sends_it() {
    let world = acquainted();
    world.run(["send", "--text", "first", "--lane", "family", "--to", POST]).exits(0);
    fs::rename(world.path(POST), world.path("away")).unwrap();
    let send = world.run(["send", "--text", "second", "--lane", "family", "--to", POST, "--patience", "0s", "--json"]);
    let error = &send.exits(5).json()["error"];
    assert_eq!((&error["code"], &error["queued"]), (&"vault-missing".into(), &1.into()));
    let item = &world.run(["status", "--json"]).exits(0).json()["items"][0];
    assert_eq!((&item["lane"], &item["state"]), (&"family".into(), &"active".into()));
    assert!(!world.path(POST).exists(), "no other vault is made in its place");
    fs::rename(world.path("away"), world.path(POST)).unwrap();
    assert_eq!(world.run(["run", "--json"]).exits(0).json()["published"], 1);
    let texts: Vec<Value> = arrived(&world).iter().map(|message| message["text"].clone()).collect();
    assert_eq!(texts, ["first", "second"]);
}

#[test]
fn a_photo_that_is_none_holds_up_what_follows_until_it_is_skipped() {
    let world = acquainted();
    fs::write(world.path("broken.jpg"), [&[0xff, 0xd8, 0xff, 0xe0][..], &[7; 500]].concat()).unwrap();
    let send = world.run(["send", "broken.jpg", "--lane", "family", "--to", POST, "--json"]);
    let blocked = send.exits(3).json()["items"][0]["id"].as_i64().unwrap();
    let send = world.run(["send", "--text", "behind", "--lane", "family", "--to", POST, "--json"]);
    let behind = &send.exits(3).json()["items"][0]["id"];
    let shown = world.run(["show", &behind.to_string(), "--json"]).exits(0).json();
    assert_eq!(shown["blocked_by"], blocked);
    world.run(["skip", &blocked.to_string()]).exits(0);
    world.run(["run"]).exits(0);
    assert_eq!(arrived(&world)[0]["text"], "behind");
}

#[test]
fn what_is_discarded_is_not_sent_and_takes_its_text_with_it() {
    let world = acquainted();
    photo(&world, "photo.jpg");
    let send =
        world.run(["send", "photo.jpg", "--text", "t", "--lane", "family", "--to", POST, "--budget", "0s", "--json"]);
    let id = send.exits(5).json()["items"][0]["id"].to_string();
    world.run(["discard", &id]).exits(0);
    world.run(["run"]).exits(0);
    assert_eq!(world.run(["status", "--json"]).exits(0).json()["items"], Value::Array(vec![]));
    assert!(arrived(&world).is_empty());
}

#[test]
fn a_file_of_a_backup_cannot_be_skipped() {
    let world = World::unlocked();
    world.put_pictures(0..1);
    world.run(["backup", "Pictures", "--budget", "0s"]).exits(5);
    let id = world.run(["status", "--json"]).exits(0).json()["items"][0]["id"].to_string();
    assert!(world.run(["skip", &id]).exits(2).stderr().contains("landfall cancel"));
}

#[test]
fn tail_shows_the_last_ones_or_all_that_follow_a_number() {
    let world = acquainted();
    for number in 0..5 {
        world.run(["send", "--text", &number.to_string(), "--lane", "family", "--to", POST]).exits(0);
    }
    let tail = |more: &[&str]| {
        let tail = world.run([&["lane", "tail", "family", "--from", POST, "--json"], more].concat());
        let numbers = tail.exits(0).json()["messages"].as_array().unwrap().clone();
        numbers.iter().map(|message| message["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tail(&["-n", "2"]), [4, 5]);
    assert_eq!(tail(&["-n", "2"]), [4, 5]);
    assert_eq!(tail(&["--after", "1"]), [2, 3, 4, 5]);
    world.run(["lane", "tail", "strangers", "--from", POST]).exits(2);
}

#[test]
fn without_its_host_key_a_home_draws_no_other_and_says_what_is_missing() {
    let world = acquainted();
    fs::rename(world.path("home/host.key"), world.path("kept.key")).unwrap();
    assert!(world.run(["doctor"]).exits(3).stdout().contains("host.key"));
    for arguments in [
        &["send", "--text", "t", "--lane", "family", "--to", POST][..],
        &["lane", "key", "family", "--to", POST],
        &["lane", "tail", "family", "--from", POST],
        &["lane", "ls", "--to", POST],
    ] {
        let refused = world.run(arguments);
        assert!(refused.exits(4).stderr().contains("host.key"), "{arguments:?}: {}", refused.stderr());
        assert!(!world.path("home/host.key").exists());
    }
    fs::rename(world.path("kept.key"), world.path("home/host.key")).unwrap();
    world.run(["send", "--text", "t", "--lane", "family", "--to", POST]).exits(0);
    assert_eq!(arrived(&world)[0]["text"], "t");
}

#[test]
fn what_is_taken_back_leaves_nothing_behind_without_a_run() {
    let world = acquainted();
    photo(&world, "photo.jpg");
    let spool = || fs::read_dir(world.path("home/spool")).unwrap().count();
    for taken_back in ["discard", "cancel", "skip"] {
        let send = ["send", "photo.jpg", "--lane", "family", "--to", POST, "--budget", "0s", "--json"];
        let id = world.run(send).exits(5).json()["items"][0]["id"].to_string();
        assert!(spool() > 1);
        world.run([taken_back, &id]).exits(0);
        assert_eq!(spool(), 1, "nothing but the folder for what comes, after {taken_back}");
    }
}

#[test]
fn a_batch_of_which_one_file_cannot_be_sent_is_not_sent_at_all() {
    let world = acquainted();
    photo(&world, "photo.jpg");
    let send = world.run(["send", "photo.jpg", "gone.jpg", "--text", "t", "--lane", "family", "--to", POST]);
    assert!(send.exits(2).stderr().contains("nothing of it was taken in charge"), "{}", send.stderr());
    assert_eq!(world.run(["status", "--json"]).exits(0).json()["items"], Value::Array(vec![]));
    assert!(arrived(&world).is_empty());
}

#[test]
fn a_key_file_without_end_is_refused() {
    let world = World::empty();
    let refused = world.run(["lane", "join", "family", "--key-file", "/dev/zero", "--to", POST]);
    assert!(refused.exits(2).stderr().contains("4096"), "{}", refused.stderr());
}

#[test]
fn attachments_go_to_a_folder_and_those_that_are_left_out_are_told() {
    let world = acquainted();
    fs::write(world.path("note.txt"), "a note").unwrap();
    for _ in 0..3 {
        world.run(["send", "note.txt", "--lane", "family", "--to", POST]).exits(0);
    }
    let save =
        |folder: &str, last: &str| world.run(["lane", "tail", "family", "--from", POST, "--save", folder, "-n", last]);
    save("note.txt", "3").exits(2);
    assert_eq!(fs::read(world.path("note.txt")).unwrap(), b"a note");
    assert!(save("inbox", "2").exits(0).stderr().contains("--after 0"));
    assert!(!save("inbox", "3").exits(0).stderr().contains("--after 0"));
}

#[test]
fn one_attachment_that_cannot_be_saved_hides_none_of_what_follows() {
    let world = acquainted();
    fs::write(world.path("note.txt"), "a note").unwrap();
    world.run(["send", "note.txt", "--text", "behind", "--lane", "family", "--to", POST]).exits(0);
    let assets = world.path(POST).join("assets");
    for asset in tree(&assets).into_keys() {
        fs::write(assets.join(asset), "altered").unwrap();
    }
    let tail = other(&world, ["lane", "tail", "family", "--from", POST, "--save", "inbox", "--json"]);
    let document = tail.exits(3).json();
    assert_eq!((&document["problems"], &document["messages"][1]["text"]), (&1.into(), &"behind".into()));
    assert_eq!(fs::read_dir(world.path("inbox")).unwrap().count(), 0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is another process that is timed")]
fn a_budget_bounds_how_long_an_absent_destination_is_waited_for() {
    let world = acquainted();
    world.run(["send", "--text", "t", "--lane", "family", "--to", POST, "--budget", "0s"]).exits(5);
    fs::rename(world.path(POST), world.path("away")).unwrap();
    let began = std::time::Instant::now();
    world.run(["run", "--budget", "1s"]).exits(5);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn a_text_that_turns_the_direction_of_writing_around_is_shown_as_it_is_written() {
    let world = acquainted();
    world.run(["send", "--text", "a\u{202e}b", "--lane", "family", "--to", POST]).exits(0);
    let tail = other(&world, ["lane", "tail", "family", "--from", POST]);
    assert!(tail.exits(0).stdout().contains("a\\u{202e}b"), "{}", tail.stdout());
}

#[test]
fn following_a_lane_shows_what_arrives_until_somebody_says_stop() {
    let world = acquainted();
    let arguments = ["lane", "tail", "family", "--from", POST, "--follow", "--json-lines"];
    let mut tail = world.landfall();
    tail.env("LANDFALL_HOME", world.path("other")).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut tail = tail.spawn().unwrap();
    for text in ["one", "two"] {
        world.run(["send", "--text", text, "--lane", "family", "--to", POST]).exits(0);
    }
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let texts = events.filter(|event| event["type"] == "message").map(|event| event["text"].clone());
    assert_eq!(texts.take(2).collect::<Vec<_>>(), ["one", "two"]);
    signal(tail.id(), "-INT");
    assert_eq!(tail.wait().unwrap().code(), Some(130));
}

#[test]
fn a_lane_that_is_made_by_sending_is_told_and_no_other() {
    let world = acquainted();
    let send = |lane: &str| world.run(["send", "--text", "t", "--lane", lane, "--to", POST]);
    assert!(send("famly").exits(0).stderr().contains("`famly` is a new lane"));
    assert!(!send("famly").exits(0).stderr().contains("new lane"));
    assert!(!send("family").exits(0).stderr().contains("new lane"));
}

#[test]
fn what_can_never_be_reached_is_refused_before_anything_is_taken_in_charge() {
    let world = acquainted();
    fs::write(world.path("file"), "").unwrap();
    for to in ["file", "http://192.0.2.1:8711", "http://127.0.0.1.example.invalid:1", "ftp://host"] {
        world.run(["send", "--text", "t", "--lane", "family", "--to", to]).exits(2);
        world.run(["run"]).exits(0);
    }
    world.run(["config", "set", "to", "bogus://host"]).exits(2);
}

#[test]
fn whatever_keeps_a_batch_from_being_sent_it_is_said_that_it_waits() {
    let world = acquainted();
    let mut send = world.landfall();
    send.args(["send", "--text", "t", "--lane", "family", "--to", POST, "--json"])
        .env("LANDFALL_TOKEN", "0".repeat(64));
    let refused = Done(send.output().unwrap());
    let error = &refused.exits(4).json()["error"];
    assert_eq!((&error["code"], &error["queued"]), (&"unauthorized".into(), &1.into()));
    assert!(error["hint"].as_str().unwrap().contains("unset it"), "{error}");
    world.run(["run"]).exits(0);
    assert_eq!(arrived(&world).len(), 1);
}

#[test]
fn all_that_is_taken_back_is_counted() {
    let world = acquainted();
    photo(&world, "photo.jpg");
    let send = ["send", "photo.jpg", "--text", "t", "--lane", "family", "--to", POST, "--budget", "0s", "--json"];
    let id = world.run(send).exits(5).json()["items"][0]["id"].to_string();
    assert_eq!(world.run(["discard", &id, "--json"]).exits(0).json()["discarded"], 2);
}

#[test]
fn a_damaged_photo_is_told_with_what_helps() {
    let world = acquainted();
    let jpeg = Jpeg::new(2400, 1600).seed(7).bytes();
    fs::write(world.path("cut.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    let send = world.run(["send", "cut.jpg", "--lane", "family", "--to", POST, "--json"]);
    let document = send.exits(3).json();
    assert!(document["problems"][0]["remedy"].as_str().unwrap().contains("--as-file"), "{document}");
    world.run(["discard", &document["items"][0]["id"].to_string()]).exits(0);
    world.run(["send", "cut.jpg", "--as-file", "--lane", "family", "--to", POST]).exits(0);
    arrived(&world);
    assert_eq!(fs::read(world.path("inbox/cut.jpg")).unwrap().len(), jpeg.len() / 2);
}

#[test]
fn each_destination_that_cannot_be_reached_is_named() {
    let world = acquainted();
    for place in ["one", "two"] {
        world.run(["send", "--text", "t", "--to", place, "--budget", "0s"]).exits(5);
        world.run(["send", "--text", "t", "--to", place]).exits(0);
        world.run(["send", "--text", "t", "--to", place, "--budget", "0s"]).exits(5);
        fs::rename(world.path(place), world.path(&format!("{place} away"))).unwrap();
    }
    let run = world.run(["run", "--once"]);
    assert!(["one`", "two`"].iter().all(|place| run.exits(5).stderr().contains(place)), "{}", run.stderr());
}

#[test]
fn a_text_of_several_lines_is_shown_in_lines_and_may_begin_with_a_dash() {
    let world = acquainted();
    world.run(["send", "--text=-one\ntwo", "--lane", "family", "--to", POST]).exits(0);
    let tail = other(&world, ["lane", "tail", "family", "--from", POST]);
    let lines: Vec<&str> = tail.exits(0).stdout().lines().collect();
    assert!(lines[0].ends_with("-one") && lines[1].ends_with("  two"), "{lines:?}");
    let tail = other(&world, ["lane", "tail", "family", "--from", POST, "--after", "500"]);
    assert_eq!(tail.exits(0).stdout(), "");
    let lanes = other(&world, ["lane", "ls", "--to", POST, "--json"]);
    assert_eq!(lanes.exits(0).json()["lanes"][0]["read"], 1);
}

#[test]
fn what_was_taken_back_is_so_whether_or_not_its_leftovers_can_be_removed() {
    let world = acquainted();
    let send = ["send", "--text", "t", "--lane", "family", "--to", POST, "--budget", "0s", "--json"];
    let id = world.run(send).exits(5).json()["items"][0]["id"].to_string();
    let key = fs::read(world.path("home/host.key")).unwrap();
    fs::write(world.path("home/host.key"), "no key").unwrap();
    let discard = world.run(["discard", &id, "--json"]);
    assert_eq!(discard.exits(0).json()["discarded"], 1);
    assert!(discard.stderr().contains("host.key"), "{}", discard.stderr());
    fs::write(world.path("home/host.key"), key).unwrap();
    world.run(["run"]).exits(0);
    assert!(arrived(&world).is_empty());
}
