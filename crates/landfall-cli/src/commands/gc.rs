//! `landfall gc`: aborts abandoned uploads.

use landfall::{
    Code, Engine, Failure,
    bucket::{Bucket, Orphan, Swept},
};
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
    let mut kept: Vec<Problem> = Vec::new();
    let (mut bytes, mut exit) = (0, Exit::Done);
    for config in &configs {
        match sweep(command, arguments, &engine, config, &mut found, &mut kept, &mut bytes).await {
            Ok(()) => {}
            Err(failed) if configs.len() == 1 && found.is_empty() && kept.is_empty() => return Err(failed),
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
    if !kept.is_empty() {
        exit = exit.or_worse(Exit::Problems);
        problems.extend(kept);
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

/// Aborts what this home has given up, and what nobody knows, at one destination.
async fn sweep(
    command: &Command,
    arguments: &Gc,
    engine: &Engine,
    config: &BucketConfig,
    found: &mut Vec<Value>,
    kept: &mut Vec<Problem>,
    bytes: &mut u64,
) -> Result<(), Failed> {
    let bucket = buckets::open(command, engine, config).await?;
    let what = format!("cannot sweep `{}`", config.name);
    let swept = bucket.abort_abandoned(arguments.dry_run).await.during(&what)?;
    kept.extend(not_aborted(&swept, config));
    *bytes += say(command, config, swept.aborted, found);
    let orphans = bucket.sweep(arguments.older_than, arguments.dry_run).await.during(&what);
    let orphans = orphans.map_err(|failed| {
        let failed = failed.at(config);
        if failed.code == Code::AccessDenied.as_str() {
            failed.hint("give these keys the right s3:ListBucketMultipartUploads, then `landfall gc`")
        } else {
            failed
        }
    })?;
    kept.extend(not_aborted(&orphans, config));
    *bytes += say(command, config, orphans.aborted, found);
    Ok(())
}

fn say(command: &Command, config: &BucketConfig, orphans: Vec<Orphan>, found: &mut Vec<Value>) -> u64 {
    let mut bytes = 0;
    for orphan in orphans {
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
    bytes
}

/// Aborts what nobody wants at a bucket, and says what could not be. What waits for the bucket a later run does.
pub(super) async fn kept_open(bucket: &Bucket, config: &BucketConfig) -> Result<Vec<Problem>, Failed> {
    if bucket.abandoned().await.during("cannot read the journal")? == 0 {
        return Ok(Vec::new());
    }
    let swept = bucket.abort_abandoned(false).await.during("cannot abort what nobody wants")?;
    Ok(not_aborted(&swept, config))
}

/// What could not be aborted, as problems.
fn not_aborted(swept: &Swept, config: &BucketConfig) -> Vec<Problem> {
    let problem = |(orphan, failure): &(Orphan, Failure)| Problem {
        place: config.url(&orphan.key).into_bytes(),
        code: failure.code.as_str().to_owned(),
        message: format!("an upload that nobody wants could not be aborted, and keeps its room: {failure}"),
        remedy: match failure.code {
            Code::AccessDenied => "give these keys the right s3:AbortMultipartUpload, then `landfall gc`".to_owned(),
            code => code.advice().to_owned(),
        },
    };
    swept.kept.iter().map(problem).collect()
}
