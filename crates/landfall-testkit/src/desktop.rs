//! A desktop whose files and recordings go to a bucket, and everything that can go wrong on the way, from one seed.
//!
//! A *program* is a random course of what a person does (adds files and folders, overwrites them, takes uploads back,
//! wants them after all), of what happens to processes (killed at a step or at a write, frozen for longer than a lease)
//! and of what happens to the network, the clock, the disk, the power and the bucket. The engine and the journal's SQLite
//! are the real ones; the bucket is [`crate::bucket`]'s, of one of the servers there are. A request that was sent is
//! carried out even if its sender is dead.
//!
//! At the end the world is left in peace, has to come to rest, and is judged by a model of what the person did: what was
//! taken in charge is in the bucket, whole and of one moment; what somebody else had put there is untouched; and
//! nothing is left over.

mod judge;
mod observer;
mod person;
mod process;
mod wire;

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use landfall_env::{Blocking, Clock as _};
use tokio::time::Instant;

use self::{
    observer::Observed,
    person::Want,
    process::{Making, PART, Process},
    wire::Network,
};
use crate::{
    ProgramOptions, ProgramOutcome, Seed, SeededRandom, SimClock, SimDisk,
    bucket::{BucketServer, Profile},
    process::Done,
    trouble::Trouble,
    world,
};

/// Runs one program to its end.
pub fn run(seed: u64, options: &ProgramOptions) -> ProgramOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can always be built").block_on(async {
        let mut desktop = Desktop::new(seed, options);
        desktop.live().await
    })
}

const HOME: &str = "/home";
/// Longer than this, in simulated time, and a desktop that is left in peace has not come to rest.
const REST_WITHIN: Duration = Duration::from_secs(24 * 3600);
const NOW_MS: i64 = 1_700_000_000_000;

struct Desktop {
    random: SeededRandom,
    /// The desktop's, which may be wrong.
    clock: Arc<SimClock>,
    disk: Arc<SimDisk>,
    server: BucketServer,
    network: Arc<Network>,
    trouble: Arc<Trouble>,
    observed: Arc<Observed>,
    making: Making,
    /// One works; another one may, too.
    processes: [Option<Process>; 2],
    wants: Vec<Want>,
    /// Files and folders that were ever made.
    sources: usize,
    /// Nothing goes wrong in this one.
    is_calm: bool,
    full_until: Option<Instant>,
    complaints: Vec<String>,
    operations: BTreeMap<&'static str, u64>,
}

/// What may happen, and how often.
const OPERATIONS: [(&str, u64); 13] = [
    ("file", 22),
    ("folder", 6),
    ("change", 8),
    ("remove", 1),
    ("cancel", 8),
    ("again", 7),
    ("network", 5),
    ("kill", 10),
    ("freeze", 6),
    ("disk", 4),
    ("clock", 4),
    ("power", 4),
    ("expire", 2),
];
/// What is no trouble happens in calm programs.
const CALM: [&str; 4] = ["file", "folder", "cancel", "again"];

impl Desktop {
    fn new(seed: u64, options: &ProgramOptions) -> Self {
        let seed = Seed(seed);
        let random = seed.fork("desktop").random();
        let clock = Arc::new(SimClock::new(NOW_MS));
        // The bucket's clock is right, whatever becomes of the desktop's.
        let true_time = SimClock::new(NOW_MS);
        let profile = profile(&random);
        let region = if random.chance(0.1) { "us-west-9".to_owned() } else { profile.region.clone() };
        let server = BucketServer::new(profile, Arc::new(move || true_time.wall_ms()));
        let disk = SimDisk::new(Arc::clone(&clock));
        disk.put_dir(format!("{HOME}/workers")).expect("a fresh disk has room");
        disk.put_dir("/files").expect("a fresh disk has room");
        world::put_journal(&disk, HOME.as_ref(), random.chance(0.9));
        let trouble = Trouble::new(seed.fork("trouble").random(), options.sabotage, options.history);
        let network = Network::new(server.clone(), seed.fork("network").random(), Arc::clone(&trouble));
        let observed = Arc::new(Observed::new(server.clone()));
        let is_calm = random.chance(0.1);
        let making = Making {
            disk: Arc::clone(&disk),
            clock: Arc::clone(&clock),
            random: seed.fork("processes").random(),
            network: Arc::clone(&network),
            trouble: Arc::clone(&trouble),
            observed: Arc::clone(&observed),
            region,
            prefix: ["", "in/"][index(&random, 2)],
            parts_in_flight_max: 1 + index(&random, 4),
            uploads_at_once: 1 + index(&random, 3),
            blocking: match random.below(4) {
                0 => Blocking::Inline,
                most => Blocking::After(Duration::from_millis(1 + random.below(10 * most))),
            },
        };
        if !is_calm {
            network.set_chance([0.0, 0.02, 0.1, 0.3][index(&random, 4)]);
            trouble.set_chance([0.0, 0.03, 0.12][index(&random, 3)]);
        }
        Self {
            random,
            clock,
            disk,
            server,
            network,
            trouble,
            observed,
            making,
            processes: [None, None],
            wants: Vec::new(),
            sources: 0,
            is_calm,
            full_until: None,
            complaints: Vec::new(),
            operations: BTreeMap::new(),
        }
    }

    async fn live(&mut self) -> ProgramOutcome {
        if AssertUnwindSafe(self.course()).catch_unwind().await.is_err() {
            self.complain("something panicked, or did not answer at all");
        }
        let deaths = self.trouble.deaths();
        self.kill_all().await;
        let mut complaints = std::mem::take(&mut self.complaints);
        complaints.extend(self.observed.complaints());
        ProgramOutcome {
            complaints,
            deaths,
            operations: std::mem::take(&mut self.operations).into_iter().chain(self.network.struck()).collect(),
            made: self.wants.iter().filter(|want| want.item.is_some()).count(),
            trace: self.trouble.trace(),
            history: self.trouble.history(),
        }
    }

    async fn course(&mut self) {
        for _ in 0..8 + self.random.below(24) {
            self.step().await;
        }
        self.trouble.note(|| "peace".to_owned());
        if tokio::time::timeout(REST_WITHIN, self.judge()).await.is_err() {
            self.complain("it does not come to rest");
        }
    }

    /// Something happens, and some time passes.
    async fn step(&mut self) {
        if self.full_until.is_some_and(|until| until <= Instant::now()) {
            self.full_until = None;
            self.disk.set_free(u64::MAX);
        }
        let operation = self.draw();
        self.trouble.note(|| format!("-- {operation}"));
        *self.operations.entry(operation).or_default() += 1;
        match operation {
            "folder" => self.add(true).await,
            "change" => self.change(),
            "remove" => self.remove(),
            "cancel" => self.cancel().await,
            "again" => self.again().await,
            "network" => self.network.set_down(self.random.chance(0.4)),
            "kill" => self.kill().await,
            "freeze" => {
                if let Some(slot) = self.living().await
                    && let Some(process) = &self.processes[slot]
                {
                    process.freeze(Duration::from_secs(1 + self.random.below(40)));
                }
            }
            "disk" => {
                self.disk.set_free(self.random.below(100_000));
                self.full_until = Some(Instant::now() + Duration::from_millis(200 + self.random.below(20_000)));
            }
            "clock" => self.clock.set_jump_ms([-3_600_000, 3_600_000, 0][index(&self.random, 3)]),
            "power" => self.power_cut().await,
            "expire" => self.server.expire_uploads(),
            _ => self.add(false).await,
        }
        self.bury().await;
        tokio::time::sleep(match self.random.below(20) {
            0 => Duration::from_secs(60 + self.random.below(600)),
            1..=9 => Duration::from_millis(self.random.below(300)),
            _ => Duration::from_millis(self.random.below(6_000)),
        })
        .await;
    }

    fn draw(&self) -> &'static str {
        let total: u64 = OPERATIONS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.below(total);
        for (name, weight) in OPERATIONS {
            if at < weight {
                return if self.is_calm && !CALM.contains(&name) { "file" } else { name };
            }
            at -= weight;
        }
        "file"
    }

    fn complain(&mut self, complaint: impl Into<String>) {
        let complaint = complaint.into();
        self.trouble.note(|| format!("COMPLAINT: {complaint}"));
        self.complaints.push(complaint);
    }

    /// A process that lives and does not stand still; started if there is none. `None` if it cannot be.
    async fn living(&mut self) -> Option<usize> {
        self.bury().await;
        let slot = usize::from(self.random.chance(0.3));
        if self.processes[slot].is_none() {
            match self.making.start(HOME.as_ref()).await {
                Done::Did(process) => {
                    self.trouble.note(|| format!("{} starts", process.id));
                    self.processes[slot] = Some(process);
                }
                Done::Refused(error) => self.trouble.note(|| format!("a process does not start: {error}")),
                Done::Died => {}
            }
        }
        let is_free = |process: &Option<Process>| process.as_ref().is_some_and(|one| one.frozen_until().is_none());
        [slot, 1 - slot].into_iter().find(|slot| is_free(&self.processes[*slot]))
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

    async fn kill(&mut self) {
        let slot = usize::from(self.random.chance(0.3));
        let Some(process) = &self.processes[slot] else { return };
        if self.random.chance(0.7) {
            self.disk.kill_after(process.id, self.random.below(80));
        } else if let Some(process) = self.processes[slot].take() {
            process.kill(&self.disk).await;
        }
    }

    async fn power_cut(&mut self) {
        self.kill_all().await;
        self.disk.power_cut(&self.random);
        self.disk.set_free(u64::MAX);
        self.full_until = None;
    }

    async fn kill_all(&mut self) {
        for slot in 0..2 {
            if let Some(process) = self.processes[slot].take() {
                process.kill(&self.disk).await;
            }
        }
    }
}

/// One of the servers there are. All of them take parts of the length that the engine cuts here.
fn profile(random: &SeededRandom) -> Profile {
    let profile = match random.below(6) {
        0 => Profile::s3(),
        1 => Profile::ceph(),
        2 => Profile::garage(),
        3 => Profile::seaweed(),
        4 => Profile::r2(),
        // One that looks at nothing at all: only what the engine does itself is left.
        _ => Profile { payload_hash: false, ..Profile::ceph() },
    };
    Profile { part_bytes_min: profile.part_bytes_min.min(PART), ..profile }
}

fn index(random: &SeededRandom, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}
