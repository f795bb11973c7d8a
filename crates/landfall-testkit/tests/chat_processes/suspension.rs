//! An app that is about to be frozen holds nothing that others wait for.

use landfall_testkit::{Seed, SeededRandom};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    process::{Process, Unanswered},
    stage::{Begins, LANES, Stage},
};

#[test]
fn an_app_that_is_suspended_at_any_moment_holds_no_lock_and_goes_on_from_there() {
    let stage = Stage::new();
    let app = stage.app(Begins { in_process: true, ..Begins::default() });
    let path = stage.photo("photo.jpg");
    let random = Seed(11).random();
    let mut open: Vec<Value> = Vec::new();
    for round in 0..40 {
        for number in 0..3 {
            let lane = LANES[random.below(LANES.len() as u64) as usize];
            open.push(json!({ "do": "send", "lane": lane, "batch": [format!("text {round} {number}")] }));
        }
        open.push(json!({ "do": "stage", "path": path, "name": format!("photo {round}"), "is_photo": true }));
        open.push(json!({ "do": "run" }));
        open = suspended_amid(&stage, &app, open, &random);
    }
    for question in open {
        app.ask(question).unwrap();
    }
    assert_eq!(app.ask(json!({ "do": "run" })).unwrap()["remaining"], 0);
    let mut told: Vec<String> = LANES.iter().flat_map(|lane| stage.lane(lane)).collect();
    told.sort();
    let texts = (0..40).flat_map(|round| (0..3).map(move |number| format!("text {round} {number}")));
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    assert_eq!(told, texts, "what was refused was not sent, and what was sent is told once");
    let echoes = app.ask(json!({ "do": "echoes", "lane": LANES[0] })).unwrap();
    let staged = echoes["staged"].as_array().unwrap();
    assert!(staged.len() == 40 && staged.iter().all(|echo| echo["stage"] == "staged"), "{staged:?}");
}

/// Asks all of it at once, suspends the app when some of it is answered, looks whether anything is held, and lets it go on.
/// Returns what was refused meanwhile.
fn suspended_amid(stage: &Stage, app: &Process, questions: Vec<Value>, random: &SeededRandom) -> Vec<Value> {
    let asked: Vec<(u64, Value)> =
        questions.into_iter().map(|question| (app.begin(question.clone()), question)).collect();
    app.await_answers(asked.iter().map(|(id, _)| *id), random.below(asked.len() as u64) as usize);
    app.ask(json!({ "do": "suspend" })).unwrap();
    assert!(!is_held(stage), "an app that is suspended holds the journal");
    app.ask(json!({ "do": "resume" })).unwrap();
    let mut refused = Vec::new();
    for (id, question) in asked {
        match app.answer(id) {
            Ok(_) => {}
            Err(Unanswered::Refused(why)) if why.contains("suspended") => refused.push(question),
            Err(other) => panic!("{other:?}"),
        }
    }
    refused
}

/// The check that the other test goes by.
#[test]
fn whoever_reads_or_writes_a_journal_is_noticed() {
    let stage = Stage::new();
    stage.app(Begins::default()).ask(json!({ "do": "send", "lane": "family", "batch": ["text"] })).unwrap();
    assert!(!is_held(&stage));
    let other = Connection::open(stage.path("home").join("journal.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(is_held(&stage));
    other.execute_batch("ROLLBACK; BEGIN; SELECT count(*) FROM item").unwrap();
    // The reader's view ends before what is written now.
    stage.app(Begins::default()).ask(json!({ "do": "send", "lane": "family", "batch": ["text"] })).unwrap();
    assert!(is_held(&stage));
    drop(other);
    assert!(!is_held(&stage));
    let lock = std::fs::File::create(stage.path("home").join("workers/somebody.lock")).unwrap();
    lock.try_lock().unwrap();
    assert!(is_held(&stage));
}

/// Whether anybody keeps others from writing to the journal, or from putting its log back into the file, or says by a lock
/// that it lives.
fn is_held(stage: &Stage) -> bool {
    let folders = ["workers", "spool/incoming"].map(|folder| stage.path("home").join(folder));
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mut locks =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|ending| ending == "lock"));
    if locks.any(|path| std::fs::File::open(path).is_ok_and(|file| file.try_lock().is_err())) {
        return true;
    }
    let journal = Connection::open(stage.path("home").join("journal.db")).unwrap();
    journal.busy_timeout(std::time::Duration::ZERO).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    journal.execute_batch("BEGIN EXCLUSIVE; ROLLBACK").is_err()
        || journal.query_row(checkpoint, [], |row| row.get::<_, bool>(0)).unwrap_or(true)
}
