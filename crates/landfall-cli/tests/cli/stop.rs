//! Ctrl-C.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Command, Stdio},
};

use landfall_images::fixture::Movie;

use crate::world::{World, assert_same};

pub(crate) fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

#[test]
fn ctrl_c_while_uploading_checkpoints_and_says_how_to_go_on() {
    let world = World::unlocked();
    for number in 0..3 {
        world.put(format!("clip {number}.mp4"), &Movie::mp4(40 << 20).seed(number).bytes());
    }
    let mut backup = world.landfall();
    backup.args(["backup", "Pictures", "--json-lines"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut backup = backup.spawn().unwrap();
    let mut lines = BufReader::new(backup.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("\"stored\"")).unwrap().unwrap();
    signal(backup.id(), "-INT");
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let mut said = String::new();
    backup.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(130), "{said}");
    assert!(rest.last().unwrap().contains("\"summary\""));
    assert!(said.contains("`landfall run` goes on"), "{said}");
    world.run(["run"]).exits(0);
    world.run(["restore", "out"]).exits(0);
    assert_same(&world.pictures(), &world.path("out/Pictures"));
}

#[test]
fn a_signal_ends_a_command_that_waits() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let world = World::empty();
        world.put_pictures(0..1);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let mut backup = world.landfall();
        backup.args(["backup", "Pictures", "--to", &url]).env("LANDFALL_TOKEN", "some").stderr(Stdio::piped());
        let backup = backup.spawn().unwrap();
        let _connection = silent.accept().unwrap();
        signal(backup.id(), name);
        let done = backup.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
