//! A vault served to others.

use std::{
    fs,
    io::{BufRead as _, BufReader},
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
    let account = world.run(["server", "account", "add", "alice", "--vault", "served", "--json"]);
    fs::write(world.path("token"), account.exits(0).json()["token"].as_str().unwrap()).unwrap();
    let list = world.run(["server", "account", "ls", "--vault", "served", "--json"]);
    assert_eq!(list.exits(0).json()["accounts"][0]["name"], "alice");
    world.run(["server", "account", "add", "alice", "--vault", "served"]).exits(2);

    let mut server = world.landfall();
    server
        .args(["server", "--vault", "served", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = Server(server.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap();

    let stranger = world.landfall().args(["backup", "Pictures", "--to", url, "--json"]).output().unwrap();
    assert_eq!(Done(stranger).exits(4).json()["error"]["code"], "unauthorized");
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
