//! One file per command.

mod account;
mod backup;
mod config;
mod contents;
mod destinations;
mod doctor;
mod dry_run;
mod gc;
mod get;
mod items;
mod keys;
mod lane;
mod login;
mod offline;
mod put;
mod restore;
mod run;
mod send;
mod serve;
mod sessions;
mod stages;
mod status;
mod tail;
mod work;

use clap::CommandFactory as _;
use landfall::{Destination, Engine, Session};
use serde_json::json;

use crate::{
    arguments::{Arguments, DestinationCommand, From, LaneCommand, ServerCommand, Subcommands},
    command::Command,
    destination::{self, Mode, Opened, Place, real_path},
    exit::Exit,
    failed::{During as _, Failed},
    output::fields,
};

/// Carries out a command.
pub(crate) async fn carry_out(mut command: Command, what: Subcommands) -> Result<Exit, Failed> {
    if let Subcommands::Lane(lane) = &what
        && let LaneCommand::Tail(tail) = &lane.command
    {
        command.patience = tail.patience.unwrap_or(command.patience);
    }
    let signals = command.signals.clone();
    match what {
        Subcommands::Backup(backup) => Box::pin(backup::backup(command, backup)).await,
        Subcommands::Run(run) => Box::pin(run::run(command, run)).await,
        Subcommands::Send(send) => Box::pin(send::send(command, send)).await,
        Subcommands::Put(put) => Box::pin(put::put(command, put)).await,
        Subcommands::Sessions(arguments) => Box::pin(sessions::sessions(command, arguments.command)).await,
        Subcommands::Destination(destination) => match destination.command {
            DestinationCommand::Add { kind } => destinations::add(command, kind).await,
            DestinationCommand::Rm { name } => destinations::remove(command, &name).await,
            DestinationCommand::Ls => destinations::list(&command),
            DestinationCommand::Show { name } => destinations::show(&command, &name).await,
            DestinationCommand::Test { name } => {
                signals.unless_stopped(Box::pin(destinations::test(&command, &name))).await
            }
        },
        Subcommands::Server(server) => match server.command {
            None => serve::serve(&command, server.vault, &server.listen, server.grant_ttl).await,
            Some(ServerCommand::Account(account)) => account::account(&command, server.vault, account).await,
        },
        Subcommands::Config(config) => config::config(command, config.command).await,
        other => signals.unless_stopped(Box::pin(carry_out_droppable(&command, other))).await,
    }
}

/// Commands that may be dropped at any moment.
async fn carry_out_droppable(command: &Command, what: Subcommands) -> Result<Exit, Failed> {
    match what {
        Subcommands::Restore(restore) => restore::restore(command, restore).await,
        Subcommands::Ls(ls) => contents::list(command, &ls).await,
        Subcommands::Get(get) => get::get(command, &get).await,
        Subcommands::Gc(gc) => gc::gc(command, &gc).await,
        Subcommands::Verify(verify) => contents::verify(command, &verify).await,
        Subcommands::Rm(rm) => contents::remove(command, &rm).await,
        Subcommands::Status(status) => status::status(command, &status).await,
        Subcommands::Show(show) => status::show(command, show.id).await,
        Subcommands::Retry(retry) => items::retry(command, &retry).await,
        Subcommands::Cancel(cancel) => items::cancel(command, &cancel.ids).await,
        Subcommands::Skip(skip) => items::skip(command, &skip.ids).await,
        Subcommands::Discard(discard) => items::discard(command, &discard.ids).await,
        Subcommands::Pause(items) => items::pause(command, &items.ids).await,
        Subcommands::Resume(items) => items::resume(command, &items.ids).await,
        Subcommands::Lane(lane) => match lane.command {
            LaneCommand::Key { lane, out, to } => lane::key(command, &lane, out.as_deref(), &to).await,
            LaneCommand::Join { lane, key_file, to } => lane::join(command, &lane, &key_file, &to).await,
            LaneCommand::Tail(tail) => tail::tail(command, &tail).await,
            LaneCommand::Ls(to) => lane::list(command, &to).await,
        },
        Subcommands::Unlock(unlock) => keys::unlock(command, &unlock).await,
        Subcommands::Lock => keys::lock(command),
        Subcommands::Password(password) => keys::password(command, &password).await,
        Subcommands::RecoveryKey(to) => keys::recovery_key(command, &to).await,
        Subcommands::Login(login) => login::login(command, &login).await,
        Subcommands::Doctor => doctor::doctor(command).await,
        Subcommands::Completions { shell } => Ok(completions(command, shell)),
        Subcommands::Version => Ok(version(command)),
        Subcommands::Backup(_)
        | Subcommands::Run(_)
        | Subcommands::Send(_)
        | Subcommands::Put(_)
        | Subcommands::Sessions(_)
        | Subcommands::Destination(_)
        | Subcommands::Server(_)
        | Subcommands::Config(_) => {
            unreachable!("carried out by the caller")
        }
    }
}

fn version(command: &Command) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    command.out.line(&format!("landfall {version}"));
    command.out.document(fields(json!({ "version": version })));
    Exit::Done
}

fn completions(command: &Command, shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "landfall", &mut script);
    command.out.raw(&script);
    Exit::Done
}

/// A vault whose contents are asked for.
struct Reading {
    engine: Engine,
    session: Session,
    place: Place,
    _opened: Opened,
}

/// Opens a vault for reading: with the home if it knows the vault, otherwise without writing to any.
async fn read(command: &Command, from: &From, mode: Mode) -> Result<Reading, Failed> {
    let place = place_of(command, from.from.as_deref())?;
    let (engine, destination) = reading_engine(command, &place).await?;
    let opened = destination::open(command, &engine, &destination, &place, mode, None).await?;
    let session = destination::session(command, &engine, &destination, &opened).await?;
    Ok(Reading { engine, session, place, _opened: opened })
}

async fn reading_engine(command: &Command, place: &Place) -> Result<(Engine, Destination), Failed> {
    let location = place.location();
    let known = match command.engine_to_look().await {
        Ok(Some(engine)) => {
            let all = engine.destinations().await.during("cannot read the journal")?;
            all.into_iter().find(|destination| destination.location == location)
        }
        Ok(None) => None,
        // What is in the vault can be had without a journal.
        Err(failed) if failed.is_damage => None,
        Err(failed) => return Err(failed),
    };
    if let Some(known) = &known {
        match command.engine().await {
            Ok(engine) => match engine.destination(&location).await {
                Ok(destination) => return Ok((engine, destination)),
                Err(landfall::Error::Store(landfall::StoreError::ReadOnly(_))) => {}
                Err(error) => return Err(error).during("cannot read the journal"),
            },
            Err(failed) if matches!(failed.code.as_str(), "home-read-only" | "not-permitted" | "home-full") => {}
            Err(failed) => return Err(failed),
        }
        command.out.note("the home cannot be written to; it is left as it is");
        let (engine, destination) = fresh(command, &location).await?;
        // What the home knows opens the kept token; the number is that of the journal in memory.
        return Ok((engine, Destination { id: destination.id, location, ..known.clone() }));
    }
    fresh(command, &location).await
}

async fn fresh(command: &Command, location: &str) -> Result<(Engine, Destination), Failed> {
    let engine = command.ephemeral_engine().await?;
    let destination = engine.destination(location).await.during("cannot begin")?;
    Ok((engine, destination))
}

/// What `--to` or `--from` names; else what is configured; else the default vault.
fn place_of(command: &Command, named: Option<&std::path::Path>) -> Result<Place, Failed> {
    let configured = command.home.configured("to");
    let named = named.map(std::path::Path::to_owned).or_else(|| configured.map(|configured| configured.value.into()));
    Place::parse(named.as_deref(), &command.home.default_vault)
}

/// Our own folders, without links: they are never backed up, and nothing is restored into them.
fn ours(command: &Command, place: &Place) -> Vec<std::path::PathBuf> {
    let folders = [Some(command.home.folder.as_path()), Some(command.home.default_vault.as_path()), place.folder()];
    let mut ours: Vec<std::path::PathBuf> =
        folders.into_iter().flatten().filter_map(|folder| real_path(folder).ok()).collect();
    ours.sort();
    ours.dedup();
    ours
}
