//! A server, a platform's carrier, and one home for apps.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

/// Lanes whose keys every app has.
pub(crate) const LANES: [&str; 8] =
    ["family", "friends", "work", "choir", "neighbours", "parents", "football", "travel"];

pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) server: Process,
    pub(crate) platform: Process,
}

/// How an app begins.
#[derive(Clone, Copy)]
pub(crate) struct Begins<'b> {
    /// It kills itself at this step.
    pub(crate) crash: Option<&'b str>,
    /// It moves its bytes itself.
    pub(crate) in_process: bool,
    /// The home it opens.
    pub(crate) home: &'b str,
}

impl Default for Begins<'_> {
    fn default() -> Self {
        Self { crash: None, in_process: false, home: "home" }
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Process::start("server", &json!({ "vault": folder.path().join("vault") }), None);
        let begins = json!({ "folder": folder.path().join("tasks"), "root": folder.path().join("home") });
        let platform = Process::start("carrier", &begins, None);
        Self { folder, server, platform }
    }

    /// Starts an app over the home.
    pub(crate) fn app(&self, begins: Begins<'_>) -> Process {
        let platform = (!begins.in_process).then(|| &self.platform.begun["address"]);
        let role = json!({
            "home": self.path(begins.home),
            "url": self.server.begun["url"],
            "token": self.server.begun["token"],
            "lanes": LANES,
            "platform": platform,
            "notes": self.path("notes"),
        });
        Process::start("app", &role, begins.crash)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A photo that can be staged.
    pub(crate) fn photo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let seed = name.bytes().map(u64::from).sum();
        fs::write(&path, landfall_images::fixture::jpeg(seed, 64, 48)).unwrap();
        path
    }

    /// What a lane says to its readers.
    pub(crate) fn lane(&self, name: &str) -> Vec<String> {
        let reader = self.app(Begins { home: "reader", in_process: true, ..Begins::default() });
        serde_json::from_value(reader.ask(json!({ "do": "lane", "lane": name })).unwrap()).unwrap()
    }

    /// How many requests of a method the server answered with one of these statuses.
    pub(crate) fn answered(&self, method: &str, statuses: &[u16]) -> usize {
        let answered: Vec<(String, String, u16)> =
            serde_json::from_value(self.server.ask(json!({ "do": "answered" })).unwrap()).unwrap();
        answered.iter().filter(|(asked, _, status)| asked == method && statuses.contains(status)).count()
    }

    /// How many files the server was sent.
    pub(crate) fn puts(&self) -> usize {
        self.answered("PUT", &[200, 201, 204])
    }

    /// How many puts the platform carried out, by attempt.
    pub(crate) fn platform_puts(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.platform.ask(json!({ "do": "puts" })).unwrap()).unwrap()
    }

    /// Has the platform's carrier misbehave.
    pub(crate) fn misbehave(&self, how: Value) {
        let mut question = how;
        question["do"] = json!("misbehave");
        self.platform.ask(question).unwrap();
    }

    /// Files of messages in the home.
    pub(crate) fn spool(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("home").join("spool")).unwrap().flatten();
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        let mut paths: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    /// What was noted of publishes: begun or ended, by which process, under which key; in order.
    pub(crate) fn notes(&self) -> Vec<(String, u32, String)> {
        let notes = fs::read_to_string(self.path("notes")).unwrap_or_default();
        let note = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap().parse().unwrap(), words.next().unwrap())
        };
        notes.lines().map(note).collect()
    }
}
