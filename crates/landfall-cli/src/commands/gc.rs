//! `landfall gc`: aborts abandoned uploads.

use landfall::Engine;
use serde_json::{Value, json};

use super::work::{self, Problem};
use crate::{
    arguments::Gc,
    buckets::{self, BucketConfig},
    command::Command,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::fields,
};

/// Carries out `landfall gc`. A destination that fails keeps none of the others.
pub(crate) async fn gc(command: &Command, arguments: &Gc) -> Result<Exit, Failed> {
    let configs = match &arguments.to {
        Some(name) => vec![buckets::named(command, name)?],
        None => buckets::all(command)?,
    };
    let engine = command.engine().await?;
    let mut found: Vec<Value> = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    let (mut bytes, mut exit) = (0, Exit::Done);
    for config in &configs {
        match sweep(command, arguments, &engine, config, &mut found).await {
            Ok(swept) => bytes += swept,
            Err(failed) if configs.len() == 1 => return Err(failed),
            Err(failed) => {
                exit = exit.or_worse(failed.exit);
                problems.push(Problem {
                    place: config.name.clone().into_bytes(),
                    code: failed.code.clone(),
                    message: if failed.why.is_empty() { failed.what } else { failed.why },
                    remedy: failed.hint.unwrap_or_default(),
                });
            }
        }
    }
    let uploads = human::count(found.len() as u64, "incomplete upload");
    let did = if arguments.dry_run { "would abort" } else { "aborted" };
    command.out.note(&format!("{did} {uploads}, {}", human::size(bytes)));
    command.out.document(fields(json!({
        "aborted": found, "bytes": bytes, "dry_run": arguments.dry_run, "problems": work::problems_json(&problems),
    })));
    work::say_problems(command, &problems);
    Ok(exit)
}

/// Aborts what nobody knows at one destination. Returns how many bytes it held.
async fn sweep(
    command: &Command,
    arguments: &Gc,
    engine: &Engine,
    config: &BucketConfig,
    found: &mut Vec<Value>,
) -> Result<u64, Failed> {
    let bucket = buckets::open(command, engine, config).await?;
    let what = format!("cannot sweep `{}`", config.name);
    if !arguments.dry_run {
        bucket.abort_abandoned().await.during(&what)?;
    }
    let swept = bucket.sweep(arguments.older_than, arguments.dry_run).await.during(&what);
    let mut bytes = 0;
    for orphan in swept.map_err(|failed| failed.at(config))? {
        let begun = orphan.initiated.map(|moment| human::moment(moment.0));
        let line = format!(
            "{:>9}  {}  {}",
            human::size(orphan.bytes),
            begun.as_deref().unwrap_or("-"),
            human::text(&config.url(&orphan.key))
        );
        command.out.line(&line);
        bytes += orphan.bytes;
        found.push(json!({
            "destination": config.name, "key": orphan.key, "upload_id": orphan.upload_id, "begun_at": begun, "bytes": orphan.bytes,
        }));
    }
    Ok(bytes)
}
