//! What people and programs see.

use std::fs;

use serde_json::Value;

use crate::world::{Done, World};

#[test]
fn without_a_terminal_no_escape_byte_is_written() {
    let world = World::unlocked();
    world.put_pictures(0..4);
    world.put("\u{1b}[31mred\nname.png", &landfall_images::fixture::png(9, 24, 16));
    for arguments in [&["backup", "Pictures", "-v"][..], &["ls"], &["status"], &["restore", "out", "-v"], &["doctor"]] {
        let done = world.run(arguments);
        assert!(!done.exits(0).0.stdout.contains(&0x1b) && !done.0.stderr.contains(&0x1b), "{arguments:?}");
    }
}

#[test]
fn the_summary_is_one_document_of_the_documented_shape() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    let backup = world.run(["backup", "Pictures", "--json"]);
    let expected = [
        "bytes_read",
        "bytes_sent",
        "duration_ms",
        "linked",
        "problems",
        "scanned",
        "skipped",
        "unchanged",
        "uploaded",
        "v",
    ];
    assert_eq!(backup.exits(0).members(), expected);
    let ls = world.run(["ls", "--json"]);
    let item = &ls.exits(0).json()["items"][0];
    let names: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "paths", "size", "state", "taken_at"]);
    assert_eq!(item["taken_at"], "2009-02-13T23:31:30.123Z");
    assert_eq!(item["state"], "stored");
}

#[test]
fn events_are_lines_and_a_name_that_is_no_text_is_told_twice() {
    let world = World::unlocked();
    world.put(b"not \xff text.png", &landfall_images::fixture::png(1, 24, 16));
    let backup = world.run(["backup", "Pictures", "--json-lines"]);
    let events: Vec<Value> = backup.exits(0).stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["v"] == 1));
    let done = events.iter().find(|event| event["type"] == "done").unwrap();
    assert_eq!(done["place"], "Pictures/not \u{fffd} text.png");
    assert_eq!(done["place_b64"], "UGljdHVyZXMvbm90IP8gdGV4dC5wbmc");
    assert_eq!(done["uploaded"], true);
    assert_eq!(events.last().unwrap()["type"], "summary");
}

#[test]
fn the_help_is_what_was_reviewed() {
    let world = World::empty();
    let help = world.run(["--help"]);
    let expected = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/help.txt");
    if std::env::var_os("LANDFALL_BLESS").is_some() {
        fs::write(expected, help.stdout()).unwrap();
    }
    assert_eq!(help.exits(0).stdout(), fs::read_to_string(expected).unwrap());
}

#[test]
fn completions_know_every_command() {
    let script = World::empty().run(["completions", "bash"]);
    assert!(script.exits(0).stdout().contains("recovery-key"));
}

#[test]
fn usage_errors_end_with_2_and_a_document() {
    let world = World::empty();
    let refused = world.run(["backup", "--json"]);
    assert_eq!(refused.exits(2).json()["error"]["code"], "usage");
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("PATH"), "what is missing is named: {message}");
    world.run(["frobnicate"]).exits(2);
}

#[test]
fn an_album_without_a_name_or_with_one_that_no_vault_takes_is_refused_before_anything_is_taken() {
    let world = World::empty();
    world.put_pictures(0..1);
    for name in [String::new(), "n".repeat(1009)] {
        let refused = world.run(["backup", "Pictures", "--album", &name, "--json"]);
        assert_eq!(refused.exits(2).json()["error"]["code"], "usage");
    }
    assert!(!world.path("home").exists() && !world.path("home-vault").exists());
    let world = World::unlocked();
    world.put_pictures(0..1);
    world.run(["backup", "Pictures", "--album", &"n".repeat(1008)]).exits(0);
}

#[test]
fn results_that_cannot_be_written_are_an_error_and_a_reader_that_has_gone_is_none() {
    let world = World::unlocked();
    let to = |arguments: &[&str], out: std::process::Stdio| {
        Done(world.landfall().args(arguments).stdout(out).output().unwrap())
    };
    let account = ["server", "account", "add", "alice", "--vault", "served"];
    let all = [&account[..], &["recovery-key"], &["ls", "--json"], &["status"], &["completions", "bash"], &["--help"]];
    for arguments in all {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let failed = to(arguments, full.into());
        assert!(failed.exits(1).stderr().contains("cannot write to stdout"), "{arguments:?}: {}", failed.stderr());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        if arguments != account {
            to(arguments, writer.into()).exits(0);
        }
    }
}

#[test]
fn a_home_that_cannot_be_made_ends_with_8() {
    let world = World::empty();
    fs::write(world.path("file"), "").unwrap();
    for home in [world.path("file"), world.path("file/below"), "/proc/landfall".into()] {
        let refused = Done(world.landfall().env("LANDFALL_HOME", &home).args(["pause", "--json"]).output().unwrap());
        let error = refused.exits(8).json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains(&*home.to_string_lossy()), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("--home DIR"), "{error}");
    }
}

#[test]
fn settings_come_from_the_environment_before_the_file() {
    let world = World::empty();
    world.run(["config", "set", "transfers", "3"]).exits(0);
    assert_eq!(world.run(["config", "get", "transfers"]).exits(0).stdout(), "3\n");
    let shown = world.landfall().args(["config", "show", "--origin"]).env("LANDFALL_TRANSFERS", "5").output();
    let shown = Done(shown.unwrap());
    assert!(shown.exits(0).stdout().contains("transfers = 5  # LANDFALL_TRANSFERS\n"), "{}", shown.stdout());
    world.run(["config", "set", "colour", "red"]).exits(2);
    world.run(["config", "set", "videos", "1"]).exits(0);
    assert_eq!(world.run(["config", "unset", "transfers", "--json"]).exits(0).json()["was_set"], true);
    assert_eq!(world.run(["config", "get", "transfers"]).exits(0).stdout(), "4\n");
    assert_eq!(world.run(["config", "get", "videos"]).exits(0).stdout(), "1\n");
    assert_eq!(world.run(["config", "unset", "transfers", "--json"]).exits(0).json()["was_set"], false);
    world.run(["config", "unset", "colour"]).exits(2);
    fs::write(world.path("home/config.toml"), "transfers = [").unwrap();
    assert_eq!(world.run(["status", "--json"]).exits(8).json()["error"]["code"], "bad-config");
}

#[test]
fn the_doctor_tells_of_a_kept_key() {
    let world = World::unlocked();
    let checks = world.run(["doctor", "--json"]).exits(0).json()["checks"].clone();
    let verdicts: Vec<(&str, &str)> = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["name"].as_str().unwrap(), check["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(verdicts[1..], [("keys", "warn"), ("journal", "ok"), ("settings", "ok"), ("vault", "ok")]);
    assert!(checks[1]["remedy"].as_str().unwrap().contains("landfall lock"));
}

/// What the doctor says of one thing: the verdict, and everything else.
fn diagnosis(world: &World, name: &str, code: i32) -> (String, String) {
    let checks = world.run(["doctor", "--json"]).exits(code).json()["checks"].clone();
    let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap().clone();
    (check["verdict"].as_str().unwrap().to_owned(), format!("{} {}", check["message"], check["remedy"]))
}

#[test]
fn the_doctor_tells_of_settings_that_cannot_be_used_and_they_can_be_taken_out() {
    let world = World::unlocked();
    let write = |text: &str| fs::write(world.path("home/config.toml"), text).unwrap();
    for (text, told) in [
        ("colour = 1", "there is no setting `colour`"),
        ("transfers = 0", "1 to 64 is possible"),
        ("patience = \"long\"", "cannot use `patience`"),
        ("to = \"vault\"", "`vault` is a relative path"),
        ("to = \"ftp://host\"", "cannot use `to`"),
        ("transfers = [", "cannot read `"),
    ] {
        write(text);
        let (verdict, said) = diagnosis(&world, "settings", 3);
        assert!(verdict == "fail" && said.contains(told), "{text}: {verdict} {said}");
    }
    // A file that cannot be read is not written over.
    world.run(["config", "unset", "transfers"]).exits(8);
    assert_eq!(fs::read_to_string(world.path("home/config.toml")).unwrap(), "transfers = [");
    write("colour = 1\nvideos = 1\n");
    world.run(["config", "unset", "colour"]).exits(0);
    assert_eq!(fs::read_to_string(world.path("home/config.toml")).unwrap(), "videos = 1\n");
    assert_eq!(diagnosis(&world, "settings", 0).0, "ok");
}

#[test]
fn the_doctor_tells_whether_the_vault_is_there() {
    let world = World::unlocked();
    assert_eq!(diagnosis(&world, "vault", 0).0, "ok");
    fs::rename(world.path("home-vault"), world.path("elsewhere")).unwrap();
    let (verdict, said) = diagnosis(&world, "vault", 3);
    assert!(verdict == "fail" && said.contains("the vault of earlier backups is not there"), "{said}");
    world.run(["config", "set", "to", "mistyped"]).exits(0);
    let (verdict, said) = diagnosis(&world, "vault", 0);
    assert!(verdict == "warn" && said.contains("there is no vault at"), "{said}");
    assert!(!world.path("mistyped").exists());
    world.run(["config", "set", "to", "elsewhere"]).exits(0);
    assert_eq!(diagnosis(&world, "vault", 0).0, "ok");
    world.run(["config", "set", "to", "http://127.0.0.1:1"]).exits(0);
    let (verdict, said) = diagnosis(&world, "vault", 3);
    assert!(verdict == "fail" && said.contains("cannot reach the vault at http://127.0.0.1:1"), "{said}");
}
