//! What a vault holds: listed, checked, removed.

use std::fs;

use crate::world::{World, tree};

#[test]
fn a_removed_content_is_gone_and_the_rest_is_not() {
    let world = World::unlocked();
    world.put_pictures(0..3);
    world.run(["backup", "Pictures"]).exits(0);
    let items = world.run(["ls", "--json"]).exits(0).json()["items"].as_array().unwrap().clone();
    let of = |name: &str| {
        items.iter().find(|item| item["paths"][0] == format!("Pictures/{name}")).unwrap()["id"].to_string()
    };
    world.run(["rm", &of("p1.png")]).exits(0);
    world.run(["rm", "4242"]).exits(2);
    world.run(["restore", "out"]).exits(0);
    let names: Vec<_> = tree(&world.path("out")).into_keys().collect();
    assert_eq!(names, ["Pictures/p0.png".into(), std::path::PathBuf::from("Pictures/p2.png")]);
    world.run(["verify"]).exits(0);
}

#[test]
fn only_what_was_still_there_is_told_as_removed() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    let items = world.run(["ls", "--json"]).exits(0).json()["items"].as_array().unwrap().clone();
    let ids: Vec<i64> = items.iter().map(|item| item["id"].as_i64().unwrap()).collect();
    let [first, second] = [ids[0].to_string(), ids[1].to_string()];
    let once = world.run(["rm", &first, &first, "--json"]);
    assert_eq!(once.exits(0).json()["removed"], serde_json::json!([ids[0]]));
    let again = world.run(["rm", &first]);
    assert!(again.exits(0).stderr().contains("removed 0 contents"), "{}", again.stderr());
    assert!(again.stderr().contains(&format!("content {first} was removed before")), "{}", again.stderr());
    let both = world.run(["rm", &first, &second, "--json"]).exits(0).json();
    assert_eq!((&both["removed"], &both["gone"]), (&serde_json::json!([ids[1]]), &serde_json::json!([ids[0]])));
}

#[test]
fn a_flipped_bit_in_the_vault_is_found_by_reading() {
    let world = World::unlocked();
    world.put_pictures(0..1);
    world.put("clip.mov", &landfall_images::fixture::Movie::mov(200_000).bytes());
    world.run(["backup", "Pictures"]).exits(0);
    let verified = world.run(["verify", "--read-data", "--json"]).exits(0).json();
    assert_eq!(verified["checked"], 2);
    let blobs = world.path("home-vault/blobs");
    let (largest, (mut bytes, _)) = tree(&blobs).into_iter().max_by_key(|(_, (bytes, _))| bytes.len()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(blobs.join(largest), bytes).unwrap();
    let verified = world.run(["verify", "--read-data", "--json"]);
    assert_eq!(verified.exits(3).json()["problems"].as_array().unwrap().len(), 1);
    let restored = world.run(["restore", "out", "--json"]);
    assert_eq!(restored.exits(3).json()["restored"], 1);
}

#[test]
fn a_lost_part_of_a_content_is_found_with_and_without_reading() {
    let world = World::unlocked();
    world.put_pictures(0..1);
    world.put("clip.mov", &landfall_images::fixture::Movie::mov(20 << 20).bytes());
    world.run(["backup", "Pictures"]).exits(0);
    let blobs = world.path("home-vault/blobs");
    let last = tree(&blobs).into_keys().max_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned)).unwrap();
    assert_ne!(last.file_name().unwrap(), "1", "the content has several parts");
    let part = fs::read(blobs.join(&last)).unwrap();
    for left in [Some(&part[1..]), None] {
        match left {
            Some(bytes) => fs::write(blobs.join(&last), bytes).unwrap(),
            None => fs::remove_file(blobs.join(&last)).unwrap(),
        }
        for how in [&["verify", "--json"][..], &["verify", "--read-data", "--json"]] {
            let found = world.run(how).exits(3).json();
            let problems = found["problems"].as_array().unwrap();
            assert_eq!(problems.len(), 1, "{found}");
            let message = problems[0]["message"].as_str().unwrap();
            assert_eq!(message, "the content, or a part of it, is missing or has another length");
        }
    }
    fs::write(blobs.join(&last), part).unwrap();
    world.run(["verify", "--read-data"]).exits(0);
}

#[test]
fn a_vault_that_lost_its_database_is_not_begun_anew() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    let database = world.path("home-vault/server.db");
    fs::rename(&database, world.path("kept.db")).unwrap();
    let before = tree(&world.path("home-vault"));
    // A home that never saw this vault.
    let another =
        world.landfall().args(["backup", "Pictures", "--home", "another", "--to", "home-vault", "--json"]).output();
    let another = crate::world::Done(another.unwrap());
    assert_eq!(another.exits(1).json()["error"]["code"], "vault-damaged");
    assert!(another.stderr().contains("server.db"), "{}", another.stderr());
    assert_eq!(tree(&world.path("home-vault")), before);
    fs::rename(world.path("kept.db"), &database).unwrap();
    world.run(["restore", "out"]).exits(0);
    crate::world::assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn an_existing_file_that_differs_is_replaced_only_if_asked() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    fs::create_dir_all(world.path("out/Pictures")).unwrap();
    fs::write(world.path("out/Pictures/p0.png"), "mine").unwrap();
    let kept = world.run(["restore", "out", "--json"]);
    assert_eq!(kept.exits(3).json()["problems"][0]["code"], "exists");
    assert_eq!(fs::read(world.path("out/Pictures/p0.png")).unwrap(), b"mine");
    let replaced = world.run(["restore", "out", "--overwrite", "--match", "p0*", "--json"]);
    assert_eq!(replaced.exits(0).json()["restored"], 1);
    crate::world::assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn nothing_is_restored_into_the_home_or_the_vault() {
    let world = World::unlocked();
    world.put_pictures(0..1);
    world.run(["backup", "Pictures"]).exits(0);
    crate::world::copy(&world.path("home-vault"), &world.path("moved"));
    for out in ["home", "home/out", "home-vault", "home-vault/blobs/out", "moved/out"] {
        let refused = world.run(["restore", out, "--from", "moved", "--json"]);
        assert_eq!(refused.exits(2).json()["error"]["code"], "invalid");
        assert!(refused.stderr().contains("which is landfall's own"), "{}", refused.stderr());
    }
    assert!(!world.path("home/out").exists() && !world.path("moved/out").exists());
    world.run(["restore", "out"]).exits(0);
}
