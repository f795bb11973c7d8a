//! An app and its share extension over one home.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    process::Process,
    stage::{Begins, LANES, Stage},
};

const MOVES_ITSELF: Begins<'static> = Begins { crash: None, in_process: true, home: "home" };

#[test]
fn two_processes_never_publish_one_message_at_the_same_time() {
    let stage = Stage::new();
    stage.server.ask(json!({ "do": "pace", "ms": 20 })).unwrap();
    let apps = [stage.app(MOVES_ITSELF), stage.app(MOVES_ITSELF)];
    let path = stage.photo("photo.jpg");
    let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut runs = Vec::new();
    for round in 0..10 {
        for (lane, app) in LANES.iter().zip(apps.iter().cycle()) {
            let name = format!("photo {round}");
            let photo = app.ask(json!({ "do": "stage", "path": path, "name": name })).unwrap();
            let text = format!("text {round}");
            app.ask(json!({ "do": "send", "lane": lane, "batch": [photo, text] })).unwrap();
            wanted.entry(lane).or_default().extend([name, text]);
        }
        runs.extend(apps.iter().map(|app| (app, app.begin(json!({ "do": "run" })))));
    }
    for (app, run) in runs {
        app.answer(run).unwrap();
    }
    let report = apps[0].ask(json!({ "do": "run" })).unwrap();
    let echoes = LANES.map(|lane| apps[0].ask(json!({ "do": "echoes", "lane": lane })).unwrap()["sent"].take());
    assert_eq!(report["remaining"], 0, "{report} {echoes:?}");
    for (lane, wanted) in &wanted {
        assert_eq!(stage.lane(lane), *wanted);
    }
    let count = wanted.values().map(Vec::len).sum::<usize>();
    let publishes = Publishes::noted(&stage);
    assert_eq!((publishes.by_key.len(), publishes.overlaps.len()), (count, 0), "{:?}", publishes.overlaps);
    assert!(publishes.by_key.values().all(|by| by.len() == 1), "{:?}", publishes.by_key);
    assert_eq!(stage.answered("POST", &[201]), count, "each is taken once");
}

#[test]
fn what_a_process_was_publishing_when_it_died_another_publishes_and_it_is_told_once() {
    let stage = Stage::new();
    let (dies, lives) = (stage.app(MOVES_ITSELF), stage.app(MOVES_ITSELF));
    dies.ask(json!({ "do": "send", "lane": "family", "batch": ["first", "second"] })).unwrap();
    stage.server.ask(json!({ "do": "hold" })).unwrap();
    dies.begin(json!({ "do": "run" }));
    // The server has the first and says nothing.
    stage.server.ask(json!({ "do": "await-held" })).unwrap();
    dies.kill();
    stage.server.ask(json!({ "do": "let-go" })).unwrap();
    assert_eq!(lives.ask(json!({ "do": "run" })).unwrap()["remaining"], 0);
    assert_eq!(stage.lane("family"), ["first", "second"]);
    assert_eq!(
        (stage.answered("POST", &[201]), stage.answered("POST", &[200])),
        (2, 1),
        "the same, under the same key"
    );
}

#[test]
fn a_process_that_stands_still_loses_its_messages_and_finishes_none_of_them_again() {
    let stage = Stage::new();
    let (stands, goes_on) = (stage.app(MOVES_ITSELF), stage.app(MOVES_ITSELF));
    stands.ask(json!({ "do": "send", "lane": "family", "batch": ["first", "second"] })).unwrap();
    stage.server.ask(json!({ "do": "hold" })).unwrap();
    let run = stands.begin(json!({ "do": "run" }));
    stage.server.ask(json!({ "do": "await-held" })).unwrap();
    stands.stand_still(true);
    stage.server.ask(json!({ "do": "let-go" })).unwrap();
    // It waits, for as long as the other may still be alive, and then does it all.
    assert_eq!(goes_on.ask(json!({ "do": "run" })).unwrap()["remaining"], 0);
    stands.stand_still(false);
    assert_eq!(stands.answer(run).unwrap()["remaining"], 0);
    assert_eq!(stage.lane("family"), ["first", "second"]);
    assert_eq!(
        (stage.answered("POST", &[201]), stage.answered("POST", &[200])),
        (2, 1),
        "the same, under the same key"
    );
    assert_eq!(finishes(&stands), [1, 1]);
    let publishes = Publishes::noted(&stage);
    assert_eq!(publishes.by_key.values().map(Vec::len).collect::<Vec<_>>().iter().sum::<usize>(), 3);
    assert_eq!(publishes.overlaps.len(), 1, "only while it stood still: {:?}", publishes.overlaps);
}

/// What processes noted of their publishes.
struct Publishes {
    /// Which processes published under a key, in order.
    by_key: BTreeMap<String, Vec<u32>>,
    /// Keys under which one began while another had not ended.
    overlaps: Vec<String>,
}

impl Publishes {
    fn noted(stage: &Stage) -> Self {
        let mut publishes = Self { by_key: BTreeMap::new(), overlaps: Vec::new() };
        let mut under_way: BTreeMap<String, usize> = BTreeMap::new();
        for (what, pid, key) in stage.notes() {
            let count = under_way.entry(key.clone()).or_default();
            if what == "end" {
                *count -= 1;
                continue;
            }
            if *count > 0 {
                publishes.overlaps.push(key.clone());
            }
            *count += 1;
            publishes.by_key.entry(key).or_default().push(pid);
        }
        publishes
    }
}

/// How often each message was finished, by the journal's history.
fn finishes(app: &Process) -> Vec<usize> {
    let events = app.ask(json!({ "do": "events" })).unwrap();
    let mut finished: BTreeMap<i64, usize> = BTreeMap::new();
    for event in events.as_array().unwrap() {
        *finished.entry(event[0].as_i64().unwrap()).or_default() += usize::from(event[1] == "done");
    }
    finished.into_values().collect()
}
