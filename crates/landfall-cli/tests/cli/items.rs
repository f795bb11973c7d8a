//! The queue: what it shows, and what a person may do to it.

use serde_json::Value;

use crate::world::{World, assert_same};

/// A world whose pictures are taken in charge and not uploaded.
fn queued(pictures: u64) -> World {
    let world = World::unlocked();
    world.put_pictures(0..pictures);
    let backup = world.run(["backup", "Pictures", "--budget", "0s"]);
    assert!(backup.exits(5).stderr().contains("`landfall run` goes on"), "{}", backup.stderr());
    world
}

fn items(world: &World) -> Vec<Value> {
    world.run(["status", "--json"]).exits(0).json()["items"].as_array().unwrap().clone()
}

#[test]
fn a_spent_budget_leaves_a_queue_that_a_run_finishes() {
    let world = queued(3);
    let asked = world.run(["status", "--safe-to-quit"]);
    assert_eq!(asked.exits(5).stdout(), "no\n");
    let run = world.run(["run", "--json"]);
    assert_eq!(run.exits(0).json()["uploaded"], 3);
    let asked = world.run(["status", "--safe-to-quit"]);
    assert_eq!(asked.exits(0).stdout(), "yes\n");
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn the_queue_is_shown_without_a_key_in_the_documented_shape() {
    let world = queued(1);
    world.run(["lock"]).exits(0);
    let item = &items(&world)[0];
    let names: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "attempts",
        "blocked",
        "blocked_by",
        "bytes_sent",
        "bytes_total",
        "created_at",
        "destination",
        "id",
        "key",
        "lane",
        "not_before",
        "objects",
        "path",
        "phase",
        "recipe",
        "state",
        "updated_at",
        "waits",
    ];
    assert_eq!(names, expected);
    assert_eq!(item["state"], "active");
    assert_eq!(item["destination"], "default");
    let id = item["id"].to_string();
    let shown = world.run(["show", &id, "--json"]);
    assert!(!shown.exits(0).json()["history"].as_array().unwrap().is_empty());
    let missing = world.run(["show", "99", "--json"]);
    assert_eq!(missing.exits(2).json()["error"]["code"], "no-such-item");
}

#[test]
fn items_are_paused_resumed_and_cancelled() {
    let world = queued(3);
    let ids: Vec<String> = items(&world).iter().map(|item| item["id"].to_string()).collect();
    world.run(["pause"]).exits(0);
    assert!(items(&world).iter().all(|item| item["state"] == "paused"));
    assert_eq!(world.run(["run", "--json"]).exits(5).json()["uploaded"], 0);
    world.run(["cancel", &ids[0]]).exits(0);
    world.run(["resume"]).exits(0);
    assert_eq!(world.run(["run", "--json"]).exits(0).json()["uploaded"], 2);
    for verb in ["cancel", "pause", "retry", "resume"] {
        let done = world.run([verb, &ids[1]]);
        let told = format!("item {} is done and stays so", ids[1]);
        assert!(done.exits(0).stderr().contains(&told), "{}", done.stderr());
    }
}

#[test]
fn a_vanished_source_is_blocked_until_it_is_back() {
    let world = queued(2);
    let path = world.pictures().join("p0.png");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let run = world.run(["run", "--json"]);
    let summary = run.exits(3).json();
    assert_eq!(summary["problems"][0]["code"], "source-vanished");
    assert_eq!(summary["problems"][0]["path"], "Pictures/p0.png");
    world.put("p0.png", &bytes);
    let retry = world.run(["retry", "--all", "--json"]);
    assert_eq!(retry.exits(0).json()["retried"], 1);
    assert_eq!(world.run(["run", "--json"]).exits(0).json()["uploaded"], 1);
}

#[test]
fn a_run_for_one_destination_tells_what_waits_for_others() {
    let world = queued(3);
    let mut unlock = world.landfall();
    unlock.args(["unlock", "--to", "other", "--new-vault", "--remember"]);
    let unlock = unlock.env("LANDFALL_PASSWORD", crate::world::PASSWORD).output().unwrap();
    crate::world::Done(unlock).exits(0);
    let run = world.run(["run", "--once", "--to", "other", "--json"]);
    let waiting = serde_json::json!([{ "destination": "default", "queued": 3 }]);
    assert_eq!(run.exits(0).json()["elsewhere"], waiting);
    let vault = world.path("home-vault");
    let told = format!("3 files wait for {}; `landfall run` without `--to` sends", vault.display());
    assert!(run.stderr().contains(&told), "{}", run.stderr());
    let run = world.run(["run", "--json"]);
    assert_eq!(run.exits(0).json()["elsewhere"], serde_json::json!([]));
}

#[test]
fn a_destination_that_is_gone_keeps_none_of_the_others() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    let other = |arguments: &[&str]| {
        let mut command = world.landfall();
        command.args(arguments).env("LANDFALL_PASSWORD", crate::world::PASSWORD);
        crate::world::Done(command.output().unwrap())
    };
    other(&["backup", "Pictures", "--to", "other"]).exits(0);
    world.run(["backup", "Pictures"]).exits(0);
    std::fs::rename(world.path("home-vault"), world.path("elsewhere")).unwrap();
    world.put_pictures(2..3);
    world.run(["backup", "Pictures"]).exits(5);
    std::fs::rename(world.path("other"), world.path("other-away")).unwrap();
    other(&["backup", "Pictures", "--to", "other"]).exits(5);
    std::fs::rename(world.path("elsewhere"), world.path("home-vault")).unwrap();
    let run = other(&["run", "--once", "--json"]);
    let summary = run.exits(5).json();
    assert_eq!(summary["uploaded"], 1, "what waits for the one that is there is sent");
    assert_eq!(summary["problems"][0]["code"], "vault-missing");
    std::fs::rename(world.path("other-away"), world.path("other")).unwrap();
    assert_eq!(other(&["run", "--json"]).exits(0).json()["uploaded"], 1);
}

#[test]
fn numbers_of_items_and_of_contents_are_told_apart() {
    let world = queued(2);
    let status = world.run(["status"]);
    assert!(status.exits(0).stdout().lines().nth(1).unwrap().starts_with("    item  state"), "{}", status.stdout());
    world.run(["run"]).exits(0);
    let listed = world.run(["ls"]);
    assert!(listed.exits(0).stdout().starts_with(" content       size  taken"), "{}", listed.stdout());
    let missing = world.run(["show", "4242"]);
    assert!(missing.exits(2).stderr().contains("numbers of `landfall ls` are contents, for `restore`"));
    let nothing = world.run(["restore", "out", "--match", "*.mov", "--json"]);
    assert_eq!(
        nothing.exits(2).json()["error"]["message"],
        "cannot restore to `out`: nothing in the vault is what was asked for"
    );
    for arguments in [&["rm", "4242", "--json"][..], &["restore", "out", "4242", "--json"]] {
        let missing = world.run(arguments);
        assert_eq!(missing.exits(2).json()["error"]["code"], "no-such-content");
        assert!(missing.stderr().contains("hint: `landfall ls` lists the contents"), "{}", missing.stderr());
    }
}
