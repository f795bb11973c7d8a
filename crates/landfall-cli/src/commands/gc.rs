//! `landfall gc`: aborts incomplete uploads that nobody goes on with.

use serde_json::{Value, json};

use crate::{
    arguments::Gc,
    buckets,
    command::Command,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::fields,
};

/// Carries out `landfall gc`.
pub(crate) async fn gc(command: &Command, arguments: &Gc) -> Result<Exit, Failed> {
    let configs = match &arguments.to {
        Some(name) => vec![buckets::named(command, name)?],
        None => buckets::all(command)?,
    };
    let engine = command.engine().await?;
    let mut found: Vec<Value> = Vec::new();
    let mut bytes = 0;
    for config in &configs {
        let bucket = buckets::open(command, &engine, config).await?;
        let what = format!("cannot sweep `{}`", config.name);
        bucket.abort_abandoned().await.during(&what)?;
        for orphan in bucket.sweep(arguments.older_than, arguments.dry_run).await.during(&what)? {
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
    }
    let uploads = human::count(found.len() as u64, "incomplete upload");
    let did = if arguments.dry_run { "would abort" } else { "aborted" };
    command.out.note(&format!("{did} {uploads}, {}", human::size(bytes)));
    command.out.document(fields(json!({ "aborted": found, "bytes": bytes, "dry_run": arguments.dry_run })));
    Ok(Exit::Done)
}
