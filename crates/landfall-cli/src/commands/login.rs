//! `landfall login`: keep a server's token, sealed by the vault's keys.

use serde_json::json;

use crate::{
    arguments::Login,
    command::Command,
    destination::{self, Mode, Place},
    exit::Exit,
    failed::{During as _, Failed},
    output::fields,
    secret,
};

/// Carries out `landfall login`. A vault without keys is given some, so that the token can be sealed.
pub(crate) async fn login(command: &Command, arguments: &Login) -> Result<Exit, Failed> {
    let place = Place::parse(Some(arguments.url.as_ref()), &command.home.default_vault)?;
    let Place::Server(origin) = &place else {
        return Err(Failed::usage(
            format!("cannot log in at `{}`", arguments.url),
            "it is not the address of a server",
        )
        .hint("give an address like `https://host:8642`; a folder needs no login"));
    };
    let token = match &arguments.token_file {
        Some(file) => destination::token_of(&secret::read(file)?, &format!("`{}`", file.display()))?,
        None => destination::token_of_environment()?.ok_or_else(|| {
            Failed::usage(format!("cannot log in at {origin}"), "no token is at hand")
                .hint("give `--token-file FILE`, or set LANDFALL_TOKEN; `landfall server account add NAME` makes one")
        })?,
    };
    let engine = command.engine().await?;
    let destination = engine.destination(&place.location()).await.during("cannot write to the journal")?;
    let opened = destination::open(command, &engine, &destination, &place, Mode::Make, Some(token.clone())).await?;
    let session = destination::session(command, &engine, &destination, &opened).await?;
    engine.keep_token(&session, &token).await.during("cannot keep the token")?;
    let mut document = fields(json!({ "url": origin.to_string(), "kept": true }));
    command.put_recovery_key(&mut document);
    command.out.document(document);
    command.out.note(&format!("logged in at {origin}; `landfall backup PATH --to {origin}` uses it"));
    Ok(Exit::Done)
}
