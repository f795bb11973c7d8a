//! From `--to` and `--from` to an open vault.

use std::{
    cmp::Ordering,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use landfall::{
    Carrier, Code, Destination, Engine, Error, HttpCarrier, MasterKey, Origin, Secret, ServiceCarrier, Session, Token,
    UnlockedKeys, Vault, VaultFacts,
};
use landfall_server::{AccountError, OpenError, Server, ServerConfig, VaultError};
use serde_json::{Map, json};
use zeroize::Zeroizing;

use crate::{
    command::Command,
    failed::{During as _, Failed, causes, failed},
    output::fields,
    secret::Purpose,
};

/// Where a vault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The vault folder beside the home.
    Default(PathBuf),
    /// A vault folder.
    Folder(PathBuf),
    /// A server.
    Server(Origin),
}

impl Place {
    /// What `--to` or `--from` says; `None` is the default vault.
    ///
    /// # Errors
    /// If it is neither a folder nor the address of a server.
    pub(crate) fn parse(text: Option<&Path>, default_vault: &Path) -> Result<Self, Failed> {
        let Some(path) = text else { return Ok(Self::Default(default_vault.to_owned())) };
        let cannot = |why: String| Failed::usage(format!("cannot use `{}` as a destination", path.display()), why);
        if let Some(url) = path.to_str().filter(|text| text.contains("://")) {
            return Origin::parse(url).map(Self::Server).map_err(|error| {
                cannot(error.to_string()).hint("give a folder, or an address like `https://host:8642`")
            });
        }
        let folder = real_path(path).map_err(|error| cannot(error.to_string()))?;
        if folder.is_file() {
            return Err(cannot("it is a file".to_owned()).hint("give a folder, or an address like `https://host:8642`"));
        }
        if folder == real_path(default_vault).unwrap_or_else(|_| default_vault.to_owned()) {
            return Ok(Self::Default(default_vault.to_owned()));
        }
        if folder.to_str().is_none() {
            return Err(cannot("the path of a vault must be text".to_owned()));
        }
        Ok(Self::Folder(folder))
    }

    /// What the journal calls it.
    pub(crate) fn location(&self) -> String {
        match self {
            Self::Default(_) => "default".to_owned(),
            Self::Folder(path) => format!("dir:{}", path.display()),
            Self::Server(origin) => format!("url:{origin}"),
        }
    }

    /// What the journal calls it, read back.
    pub(crate) fn of_location(location: &str, default_vault: &Path) -> Option<Self> {
        match location.split_once(':') {
            None if location == "default" => Some(Self::Default(default_vault.to_owned())),
            Some(("dir", path)) => Some(Self::Folder(path.into())),
            Some(("url", origin)) => Origin::parse(origin).ok().map(Self::Server),
            _ => None,
        }
    }

    /// Its folder, if it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Default(path) | Self::Folder(path) => Some(path),
            Self::Server(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(path) | Self::Folder(path) => path.display().fmt(f),
            Self::Server(origin) => origin.fmt(f),
        }
    }
}

/// A path without links and dots; its last segments may be missing.
pub(crate) fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut there = path.as_path();
    loop {
        match there.canonicalize() {
            Ok(mut real) => {
                real.extend(missing.iter().rev());
                return Ok(real);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else { return Err(error) };
                missing.push(name);
                there = parent;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a vault may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A folder that is no vault becomes one, and a vault without keys is given some.
    Make,
    /// What is not there is an error.
    Find,
    /// What is not there is an error; what cannot be written to is read all the same.
    Read,
}

/// A vault with its keys at hand.
pub(crate) struct Opened {
    /// How it is called.
    pub vault: Vault,
    /// Its keys.
    pub keys: UnlockedKeys,
    /// The token that it was opened with.
    pub token: Token,
    /// The server in this process, if it is a folder.
    pub server: Option<Server>,
}

/// Opens a vault and its keys.
///
/// # Errors
/// `locked` if no key is at hand; whatever the vault says.
pub(crate) async fn open(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
    place: &Place,
    mode: Mode,
    token: Option<Token>,
) -> Result<Opened, Failed> {
    let (vault, token, server, mut keys) = reach(command, engine, destination, place, mode, token).await?;
    let facts = facts(command, engine, destination, place, &vault).await?;
    if mode != Mode::Make && !facts.has_keys {
        return Err(failed(&format!("cannot open the vault at {place}"), &Error::NoKeys));
    }
    // A kept key is of an account that has keys: where none are, the account was removed, and a password makes new ones.
    if keys.is_none() && facts.has_keys && !command.secrets.is_explicit() {
        keys = command.keystore().get(&facts.name)?.map(|master| UnlockedKeys { master, created: None });
    }
    let keys = match keys {
        Some(keys) => keys,
        None => {
            let purpose = if facts.has_keys { Purpose::Open } else { Purpose::Create };
            let secret = command.secrets.secret(&command.env, &command.out, purpose).await?;
            patiently_with(command, secret, |secret| engine.unlock(&vault, secret))
                .await
                .during(&format!("cannot open the vault at {place}"))?
        }
    };
    if let Some(created) = &keys.created {
        show_recovery_key(command, &format!("the vault at {place}"), &created.recovery_phrase);
    }
    Ok(Opened { vault, keys, token, server })
}

/// Reaches a vault whose keys are not needed, and says its name.
///
/// # Errors
/// Why it cannot be reached; `another-vault`, `vault-missing`.
pub(crate) async fn connect(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
    place: &Place,
) -> Result<(Vault, Option<Server>, String), Failed> {
    let (vault, _, server, _) = reach(command, engine, destination, place, Mode::Make, None).await?;
    let facts = facts(command, engine, destination, place, &vault).await?;
    Ok((vault, server, facts.name))
}

/// What a vault says of itself, if it is the one that was here before.
async fn facts(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
    place: &Place,
    vault: &Vault,
) -> Result<VaultFacts, Failed> {
    let facts = patiently(command, || engine.facts(vault, Some(destination)))
        .await
        .during(&format!("cannot ask the vault at {place}"))?;
    match &destination.vault {
        Some(known) if *known != facts.name && !command.takes_new_vault => {
            let what = format!("cannot use the vault at {place}");
            Err(Failed::new("another-vault", what, "it is not the vault that earlier backups went to").hint(
                "attach the disk, or name the server, that has it; `landfall backup --new-vault` begins with this one",
            ))
        }
        Some(known) if *known == facts.name && facts.is_older => {
            command.out.warn(
                &format!("the vault at {place} was put back to an older state"),
                Some("a backup sends again what it lacks"),
            );
            Ok(facts)
        }
        _ => Ok(facts),
    }
}

/// What a vault has compared with what this home knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The same, or it cannot be told without a key.
    AsKnown,
    /// Others have changed it.
    HasNews,
    /// It was put back to an older state, or is another vault.
    Older,
}

/// What is found where a vault should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A vault, the one of earlier backups if there were any; or a server.
    Answers,
    /// Neither a vault nor any memory of one.
    NothingYet,
}

/// Looks whether a vault is there, once, without its key and without a token.
///
/// # Errors
/// Why it cannot be reached; `vault-missing`, `another-vault`.
pub(crate) async fn find_out(command: &Command, place: &Place) -> Result<Found, Failed> {
    let location = place.location();
    let known = match command.engine_to_look().await {
        Ok(Some(engine)) => {
            engine.destinations().await.ok().into_iter().flatten().find(|known| known.location == location)
        }
        _ => None,
    };
    let engine = command.ephemeral_engine().await?;
    let unknown = engine.destination(&location).await.during("cannot begin")?;
    let destination = known.unwrap_or(unknown);
    match place {
        Place::Default(folder) | Place::Folder(folder) => {
            if !has_vault(folder) && destination.vault.is_none() {
                return Ok(Found::NothingYet);
            }
            look(command, &engine, &destination, place).await.map(|_| Found::Answers)
        }
        Place::Server(origin) => {
            let token = token_of("nobody", "nowhere")?;
            let vault = Vault::new(Arc::new(HttpCarrier::default()), origin.clone(), token);
            match engine.facts(&vault, None).await {
                Ok(_) => Ok(Found::Answers),
                // It knows what a token is.
                Err(Error::Destination(failure)) if failure.code == Code::Unauthorized => Ok(Found::Answers),
                Err(error) => Err(error).during(&format!("cannot reach the vault at {origin}")),
            }
        }
    }
}

/// Compares a vault folder with what is known of it, without its key.
///
/// # Errors
/// `vault-missing`, `another-vault`; what the folder says.
pub(crate) async fn look(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
    place: &Place,
) -> Result<Seen, Failed> {
    let Some(folder) = place.folder() else { return Ok(Seen::AsKnown) };
    let server = open_folder(command, folder, Mode::Make, destination).await?;
    let token = match token_of_environment()? {
        Some(token) => token,
        None => token_of_folder(command, &server, folder).await?,
    };
    let carrier: Arc<dyn Carrier> = Arc::new(ServiceCarrier::new(server.router()));
    let vault = Vault::new(carrier, Origin::in_process(), token);
    let facts = facts(command, engine, destination, place, &vault).await?;
    Ok(match facts.cursor.cmp(&destination.cursor) {
        _ if facts.is_older || destination.vault.as_ref() != Some(&facts.name) => Seen::Older,
        Ordering::Less | Ordering::Equal => Seen::AsKnown,
        Ordering::Greater => Seen::HasNews,
    })
}

/// Whether the key of a known vault can be had without asking anybody.
///
/// # Errors
/// If the kept keys cannot be read.
pub(crate) fn has_key_at_hand(command: &Command, destination: &Destination) -> Result<bool, Failed> {
    let kept = match &destination.vault {
        Some(vault) => command.keystore().get(vault)?.is_some(),
        None => false,
    };
    Ok(kept || command.secrets.is_at_hand())
}

/// The key of a vault that this home knows, if nobody has to be asked for it: neither a person nor the vault.
///
/// # Errors
/// If the kept keys cannot be read; `wrong-password` if the secret at hand is another's.
pub(crate) async fn known_key(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
) -> Result<Option<MasterKey>, Failed> {
    let kept = match &destination.vault {
        Some(vault) if !command.secrets.is_explicit() => command.keystore().get(vault)?,
        _ => None,
    };
    if kept.is_some() || !command.secrets.is_at_hand() || destination.token.is_none() {
        return Ok(kept);
    }
    let secret = command.secrets.secret(&command.env, &command.out, Purpose::Open).await?;
    let opened = engine.kept_token(destination, secret).await.during("cannot open the keys kept in this home")?;
    Ok(opened.map(|(_, keys)| keys.master))
}

/// Starts a session with an open vault.
pub(crate) async fn session(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
    opened: &Opened,
) -> Result<Session, Failed> {
    patiently(command, || engine.session(destination, &opened.vault, &opened.keys))
        .await
        .during("cannot begin a session with the vault")
}

type Reached = (Vault, Token, Option<Server>, Option<UnlockedKeys>);

async fn reach(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
    place: &Place,
    mode: Mode,
    token: Option<Token>,
) -> Result<Reached, Failed> {
    let token = match token {
        Some(token) => Some(token),
        None => token_of_environment()?,
    };
    match place {
        Place::Default(folder) | Place::Folder(folder) => {
            let server = open_folder(command, folder, mode, destination).await?;
            let token = match token {
                Some(token) => token,
                None => token_of_folder(command, &server, folder).await?,
            };
            let carrier: Arc<dyn Carrier> = Arc::new(ServiceCarrier::new(server.router()));
            Ok((Vault::new(carrier, Origin::in_process(), token.clone()), token, Some(server), None))
        }
        Place::Server(origin) => {
            let (token, keys) = match token {
                Some(token) => (token, None),
                None => {
                    let (token, keys) = kept_token(command, engine, destination, origin).await?;
                    (token, Some(keys))
                }
            };
            let carrier: Arc<dyn Carrier> = Arc::new(HttpCarrier::default());
            Ok((Vault::new(carrier, origin.clone(), token.clone()), token, None, keys))
        }
    }
}

async fn open_folder(
    command: &Command,
    folder: &Path,
    mode: Mode,
    destination: &Destination,
) -> Result<Server, Failed> {
    let what = format!("cannot open the vault at `{}`", folder.display());
    let is_there = has_vault(folder);
    if !is_there && destination.vault.is_some() && !command.takes_new_vault {
        return Err(Failed::new("vault-missing", what, "the vault of earlier backups is not there")
            .hint("attach the disk that has it; `landfall backup --new-vault` begins with an empty one"));
    }
    if !is_there && mode != Mode::Make {
        return Err(Failed::new("no-such-vault", what, "there is no vault in this folder")
            .hint("check the path; `landfall backup PATH --to DIR` makes a vault, and after that it can be opened"));
    }
    let config = ServerConfig::new(folder);
    match open_server(command, config.clone()).await {
        Err(failed) if mode == Mode::Read && failed.code == "vault-read-only" => {
            command.out.note("the vault cannot be written to; it is only read");
            open_server(command, ServerConfig { read_only: true, ..config }).await
        }
        other => other,
    }
}

/// Opens a vault folder for those who serve it or see to its accounts, and says so if it makes one. Returns whether it
/// did.
///
/// # Errors
/// `no-such-vault` if there is none and `mode` is [`Mode::Find`]; what the folder says.
pub(crate) async fn open_to_serve(
    command: &Command,
    config: ServerConfig,
    mode: Mode,
) -> Result<(Server, bool), Failed> {
    let folder = config.vault.clone();
    let is_new = !has_vault(&folder);
    if is_new && mode != Mode::Make {
        let what = format!("cannot open the vault at `{}`", folder.display());
        return Err(Failed::new("no-such-vault", what, "there is no vault in this folder")
            .hint("name it with `--vault DIR`; `landfall server account add NAME --vault DIR` makes one"));
    }
    let server = open_server(command, config).await?;
    if is_new {
        let real = real_path(&folder).unwrap_or(folder);
        command.out.warn(
            &format!("there was no vault at `{}`: a new, empty one was made", real.display()),
            Some("if that is not what you meant, remove the folder and name the vault with `--vault DIR`"),
        );
    }
    Ok((server, is_new))
}

/// Whether a folder is a vault.
pub(crate) fn has_vault(folder: &Path) -> bool {
    folder.join("server.db").exists()
}

async fn open_server(command: &Command, config: ServerConfig) -> Result<Server, Failed> {
    let folder = config.vault.clone();
    let mut told = None;
    let opened = loop {
        match Server::open(config.clone(), command.env.clone()).await {
            Err(error @ OpenError::Busy { holder, .. }) if command.waits_for_holder() => {
                say_held(command, &mut told, holder, &error.to_string());
            }
            other => break other,
        }
    };
    opened.map_err(|error| {
        let (code, hint) = match &error {
            OpenError::NewerSchema { .. } => ("vault-newer", "use the newer version of landfall"),
            OpenError::Damaged { .. } => {
                ("vault-damaged", "keep the folder as it is and restore that file from a copy")
            }
            OpenError::DatabaseLost { .. } => {
                ("vault-damaged", "restore `server.db` from a copy, or name another folder for a new vault")
            }
            OpenError::Copy { .. } => {
                ("not-permitted", "free space for temporary files, or set TMPDIR to a folder that has it")
            }
            OpenError::ReadOnly { .. } => ("vault-read-only", "make the folder writable for this user"),
            OpenError::DiskFull { .. } => ("vault-full", "free space on the vault's disk, then run the command again"),
            OpenError::Busy { .. } => ("vault-held", Code::VaultHeld.advice()),
            OpenError::InUse { .. } => (
                "vault-busy",
                "run the command again when nothing is written to the vault, or where it can be written to",
            ),
            _ => ("internal", "check that the folder exists and may be used"),
        };
        Failed::new(code, format!("cannot open the vault at `{}`", folder.display()), causes(&error)).hint(hint)
    })
}

/// Says once of each process that it is waited for. It has no end by itself: nobody is spared it.
fn say_held(command: &Command, told: &mut Option<Option<u32>>, holder: Option<u32>, why: &str) {
    if *told != Some(holder) {
        *told = Some(holder);
        command.out.say(&format!("waiting: {why}"));
        command.out.event("vault-held", fields(json!({ "pid": holder })));
        command.away.notify_one();
    }
}

/// Asks an open vault folder again while another process stands still in the middle of a write to it.
///
/// # Errors
/// Whatever else the vault says; the same once the budget is spent.
pub(crate) async fn while_held<T, F: Future<Output = Result<T, AccountError>>>(
    command: &Command,
    mut ask: impl FnMut() -> F,
) -> Result<T, AccountError> {
    let mut told = None;
    loop {
        match ask().await {
            Err(AccountError::Vault(VaultError::Held { message, holder })) if command.waits_for_holder() => {
                say_held(command, &mut told, holder, &message);
            }
            other => return other,
        }
    }
}

/// Opening the folder is the authority: its own account is used, or its only one.
async fn token_of_folder(command: &Command, server: &Server, folder: &Path) -> Result<Token, Failed> {
    let given = match while_held(command, || server.embedded_token(None)).await {
        Err(AccountError::Several(_)) => while_held(command, || server.embedded_token(Some("owner"))).await,
        other => other,
    };
    let what = || format!("cannot use the vault at `{}`", folder.display());
    let given = given.map_err(|error| match error {
        AccountError::NotFound(_) => Failed::new("unauthorized", what(), "it has several accounts")
            .hint("set LANDFALL_TOKEN to the token of one"),
        AccountError::Vault(VaultError::Held { message, .. }) => {
            Failed::new("vault-held", what(), message).hint(Code::VaultHeld.advice())
        }
        other => Failed::new("internal", what(), causes(&other)),
    })?;
    Token::new(given.as_str()).map_err(|error| Failed::new("internal", what(), error.to_string()))
}

/// The token of `LANDFALL_TOKEN`.
pub(crate) fn token_of_environment() -> Result<Option<Token>, Failed> {
    match std::env::var("LANDFALL_TOKEN") {
        Ok(text) if !text.is_empty() => token_of(&Zeroizing::new(text), "LANDFALL_TOKEN").map(Some),
        _ => Ok(None),
    }
}

/// A token out of a text.
pub(crate) fn token_of(text: &str, origin: &str) -> Result<Token, Failed> {
    Token::new(text).map_err(|error| {
        Failed::new("unauthorized", format!("cannot use the token of {origin}"), error.to_string())
            .hint("give the token alone, as `landfall server account add NAME > FILE` writes it")
    })
}

/// The token that `login` kept, opened by whatever secret is at hand.
async fn kept_token(
    command: &Command,
    engine: &Engine,
    destination: &Destination,
    origin: &Origin,
) -> Result<(Token, UnlockedKeys), Failed> {
    let not_logged_in = || {
        Failed::new("unauthorized", format!("cannot reach {origin}"), "no token for it is kept in this home")
            .hint(format!("run `landfall login {origin} --token-file FILE`, or set LANDFALL_TOKEN"))
    };
    if destination.token.is_none() {
        return Err(not_logged_in());
    }
    let kept = match &destination.vault {
        Some(vault) if !command.secrets.is_explicit() => command.keystore().get(vault)?,
        _ => None,
    };
    let secret = match kept {
        Some(master) => Secret::MasterKey(master),
        None => command.secrets.secret(&command.env, &command.out, Purpose::Open).await?,
    };
    let opened =
        engine.kept_token(destination, secret).await.during(&format!("cannot open the token kept for {origin}"))?;
    opened.ok_or_else(not_logged_in)
}

/// Asks a vault again while it is out of reach, for as long as the command has patience.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    command: &Command,
    mut ask: impl FnMut() -> F,
) -> Result<T, Error> {
    let start = command.env.clock.monotonic();
    let mut pause = Duration::from_millis(200);
    let mut told = false;
    loop {
        match ask().await {
            Err(Error::Destination(failure)) if is_passing(failure.code) => {
                let spent = command.env.clock.monotonic().saturating_sub(start);
                let is_over = match failure.code {
                    Code::VaultHeld => !command.waits_for_holder(),
                    _ => spent + pause > command.patience,
                };
                if is_over {
                    return Err(Error::Destination(failure));
                }
                if !told {
                    told = true;
                    let waiting = format!("waiting for the destination: {failure}");
                    match failure.code {
                        Code::VaultHeld => command.out.say(&waiting),
                        _ => command.out.note(&waiting),
                    }
                    command.away.notify_one();
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            other => return other,
        }
    }
}

async fn patiently_with<T, F: Future<Output = Result<T, Error>>>(
    command: &Command,
    secret: Secret,
    mut ask: impl FnMut(Secret) -> F,
) -> Result<T, Error> {
    patiently(command, || ask(copy_of(&secret))).await
}

fn copy_of(secret: &Secret) -> Secret {
    match secret {
        Secret::Password(password) => Secret::Password(password.clone()),
        Secret::RecoveryKey(key) => Secret::RecoveryKey(key.clone()),
        Secret::MasterKey(key) => Secret::MasterKey(key.clone()),
    }
}

fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Offline | Code::Throttled | Code::VaultHeld | Code::ServerError | Code::AnswerLost | Code::Stalled
    )
}

/// Shows a recovery key the one time it is made.
/// Shows a recovery key that was just made, once.
pub(crate) fn show_recovery_key(command: &Command, place: &dyn fmt::Display, phrase: &str) {
    let words: Vec<&str> = phrase.split(' ').collect();
    let mut block = format!("\n  the recovery key of {place}\n\n");
    for line in words.chunks(6) {
        block.push_str(&format!("      {}\n", line.join(" ")));
    }
    block.push_str(
        "\n  write it down and keep it apart from this device: without the password it is the only way back\n",
    );
    command.out.say(&block);
    let mut fields = Map::new();
    fields.insert("recovery_key".to_owned(), phrase.into());
    command.out.event("recovery-key", fields);
    command.remember_recovery_key(phrase);
}
