//! A phone with conversations, and everything that can go wrong around it, from one seed.
//!
//! A *program* is a random course of what a person does (chooses photos, sends, takes back, edits, skips, retries, changes
//! the policy), of what the platform does (kills, freezes and suspends processes, moves files and tells of it late, twice
//! or never) and of what happens to the network, the clock, the disk and the power. The engine and the journal's SQLite
//! are the real ones; the message server and the place for payloads are made up, so that they can be worse than real
//! ones. Everything is measured by a model of what the person did.
//!
//! At the end the world is left in peace, has to come to rest, and is judged.

mod judge;
mod observer;
mod person;
mod platform;
mod process;
mod program;
mod remote;
mod sending;
mod ticks;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use landfall::recipes::chat::ChatSettings;
use landfall_env::Blocking;
use tokio::time::Instant;

use self::{
    observer::Observer,
    person::Person,
    platform::Platform,
    process::{Making, Process},
    remote::Remote,
    ticks::Ticks,
};
use crate::{
    ProgramOptions, ProgramOutcome, Seed, SeededRandom, SimClock, SimDisk, process::Done, trouble::Trouble, world,
};

/// Runs one program to its end.
pub fn run(seed: u64, options: &ProgramOptions) -> ProgramOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can always be built").block_on(async {
        let mut phone = Phone::new(seed, options);
        phone.live().await
    })
}

const HOME: &str = "/home";
/// The platform's sessions of the application, and of its extension.
const SESSIONS: [&str; 2] = ["app", "extension"];
/// Longer than this, in simulated time, and a phone that is left in peace has not come to rest.
const REST_WITHIN: Duration = Duration::from_secs(24 * 3600);

struct Phone {
    random: SeededRandom,
    clock: Arc<SimClock>,
    disk: Arc<SimDisk>,
    remote: Arc<Remote>,
    platform: Arc<Platform>,
    trouble: Arc<Trouble>,
    ticks: Arc<Ticks>,
    making: Making,
    /// The application, and its extension.
    processes: [Option<Process>; 2],
    lanes: Vec<String>,
    observers: Vec<Observer>,
    person: Person,
    began: Instant,
    /// Nothing goes wrong in this one.
    is_calm: bool,
    /// One thing follows the other at once: people are quick.
    is_hasty: bool,
    /// The clock jumped at some time.
    jumped: bool,
    full_until: Option<Instant>,
    complaints: Vec<String>,
    operations: BTreeMap<&'static str, u64>,
}

impl Phone {
    fn new(seed: u64, options: &ProgramOptions) -> Self {
        let seed = Seed(seed);
        let random = seed.fork("phone").random();
        let clock = Arc::new(SimClock::new(1_700_000_000_000));
        let disk = SimDisk::new(Arc::clone(&clock));
        let ticks = Arc::<Ticks>::default();
        let remote = Remote::new(seed.fork("remote").random(), Arc::clone(&ticks));
        let home = PathBuf::from(HOME);
        disk.put_dir(home.join("workers")).expect("a fresh disk has room");
        world::put_journal(&disk, &home, random.chance(0.9));
        disk.put_dir("/photos").expect("a fresh disk has room");
        let platform = Platform::new(&disk, &home, &remote, seed.fork("platform").random());
        let trouble = Trouble::new(seed.fork("trouble").random(), options.sabotage, options.history);
        let is_calm = random.chance(0.1);
        let is_hasty = random.chance(0.25);
        let making = Making {
            disk: Arc::clone(&disk),
            clock: Arc::clone(&clock),
            random: seed.fork("processes").random(),
            remote: Arc::clone(&remote),
            trouble: Arc::clone(&trouble),
            settings: ChatSettings {
                staged_ttl: Duration::from_secs(2 * 3600),
                reuse: Duration::from_secs(3 * 3600),
                ..ChatSettings::default()
            },
            has_key: is_calm || random.chance(0.8),
            by_platform: random.chance(0.5),
            blocking: match random.below(4) {
                0 => Blocking::Inline,
                most => Blocking::After(Duration::from_millis(1 + random.below(10 * most))),
            },
        };
        if !is_calm {
            let levels = [0.0, 0.05, 0.3, 0.6];
            remote.set_trouble(levels[index(&random, 4)]);
            platform.set_oddity(levels[index(&random, 4)]);
            trouble.set_chance(levels[index(&random, 3)] / 6.0);
        }
        let lanes: Vec<String> =
            ["family", "work"].iter().take(1 + index(&random, 2)).map(|&name| name.into()).collect();
        Self {
            observers: lanes.iter().map(|_| Observer::default()).collect(),
            processes: [None, None],
            person: Person::default(),
            full_until: None,
            complaints: Vec::new(),
            operations: BTreeMap::new(),
            jumped: false,
            began: Instant::now(),
            random,
            clock,
            disk,
            remote,
            platform,
            trouble,
            ticks,
            making,
            lanes,
            is_calm,
            is_hasty,
        }
    }

    async fn live(&mut self) -> ProgramOutcome {
        let steps = 8 + index(&self.random, 32);
        for _ in 0..steps {
            self.step().await;
            if !self.complaints.is_empty() {
                break;
            }
        }
        self.trouble.note(|| "peace".to_owned());
        let deaths = self.trouble.deaths();
        match tokio::time::timeout(REST_WITHIN, self.judge()).await {
            Ok(()) => {}
            Err(_) => self.complaints.push("it does not come to rest".to_owned()),
        }
        for process in &mut self.processes {
            if let Some(process) = process.take() {
                process.kill(&self.disk).await;
            }
        }
        let mut complaints = std::mem::take(&mut self.complaints);
        complaints.extend(self.remote.complaints());
        complaints.extend(self.platform.complaints());
        ProgramOutcome {
            complaints,
            deaths,
            operations: std::mem::take(&mut self.operations),
            made: self.person.messages.len(),
            trace: self.trouble.trace(),
            history: self.trouble.history(),
        }
    }

    fn complain(&mut self, complaint: impl Into<String>) {
        let complaint = complaint.into();
        self.trouble.note(|| format!("COMPLAINT: {complaint}"));
        self.complaints.push(complaint);
    }

    /// A process that lives and does not stand still; started if there is none. `None` if it cannot be.
    async fn living(&mut self) -> Option<usize> {
        self.bury().await;
        // Without a key there is no extension.
        let slot = usize::from(self.making.has_key && self.random.chance(0.3));
        if self.processes[slot].is_none() {
            self.start(slot).await;
        }
        let is_free = |process: &Option<Process>| process.as_ref().is_some_and(|one| one.frozen_until().is_none());
        [slot, 1 - slot].into_iter().find(|slot| is_free(&self.processes[*slot]))
    }

    async fn start(&mut self, slot: usize) {
        match self.making.start(HOME.as_ref(), SESSIONS[slot]).await {
            Done::Did(process) => {
                self.trouble.note(|| format!("{} starts", process.id));
                self.remote.forget_moments();
                self.processes[slot] = Some(process);
                if self.making.by_platform {
                    self.reconcile(slot).await;
                }
            }
            Done::Refused(error) => self.trouble.note(|| format!("a process does not start: {error}")),
            Done::Died => {}
        }
    }

    /// Sees off processes that died.
    async fn bury(&mut self) {
        for slot in 0..2 {
            if self.processes[slot].as_ref().is_some_and(|process| !self.disk.is_alive(process.id))
                && let Some(process) = self.processes[slot].take()
            {
                self.trouble.note(|| format!("{} is gone", process.id));
                process.kill(&self.disk).await;
            }
        }
    }

    async fn pause(&mut self, pause: Duration) {
        if pause > Duration::from_secs(1800) {
            // Nobody keeps an application open for so long.
            for slot in 0..2 {
                if let Some(process) = self.processes[slot].take() {
                    process.kill(&self.disk).await;
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn index(random: &SeededRandom, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}
