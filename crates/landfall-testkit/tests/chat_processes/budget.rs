//! A wake-up that is too short for what there is to do.

use std::time::Duration;

use landfall_env::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::stage::{Begins, Stage};

const COUNT: usize = 50;

#[test]
fn a_short_wake_up_keeps_every_outcome_publishes_what_it_can_and_says_what_is_left() {
    let stage = Stage::new();
    let app = stage.app(Begins::default());
    let path = stage.photo("photo.jpg");
    let stages = (0..COUNT).map(|number| app.begin(json!({ "do": "stage", "path": path, "name": number.to_string() })));
    let staged: Vec<Value> =
        stages.collect::<Vec<_>>().into_iter().map(|question| app.answer(question).unwrap()).collect();
    app.ask(json!({ "do": "send", "lane": "family", "batch": staged })).unwrap();
    app.ask(json!({ "do": "run" })).unwrap();
    app.ask(json!({ "do": "hand-over" })).unwrap();
    stage.platform.ask(json!({ "do": "await-puts", "count": COUNT })).unwrap();
    let mut heard = 0;
    while heard < COUNT {
        heard += app.ask(json!({ "do": "hear", "wait_ms": 1000 })).unwrap().as_array().unwrap().len();
    }
    // From here on the journal alone knows how they ended.
    app.kill();

    stage.server.ask(json!({ "do": "pace", "ms": 200 })).unwrap();
    let app = stage.app(Begins::default());
    let clock = SystemClock::new();
    let report = app.ask(json!({ "do": "run", "budget_ms": 3000 })).unwrap();
    assert!(clock.monotonic() < Duration::from_secs(30), "the budget was three seconds");
    let (told, remaining) = (stage.answered("POST", &[201]), report["remaining"].as_u64().unwrap() as usize);
    assert!(0 < told && told < COUNT, "{told} of {COUNT} in three seconds");
    // The server may have taken one whose answer nobody waited for.
    let unknown = told + remaining - COUNT;
    assert!(unknown <= 1 && report["is_drained"] == false, "{told} are told: {report}");

    stage.server.ask(json!({ "do": "pace", "ms": 0 })).unwrap();
    let report = app.ask(json!({ "do": "run" })).unwrap();
    assert_eq!((&report["remaining"], &report["is_drained"]), (&json!(0), &json!(true)));
    let told = stage.answered("POST", &[200, 201]);
    assert!(told == COUNT || told == COUNT + 1, "no more than the one that was cut off is told again: {told}");
    assert_eq!((stage.puts(), stage.answered("HEAD", &[200, 404])), (COUNT, 0), "nobody had to ask what had been put");
    assert_eq!(stage.lane("family"), (0..COUNT).map(|number| number.to_string()).collect::<Vec<_>>());
}
