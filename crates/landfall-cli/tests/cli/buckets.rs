//! Buckets: what goes to one, what comes back, and what is refused.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
};

use landfall_env::{Clock as _, SystemClock};
use landfall_testkit::bucket::{Answer, BucketServer, Credential, Fault, On, Operation, Profile};

use crate::world::{Done, World};

/// A world, and a server with the bucket that its destination `lab` is.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) server: BucketServer,
    origin: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let (world, clock) = (World::empty(), SystemClock::new());
        let server = BucketServer::new(Profile::s3(), Arc::new(move || clock.wall_ms()));
        let (told, served) = (mpsc::channel(), server.clone());
        let (tell, hear) = told;
        // Serves until the tests end.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let served = served.serve().await.unwrap();
                tell.send(served.origin().to_owned()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        let lab = Self { world, server, origin: hear.recv().unwrap() };
        fs::write(lab.world.path("secret"), Credential::default().secret_access_key()).unwrap();
        lab.add("lab", &[]).exits(0);
        lab
    }

    pub(crate) fn landfall(&self) -> Command {
        let mut command = self.world.landfall();
        command.env("LANDFALL_KEYRING", "off");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        Done(self.landfall().args(arguments).output().unwrap())
    }

    /// With a password in the environment.
    fn unlocked(&self, arguments: &[&str]) -> Done {
        Done(self.landfall().args(arguments).env("LANDFALL_PASSWORD", "a password").output().unwrap())
    }

    /// Adds a destination to the server's bucket, unless something else is said: names of options and their values.
    fn adding(&self, name: &str, said: &[&str]) -> Command {
        let (region, key) = (Profile::s3().region, Credential::default());
        let usual = [
            ("--bucket", BucketServer::BUCKET),
            ("--region", region.as_str()),
            ("--endpoint", &self.origin),
            ("--access-key", key.access_key_id()),
            ("--secret-file", "secret"),
        ];
        let mut command = self.landfall();
        command.args(["destination", "add", "s3", name, "--path-style"]).args(said);
        for (option, value) in usual.into_iter().filter(|(option, _)| !said.contains(option)) {
            command.args([option, value]);
        }
        command
    }

    pub(crate) fn add(&self, name: &str, said: &[&str]) -> Done {
        Done(self.adding(name, said).output().unwrap())
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.server.objects().into_iter().map(|object| object.key).collect()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.world.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.world.path(name)).unwrap()
    }
}

#[test]
fn keys_that_are_landfalls_own_or_none_are_refused() {
    let lab = Lab::new();
    lab.write("a.txt", b"a");
    for more in [
        &["--key", ".landfall/keys.json"][..],
        &["--key", "x/.landfall/keys.json"],
        &["--key", ""],
        &["--key", "", "--below", "x/"],
        &["--key", "/abs"],
        &["--below", ".landfall/"],
        &["--below", "/abs/"],
    ] {
        let refused = lab.run(&[&["put", "a.txt", "--to", "lab"], more].concat());
        refused.exits(2);
    }
    assert_eq!(lab.keys(), [""; 0]);
}

#[test]
fn two_files_that_would_have_one_key_are_refused_and_one_that_is_named_twice_is_one() {
    let lab = Lab::new();
    lab.write("one/a.txt", b"1");
    lab.write("two/a.txt", b"2");
    let refused = lab.run(&["put", "one/a.txt", "two/a.txt", "--to", "lab"]);
    assert!(refused.exits(2).stderr().contains("would both be `a.txt`"), "{}", refused.stderr());
    assert_eq!(lab.run(&["status", "--json"]).exits(0).json()["items"].as_array().unwrap().len(), 0);
    lab.run(&["put", "one/a.txt", "./one/../one/a.txt", "one/a.txt", "--to", "lab"]).exits(0);
    assert_eq!(lab.keys(), ["a.txt"]);
}

#[test]
fn links_in_a_folder_are_skipped_and_counted() {
    let lab = Lab::new();
    lab.write("folder/a.txt", b"a");
    symlink("a.txt", lab.world.path("folder/link")).unwrap();
    let put = lab.run(&["put", "folder", "--to", "lab"]);
    assert!(put.exits(0).stderr().contains("1 link skipped"), "{}", put.stderr());
    assert_eq!(lab.keys(), ["folder/a.txt"]);
}

#[test]
fn destinations_that_are_added_at_once_are_all_there() {
    let lab = Lab::new();
    let names: Vec<String> = (0..8).map(|number| format!("d{number}")).collect();
    let spawn = |name: &String| lab.adding(name, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let adding: Vec<_> = names.iter().map(spawn).collect();
    for mut process in adding {
        assert!(process.wait().unwrap().success());
    }
    for name in &names {
        let shown = lab.run(&["destination", "show", name, "--json"]);
        assert_eq!(shown.exits(0).json()["secret_in"], "file", "{name}");
    }
    let left = fs::read_dir(lab.world.path("home")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
}

#[test]
fn where_a_secret_is_kept_is_said_as_it_is() {
    let lab = Lab::new();
    let added = lab.add("other", &[]);
    assert!(added.exits(0).stderr().contains("LANDFALL_KEYRING is off"), "{}", added.stderr());
}

#[test]
fn an_address_where_nobody_answers_is_named() {
    let lab = Lab::new();
    lab.add("away", &["--endpoint", "http://127.0.0.1:1"]).exits(0);
    lab.write("a.txt", b"a");
    let tested = lab.run(&["destination", "test", "away"]);
    assert!(tested.exits(5).stdout().contains("tried `http://127.0.0.1:1`"), "{}", tested.stdout());
    let put = lab.run(&["put", "a.txt", "--to", "away", "--patience", "0s"]);
    assert!(put.exits(5).stderr().contains("tried `http://127.0.0.1:1`"), "{}", put.stderr());
}

#[test]
fn a_destination_is_not_added_with_an_empty_endpoint_or_a_secret_of_two_lines() {
    let lab = Lab::new();
    lab.add("other", &["--endpoint", ""]).exits(2);
    lab.run(&["destination", "add", "s3", "lab", "--replace", "--endpoint", ""]).exits(2);
    lab.write("secret", b"one\ntwo\n");
    let refused = lab.add("other", &[]);
    assert!(refused.exits(2).stderr().contains("more than one line"), "{}", refused.stderr());
    assert_eq!(lab.run(&["destination", "show", "other"]).exits(2).stdout(), "");
}

#[test]
fn half_of_the_credentials_of_the_environment_is_named() {
    let lab = Lab::new();
    let bucket = ["--bucket", BucketServer::BUCKET, "--region", "us-east-1", "--endpoint", &lab.origin];
    lab.run(&[&["destination", "add", "s3", "env"][..], &bucket].concat()).exits(0);
    let mut command = lab.landfall();
    command.args(["ls", "--from", "env"]).env("AWS_ACCESS_KEY_ID", "key");
    let refused = Done(command.output().unwrap());
    assert!(refused.exits(4).stderr().contains("AWS_SECRET_ACCESS_KEY"), "{}", refused.stderr());
    let unknown = lab.run(&["ls", "--from", "nope"]);
    assert!(unknown.exits(2).stderr().contains("there is no destination `nope`"), "{}", unknown.stderr());
}

#[test]
fn what_is_sealed_waits_for_the_password_and_a_run_without_one_ends_with_4() {
    let lab = Lab::new();
    lab.write("a.txt", b"a");
    let locked = lab.run(&["put", "a.txt", "--to", "lab", "--seal"]);
    assert!(locked.exits(4).stderr().contains("LANDFALL_PASSWORD"), "{}", locked.stderr());
    assert!(!locked.stderr().contains("unlock"), "{}", locked.stderr());
    lab.unlocked(&["put", "a.txt", "--to", "lab", "--seal", "--queue"]).exits(5);
    let run = lab.run(&["run"]);
    assert!(run.exits(4).stderr().contains("1 file waits for the password of `lab`"), "{}", run.stderr());
    assert_eq!(lab.run(&["run", "--json"]).exits(4).json()["locked"][0]["destination"], "lab");
    lab.unlocked(&["run"]).exits(0);
    lab.unlocked(&["get", "a.txt", "--from", "lab", "--out", "out"]).exits(0);
    assert_eq!(lab.read("out/a.txt"), b"a");
}

#[test]
fn get_goes_on_after_a_failure_and_leaves_what_differs_alone() {
    let lab = Lab::new();
    for (key, bytes) in [("a", "a"), ("same", "same"), ("other", "theirs"), ("f/x", "x"), ("f/g/y", "y")] {
        lab.server.put(key, bytes);
    }
    lab.write("out/same", b"same");
    lab.write("out/other", b"mine!!");
    let got = lab.run(&["get", "missing", "other", "same", "a", "--from", "lab", "--out", "out", "--json"]);
    let said = got.exits(3).json();
    let keys = |name: &str, key: &str| -> Vec<String> {
        said[name].as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys("files", "key"), ["same", "a"]);
    assert_eq!(keys("problems", "path"), ["missing", "other"]);
    assert_eq!(said["problems"][0]["remedy"], "`landfall ls --from lab` lists what is there");
    assert!(said["problems"][1]["message"].as_str().unwrap().contains("out/other"), "{said}");
    assert_eq!((lab.read("out/a"), lab.read("out/other")), (b"a".to_vec(), b"mine!!".to_vec()));
    let left = fs::read_dir(lab.world.path("out")).unwrap().count();
    assert_eq!(left, 3, "nothing is left over");
    for arguments in [&["f/"][..], &["--below", "f/"]] {
        lab.run(&[&["get", "--from", "lab", "--out", "all"], arguments].concat()).exits(0);
        assert_eq!((lab.read("all/f/x"), lab.read("all/f/g/y")), (b"x".to_vec(), b"y".to_vec()));
        fs::remove_dir_all(lab.world.path("all")).unwrap();
    }
    lab.run(&["get", "--below", "none/", "--from", "lab", "--out", "out"]).exits(3);
    lab.run(&["get", "a", "--from", "lab", "--out", "out/same"]).exits(2);
    lab.server.remove_bucket(BucketServer::BUCKET);
    let refused = lab.run(&["get", "b", "--from", "lab", "--out", "out"]);
    assert!(refused.exits(8).stderr().contains("destination add s3 lab --replace --bucket"), "{}", refused.stderr());
}

#[test]
fn gc_goes_on_after_a_destination_that_fails_and_ends_with_its_code() {
    let lab = Lab::new();
    lab.add("gone", &["--bucket", "another"]).exits(0);
    lab.add("wrong", &["--access-key", "nobody"]).exits(0);
    let swept = lab.run(&["gc", "--json"]);
    let problems = swept.exits(8).json()["problems"].clone();
    let named: Vec<&str> = problems.as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(named, ["gone", "wrong"]);
    lab.run(&["gc", "--to", "lab"]).exits(0);
    lab.run(&["gc", "--to", "wrong"]).exits(4);
}

#[test]
fn a_run_ends_with_5_while_something_is_paused_and_says_how_it_goes_on() {
    let lab = Lab::new();
    lab.write("a.txt", b"a");
    lab.run(&["put", "a.txt", "--to", "lab", "--queue"]).exits(5);
    let id = lab.run(&["status", "--json"]).exits(0).json()["items"][0]["id"].to_string();
    let status = lab.run(&["status"]);
    assert!(status.exits(0).stdout().contains("s3://media/a.txt"), "{}", status.stdout());
    lab.run(&["pause", &id]).exits(0);
    let run = lab.run(&["run"]);
    let said = format!("item {id} is paused; `landfall resume {id}`");
    assert!(run.exits(5).stderr().contains(&said), "{}", run.stderr());
    assert_eq!(lab.run(&["status", "--json"]).exits(0).json()["counts"]["bytes_left"], 0);
    lab.run(&["resume", &id]).exits(0);
    lab.run(&["run"]).exits(0);
    assert_eq!(lab.keys(), ["a.txt"]);
}

#[test]
fn cancelling_tells_of_the_buckets_of_what_was_cancelled_only() {
    let lab = Lab::new();
    // One whose keys nobody has.
    lab.add("away", &["--endpoint", "http://127.0.0.1:1"]).exits(0);
    for name in ["a.txt", "b.txt"] {
        lab.write(name, b"a");
    }
    lab.run(&["put", "a.txt", "--to", "away", "--queue"]).exits(5);
    lab.run(&["put", "b.txt", "--to", "lab", "--queue"]).exits(5);
    let items = lab.run(&["status", "--json"]).exits(0).json()["items"].clone();
    let item = items.as_array().unwrap().iter().find(|item| item["destination"] == "s3:lab").unwrap();
    let cancelled = lab.run(&["cancel", &item["id"].to_string()]);
    assert!(!cancelled.exits(0).stderr().contains("away"), "{}", cancelled.stderr());
}

#[test]
fn a_refused_upload_says_which_right_is_missing_and_what_can_be_typed() {
    let lab = Lab::new();
    lab.write("a.txt", b"a");
    lab.server.script(On::every(Operation::PutObject), Fault::Answer(Answer::error(403, "AccessDenied")));
    let refused = lab.run(&["put", "a.txt", "--to", "lab"]);
    assert!(refused.exits(3).stderr().contains("s3:PutObject"), "{}", refused.stderr());
    lab.server.clear_script();
    lab.server.revoke(Credential::default().access_key_id());
    let refused = lab.run(&["put", "a.txt", "--to", "lab"]);
    let hint = "`landfall destination add s3 lab --replace --access-key KEY --secret-file FILE`";
    assert!(refused.exits(3).stderr().contains(hint), "{}", refused.stderr());
}
