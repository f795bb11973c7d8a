//! One file on its way, as the carrier remembers it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landfall_testkit::SeededRandom;
use serde::{Deserialize, Serialize};

/// What a carrier was handed, and how far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) attempt: String,
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Below the carrier's root.
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
    /// Given up then; milliseconds since the epoch.
    pub(crate) deadline: Option<i64>,
    /// The carrier's own name for it.
    #[serde(default)]
    pub(crate) number: u64,
    #[serde(default)]
    pub(crate) fault: Fault,
    /// How it ended, by the carrier's word.
    #[serde(default)]
    pub(crate) report: Option<Report>,
    /// That may be told.
    #[serde(default)]
    pub(crate) is_due: bool,
    /// How often it was.
    #[serde(default)]
    pub(crate) told: u64,
}

/// How a carrier misbehaves with one task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fault {
    /// It tells so long after the end.
    pub(crate) late_ms: u64,
    /// It tells a second time.
    pub(crate) is_told_twice: bool,
    /// It never tells, and denies that there is such a task.
    pub(crate) is_forgotten: bool,
    /// It does not even begin.
    pub(crate) puts_nothing: bool,
    /// It tells this, whatever happened.
    pub(crate) lie: Option<Report>,
    /// It moves no more than this.
    pub(crate) bytes_per_second: Option<u64>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The server answered with this status.
    Answered(u16),
    /// Nothing was sent.
    NotSent,
    /// Nobody knows. Also what a phone that is locked makes of a success: EPERM.
    Unknown,
    /// It was given up.
    Cancelled,
}

impl Fault {
    /// One of the faults, or none.
    pub(crate) fn drawn(random: &SeededRandom) -> Self {
        let late_ms = if random.chance(0.3) { random.below(400) } else { 0 };
        let bytes_per_second = random.chance(0.2).then(|| 20_000 + random.below(100_000));
        let slow = Self { late_ms, bytes_per_second, ..Self::default() };
        match random.below(10) {
            0 => Self { is_told_twice: true, ..slow },
            1 => Self { is_forgotten: true, ..slow },
            2 => Self { is_forgotten: true, puts_nothing: true, ..slow },
            3 => Self { lie: Some(Report::Unknown), ..slow },
            4 => Self { lie: Some(Report::Cancelled), is_told_twice: random.chance(0.5), ..slow },
            5 => Self { lie: Some(Report::NotSent), ..slow },
            _ => slow,
        }
    }
}

impl Task {
    /// Those that a carrier remembers from an earlier life.
    pub(crate) fn remembered(folder: &Path) -> Vec<Self> {
        fs::create_dir_all(folder).expect("the carrier may write to its folder");
        let entries = fs::read_dir(folder).expect("the carrier may read its folder");
        let texts = entries.flatten().filter_map(|entry| fs::read(entry.path()).ok());
        // A file that is not whole is one that a carrier was killed over, before it took the task.
        texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect()
    }

    /// Writes it down.
    pub(crate) fn remember(&self, folder: &Path) {
        let (whole, part) = (self.path(folder), folder.join(format!("{}.part", self.attempt)));
        let text = serde_json::to_vec(self).expect("a task is plain data");
        fs::write(&part, text).and_then(|()| fs::rename(&part, whole)).expect("the carrier may write to its folder");
    }

    /// Nobody needs it any more.
    pub(crate) fn forget(&self, folder: &Path) {
        let _ = fs::remove_file(self.path(folder));
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.attempt))
    }
}
