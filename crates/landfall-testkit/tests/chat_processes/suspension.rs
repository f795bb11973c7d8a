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
    assert_eq!(stage.puts(), 40, "no byte is moved twice where no transfer was cut off");
}

/// Asks all of it at once, suspends the app when some of it is answered, looks whether anything is held, and lets it go on.
/// Returns what was refused meanwhile.
fn suspended_amid(stage: &Stage, app: &Process, questions: Vec<Value>, random: &SeededRandom) -> Vec<Value> {
    let asked: Vec<(u64, Value)> =
        questions.into_iter().map(|question| (app.begin(question.clone()), question)).collect();
    app.await_answers(asked.iter().map(|(id, _)| *id), random.below(asked.len() as u64) as usize);
    app.ask(json!({ "do": "suspend" })).unwrap();
    nothing_is_held(stage);
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

/// Whoever else has the journal may write to it at once, and could take all of it for itself.
fn nothing_is_held(stage: &Stage) {
    let journal = Connection::open(stage.path("home").join("journal.db")).unwrap();
    journal.busy_timeout(std::time::Duration::ZERO).unwrap();
    journal.execute_batch("BEGIN EXCLUSIVE; ROLLBACK").unwrap();
    // Readers do not hold up a writer, but they do hold up whoever puts the log back into the file.
    let is_busy: bool = journal.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert!(!is_busy, "somebody reads");
}
