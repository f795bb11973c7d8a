//! `landfall backup`: take charge of what is new, and upload it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use landfall::{
    Engine, Error, MasterKey, RunEnd, RunReport, Session,
    recipes::vault::{ScanOptions, ScanReport, learn, scan, scan_offline},
};
use serde_json::json;

use super::{
    dry_run::dry_run,
    offline, ours, place_of,
    work::{self, Problem},
};
use crate::{
    arguments::Backup,
    command::Command,
    damage,
    destination::{self, Mode, Place, Seen},
    exit::Exit,
    failed::{During as _, Failed},
    filter::{Filter, filter},
    human,
    output::fields,
    root::{Root, roots},
    tally::Tally,
};

/// Carries out `landfall backup`.
pub(crate) async fn backup(mut command: Command, arguments: Backup) -> Result<Exit, Failed> {
    if let Some(patience) = arguments.limits.patience {
        command.patience = patience;
    }
    command.takes_new_vault = arguments.new_vault;
    command.budget = arguments.limits.budget;
    let place = place_of(&command, arguments.to.to.as_deref())?;
    let plan = Plan {
        roots: roots(&arguments.paths, &command.env)?,
        filter: filter(&arguments.include, &arguments.exclude)?,
        ours: ours(&command, &place),
        place,
        arguments,
    };
    plan.refuse_ourselves()?;
    if plan.arguments.dry_run {
        return command.signals.unless_stopped(dry_run(&command, plan)).await;
    }
    damage::healing(&command, async || once(&command, &plan).await).await
}

/// What a backup is of, and where it goes.
pub(super) struct Plan {
    pub(super) arguments: Backup,
    roots: Vec<Root>,
    pub(super) place: Place,
    pub(super) filter: Option<Filter>,
    /// Our own folders, which are never backed up.
    ours: Vec<PathBuf>,
}

/// What a scan may do.
#[derive(Clone, Copy)]
pub(super) enum Means<'m> {
    /// Nothing but look.
    Look,
    /// Take in charge, for this vault.
    Take(&'m Session),
    /// Take in charge while the vault is out of reach, with its key if that is at hand.
    TakeOffline(Option<&'m MasterKey>),
}

async fn once(command: &Command, plan: &Plan) -> Result<Exit, Failed> {
    let settings = work::settings(command, &plan.arguments.limits)?;
    let engine = Engine::open(settings, command.env.clone()).await.during("cannot open the home")?;
    let location = plan.place.location();
    let tally = Tally::new(&command.out);
    engine.watch_journal(Arc::clone(&tally) as _);
    let prepared = command.signals.unless_stopped(async {
        let destination = engine.destination(&location).await.during("cannot write to the journal")?;
        if destination.vault.is_some() {
            let found = plan.scan(&engine, Means::Look, destination.id).await?;
            if found.taken == 0 && found.queued == 0 && is_idle(&engine, &location).await? {
                let is_settled = match destination::look(command, &engine, &destination, &plan.place).await? {
                    Seen::AsKnown => true,
                    // What others changed is learned as soon as there is a key at hand.
                    Seen::HasNews => !destination::has_key_at_hand(command, &destination)?,
                    Seen::Older => false,
                };
                if is_settled {
                    return Ok((None, found));
                }
            }
        }
        plan.warn_of_the_disk(command);
        let reach = Box::pin(async {
            let opened = destination::open(command, &engine, &destination, &plan.place, Mode::Make, None).await?;
            let session = destination::session(command, &engine, &destination, &opened).await?;
            destination::patiently(command, || learn(&engine, &session, tally.as_ref()))
                .await
                .during("cannot read what the vault holds")?;
            Ok((opened, session))
        });
        let (opened, session) = offline::or_wait(command, &engine, plan, &destination, reach).await?;
        let found = plan.scan(&engine, Means::Take(&session), destination.id).await?;
        Ok((Some((opened, session)), found))
    });
    let (reached, found) = prepared.await?;
    work::skipped_events(command, &found.skipped);
    let report = match &reached {
        None => None,
        Some((opened, session)) => {
            let budget = plan.arguments.limits.budget;
            let work = async || work::work(command, &engine, session, &tally, budget, Some(command.patience)).await;
            let mut report = work().await?;
            if found.queued > 0 && matches!(report.end, RunEnd::Drained) {
                // What was queued before may have been read before its file changed.
                let again = async {
                    let destination = engine.destination(&location).await.during("cannot read the journal")?;
                    plan.scan(&engine, Means::Take(session), destination.id).await
                };
                if command.signals.unless_stopped(again).await?.taken > 0 {
                    report = work().await?;
                }
            }
            if let (Some(server), RunEnd::Drained) = (&opened.server, &report.end) {
                // Uploads of long ago, from other homes, that nobody will finish. The next time will do as well.
                let _ = server.maintain().await;
            }
            Some(report)
        }
    };
    let mut problems: Vec<Problem> = found.problems.iter().map(problem).collect();
    problems.extend(work::blocked(&engine, &location).await?);
    Ok(finish(command, &tally, &found, report.as_ref(), &problems))
}

/// Whether nothing is left to do for a destination.
async fn is_idle(engine: &Engine, location: &str) -> Result<bool, Failed> {
    const LOOK_AT: usize = 1000;
    if engine.counts().await.during("cannot read the journal")?.abandoning > 0 {
        return Ok(false);
    }
    let active = engine.items(Some("active".to_owned()), LOOK_AT).await.during("cannot read the journal")?;
    Ok(active.len() < LOOK_AT && active.iter().all(|item| item.destination != location))
}

fn finish(
    command: &Command,
    tally: &Tally,
    found: &ScanReport,
    report: Option<&RunReport>,
    problems: &[Problem],
) -> Exit {
    let counts = tally.finish();
    say_skipped(command, found);
    let skipped = found.skipped.iter().map(|skipped| (&skipped.place[..], skipped.code));
    let skipped = skipped.chain(counts.skipped.iter().map(|(place, code)| (&place[..], *code)));
    let skipped_count = found.skipped.len() + counts.skipped.len();
    let took = command.took();
    let mut document = fields(json!({
        "scanned": found.scanned,
        "unchanged": found.unchanged,
        "linked": counts.linked,
        "uploaded": counts.uploaded,
        "skipped": work::skipped_json(skipped),
        "problems": work::problems_json(problems),
        "bytes_read": counts.bytes_read,
        "bytes_sent": counts.bytes_sent,
        "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }));
    command.put_recovery_key(&mut document);
    if let (Some(report), true) = (report, work::may_add(command)) {
        document.extend(work::end_json(report));
    }
    command.out.document(document);
    command.out.note(&format!(
        "{}, unchanged {}, skipped {skipped_count}, problems {} in {}",
        work::counted(&counts),
        found.unchanged,
        problems.len(),
        human::duration(took)
    ));
    if let Some(report) = report {
        work::say_paused(command, report);
        work::say_end(command, report);
    }
    work::say_problems(command, problems);
    work::exit(command, report, problems)
}

/// Others are counted by their ending; links that lead nowhere, and everything if asked for, by name.
fn say_skipped(command: &Command, found: &ScanReport) {
    let mut kinds = std::collections::BTreeMap::<String, u64>::new();
    for skipped in &found.skipped {
        match skipped.code {
            "dangling-link" => {
                command.out.warn(&format!("`{}` is a link that leads nowhere", human::path(&skipped.place)), None);
            }
            _ if command.out.is_verbose() => {
                command.out.note(&format!("skipped {} ({})", human::path(&skipped.place), skipped.code));
            }
            "not-media" => *kinds.entry(ending(&skipped.place)).or_default() += 1,
            code => *kinds.entry(code.to_owned()).or_default() += 1,
        }
    }
    if !kinds.is_empty() {
        let list: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        command.out.note(&format!("skipped: {}", list.join(", ")));
    }
}

fn ending(place: &[u8]) -> String {
    let name = place.rsplit(|byte| *byte == b'/').next().unwrap_or(place);
    match name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0) {
        Some(dot) if name.len() - dot <= 12 => human::path(&name[dot..].to_ascii_lowercase()),
        _ => "without an ending".to_owned(),
    }
}

pub(super) fn problem(problem: &landfall::recipes::vault::ScanProblem) -> Problem {
    Problem {
        place: problem.place.clone(),
        code: problem.code.as_str().to_owned(),
        message: problem.message.clone(),
        remedy: problem.code.advice().to_owned(),
    }
}

impl Plan {
    /// One scan per root, since a place alone does not tell which root of that name it is below.
    pub(super) async fn scan(
        &self,
        engine: &Engine,
        means: Means<'_>,
        destination: landfall::DestinationId,
    ) -> Result<ScanReport, Failed> {
        let mut all = ScanReport::default();
        for root in &self.roots {
            if let Some(problem) = root.silence() {
                all.problems.push(problem);
                continue;
            }
            let options = ScanOptions {
                all: self.arguments.all,
                album: self.arguments.album.clone(),
                filter: self.filter_below(root),
                dry_run: self.arguments.dry_run,
            };
            let root_alone = std::slice::from_ref(&root.path);
            let found = match means {
                Means::Look => scan(engine, None, destination, root_alone, &options).await,
                Means::Take(session) => scan(engine, Some(session), destination, root_alone, &options).await,
                Means::TakeOffline(master) => {
                    match scan_offline(engine, master, destination, root_alone, &options).await {
                        Err(Error::Locked) => {
                            all.problems.push(offline::untaken(&root.path));
                            continue;
                        }
                        other => other,
                    }
                }
            };
            let found = found.during(&format!("cannot look at `{}`", root.path.display()))?;
            all.scanned += found.scanned;
            all.unchanged += found.unchanged;
            all.taken += found.taken;
            all.queued += found.queued;
            all.bytes += found.bytes;
            all.files.extend(found.files);
            all.skipped.extend(found.skipped);
            all.problems.extend(found.problems);
        }
        Ok(all)
    }

    /// The person's filter, less our own folders inside this root.
    fn filter_below(&self, root: &Root) -> Option<Filter> {
        let Some(real) = &root.real else { return self.filter.clone() };
        let below =
            |ours: &PathBuf| ours.strip_prefix(real).ok().map(|rest| rest.as_os_str().as_encoded_bytes().to_vec());
        let ours: Vec<Vec<u8>> = self.ours.iter().filter_map(below).filter(|rest| !rest.is_empty()).collect();
        if ours.is_empty() {
            return self.filter.clone();
        }
        let (name, filter) = (root.path.file_name().map_or(4, OsStr::len), self.filter.clone());
        Some(Arc::new(move |place: &[u8]| {
            let rest = place.get(name + 1..).unwrap_or_default();
            let is_ours =
                ours.iter().any(|own| rest.starts_with(own) && matches!(rest.get(own.len()), None | Some(b'/')));
            !is_ours && filter.as_ref().is_none_or(|filter| filter(place))
        }))
    }

    /// A backup of the vault into itself would never end.
    fn refuse_ourselves(&self) -> Result<(), Failed> {
        for root in &self.roots {
            let Some(real) = &root.real else { continue };
            if let Some(own) = self.ours.iter().find(|own| real.starts_with(own)) {
                let what = format!("cannot back up `{}`", root.path.display());
                return Err(Failed::usage(what, format!("it is part of `{}`, which is landfall's own", own.display())));
            }
        }
        Ok(())
    }

    fn warn_of_the_disk(&self, command: &Command) {
        let is_below = |own: &Path, root: &Root| root.real.as_ref().is_some_and(|root| own.starts_with(root));
        for own in self.ours.iter().filter(|own| self.roots.iter().any(|root| is_below(own, root))) {
            command.out.note(&format!("`{}` is landfall's own and is left out", own.display()));
        }
        let Some(folder) = self.place.folder() else { return };
        let device = |path: &Path| {
            let there = path.ancestors().find(|path| path.exists())?;
            command.env.files.status(there).ok().map(|status| status.identity.device)
        };
        let vault = device(folder);
        if vault.is_some() && self.roots.iter().any(|root| root.device == vault) {
            command.out.warn(
                &format!("the vault at `{}` is on the same disk as what is backed up", folder.display()),
                Some("`--to DIR` chooses another disk, `--to URL` a server"),
            );
        }
    }
}
