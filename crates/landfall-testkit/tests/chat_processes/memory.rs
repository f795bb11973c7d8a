//! How much memory an attachment takes on its way: the same, however long it is.
#![cfg(target_os = "linux")]

use std::fs::{self, File};

use serde_json::json;

use crate::stage::{Begins, Stage};

const MIB: u64 = 1 << 20;

#[test]
fn a_gigabyte_takes_no_more_memory_than_a_few_megabytes() {
    let (small, large) = (peak_bytes(16 * MIB), peak_bytes(1024 * MIB));
    // Allocators and stacks differ by a few megabytes from run to run.
    assert!(large < small + 16 * MIB, "16 MiB take {} KiB, 1 GiB takes {} KiB", small >> 10, large >> 10);
}

/// Stages a file of so many bytes, seals it, sends it to the server, and tells of it. Says how much memory that took.
fn peak_bytes(length: u64) -> u64 {
    let stage = Stage::new();
    let path = stage.path("video");
    // Nothing but a hole: it reads as zeros and takes no room.
    File::create(&path).unwrap().set_len(length).unwrap();
    let app = stage.app(Begins { in_process: true, ..Begins::default() });
    let video = app.ask(json!({ "do": "stage", "path": path, "name": "video.mp4" })).unwrap();
    app.ask(json!({ "do": "send", "lane": "family", "batch": [video] })).unwrap();
    assert_eq!(app.ask(json!({ "do": "run" })).unwrap()["remaining"], 0);
    assert_eq!(stage.lane("family"), ["video.mp4"]);
    // The copy that is shown, and not the payload.
    let left: Vec<u64> = stage.spool().iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    assert_eq!(left, [length]);
    let status = fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}
