//! `landfall backup --dry-run`: what would be taken, file by file, and why the rest would not.

use std::sync::{Arc, Mutex, PoisonError};

use landfall::recipes::vault::{FoundFile, SkippedFile};
use serde_json::{Map, Value, json};

use super::{
    backup::{Means, Plan, problem},
    work::{self, Problem},
};
use crate::{
    command::Command,
    exit::Exit,
    failed::{During as _, Failed},
    filter::Filter,
    human,
    output::{Format, fields},
};

/// Looks, and writes to no home and no vault.
pub(super) async fn dry_run(command: &Command, mut plan: Plan) -> Result<Exit, Failed> {
    let location = plan.place.location();
    let engine = match command.engine_to_look().await? {
        Some(engine) => engine,
        None => command.ephemeral_engine().await?,
    };
    let all = engine.destinations().await.during("cannot read the journal")?;
    let known = all.into_iter().find(|destination| destination.location == location);
    let (engine, destination) = match known {
        Some(destination) => (engine, destination),
        None => {
            let engine = command.ephemeral_engine().await?;
            let destination = engine.destination(&location).await.during("cannot begin")?;
            (engine, destination)
        }
    };
    let refused = Refused::default();
    plan.filter = plan.filter.take().map(|filter| refused.noting(filter));
    let mut found = plan.scan(&engine, Means::Look, destination.id).await?;
    found.skipped.extend(refused.files());
    let problems: Vec<Problem> = found.problems.iter().map(problem).collect();
    let mut document = fields(json!({
        "dry_run": true,
        "scanned": found.scanned,
        "unchanged": found.unchanged,
        "new": found.taken,
        "new_bytes": found.bytes,
        "queued": found.queued,
        "problems": work::problems_json(&problems),
    }));
    document.insert("to".to_owned(), plan.place.to_string().into());
    say_files(command, &found.files, &found.skipped, &mut document);
    command.out.document(document);
    let (new, size) = (human::count(found.taken, "file"), human::size(found.bytes));
    command.out.line(&format!(
        "would take {new} ({size}), unchanged {}, queued {}, skipped {}, problems {}",
        found.unchanged,
        found.queued,
        found.skipped.len(),
        problems.len()
    ));
    work::say_problems(command, &problems);
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Problems })
}

/// Names every file: as lines for people, in the document, or as events.
fn say_files(command: &Command, files: &[FoundFile], skipped: &[SkippedFile], document: &mut Map<String, Value>) {
    let file_json = |file: &FoundFile, key: &str| {
        let mut one = fields(json!({ "kind": file.kind, "bytes": file.bytes }));
        human::put_path(&mut one, key, &file.place);
        one
    };
    match command.out.format() {
        Format::Human => {
            for file in files {
                let (size, place) = (human::size(file.bytes), human::path(&file.place));
                command.out.line(&format!("take  {size:>12}  {place}"));
            }
            for file in skipped {
                command.out.line(&format!("skip  {:>12}  {}", file.code, human::path(&file.place)));
            }
        }
        Format::Json => {
            let files = files.iter().map(|file| Value::Object(file_json(file, "path"))).collect();
            document.insert("files".to_owned(), files);
            let skipped = skipped.iter().map(|skipped| (&skipped.place[..], skipped.code));
            document.insert("skipped".to_owned(), work::skipped_json(skipped));
        }
        Format::JsonLines => {
            files.iter().for_each(|file| command.out.event("would-take", file_json(file, "place")));
            work::skipped_events(command, skipped);
            document.insert("skipped".to_owned(), skipped.len().into());
        }
    }
}

/// The files that `--include` and `--exclude` leave out.
#[derive(Default, Clone)]
struct Refused(Arc<Mutex<Vec<Vec<u8>>>>);

impl Refused {
    /// The same filter, noting what it refuses.
    fn noting(&self, filter: Filter) -> Filter {
        let refused = self.clone();
        Arc::new(move |place: &[u8]| {
            let is_wanted = filter(place);
            if !is_wanted {
                refused.0.lock().unwrap_or_else(PoisonError::into_inner).push(place.to_vec());
            }
            is_wanted
        })
    }

    fn files(&self) -> Vec<SkippedFile> {
        let places = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        places.into_iter().map(|place| SkippedFile { place, code: "filtered" }).collect()
    }
}
