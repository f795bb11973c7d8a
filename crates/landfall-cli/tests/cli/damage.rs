//! A journal that is not what was written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landfall_images::fixture::png;

use crate::world::{World, assert_same};

/// Spoils all pages but the first, and returns what the file is then.
fn damage(journal: &Path) -> Vec<u8> {
    let mut bytes = fs::read(journal).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..64].fill(0xa5);
    }
    fs::write(journal, &bytes).unwrap();
    bytes
}

/// The journals that were set aside.
fn aside(world: &World) -> Vec<PathBuf> {
    let paths = fs::read_dir(world.path("home")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains("journal.db.damaged-")).collect()
}

#[test]
fn a_damaged_journal_is_set_aside_and_only_what_is_missing_is_sent() {
    let world = World::unlocked();
    world.put_pictures(0..4);
    world.run(["backup", "Pictures"]).exits(0);
    let journal = world.path("home/journal.db");
    let bytes = damage(&journal);
    for command in ["pause", "status", "doctor"] {
        let refused = world.run([command]);
        assert!(format!("{}{}", refused.stdout(), refused.stderr()).contains("run `landfall backup"), "{command}");
    }
    assert_eq!(world.run(["pause", "--json"]).exits(1).json()["error"]["code"], "journal-damaged");

    world.put("new.png", &png(99, 24, 16));
    let backup = world.run(["backup", "Pictures", "--json"]);
    let summary = backup.exits(0).json();
    assert_eq!((&summary["uploaded"], &summary["linked"]), (&1.into(), &4.into()));
    assert!(backup.stderr().contains("journal-damaged"), "{}", backup.stderr());
    assert!(backup.stderr().contains("may be removed once every path was backed up again"), "{}", backup.stderr());
    let aside = aside(&world);
    assert_eq!(aside.len(), 1);
    assert!(fs::read(&aside[0]).unwrap() == bytes, "it is untouched");
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn a_run_on_a_damaged_journal_says_that_what_was_queued_is_not_known_any_more() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    damage(&world.path("home/journal.db"));
    let run = world.run(["run", "--json"]);
    assert_eq!(run.exits(1).json()["error"]["code"], "journal-damaged");
    assert!(run.stderr().contains("is not known any more"), "{}", run.stderr());
    assert!(run.stderr().contains("`landfall backup PATH…` takes it again"), "{}", run.stderr());
    assert!(!run.stderr().contains("may be removed"), "{}", run.stderr());
    assert_eq!(aside(&world).len(), 1);
    assert_eq!(world.run(["backup", "Pictures", "--json"]).exits(0).json()["linked"], 2);
}

#[test]
fn an_empty_journal_is_as_good_as_none() {
    let world = World::unlocked();
    fs::write(world.path("home/journal.db"), "").unwrap();
    assert_eq!(world.run(["status", "--json"]).exits(0).json()["counts"]["queued"], 0);
    world.run(["status", "--safe-to-quit"]).exits(0);
    assert_eq!(world.run(["show", "1", "--json"]).exits(2).json()["error"]["code"], "no-such-item");
    world.run(["doctor"]).exits(0);
    assert!(fs::read(world.path("home/journal.db")).unwrap().is_empty(), "looking writes nothing");
    world.put_pictures(0..1);
    assert_eq!(world.run(["backup", "Pictures", "--json"]).exits(0).json()["uploaded"], 1);
}

#[test]
fn a_lost_home_is_rebuilt_from_the_vault_and_a_scan() {
    let world = World::unlocked();
    world.put_pictures(0..3);
    world.run(["backup", "Pictures"]).exits(0);
    fs::remove_file(world.path("home/journal.db")).unwrap();
    let backup = world.run(["backup", "Pictures", "--json"]);
    let summary = backup.exits(0).json();
    assert_eq!((&summary["uploaded"], &summary["linked"]), (&0.into(), &3.into()));
}
