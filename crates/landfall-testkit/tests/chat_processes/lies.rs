//! A platform's carrier that is late, tells twice, forgets, and calls successes failures.

use landfall_testkit::{Seed, SeededRandom};
use serde_json::{Value, json};

use crate::{
    host::Host,
    stage::{Begins, Stage},
};

#[test]
fn a_success_that_is_called_a_failure_is_asked_about_and_not_put_again() {
    for lie in ["unknown", "cancelled"] {
        let stage = Stage::new();
        stage.misbehave(json!({ "faults": [{ "lie": lie }] }));
        let mut host = Host::new(&stage, Begins::default());
        let photo = host.stage("a.jpg");
        host.send(&[json!(photo), json!("text a")]);
        host.see_through();
        assert_eq!(stage.lane("family"), ["a.jpg", "text a"], "{lie}");
        assert_eq!(stage.puts(), 1, "{lie}");
    }
}

/// What the tests beside this one count is counted.
#[test]
fn a_success_that_is_called_nothing_sent_is_put_again_and_told_once() {
    let stage = Stage::new();
    stage.misbehave(json!({ "faults": [{ "lie": "not-sent" }] }));
    let mut host = Host::new(&stage, Begins::default());
    let photo = host.stage("a.jpg");
    host.send(&[json!(photo), json!("text a")]);
    host.see_through();
    assert_eq!(stage.lane("family"), ["a.jpg", "text a"]);
    assert_eq!((stage.puts(), stage.platform_puts().len()), (2, 2));
}

#[test]
fn what_the_carrier_forgot_after_it_had_moved_it_is_not_put_again() {
    let stage = Stage::new();
    stage.misbehave(json!({ "faults": [{ "is_forgotten": true }] }));
    let mut host = Host::new(&stage, Begins::default());
    let photo = host.stage("a.jpg");
    host.send(&[json!(photo), json!("text a")]);
    host.persist(|app| {
        app.ask(json!({ "do": "run" }))?;
        app.ask(json!({ "do": "hand-over" }))
    });
    stage.platform.ask(json!({ "do": "await-puts", "count": 1 })).unwrap();
    host.kill();
    host.see_through();
    assert_eq!((stage.lane("family").len(), stage.puts()), (2, 1));
}

#[test]
fn what_the_carrier_never_began_is_handed_over_again() {
    let stage = Stage::new();
    stage.misbehave(json!({ "faults": [{ "is_forgotten": true, "puts_nothing": true }] }));
    let mut host = Host::new(&stage, Begins::default());
    let photo = host.stage("a.jpg");
    host.send(&[json!(photo), json!("text a")]);
    host.see_through();
    assert_eq!((stage.lane("family").len(), stage.puts()), (2, 1));
}

#[test]
fn reports_in_the_wrong_order_and_twice_change_no_order_and_repeat_nothing() {
    let stage = Stage::new();
    let twice = json!({ "is_told_twice": true });
    stage.misbehave(json!({ "faults": vec![twice; 6], "reverses": true }));
    let mut host = Host::new(&stage, Begins::default());
    let names: Vec<String> = (0..6).map(|number| format!("{number}.jpg")).collect();
    for name in &names {
        let photo = host.stage(name);
        host.send(&[json!(photo), json!(format!("text {name}"))]);
    }
    host.persist(|app| {
        app.ask(json!({ "do": "run" }))?;
        app.ask(json!({ "do": "hand-over" }))
    });
    // All are over before anything is told.
    stage.platform.ask(json!({ "do": "await-puts", "count": 6 })).unwrap();
    let told = host.persist(|app| app.ask(json!({ "do": "hear", "wait_ms": 1000 })));
    let again = host.persist(|app| app.ask(json!({ "do": "hear", "wait_ms": 1000 })));
    let taken = |told: &Value| told.as_array().unwrap().iter().filter(|report| report[1] == true).count();
    assert_eq!(told.as_array().unwrap().len(), again.as_array().unwrap().len());
    assert_eq!(taken(&again), 0, "told twice counts once");
    host.see_through();
    let wanted: Vec<String> = names.iter().flat_map(|name| [name.clone(), format!("text {name}")]).collect();
    assert_eq!(stage.lane("family"), wanted);
    assert_eq!(stage.puts(), 6);
}

#[test]
fn whatever_the_carrier_does_and_whenever_apps_die_all_arrives_once_in_order() {
    std::thread::scope(|threads| {
        for share in 0..2 {
            threads.spawn(move || [1, 2, 3].into_iter().for_each(|seed| misbehaves_throughout(Seed(seed * 2 + share))));
        }
    });
}

/// Two lots of photos with a text each, a carrier whose every task may go wrong, and apps that die at any step.
fn misbehaves_throughout(seed: Seed) {
    let stage = Stage::new();
    stage.misbehave(json!({ "seed": seed.0, "reverses": true }));
    let random = seed.fork("apps").random();
    let first = dies_somewhere(&random);
    let mut host = Host::new(&stage, Begins { crash: Some(&first), ..Begins::default() });
    let mut wanted = Vec::new();
    for number in 0..8 {
        let (name, text) = (format!("{number}.jpg"), format!("text {number}"));
        let photo = host.stage(&name);
        host.send(&[json!(photo), json!(text)]);
        wanted.extend([name, text]);
        if random.chance(0.5) {
            host.turn();
        }
        if random.chance(0.4) {
            host.die_again(&dies_somewhere(&random));
        }
    }
    while host.turn() {
        if host.deaths < 12 && random.chance(0.3) {
            host.die_again(&dies_somewhere(&random));
        }
    }
    assert_eq!(stage.lane("family"), wanted, "seed {seed}");
    assert_eq!(host.rest(), Vec::<std::path::PathBuf>::new(), "seed {seed}: nothing is left");
}

fn dies_somewhere(random: &SeededRandom) -> String {
    let step = crate::kills::STEPS[random.below(crate::kills::STEPS.len() as u64) as usize];
    format!("{step}:{}", 1 + random.below(4))
}
