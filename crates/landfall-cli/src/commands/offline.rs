//! A backup whose vault is out of reach: what is new is taken in charge all the same, and waits.

use std::{path::Path, pin::Pin};

use landfall::{Code, Destination, Engine, recipes::vault::ScanProblem};

use super::{
    backup::{Means, Plan, problem},
    work::{self, Problem},
};
use crate::{
    command::Command,
    destination,
    exit::Exit,
    failed::{During as _, Failed},
    human,
};

/// Reaches a vault. While that takes long, and if it fails, everything new is taken in charge: whoever pulls the plug on a
/// backup that waits has handed over all of it. Only a vault that this home knows can be waited for like that.
///
/// # Errors
/// What `reach` says, and how much waits.
pub(super) async fn or_wait<T, F: Future<Output = Result<T, Failed>>>(
    command: &Command,
    engine: &Engine,
    plan: &Plan,
    destination: &Destination,
    mut reach: Pin<Box<F>>,
) -> Result<T, Failed> {
    if destination.vault.is_none() {
        return reach.await;
    }
    let mut waiting = None;
    let reached = tokio::select! {
        biased;
        reached = &mut reach => reached,
        // It pauses between two attempts: nothing that it holds keeps the journal from us.
        () = command.away.notified() => {
            waiting = Some(Box::pin(take(command, engine, plan, destination)).await?);
            reach.await
        }
    };
    match reached {
        Err(failed) if is_away(&failed) => {
            let waiting = match waiting {
                Some(waiting) => waiting,
                None => Box::pin(take(command, engine, plan, destination)).await?,
            };
            Err(waiting.explain(failed))
        }
        other => other,
    }
}

/// A folder that could not be taken in charge.
pub(super) fn untaken(root: &Path) -> ScanProblem {
    ScanProblem {
        place: root.as_os_str().as_encoded_bytes().to_vec(),
        code: Code::Locked,
        message:
            "it is backed up for the first time, and the vault's key is not at hand: nothing of it was taken in charge"
                .to_owned(),
    }
}

/// Whether the vault may be back later.
fn is_away(failed: &Failed) -> bool {
    failed.exit == Exit::Queued && failed.code != "home-full"
}

/// What was taken in charge for a vault that is out of reach.
struct Waiting {
    files: u64,
}

async fn take(command: &Command, engine: &Engine, plan: &Plan, destination: &Destination) -> Result<Waiting, Failed> {
    let master = destination::known_key(command, engine, destination).await?;
    let found = plan.scan(engine, Means::TakeOffline(master.as_ref()), destination.id).await?;
    work::skipped_events(command, &found.skipped);
    let active = engine.items(Some("active".to_owned()), usize::MAX >> 1).await.during("cannot read the journal")?;
    let files = active.iter().filter(|item| item.destination == destination.location).count() as u64;
    command.out.note(&format!("{} taken in charge, waiting for the vault", human::count(files, "file")));
    let problems: Vec<Problem> = found.problems.iter().map(problem).collect();
    work::say_problems(command, &problems);
    Ok(Waiting { files })
}

impl Waiting {
    /// The same failure, saying what waits.
    fn explain(self, failed: Failed) -> Failed {
        let verb = if self.files == 1 { "waits" } else { "wait" };
        let why = format!("{}; {} {verb} for it", failed.why, human::count(self.files, "file"));
        let hint = failed.hint.map_or_else(String::new, |hint| format!("{hint}; "));
        let hint = format!("{hint}`landfall run` sends what waits");
        Failed { why, hint: Some(hint), queued: Some(self.files), ..failed }
    }
}
