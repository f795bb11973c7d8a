//! A host that goes on when its process is killed: it starts another, looks at what is there, and does the rest.

use serde_json::{Value, json};

use crate::{
    process::{Answer, Process, Unanswered},
    stage::{Begins, Stage},
};

pub(crate) struct Host<'s> {
    stage: &'s Stage,
    pub(crate) app: Process,
    /// How often it was dead.
    pub(crate) deaths: usize,
    /// How often it was awake.
    turns: usize,
}

/// A host that was awake so often and is not done never will be.
const TURNS_MAX: usize = 300;

impl<'s> Host<'s> {
    /// A host whose first process may kill itself.
    pub(crate) fn new(stage: &'s Stage, begins: Begins<'_>) -> Self {
        Self { stage, app: stage.app(begins), deaths: 0, turns: 0 }
    }

    /// Kills its process, now.
    pub(crate) fn kill(&self) {
        self.app.kill();
    }

    /// Stages a file, unless it is there.
    pub(crate) fn stage(&mut self, name: &str) -> i64 {
        let path = self.stage.photo(name);
        self.persist(|app| {
            let echoes = app.ask(json!({ "do": "echoes", "lane": "family" }))?;
            match shown(&echoes["staged"], name) {
                Some(item) => Ok(item),
                None => app.ask(json!({ "do": "stage", "path": path, "name": name, "is_photo": true })),
            }
        })
        .as_i64()
        .unwrap()
    }

    /// Sends a batch that ends with a text, unless it is sent.
    pub(crate) fn send(&mut self, batch: &[Value]) {
        let text = batch.last().unwrap().as_str().unwrap();
        self.persist(|app| {
            let echoes = app.ask(json!({ "do": "echoes", "lane": "family" }))?;
            match shown(&echoes["sent"], text) {
                Some(_) => Ok(Value::Null),
                None => app.ask(json!({ "do": "send", "lane": "family", "batch": batch })),
            }
        });
    }

    /// Kills its process, and starts one that kills itself at a step.
    pub(crate) fn die_again(&mut self, crash: &str) {
        self.kill();
        self.deaths += 1;
        self.app = self.stage.app(Begins { crash: Some(crash), ..Begins::default() });
    }

    /// Works until everything that was sent is published.
    pub(crate) fn see_through(&mut self) {
        while self.turn() {}
    }

    /// Does what a host does whenever it is awake; says whether something is left.
    pub(crate) fn turn(&mut self) -> bool {
        self.turns += 1;
        let left = self.persist(turn);
        if self.turns > TURNS_MAX {
            panic!(
                "nothing goes on: {left} {}",
                self.persist(|app| app.ask(json!({ "do": "echoes", "lane": "family" })))
            );
        }
        left["remaining"] != 0
    }

    /// Does something, in as many processes as it takes.
    pub(crate) fn persist(&mut self, does: impl Fn(&Process) -> Answer) -> Value {
        loop {
            match does(&self.app) {
                Ok(done) => return done,
                Err(Unanswered::Dead) => {
                    self.deaths += 1;
                    self.app = self.stage.app(Begins::default());
                }
                Err(Unanswered::Refused(why)) => panic!("{why}"),
            }
        }
    }

    /// Lets everything that is published go, and says what is left in the spool.
    pub(crate) fn rest(&mut self) -> Vec<std::path::PathBuf> {
        self.persist(|app| {
            let echoes = app.ask(json!({ "do": "echoes", "lane": "family" }))?;
            let items: Vec<&Value> = echoes["sent"].as_array().unwrap().iter().map(|echo| &echo["item"]).collect();
            app.ask(json!({ "do": "release", "items": items }))?;
            app.ask(json!({ "do": "run" }))
        });
        self.stage.spool()
    }
}

/// Hears, compares, works, hands over.
fn turn(app: &Process) -> Answer {
    app.ask(json!({ "do": "launch" }))?;
    app.ask(json!({ "do": "run" }))?;
    app.ask(json!({ "do": "hand-over" }))?;
    app.ask(json!({ "do": "hear", "wait_ms": 300 }))?;
    app.ask(json!({ "do": "run" }))
}

/// The item among echoes that says something.
fn shown(echoes: &Value, says: &str) -> Option<Value> {
    echoes.as_array()?.iter().find(|echo| echo["says"] == says).map(|echo| echo["item"].clone())
}
