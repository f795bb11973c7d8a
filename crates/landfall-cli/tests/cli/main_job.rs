//! Back a folder up, and get it back.

use std::{fs, os::unix::fs::symlink, process::Command};

use landfall_images::fixture::png;

use crate::world::{Done, PASSWORD, World, assert_same};

#[test]
fn everything_that_was_taken_comes_back_with_only_the_vault_and_the_recovery_key() {
    let world = World::empty();
    world.put_real_media();
    let backup = world.landfall().args(["backup", "Pictures"]).env("LANDFALL_PASSWORD", PASSWORD).output();
    let backup = Done(backup.unwrap());
    backup.exits(0);
    assert!(backup.stderr().contains("uploaded 18 files"), "{}", backup.stderr());
    assert!(backup.stderr().contains("linked 2, unchanged 0, skipped 0, problems 0"), "{}", backup.stderr());
    assert!(backup.stderr().contains("on the same disk"), "{}", backup.stderr());
    let phrase: Vec<&str> = backup.stderr().lines().filter(|line| line.starts_with("      ")).collect();
    fs::write(world.path("phrase"), phrase.join("\n")).unwrap();

    let elsewhere = World::empty();
    let restore = elsewhere.run([
        "restore",
        "out",
        "--from",
        world.path("home-vault").to_str().unwrap(),
        "--recovery-key-file",
        world.path("phrase").to_str().unwrap(),
    ]);
    restore.exits(0);
    assert_same(&world.pictures(), &elsewhere.path("out/Pictures"));
    assert!(!elsewhere.path("home").exists(), "a restore needs no home, and makes none");
}

#[test]
fn a_second_backup_sends_nothing_and_needs_no_key() {
    let world = World::unlocked();
    world.put_pictures(0..5);
    world.run(["backup", "Pictures"]).exits(0);
    fs::remove_file(world.path("home/unlock.key")).unwrap();
    let again = world.run(["backup", "Pictures", "--json"]);
    again.exits(0);
    let summary = again.json();
    assert_eq!(summary["unchanged"], 5);
    assert_eq!(summary["bytes_sent"], 0);
    assert_eq!(summary["bytes_read"], 0);

    // The key is needed only when there is something to seal.
    world.put("new.png", &png(99, 24, 16));
    let locked = world.run(["backup", "Pictures", "--json"]);
    assert_eq!(locked.exits(4).json()["error"]["code"], "locked");
}

#[test]
fn what_is_not_taken_is_counted_and_named() {
    let world = World::unlocked();
    world.put_pictures(0..1);
    world.put("empty.jpg", b"");
    world.put("letter.txt", b"dear");
    symlink("/nowhere/at/all", world.pictures().join("lost.jpg")).unwrap();
    symlink("loop.jpg", world.pictures().join("loop.jpg")).unwrap();
    fs::create_dir(world.path("other")).unwrap();
    symlink(world.path("other"), world.pictures().join("folder")).unwrap();
    let backup = world.run(["backup", "Pictures", "--json"]);
    let summary = backup.exits(0).json();
    let mut skipped: Vec<(String, String)> = summary["skipped"].as_array().unwrap().iter().map(pair).collect();
    skipped.sort();
    let expected = [
        ("Pictures/empty.jpg", "empty"),
        ("Pictures/folder", "linked-folder"),
        ("Pictures/letter.txt", "not-media"),
        ("Pictures/loop.jpg", "dangling-link"),
        ("Pictures/lost.jpg", "dangling-link"),
    ];
    assert_eq!(skipped, expected.map(|(path, code)| (path.to_owned(), code.to_owned())));
    assert!(backup.stderr().contains("`Pictures/lost.jpg` is a link that leads nowhere"));

    let all = world.run(["backup", "Pictures", "--all", "--json"]);
    assert_eq!(all.exits(0).json()["uploaded"], 1);
}

fn pair(skipped: &serde_json::Value) -> (String, String) {
    (skipped["path"].as_str().unwrap().to_owned(), skipped["code"].as_str().unwrap().to_owned())
}

#[test]
fn an_unreadable_file_is_named_and_the_rest_is_done() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let world = World::unlocked();
    world.put_pictures(0..3);
    let secret = world.put("secret.png", &png(77, 24, 16));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = world.landfall();
    if fs::read(&secret).is_ok() {
        // Nothing is unreadable for root: somebody else has to try.
        if Command::new("setpriv").arg("--version").output().is_err() {
            return;
        }
        let binary = world.path("landfall");
        fs::copy(env!("CARGO_BIN_EXE_landfall"), &binary).unwrap();
        let mut everything = vec![world.path("")];
        while let Some(path) = everything.pop() {
            if path.is_dir() {
                everything.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            chown(&path, Some(65534), Some(65534)).unwrap();
        }
        command = Command::new("/usr/bin/env");
        command.args(["-i", "PATH=/usr/bin:/bin", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(&binary).arg("--home").arg(world.path("home")).current_dir(world.path(""));
    }
    let backup = Done(command.args(["backup", "Pictures", "--json"]).output().unwrap());
    let summary = backup.exits(3).json();
    assert_eq!(summary["uploaded"], 3);
    assert_eq!(summary["problems"].as_array().unwrap().len(), 1);
    let problem = &summary["problems"][0];
    assert_eq!(problem["path"], "Pictures/secret.png");
    assert_eq!(problem["code"], "source-unreadable");
    assert!(backup.stderr().contains("problem: `Pictures/secret.png`"), "{}", backup.stderr());
}

#[test]
fn a_dry_run_and_filters_tell_what_would_be_taken_and_touch_nothing() {
    let world = World::empty();
    world.put_pictures(0..3);
    world.put("cache/deep/x.png", &png(9, 24, 16));
    world.put("holiday.webp", &landfall_images::fixture::webp(1, 24, 16));
    let new = |arguments: &[&str]| {
        let dry = world.run([&["backup", "Pictures", "--dry-run", "--json"][..], arguments].concat());
        dry.exits(0).json()["new"].as_u64().unwrap()
    };
    assert_eq!(new(&[]), 5);
    assert_eq!(new(&["--exclude", "cache"]), 4);
    assert_eq!(new(&["--include", "*.webp"]), 1);
    assert_eq!(new(&["--include", "*.png", "--exclude", "p1.*"]), 3);
    assert_eq!(new(&["--include", "cache/**"]), 1);
    assert!(!world.path("home").exists() && !world.path("home-vault").exists());
}

#[test]
fn a_dry_run_names_each_file_and_why_it_would_be_skipped() {
    let world = World::empty();
    world.put_pictures(0..1);
    world.put("notes.txt", b"no picture");
    world.put("cache/x.png", &png(9, 24, 16));
    let dry = |more: &[&str]| world.run([&["backup", "Pictures", "--dry-run", "--exclude", "cache"], more].concat());
    let people = dry(&[]);
    let lines: Vec<Vec<&str>> =
        people.exits(0).stdout().lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines[0].starts_with(&["take"]) && lines[0].ends_with(&["Pictures/p0.png"]), "{lines:?}");
    assert_eq!(lines[1], ["skip", "not-media", "Pictures/notes.txt"]);
    assert_eq!(lines[2], ["skip", "filtered", "Pictures/cache/x.png"]);
    let document = dry(&["--json"]).exits(0).json();
    assert_eq!(document["files"][0]["path"], "Pictures/p0.png");
    assert_eq!(document["files"][0]["kind"], "png");
    assert_eq!(document["skipped"][1], serde_json::json!({ "path": "Pictures/cache/x.png", "code": "filtered" }));
    let events = dry(&["--json-lines"]);
    let events: Vec<serde_json::Value> =
        events.exits(0).stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(&str, Option<&str>)> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), event["place"].as_str())).collect();
    let expected = [
        ("would-take", Some("Pictures/p0.png")),
        ("skipped", Some("Pictures/notes.txt")),
        ("skipped", Some("Pictures/cache/x.png")),
        ("summary", None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn our_own_folders_are_never_backed_up() {
    let world = World::unlocked();
    world.put_pictures(0..1);
    let home = world.pictures().join("home");
    crate::world::copy(&world.path("home"), &home);
    crate::world::copy(&world.path("home-vault"), &world.pictures().join("home-vault"));
    let inside =
        |arguments: &[&str]| Done(world.landfall().env("LANDFALL_HOME", &home).args(arguments).output().unwrap());
    let backup = inside(&["backup", "Pictures", "--all", "--json"]);
    assert_eq!(backup.exits(0).json()["scanned"], 1);
    assert!(backup.stderr().contains("is landfall's own and is left out"));
    inside(&["backup", "Pictures/home-vault"]).exits(2);
}

#[test]
fn a_missing_path_is_refused_before_anything_is_taken() {
    let world = World::empty();
    world.put_pictures(0..1);
    let refused = world.run(["backup", "Pictures", "Photos", "--json"]);
    assert_eq!(refused.exits(2).json()["error"]["code"], "not-found");
    assert!(refused.stderr().contains("error: cannot back up `Photos`"), "{}", refused.stderr());
    assert!(!world.path("home-vault").exists());
}
