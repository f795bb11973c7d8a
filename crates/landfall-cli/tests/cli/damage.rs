//! A journal that is not what was written.

use std::fs;

use landfall_images::fixture::png;

use crate::world::{World, assert_same};

#[test]
fn a_damaged_journal_is_set_aside_and_only_what_is_missing_is_sent() {
    let world = World::unlocked();
    world.put_pictures(0..4);
    world.run(["backup", "Pictures"]).exits(0);
    let journal = world.path("home/journal.db");
    let mut bytes = fs::read(&journal).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..64].fill(0xa5);
    }
    fs::write(&journal, &bytes).unwrap();
    assert_eq!(world.run(["pause", "--json"]).exits(1).json()["error"]["code"], "journal-damaged");

    world.put("new.png", &png(99, 24, 16));
    let backup = world.run(["backup", "Pictures", "--json"]);
    let summary = backup.exits(0).json();
    assert_eq!((&summary["uploaded"], &summary["linked"]), (&1.into(), &4.into()));
    assert!(backup.stderr().contains("journal-damaged"), "{}", backup.stderr());
    let aside = fs::read_dir(world.path("home")).unwrap().map(|entry| entry.unwrap());
    let aside: Vec<_> =
        aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("journal.db.damaged-")).collect();
    assert_eq!(aside.len(), 1);
    assert!(fs::read(aside[0].path()).unwrap() == bytes, "it is untouched");
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
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
