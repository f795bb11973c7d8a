//! `landfall server`: serve a vault folder to other devices.

use std::{path::PathBuf, time::Duration};

use landfall_server::ServerConfig;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    command::Command,
    destination::{Mode, open_to_serve},
    exit::Exit,
    failed::Failed,
    output::fields,
};

/// Carries out `landfall server`: serves until it is asked to stop.
pub(crate) async fn serve(
    command: &Command,
    vault: Option<PathBuf>,
    listen: &str,
    grant_ttl: Option<Duration>,
) -> Result<Exit, Failed> {
    let folder = vault.unwrap_or_else(|| command.home.default_vault.clone());
    let mut config = ServerConfig::new(&folder);
    config.grant_ttl = grant_ttl.unwrap_or(config.grant_ttl);
    let opening = open_to_serve(command, config, Mode::Make);
    let (server, is_new) = command.signals.unless_stopped(opening).await?;
    let cannot = |error: std::io::Error| {
        Failed::new("bad-config", format!("cannot listen on {listen}"), error.to_string())
            .hint("choose another address with `--listen ADDR`; port 0 takes a free one")
    };
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let url = format!("http://{}", listener.local_addr().map_err(cannot)?);
    let mut document = fields(json!({ "url": url, "vault": folder.display().to_string(), "new_vault": is_new }));
    command.out.line(&format!("listening on {url}"));
    if command.out.format() == crate::output::Format::JsonLines {
        command.out.event("listening", document);
    } else {
        document.insert("type".to_owned(), "listening".into());
        command.out.document(document);
    }
    let signals = command.signals.clone();
    let served = server.serve(listener, async move { signals.said().await }).await;
    served.map_err(|error| Failed::new("internal", "cannot go on serving", error.to_string()))?;
    Ok(command.signals.exit().unwrap_or(Exit::Done))
}
