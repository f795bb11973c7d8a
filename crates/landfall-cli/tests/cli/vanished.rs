//! A vault that is not where it was, or not what it was.

use std::fs;

use crate::world::{Done, PASSWORD, World, assert_same, copy, set_modified, tree};

#[test]
fn a_vault_that_is_gone_is_missed_also_when_nothing_is_new() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    fs::rename(world.path("home-vault"), world.path("elsewhere")).unwrap();
    for _ in 0..2 {
        // Something new makes no difference, and no vault is made in its place.
        let missed = world.run(["backup", "Pictures", "--json"]);
        assert_eq!(missed.exits(5).json()["error"]["code"], "vault-missing");
        assert!(missed.stderr().contains("hint: "), "{}", missed.stderr());
        world.put_pictures(2..3);
        assert!(!world.path("home-vault").exists());
    }
    // The folder that a disk was mounted on.
    fs::create_dir(world.path("home-vault")).unwrap();
    world.run(["backup", "Pictures"]).exits(5);
    fs::remove_dir(world.path("home-vault")).unwrap();
    fs::rename(world.path("elsewhere"), world.path("home-vault")).unwrap();
    world.run(["backup", "Pictures"]).exits(0);
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn what_is_new_while_the_vault_is_gone_is_taken_in_charge_and_sent_when_it_is_back() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    fs::rename(world.path("home-vault"), world.path("elsewhere")).unwrap();
    world.put_pictures(2..5);
    let queued = || world.run(["status", "--json"]).exits(0).json()["counts"]["queued"].as_u64().unwrap();
    for _ in 0..2 {
        let away = world.run(["backup", "Pictures", "--json"]);
        assert_eq!(away.exits(5).json()["error"]["code"], "vault-missing");
        assert_eq!(away.json()["error"]["queued"], 3);
        assert!(away.stderr().contains("; 3 files wait for it\n"), "{}", away.stderr());
        assert!(away.stderr().contains("`landfall run` sends what waits"), "{}", away.stderr());
        assert_eq!(queued(), 3);
    }
    // A folder that is new here is named with the key that this home keeps.
    fs::create_dir(world.path("More")).unwrap();
    fs::write(world.path("More/m.png"), landfall_images::fixture::png(77, 24, 16)).unwrap();
    set_modified(&world.path("More/m.png"), 1_234_567_890_000_000_000);
    world.run(["backup", "More"]).exits(5);
    assert_eq!(queued(), 4);
    // Without any key, what is below a known folder is taken, and nothing of an unknown one.
    world.run(["lock"]).exits(0);
    world.put_pictures(5..6);
    fs::create_dir(world.path("Unknown")).unwrap();
    fs::copy(world.path("More/m.png"), world.path("Unknown/u.png")).unwrap();
    let locked = world.run(["backup", "Pictures", "Unknown", "--json"]);
    assert_eq!(locked.exits(5).json()["error"]["queued"], 5);
    assert!(locked.stderr().contains("nothing of it was taken in charge"), "{}", locked.stderr());

    fs::rename(world.path("elsewhere"), world.path("home-vault")).unwrap();
    let run = world.landfall().args(["run", "--json"]).env("LANDFALL_PASSWORD", PASSWORD).output().unwrap();
    assert_eq!(Done(run).exits(0).json()["uploaded"], 5);
    let restore = world.landfall().args(["restore", "out"]).env("LANDFALL_PASSWORD", PASSWORD).output().unwrap();
    Done(restore).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
    assert_same(&world.path("More"), &world.path("out/More"));
}

#[test]
fn another_vault_in_its_place_is_taken_only_if_asked() {
    let world = World::unlocked();
    let other = World::empty();
    world.put_pictures(0..2);
    other.put_pictures(5..6);
    world.run(["backup", "Pictures"]).exits(0);
    let password = |mut command: std::process::Command| command.env("LANDFALL_PASSWORD", "a new one").status().unwrap();
    let mut command = other.landfall();
    command.args(["backup", "Pictures"]);
    assert!(password(command).success());
    fs::rename(world.path("home-vault"), world.path("elsewhere")).unwrap();
    copy(&other.path("home-vault"), &world.path("home-vault"));
    let refused = world.run(["backup", "Pictures", "--json"]);
    assert_eq!(refused.exits(2).json()["error"]["code"], "another-vault");
    let mut command = world.landfall();
    command.args(["backup", "Pictures", "--new-vault"]);
    assert!(password(command).success());
    let mut command = world.landfall();
    command.args(["restore", "out"]);
    assert!(password(command).success());
    let held = tree(&world.path("out/Pictures"));
    assert!(tree(&world.pictures()).iter().all(|(path, file)| held.get(path) == Some(file)), "{:?}", held.keys());
}

/// A home that has backed up four pictures, over its vault as it was with two.
fn with_older_vault() -> World {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    copy(&world.path("home-vault"), &world.path("older"));
    world.put_pictures(2..4);
    world.run(["backup", "Pictures"]).exits(0);
    fs::remove_dir_all(world.path("home-vault")).unwrap();
    fs::rename(world.path("older"), world.path("home-vault")).unwrap();
    world
}

#[test]
fn a_vault_that_was_put_back_to_an_older_state_is_sent_what_it_lacks() {
    let world = with_older_vault();
    let backup = world.run(["backup", "Pictures", "--json"]);
    assert_eq!(backup.exits(0).json()["uploaded"], 2);
    assert!(backup.stderr().contains("older state"), "{}", backup.stderr());
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn a_vault_that_was_put_back_is_noticed_also_when_others_have_brought_more_since() {
    let world = with_older_vault();

    fs::create_dir(world.path("second")).unwrap();
    fs::copy(world.path("home/unlock.key"), world.path("second/unlock.key")).unwrap();
    fs::create_dir(world.path("Others")).unwrap();
    for number in 10..20 {
        let path = world.path("Others").join(format!("{number}.png"));
        fs::write(&path, landfall_images::fixture::png(number, 24, 16)).unwrap();
        set_modified(&path, 1_234_567_890_000_000_000);
    }
    let mut second = world.landfall();
    second.env("LANDFALL_HOME", world.path("second")).args(["backup", "Others", "--to"]).arg(world.path("home-vault"));
    Done(second.output().unwrap()).exits(0);

    for uploaded in [2, 0] {
        let backup = world.run(["backup", "Pictures", "--json"]);
        assert_eq!(backup.exits(0).json()["uploaded"], uploaded);
        assert_eq!(backup.stderr().contains("older state"), uploaded > 0, "{}", backup.stderr());
    }
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn damage_is_mended_as_the_hint_says() {
    let world = World::unlocked();
    world.put_pictures(0..3);
    world.run(["backup", "Pictures"]).exits(0);
    let blobs = world.path("home-vault/blobs");
    let first = tree(&blobs).into_keys().next().unwrap();
    fs::remove_file(blobs.join(first)).unwrap();
    let found = world.run(["verify", "--json"]).exits(3).json();
    let id = found["problems"][0]["id"].to_string();
    world.run(["rm", &id]).exits(0);
    assert_eq!(world.run(["backup", "Pictures", "--json"]).exits(0).json()["uploaded"], 1);
    world.run(["verify", "--read-data"]).exits(0);
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn what_another_device_removed_is_brought_again() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    let mut other = world.landfall();
    other.env("LANDFALL_HOME", world.path("second")).args(["rm", "1", "--from"]).arg(world.path("home-vault"));
    fs::create_dir(world.path("second")).unwrap();
    fs::copy(world.path("home/unlock.key"), world.path("second/unlock.key")).unwrap();
    assert!(other.status().unwrap().success());
    assert_eq!(world.run(["backup", "Pictures", "--json"]).exits(0).json()["uploaded"], 1);
}
