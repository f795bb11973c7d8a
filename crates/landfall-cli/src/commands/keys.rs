//! `landfall unlock`, `lock`, `password` and `recovery-key`.

use landfall::{Destination, Engine, Secret};
use serde_json::json;

use super::{place_of, reading_engine};
use crate::{
    arguments::{Password, To, Unlock},
    command::Command,
    destination::{self, Mode, Place},
    exit::Exit,
    failed::{During as _, Failed},
    output::fields,
    secret::{self, Purpose},
};

/// Carries out `landfall unlock`. The default vault is made if it is not there yet, so that a machine can be set up
/// before its first backup; one that somebody named only if asked to, since the name may be mistyped.
pub(crate) async fn unlock(command: &Command, arguments: &Unlock) -> Result<Exit, Failed> {
    let place = place_of(command, arguments.to.to.as_deref())?;
    let mode = match place {
        Place::Default(_) => Mode::Make,
        _ if arguments.new_vault => Mode::Make,
        _ => Mode::Find,
    };
    // A vault that is not there leaves no trace in the home.
    let (looking, known) = reading_engine(command, &place).await?;
    let opened = destination::open(command, &looking, &known, &place, mode, None).await?;
    let engine = command.engine().await?;
    let destination = engine.destination(&place.location()).await.during("cannot write to the journal")?;
    // Begins a session so that the home knows the vault's name and finds the key without asking it.
    let session = destination::session(command, &engine, &destination, &opened).await?;
    let store = command.keystore();
    if arguments.remember {
        store.keep(session.vault(), session.master_key())?;
    }
    let mut document = fields(json!({ "unlocked": true, "remembered": arguments.remember }));
    command.put_recovery_key(&mut document);
    command.out.document(document);
    if arguments.remember {
        command.out.note(&format!("the key is kept in `{}`, readable by you alone", store.path().display()));
        command.out.note("`landfall lock` removes it");
    } else {
        command.out.note("the vault opens; `--remember` keeps its key in this home");
    }
    Ok(Exit::Done)
}

/// Carries out `landfall lock`.
pub(crate) fn lock(command: &Command) -> Result<Exit, Failed> {
    let forgotten = command.keystore().forget()?;
    command.out.document(fields(json!({ "forgotten": forgotten })));
    command.out.note(if forgotten { "the kept keys are removed" } else { "no key was kept" });
    Ok(Exit::Done)
}

/// Carries out `landfall password`.
pub(crate) async fn password(command: &Command, arguments: &Password) -> Result<Exit, Failed> {
    let (engine, destination, place) = find(command, &arguments.to).await?;
    let opened = destination::open(command, &engine, &destination, &place, Mode::Find, None).await?;
    let new = match (&arguments.new_password_file, std::env::var("LANDFALL_NEW_PASSWORD")) {
        (Some(file), _) => secret::read(file)?,
        (None, Ok(text)) => text.into(),
        (None, Err(_)) => secret::ask(&command.env, &command.out, Purpose::Replace).await?,
    };
    if new.is_empty() {
        return Err(Failed::usage("cannot change the password", "the new one is empty"));
    }
    let master = Secret::MasterKey(opened.keys.master.clone());
    engine.change_password(&opened.vault, master, new).await.during("cannot change the password")?;
    if destination.token.is_some() {
        // The kept token is opened by the vault's wrapped keys as they are now.
        let session = destination::session(command, &engine, &destination, &opened).await?;
        engine.keep_token(&session, &opened.token).await.during("cannot keep the token")?;
    }
    command.out.document(fields(json!({ "changed": true })));
    command.out.note("the password is changed; the recovery key is as it was");
    Ok(Exit::Done)
}

/// Carries out `landfall recovery-key`.
pub(crate) async fn recovery_key(command: &Command, to: &To) -> Result<Exit, Failed> {
    let (engine, destination, place) = find(command, to).await?;
    let opened = destination::open(command, &engine, &destination, &place, Mode::Read, None).await?;
    let master = Secret::MasterKey(opened.keys.master.clone());
    let phrase = engine.recovery_phrase(&opened.vault, master).await.during("cannot show the recovery key")?;
    command.out.line(&phrase);
    command.out.document(fields(json!({ "recovery_key": phrase.as_str() })));
    Ok(Exit::Done)
}

async fn find(command: &Command, to: &To) -> Result<(Engine, Destination, Place), Failed> {
    let place = place_of(command, to.to.as_deref())?;
    let (engine, destination) = reading_engine(command, &place).await?;
    Ok((engine, destination, place))
}
