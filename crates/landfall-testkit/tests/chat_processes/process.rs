//! A process on the stage, asked by lines of JSON.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

/// Nothing takes so long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Whoever was asked is dead.
    Dead,
    /// It refused, and said why.
    Refused(String),
}

pub(crate) type Answer = Result<Value, Unanswered>;

/// A process that answers questions. Killed when dropped.
pub(crate) struct Process {
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    heard: Arc<Heard>,
    asked: AtomicU64,
    /// What it said when it had begun; nothing if it died before.
    pub(crate) begun: Value,
}

#[derive(Default)]
struct Heard {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    begun: Option<Value>,
    answers: BTreeMap<u64, Value>,
    is_over: bool,
}

impl Process {
    /// Starts the one that plays `role`, and waits until it has begun or is dead. `crash` is a step and a number: the
    /// process kills itself when it gets there for the n-th time.
    pub(crate) fn start(role: &str, begins: &Value, crash: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat-stage"));
        command.arg(role).arg(begins.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env_remove("LANDFALL_CRASH_AT").envs(crash.map(|step| ("LANDFALL_CRASH_AT", step)));
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let heard = Arc::new(Heard::default());
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap();
                hears.change(|said| match line["id"].as_u64() {
                    Some(id) => drop(said.answers.insert(id, line)),
                    None => said.begun = Some(line),
                });
            }
            hears.change(|said| said.is_over = true);
        });
        let begun = heard.wait_for(|said| said.begun.take()).unwrap_or_default();
        Self { child: Mutex::new(child), input: Mutex::new(input), heard, asked: AtomicU64::new(1), begun }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&self, question: Value) -> Answer {
        self.answer(self.begin(question))
    }

    /// Asks, and does not wait: see [`Process::answer`].
    pub(crate) fn begin(&self, mut question: Value) -> u64 {
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        question["id"] = json!(id);
        // Whoever is dead does not read: the answer tells.
        let _ = writeln!(self.input.lock().unwrap(), "{question}");
        id
    }

    /// Waits for the answer to a question.
    pub(crate) fn answer(&self, id: u64) -> Answer {
        let mut answer = self.heard.wait_for(|said| said.answers.remove(&id)).ok_or(Unanswered::Dead)?;
        match answer["error"].as_str() {
            Some(error) => Err(Unanswered::Refused(error.to_owned())),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Waits until so many of these questions have answers.
    pub(crate) fn await_answers(&self, ids: impl Iterator<Item = u64>, count: usize) {
        let ids: Vec<u64> = ids.collect();
        let answered = |said: &mut Said| ids.iter().filter(|id| said.answers.contains_key(id)).count() >= count;
        self.heard.wait_for(|said| answered(said).then_some(()));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// `kill -9`, and waits until it is dead.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        child.wait().unwrap();
    }

    /// Stops it where it stands, or lets it go on.
    pub(crate) fn stand_still(&self, stands: bool) {
        let signal = if stands { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Heard {
    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits until `found` finds something; `None` if the process is dead and it never will.
    fn wait_for<T>(&self, mut found: impl FnMut(&mut Said) -> Option<T>) -> Option<T> {
        let mut said = self.said.lock().unwrap();
        loop {
            if let Some(found) = found(&mut said) {
                return Some(found);
            }
            if said.is_over {
                return None;
            }
            let (next, timeout) = self.changed.wait_timeout(said, PATIENCE).unwrap();
            assert!(!timeout.timed_out(), "a process neither answers nor dies");
            said = next;
        }
    }
}
