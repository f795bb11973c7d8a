//! `landfall server account`: who may use a vault folder over the network.

use std::path::PathBuf;

use landfall_server::{AccountError, ServerConfig};
use serde_json::{Value, json};

use crate::{
    arguments::Account,
    command::Command,
    destination::{Mode, open_to_serve, while_held},
    exit::Exit,
    failed::{Failed, causes},
    output::fields,
};

/// Carries out `landfall server account`.
pub(crate) async fn account(command: &Command, vault: Option<PathBuf>, what: Account) -> Result<Exit, Failed> {
    let folder = vault.unwrap_or_else(|| command.home.default_vault.clone());
    let mode = if matches!(what, Account::Add { .. }) { Mode::Make } else { Mode::Find };
    let opening = open_to_serve(command, ServerConfig::new(folder), mode);
    let (server, is_new) = command.signals.unless_stopped(opening).await?;
    let cannot = |what: &str, error: &AccountError| {
        let code = if matches!(error, AccountError::Vault(_)) { "internal" } else { "invalid" };
        let failed = Failed::new(code, what, causes(error));
        match error {
            AccountError::HasContents { .. } => failed
                .hint("nothing was removed; `--delete-contents` removes them as well, and nobody can get them back"),
            AccountError::NotFound(_) => failed.hint("`landfall server account ls` lists the accounts"),
            _ => failed,
        }
    };
    match what {
        Account::Add { name } => {
            let adding = while_held(command, || server.account_add(&name));
            let made = command
                .signals
                .unless_stopped(async { adding.await.map_err(|error| cannot("cannot make the account", &error)) });
            let made = made.await?;
            let token = made.token.as_str();
            // Alone, so that stdout may go straight to the file that `login` reads.
            command.out.line(token);
            command.out.document(fields(json!({ "id": made.id, "name": name, "token": token, "new_vault": is_new })));
            command.out.note(&format!(
                "made the account `{}`, number {}; its token is shown only now; give it to `landfall login URL --token-file FILE`",
                crate::human::text(&name),
                made.id
            ));
        }
        Account::Rm { name, delete_contents } => {
            let removing = while_held(command, || server.account_remove(&name, delete_contents));
            let removed = command
                .signals
                .unless_stopped(async { removing.await.map_err(|error| cannot("cannot remove the account", &error)) });
            let contents = removed.await?;
            command.out.document(fields(json!({ "removed": name, "contents": contents })));
            let contents = crate::human::count(contents, "content");
            command.out.note(&format!("removed the account `{}` and {contents}", crate::human::text(&name)));
        }
        Account::Ls => {
            let all = server.account_list().await.map_err(|error| cannot("cannot list the accounts", &error))?;
            for account in &all {
                command.out.line(&format!("{:>8}  {}", account.id, crate::human::text(&account.name)));
            }
            let accounts: Vec<Value> =
                all.iter().map(|account| json!({ "id": account.id, "name": account.name })).collect();
            command.out.document(fields(json!({ "accounts": accounts })));
        }
    }
    Ok(Exit::Done)
}
