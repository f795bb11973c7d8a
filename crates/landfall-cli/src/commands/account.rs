//! `landfall server account`: who may use a vault folder over the network.

use std::path::PathBuf;

use landfall_server::AccountError;
use serde_json::{Value, json};

use crate::{
    arguments::Account,
    command::Command,
    destination::open_server,
    exit::Exit,
    failed::{Failed, causes},
    output::fields,
};

/// Carries out `landfall server account`.
pub(crate) async fn account(command: &Command, vault: Option<PathBuf>, what: Account) -> Result<Exit, Failed> {
    let folder = vault.unwrap_or_else(|| command.home.default_vault.clone());
    let server = open_server(command, &folder).await?;
    let cannot = |what: &str, error: &AccountError| {
        let code = if matches!(error, AccountError::Vault(_)) { "internal" } else { "invalid" };
        Failed::new(code, what, causes(error))
    };
    match what {
        Account::Add { name } => {
            let made = server.account_add(&name).await.map_err(|error| cannot("cannot make the account", &error))?;
            let token = made.token.as_str();
            command.out.line(&format!("account {}", made.id));
            command.out.line(&format!("token   {token}"));
            command.out.document(fields(json!({ "id": made.id, "name": name, "token": token })));
            command.out.note("the token is shown only now; give it to `landfall login URL --token-file FILE`");
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
