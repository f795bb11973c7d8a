//! Passwords, recovery keys and kept keys.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::world::{Done, PASSWORD, World, assert_same};

#[test]
fn a_wrong_password_is_refused_and_a_kept_key_needs_none() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    fs::write(world.path("wrong"), "wrong\n").unwrap();
    let wrong = world.run(["backup", "Pictures", "--json", "--password-file", "wrong"]);
    assert_eq!(wrong.exits(4).json()["error"]["code"], "wrong-password");

    // What the environment says is not looked at while the key is kept.
    let kept = world.landfall().args(["backup", "Pictures"]).env("LANDFALL_PASSWORD", "wrong").output();
    Done(kept.unwrap()).exits(0);

    let mode = fs::metadata(world.path("home/unlock.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.run(["lock"]).exits(0);
    assert!(!world.path("home/unlock.key").exists());
    let locked = world.run(["ls", "--json"]);
    assert_eq!(locked.exits(4).json()["error"]["code"], "locked");
    assert!(locked.stderr().contains("hint: set LANDFALL_PASSWORD"), "{}", locked.stderr());
}

#[test]
fn a_changed_password_opens_and_the_old_one_does_not() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    fs::write(world.path("new"), "battery staple\n").unwrap();
    world.run(["password", "--new-password-file", "new"]).exits(0);
    world.run(["lock"]).exits(0);
    let restore = |password: &str, out: &str| {
        Done(world.landfall().args(["restore", out]).env("LANDFALL_PASSWORD", password).output().unwrap())
    };
    restore(PASSWORD, "no").exits(4);
    restore("battery staple", "yes").exits(0);
    assert_same(&world.pictures(), &world.path("yes/Pictures"));
}

#[test]
fn the_recovery_key_can_be_shown_again() {
    let world = World::unlocked();
    let shown = world.run(["recovery-key"]);
    assert_eq!(shown.exits(0).stdout().trim_end(), world.phrase());
    let json = world.run(["recovery-key", "--json"]);
    assert_eq!(json.exits(0).json()["recovery_key"], world.phrase());
}

#[test]
fn a_vault_that_is_not_there_is_not_made_by_looking_for_it() {
    let world = World::empty();
    let missing = world.run(["restore", "out", "--from", "nowhere", "--json"]);
    assert_eq!(missing.exits(2).json()["error"]["code"], "no-such-vault");
    assert!(!world.path("nowhere").exists() && !world.path("home").exists());
}

#[test]
fn a_mistyped_vault_is_not_made_by_unlocking_it() {
    let world = World::unlocked();
    let unlock = |arguments: &[&str]| {
        let unlock = world.landfall().args(arguments).env("LANDFALL_PASSWORD", PASSWORD).output().unwrap();
        Done(unlock)
    };
    let refused = unlock(&["unlock", "--to", "nowhere", "--json"]);
    assert_eq!(refused.exits(2).json()["error"]["code"], "no-such-vault");
    assert!(refused.stderr().contains("hint: check the path; `landfall backup"), "{}", refused.stderr());
    assert!(!world.path("nowhere").exists());
    let elsewhere = world.landfall().args(["unlock"]).env("LANDFALL_TO", world.path("nowhere")).output().unwrap();
    assert_eq!(Done(elsewhere).exits(2).stdout(), "");
    assert!(!world.path("nowhere").exists());
    unlock(&["unlock", "--to", "nowhere", "--new-vault"]).exits(0);
    assert!(world.path("nowhere/server.db").exists());
    unlock(&["unlock", "--to", "nowhere"]).exits(0);
}
