//! A platform's carrier: moves files while no app lives, as a phone's background transfers do.
//!
//! It is handed *tasks*, remembers them in a folder of its own, and tells how one ended to whoever asks next, once: an
//! app that dies with what it was told in its hands has lost it. It can be told to misbehave ([`task::Fault`]).

mod put;
mod task;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{AbortHandle, BoxFuture, abortable};
use landfall_env::{Clock as _, SystemClock};
use landfall_testkit::Seed;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use self::task::{Fault, Report, Task};
use crate::lines::{Answer, Answers, answer_connections, answer_input, path};

struct Carrier {
    /// Where tasks are remembered.
    folder: PathBuf,
    /// What the paths of tasks are below.
    root: PathBuf,
    state: Mutex<State>,
    /// Changes with every task's course.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<String, Task>,
    under_way: BTreeMap<String, AbortHandle>,
    /// How many puts were answered, by attempt.
    puts: BTreeMap<String, u64>,
    /// How many tasks there have been.
    begun: u64,
    /// Faults of the tasks that come next.
    faults: VecDeque<Fault>,
    /// Faults are drawn from it when there are none of those.
    seed: Option<Seed>,
    /// What is told at once is told in the wrong order.
    reverses: bool,
}

/// Carries until standard input ends.
pub(crate) async fn carry(begins: &Value) {
    let (folder, root) = (path(&begins["folder"]), path(&begins["root"]));
    let tasks = Task::remembered(&folder);
    let state = State { begun: tasks.len() as u64, ..State::default() };
    let carrier = Arc::new(Carrier { folder, root, state: Mutex::new(state), changed: watch::Sender::new(0) });
    for task in tasks {
        carrier.begin(task);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(answer_connections(listener, Arc::clone(&carrier) as _));
    answer_input(&json!({ "address": address }), carrier).await;
}

impl Answers for Carrier {
    fn answer(self: Arc<Self>, question: Value) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let attempt = question["attempt"].as_str().unwrap_or_default();
            match question["do"].as_str().unwrap_or_default() {
                "begin" => return self.take(&question),
                "live" => return Ok(json!(self.live())),
                "reports" => return Ok(json!(self.reports(question["wait_ms"].as_u64().unwrap_or(0)).await)),
                "cancel" => self.cancel(attempt),
                "misbehave" => self.misbehave(&question)?,
                "puts" => return Ok(json!(self.state().puts)),
                "await-puts" => {
                    let wanted = question["count"].as_u64().unwrap_or(1);
                    let mut changes = self.changed.subscribe();
                    while self.state().puts.values().sum::<u64>() < wanted {
                        let _ = changes.changed().await;
                    }
                }
                other => return Err(format!("a carrier cannot `{other}`")),
            }
            Ok(Value::Null)
        })
    }
}

impl Carrier {
    /// Takes a task in charge, and remembers it. Two of one attempt are one.
    fn take(self: &Arc<Self>, question: &Value) -> Answer {
        let task = {
            let mut state = self.state();
            let mut task: Task = serde_json::from_value(question["task"].clone()).map_err(|error| error.to_string())?;
            if let Some(known) = state.tasks.get(&task.attempt) {
                return Ok(json!(known.number));
            }
            state.begun += 1;
            task.number = state.begun;
            let drawn = state.seed.map(|seed| Fault::drawn(&seed.fork(&task.number.to_string()).random()));
            task.fault = state.faults.pop_front().or(drawn).unwrap_or_default();
            task
        };
        task.remember(&self.folder);
        let number = task.number;
        self.begin(task);
        Ok(json!(number))
    }

    fn begin(self: &Arc<Self>, task: Task) {
        let attempt = task.attempt.clone();
        let (course, abort) = abortable(Arc::clone(self).see_through(task.clone()));
        let mut state = self.state();
        state.tasks.insert(attempt.clone(), task);
        state.under_way.insert(attempt, abort);
        tokio::spawn(course);
    }

    async fn see_through(self: Arc<Self>, task: Task) {
        let attempt = task.attempt.clone();
        if task.report.is_none() {
            if task.fault.puts_nothing {
                return;
            }
            let left = task.deadline.map(|at| u64::try_from(at - SystemClock::new().wall_ms()).unwrap_or(0));
            let put = put::put(&task, &self.root);
            let report = match left {
                Some(ms) => tokio::time::timeout(Duration::from_millis(ms), put).await.unwrap_or(Report::Unknown),
                None => put.await,
            };
            let is_answered = matches!(report, Report::Answered(_));
            self.change(&attempt, |task| {
                (task.report, task.is_due) = (Some(task.fault.lie.unwrap_or(report)), task.fault.late_ms == 0);
            });
            if is_answered {
                *self.state().puts.entry(attempt.clone()).or_default() += 1;
            }
            self.changed.send_modify(|count| *count += 1);
            tokio::time::sleep(Duration::from_millis(task.fault.late_ms)).await;
        }
        self.change(&attempt, |task| task.is_due = true);
    }

    fn live(&self) -> Vec<String> {
        let state = self.state();
        let live = state.tasks.values().filter(|task| task.told == 0 && !task.fault.is_forgotten);
        live.map(|task| task.attempt.clone()).collect()
    }

    /// What has ended and was not told yet; waits until there is something.
    async fn reports(&self, wait_ms: u64) -> Vec<(String, Report)> {
        let mut changes = self.changed.subscribe();
        let until = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let reports = self.tell();
            if !reports.is_empty() || tokio::time::timeout_at(until, changes.changed()).await.is_err() {
                return reports;
            }
        }
    }

    fn tell(&self) -> Vec<(String, Report)> {
        let mut state = self.state();
        let mut reports = Vec::new();
        let mut over = Vec::new();
        for task in state.tasks.values_mut().filter(|task| task.is_due && !task.fault.is_forgotten) {
            reports.push((task.number, task.attempt.clone(), task.report.unwrap_or(Report::Unknown)));
            task.told += 1;
            if task.told > u64::from(task.fault.is_told_twice) {
                over.push(task.attempt.clone());
            }
        }
        for attempt in over {
            state.tasks.remove(&attempt).inspect(|task| task.forget(&self.folder));
        }
        reports.sort_by_key(|(number, ..)| *number);
        if state.reverses {
            reports.reverse();
        }
        reports.into_iter().map(|(_, attempt, report)| (attempt, report)).collect()
    }

    /// Gives a task up. One that is over is told as it ended.
    fn cancel(&self, attempt: &str) {
        let abort = self.state().under_way.remove(attempt);
        self.change(attempt, |task| {
            if task.report.is_none() {
                abort.inspect(AbortHandle::abort);
                (task.report, task.is_due) = (Some(Report::Cancelled), true);
            }
        });
    }

    fn misbehave(&self, question: &Value) -> Result<(), String> {
        let faults: Vec<Fault> = serde_json::from_value(question["faults"].clone()).unwrap_or_default();
        let mut state = self.state();
        state.faults = faults.into();
        state.seed = question["seed"].as_u64().map(Seed);
        state.reverses = question["reverses"].as_bool().unwrap_or(false);
        Ok(())
    }

    fn change(&self, attempt: &str, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.state().tasks.get_mut(attempt) {
            change(task);
            task.remember(&self.folder);
        }
        self.changed.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
