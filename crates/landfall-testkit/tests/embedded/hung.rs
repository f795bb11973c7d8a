//! Sources on disks that do not answer, and machines that are only busy.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use landfall::{
    Code, Observer, Progress, Settings,
    recipes::vault::{ScanOptions, ScanReport},
};
use landfall_env::Blocking;

use crate::{
    hanging::{Call, Hanging},
    held::{Held, run},
};

/// How long a source may be silent in these tests.
const SILENCE: Duration = Duration::from_secs(3);
/// So few that hung calls would soon have them all.
const BLOCKING_THREADS: usize = 4;

fn on_few_threads(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS).build().expect("a runtime starts");
    let test = async { tokio::time::timeout(Duration::from_secs(120), test).await.expect("nothing stands still") };
    runtime.block_on(test);
    runtime.shutdown_background();
}

fn settings(held: &Held) -> Settings {
    Settings { silence: SILENCE, quiet: Duration::ZERO, ..held.settings() }
}

/// Places and codes, sorted.
fn problems(report: &ScanReport) -> Vec<(String, Code)> {
    let place = |place: &[u8]| String::from_utf8_lossy(place).into_owned();
    let mut problems: Vec<_> = report.problems.iter().map(|problem| (place(&problem.place), problem.code)).collect();
    problems.sort();
    problems
}

#[test]
fn other_files_are_sent_while_many_sources_hang() {
    on_few_threads(async {
        let hanging = Hanging::none();
        let held = Held::empty(Blocking::Threads, |files| hanging.over(files)).await;
        (0..12).for_each(|number| held.put(&format!("hung-{number}.jpg"), format!("hung {number}").as_bytes()));
        (0..4).for_each(|number| held.put(&format!("sound-{number}.jpg"), format!("sound {number}").as_bytes()));
        let (engine, session) = held.engine(settings(&held)).await;
        assert_eq!(held.scan(&engine, &session, &ScanOptions::default()).await.taken, 16);
        (0..12).for_each(|number| hanging.hang(Call::Read, format!("/photos/hung-{number}.jpg")));
        run(&engine, &session, Arc::new(landfall::Silent)).await;
        assert_eq!(held.contents().await, 4);
        let blocked = engine.items(Some("blocked".to_owned()), 100).await.expect("the journal is read");
        let codes = blocked.iter().map(|item| item.blocked.as_ref().and_then(|(code, _)| *code));
        assert_eq!(codes.collect::<Vec<_>>(), [Some(Code::SourceStalled); 12]);
        // The disk answers again: what was reported is taken by the next backup.
        drop(hanging);
        held.backup(&engine, &session, &ScanOptions::default()).await;
        assert_eq!(held.contents().await, 16);
    });
}

#[test]
fn a_scan_goes_past_folders_and_files_that_do_not_answer() {
    on_few_threads(async {
        let hanging = Hanging::none();
        let held = Held::empty(Blocking::Threads, |files| hanging.over(files)).await;
        for name in ["a.jpg", "dead/lost.jpg", "other/b.jpg", "other/hung.jpg", "other/late.jpg", "z.jpg"] {
            held.put(name, name.as_bytes());
        }
        hanging.hang(Call::List, "/photos/dead");
        hanging.hang(Call::Status, "/photos/other/hung.jpg");
        hanging.hang(Call::Read, "/photos/other/late.jpg");
        let (engine, session) = held.engine(settings(&held)).await;
        let report = held.backup(&engine, &session, &ScanOptions::default()).await;
        let stalled = ["photos/dead", "photos/other/hung.jpg", "photos/other/late.jpg"];
        assert_eq!(problems(&report), stalled.map(|place| (place.to_owned(), Code::SourceStalled)));
        assert_eq!((report.taken, held.contents().await), (3, 3));
        drop(hanging);
        let report = held.backup(&engine, &session, &ScanOptions::default()).await;
        assert_eq!((problems(&report), held.contents().await), (vec![], 6));
    });
}

#[test]
fn what_cannot_be_told_to_be_media_is_a_problem_and_nothing_of_it_is_taken() {
    on_few_threads(async {
        let hanging = Hanging::none();
        let held = Held::empty(Blocking::Threads, |files| hanging.over(files)).await;
        held.disk.put("/photos/notes.txt", b"no picture").expect("the disk takes it");
        hanging.hang(Call::Read, "/photos/notes.txt");
        let (engine, session) = held.engine(settings(&held)).await;
        let report = held.scan(&engine, &session, &ScanOptions::default()).await;
        assert_eq!(problems(&report), [("photos/notes.txt".to_owned(), Code::SourceStalled)]);
        assert_eq!((report.taken, report.skipped.len()), (0, 0));
        drop(hanging);
        let report = held.backup(&engine, &session, &ScanOptions::default()).await;
        let skipped = report.skipped.iter().map(|skipped| skipped.code);
        assert_eq!((problems(&report), skipped.collect::<Vec<_>>()), (vec![], vec!["not-media"]));
        assert_eq!(held.contents().await, 0);
    });
}

#[test]
fn a_root_that_does_not_answer_is_a_problem_and_not_the_end() {
    on_few_threads(async {
        let hanging = Hanging::none();
        let held = Held::empty(Blocking::Threads, |files| hanging.over(files)).await;
        held.put("a.jpg", b"a");
        hanging.hang(Call::Status, "/photos");
        let (engine, session) = held.engine(settings(&held)).await;
        let report = held.scan(&engine, &session, &ScanOptions::default()).await;
        assert_eq!(problems(&report), [("photos".to_owned(), Code::SourceStalled)]);
    });
}

/// Takes all the runtime's blocking threads as soon as an item is begun, for longer than a source may be silent.
struct Busy(Mutex<Option<tokio::runtime::Handle>>);

impl Observer for Busy {
    fn saw(&self, progress: Progress) {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Progress::Started { .. }, Some(runtime)) = (progress, first) {
            for _ in 0..BLOCKING_THREADS {
                let (release, held) = mpsc::channel::<()>();
                runtime.spawn(Blocking::Threads.run(move || held.recv().is_ok()));
                runtime.spawn(async move {
                    tokio::time::sleep(SILENCE + SILENCE / 2).await;
                    drop(release);
                });
            }
        }
    }
}

#[test]
fn a_source_is_not_stalled_because_the_machine_is_busy() {
    on_few_threads(async {
        let held = Held::empty(Blocking::Threads, |files| files).await;
        held.put("a.jpg", &[7; 300_000]);
        let (engine, session) = held.engine(settings(&held)).await;
        held.scan(&engine, &session, &ScanOptions::default()).await;
        let busy = Busy(Mutex::new(Some(tokio::runtime::Handle::current())));
        run(&engine, &session, Arc::new(busy)).await;
        assert_eq!(held.contents().await, 1);
    });
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_never_twice_the_same_is_reported_and_ends_the_run() {
    let disk = Hanging::none();
    let held = Held::empty(Blocking::Inline, |files| disk.over(files)).await;
    held.put("a.jpg", &[7; 300]);
    held.put("b.jpg", &[8; 300]);
    disk.flicker("/photos/a.jpg");
    let (engine, session) = held.engine(settings(&held)).await;
    held.backup(&engine, &session, &ScanOptions::default()).await;
    assert_eq!(held.contents().await, 1);
    let blocked = engine.items(Some("blocked".to_owned()), 100).await.expect("the journal is read");
    let codes = blocked.iter().map(|item| item.blocked.as_ref().and_then(|(code, _)| *code));
    assert_eq!(codes.collect::<Vec<_>>(), [Some(Code::SourceChanged)]);
    assert!(engine.events_since(0, 1_000).await.expect("the journal is read").len() < 100);
}
