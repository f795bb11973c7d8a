//! A vault served to others.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
};

use crate::world::{Done, PASSWORD, World, assert_same};

/// A server that is killed when the test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_device_logs_in_backs_up_and_restores_over_the_network() {
    let world = World::empty();
    world.put_pictures(0..3);
    let account = world.run(["server", "account", "add", "alice", "--vault", "served"]);
    fs::write(world.path("token"), account.exits(0).stdout()).unwrap();
    assert!(account.stderr().contains("made the account `alice`"), "{}", account.stderr());
    let list = world.run(["server", "account", "ls", "--vault", "served", "--json"]);
    assert_eq!(list.exits(0).json()["accounts"][0]["name"], "alice");
    world.run(["server", "account", "add", "alice", "--vault", "served"]).exits(2);

    let (_server, said, _) = serve(&world, &["--vault", "served"]);
    let url = said[0].strip_prefix("listening on ").unwrap();

    let stranger = world.landfall().args(["backup", "Pictures", "--to", url, "--json"]).output().unwrap();
    assert_eq!(Done(stranger).exits(4).json()["error"]["code"], "unauthorized");
    fs::write(world.path("more"), format!("account 1\ntoken   {}", account.stdout())).unwrap();
    let refused = world.run(["login", url, "--token-file", "more", "--json"]);
    assert!(refused.exits(4).json()["error"]["hint"].as_str().unwrap().contains("the token alone"));
    let login =
        world.landfall().args(["login", url, "--token-file", "token"]).env("LANDFALL_PASSWORD", PASSWORD).output();
    Done(login.unwrap()).exits(0);
    // One unlock from the token kept in the home, and then none.
    let unlock =
        world.landfall().args(["unlock", "--remember", "--to", url]).env("LANDFALL_PASSWORD", PASSWORD).output();
    Done(unlock.unwrap()).exits(0);
    assert_eq!(world.run(["backup", "Pictures", "--to", url, "--json"]).exits(0).json()["uploaded"], 3);
    world.run(["restore", "out", "--from", url]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));

    let token = fs::read_to_string(world.path("token")).unwrap();
    let token = token.trim_end();
    let bad = world.landfall().args(["ls", "--from", url, "--json"]).env("LANDFALL_TOKEN", "wrong").output().unwrap();
    assert_eq!(Done(bad).exits(4).json()["error"]["code"], "unauthorized");
    assert!(
        !fs::read(world.path("home/journal.db")).unwrap().windows(token.len()).any(|bytes| bytes == token.as_bytes())
    );
}

#[test]
fn an_absent_server_is_not_an_error_of_ours() {
    let world = World::empty();
    world.put_pictures(0..1);
    let away = world.landfall();
    let mut away = away;
    away.args(["backup", "Pictures", "--to", "http://127.0.0.1:1", "--patience", "0s", "--json"]);
    let away = Done(away.env("LANDFALL_TOKEN", "some").output().unwrap());
    assert_eq!(away.exits(5).json()["error"]["code"], "offline");
}

#[test]
fn a_vault_that_serving_makes_is_told_and_one_that_is_looked_for_is_not_made() {
    let world = World::empty();
    let missing = world.run(["server", "account", "ls", "--vault", "served", "--json"]);
    assert_eq!(missing.exits(2).json()["error"]["code"], "no-such-vault");
    assert!(!world.path("served").exists());

    let (_server, listening, errors) = serve(&world, &["--vault", "served", "--json-lines"]);
    let events: Vec<serde_json::Value> = listening.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events[0]["message"].as_str().unwrap().starts_with("there was no vault at `"), "{events:?}");
    assert_eq!(events[1]["type"], "listening");
    assert_eq!(events[1]["new_vault"], true);
    let errors = fs::read_to_string(errors).unwrap();
    assert!(errors.contains("a new, empty one was made") && errors.contains("hint: "), "{errors}");

    let added = world.run(["server", "account", "add", "alice", "--vault", "served", "--json"]);
    assert_eq!(added.exits(0).json()["new_vault"], false);
    assert_eq!(added.stderr().lines().count(), 1, "{}", added.stderr());
    let added = world.run(["server", "account", "add", "alice", "--vault", "mistyped", "--json"]);
    assert_eq!(added.exits(0).json()["new_vault"], true);
    assert!(added.stderr().contains("a new, empty one was made"), "{}", added.stderr());
}

#[test]
fn an_account_with_contents_is_removed_only_if_they_may_go() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.run(["backup", "Pictures"]).exits(0);
    let rm = |more: &[&str]| world.run([&["server", "account", "rm", "owner", "--vault", "home-vault"], more].concat());
    let refused = rm(&["--json"]);
    let message = refused.exits(2).json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with("the account `owner` has 2 contents in this vault"), "{message}");
    assert!(refused.stderr().contains("hint: nothing was removed; `--delete-contents`"), "{}", refused.stderr());
    world.run(["restore", "out"]).exits(0);
    assert_eq!(rm(&["--delete-contents", "--json"]).exits(0).json()["contents"], 2);
    assert!(crate::world::tree(&world.path("home-vault/blobs")).is_empty());
    rm(&["--delete-contents"]).exits(2);
}

#[test]
fn after_an_account_was_removed_new_keys_are_made_and_all_is_sent_again() {
    let world = World::unlocked();
    world.put_pictures(0..2);
    world.put("notes.txt", b"not taken");
    world.run(["backup", "Pictures"]).exits(0);
    world.run(["server", "account", "rm", "owner", "--vault", "home-vault", "--delete-contents"]).exits(0);
    // The kept key is of an account that is gone: nothing sealed with it could ever be opened by a password.
    world.run(["backup", "Pictures"]).exits(4);
    let with_password = |arguments: &[&str]| {
        let mut command = world.landfall();
        command.args(arguments).env("LANDFALL_PASSWORD", PASSWORD);
        Done(command.output().unwrap())
    };
    let backup = with_password(&["backup", "Pictures", "--json"]);
    assert_eq!(backup.exits(0).json()["uploaded"], 2);
    let home = world.path("another-home");
    with_password(&["--home", home.to_str().unwrap(), "restore", "out", "--from", "home-vault"]).exits(0);
    assert!(world.path("out/Pictures/p1.png").exists());
}

/// A server that listens: what it said up to then, and where its errors are.
fn serve(world: &World, arguments: &[&str]) -> (Server, Vec<String>, PathBuf) {
    let errors = world.path("server.stderr");
    let mut server = world.landfall();
    server.args([&["server", "--listen", "127.0.0.1:0"], arguments].concat());
    server.stdout(Stdio::piped()).stderr(fs::File::create(&errors).unwrap());
    let mut server = Server(server.spawn().unwrap());
    let mut said = Vec::new();
    for line in BufReader::new(server.0.stdout.take().unwrap()).lines() {
        said.push(line.unwrap());
        if said.last().unwrap().contains("listening") {
            break;
        }
    }
    (server, said, errors)
}
