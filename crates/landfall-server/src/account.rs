//! Accounts, their tokens, and `GET /vault/account`.

use std::{fmt, sync::PoisonError};

use axum::{
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
};
use landfall_protocol::{AccountInfo, ErrorCode, route};
use rusqlite::OptionalExtension as _;
use sha2::{Digest as _, Sha256};

use crate::{
    Server, VaultError, asset,
    database::Transaction,
    json::Json,
    lanes,
    maintenance::{collect, discard},
    refusal::Refusal,
    server::Inner,
    signing::hex,
};

/// Longest name of an account, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// The account that a vault opened without one is given.
const FIRST_NAME: &str = "owner";

/// What opens an account. Send it as [`route::TOKEN_HEADER`]. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text to send.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn new(inner: &Inner) -> Self {
        Self(hex(&inner.env.random.array::<32>()))
    }

    fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// An account that was just made. The token is stored nowhere: it is shown now or never.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its number.
    pub id: i64,
    /// Its token.
    pub token: Token,
}

/// An account of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEntry {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// Why there is no such account.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Choose another name.
    #[error("an account named `{0}` exists already: choose another name")]
    NameTaken(String),
    /// Choose a shorter name, or one at all.
    #[error("an account's name has 1 to {NAME_BYTES_MAX} bytes")]
    NameInvalid,
    /// Say which account is meant.
    #[error("this vault has {0} accounts: name one")]
    Several(usize),
    /// See [`Server::account_list`].
    #[error("this vault has no account named `{0}`")]
    NotFound(String),
    /// Say that its contents are to go as well, or keep the account.
    #[error("the account `{name}` has {contents} contents in this vault")]
    HasContents {
        /// The account.
        name: String,
        /// How many, attachments and uploads that are under way among them.
        contents: u64,
    },
    /// The vault itself failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<Refusal> for AccountError {
    fn from(refusal: Refusal) -> Self {
        Self::Vault(refusal.into())
    }
}

impl Server {
    /// A token for embedded use: whoever could open the folder may use its account, without a password of the server's.
    ///
    /// It works on the routers of this server and its clones alone, for as long as they live. Asked again, it is the
    /// same. A vault without accounts is given one.
    ///
    /// # Errors
    /// [`AccountError::Several`] if `name` is `None` and the vault has several accounts.
    pub async fn embedded_token(&self, name: Option<&str>) -> Result<Token, AccountError> {
        let mut accounts = self.read(|transaction, _| Ok(list(transaction)?)).await?;
        if accounts.is_empty() && !self.inner.config.read_only {
            accounts = self.write(|transaction, inner| first_account(transaction, inner.now_ms())).await?;
        }
        let account = match name {
            Some(name) => accounts
                .iter()
                .find(|account| account.name == name)
                .ok_or_else(|| AccountError::NotFound(name.into()))?,
            None if accounts.len() == 1 => &accounts[0],
            None => return Err(AccountError::Several(accounts.len())),
        };
        let mut embedded = self.inner.embedded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(embedded.entry(account.id).or_insert_with(|| Token::new(&self.inner)).clone())
    }

    /// Makes an account. When this returns, the account is durable and its token works.
    ///
    /// # Errors
    /// [`AccountError::NameTaken`] if it exists already; a lost token cannot be had again, see
    /// [`Server::token_add`].
    pub async fn account_add(&self, name: &str) -> Result<NewAccount, AccountError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(AccountError::NameInvalid);
        }
        let (wanted, token) = (name.to_owned(), Token::new(&self.inner));
        let hash = token.hash();
        let id = self
            .write(move |transaction, inner| {
                let now = inner.now_ms();
                let id = transaction
                    .query_row(
                        "INSERT INTO account (name, created_ms) VALUES (?1, ?2)
                         ON CONFLICT (name) DO NOTHING RETURNING id",
                        (&wanted, now),
                        |row| row.get::<_, i64>(0),
                    )
                    .optional()?;
                if let Some(id) = id {
                    insert_token(transaction, &hash, id, now)?;
                }
                Ok(id)
            })
            .await?;
        match id {
            Some(id) => Ok(NewAccount { id, token }),
            None => Err(AccountError::NameTaken(name.to_owned())),
        }
    }

    /// Makes one more token for an account. The others go on working.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if there is no such account.
    pub async fn token_add(&self, name: &str) -> Result<Token, AccountError> {
        let (wanted, token) = (name.to_owned(), Token::new(&self.inner));
        let hash = token.hash();
        let id = self
            .write(move |transaction, inner| {
                let id = transaction
                    .query_row("SELECT id FROM account WHERE name = ?1", [&wanted], |row| row.get::<_, i64>(0))
                    .optional()?;
                if let Some(id) = id {
                    insert_token(transaction, &hash, id, inner.now_ms())?;
                }
                Ok(id)
            })
            .await?;
        id.map(|_| token).ok_or_else(|| AccountError::NotFound(name.to_owned()))
    }

    /// Removes an account with its tokens and keys, and, if `with_contents`, all that it has in the vault. Returns how many
    /// contents that were. When this returns, nobody can use the account any more. Messages that it sent to lanes stay
    /// there: they are no more its own than a letter that was posted.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; [`AccountError::HasContents`] if it has some and they are to be kept: nothing was
    /// removed then.
    pub async fn account_remove(&self, name: &str, with_contents: bool) -> Result<u64, AccountError> {
        let wanted = name.to_owned();
        let removed = self
            .write(move |transaction, inner| {
                let id = transaction
                    .query_row("SELECT id FROM account WHERE name = ?1", [&wanted], |row| row.get::<_, i64>(0))
                    .optional()?;
                let Some(id) = id else { return Ok(None) };
                let contents = contents(transaction, id)?;
                if contents > 0 && !with_contents {
                    return Ok(Some((id, contents, None)));
                }
                let discarded = remove_all(transaction, id, inner.now_ms())?;
                Ok(Some((id, contents, Some(discarded))))
            })
            .await?;
        let name = name.to_owned();
        match removed {
            None => Err(AccountError::NotFound(name)),
            Some((_, contents, None)) => Err(AccountError::HasContents { name, contents }),
            Some((id, contents, Some(discarded))) => {
                self.inner.embedded.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                self.blocking(move |inner| {
                    collect(inner, &discarded.objects);
                    asset::collect(inner, &discarded.assets);
                })
                .await;
                Ok(contents)
            }
        }
    }

    /// All accounts, oldest first.
    ///
    /// # Errors
    /// [`AccountError::Vault`] if the database cannot be read.
    pub async fn account_list(&self) -> Result<Vec<AccountEntry>, AccountError> {
        Ok(self.read(|transaction, _| Ok(list(transaction)?)).await?)
    }
}

/// Files that are not removed, uploads that may become one, and attachments.
fn contents(transaction: &Transaction<'_>, account: i64) -> rusqlite::Result<u64> {
    let files: u64 = transaction.query_row(
        "SELECT (SELECT count(*) FROM file WHERE account = ?1 AND is_deleted = 0)
              + (SELECT count(*) FROM upload WHERE account = ?1 AND file IS NULL)",
        [account],
        |row| row.get(0),
    )?;
    Ok(files + asset::count(transaction, account)?)
}

/// What an account leaves behind whose rows are gone: whose files are to go.
struct Discarded {
    objects: Vec<(i64, String)>,
    assets: Vec<String>,
}

/// Removes every row of an account.
fn remove_all(transaction: &Transaction<'_>, account: i64, now_ms: i64) -> rusqlite::Result<Discarded> {
    let objects = transaction
        .prepare("SELECT account, object_key FROM upload WHERE account = ?1")?
        .query_map([account], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
    for (_, key) in &objects {
        discard(transaction, account, key, now_ms)?;
    }
    let assets = asset::remove_all(transaction, account)?;
    lanes::forget_account(transaction, account)?;
    // What others refer to goes last.
    for table in ["file", "collection", "key_attributes", "token", "abandoned"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE account = ?1"), [account])?;
    }
    transaction.execute("DELETE FROM account WHERE id = ?1", [account])?;
    Ok(Discarded { objects, assets })
}

fn list(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<AccountEntry>> {
    transaction
        .prepare("SELECT id, name FROM account ORDER BY id")?
        .query_map([], |row| Ok(AccountEntry { id: row.get(0)?, name: row.get(1)? }))?
        .collect()
}

fn first_account(transaction: &Transaction<'_>, now_ms: i64) -> Result<Vec<AccountEntry>, Refusal> {
    let accounts = list(transaction)?;
    if !accounts.is_empty() {
        return Ok(accounts);
    }
    transaction.execute("INSERT INTO account (id, name, created_ms) VALUES (1, ?1, ?2)", (FIRST_NAME, now_ms))?;
    Ok(list(transaction)?)
}

fn insert_token(transaction: &Transaction<'_>, hash: &[u8; 32], account: i64, now_ms: i64) -> rusqlite::Result<()> {
    transaction
        .execute("INSERT INTO token (hash, account, created_ms) VALUES (?1, ?2, ?3)", (hash, account, now_ms))
        .map(drop)
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The next `updation_time` of an account. Commits or is taken back with the change it is given to.
pub(crate) fn next_updation_time(transaction: &Transaction<'_>, account: i64) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("UPDATE account SET updation_time = updation_time + 1 WHERE id = ?1 RETURNING updation_time")?
        .query_row([account], |row| row.get(0))
}

/// The account whose token came with a request. Every statement that a handler runs names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) i64);

impl FromRequestParts<Server> for Account {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Refusal> {
        let unauthorized = || {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                ErrorCode::Unauthorized,
                "no token, or not a known one; log in again",
            )
        };
        let token =
            [route::TOKEN_HEADER, route::CHAT_TOKEN_HEADER].into_iter().find_map(|name| parts.headers.get(name));
        let token = token.ok_or_else(unauthorized)?;
        // By hash, so that what a comparison takes says nothing about any token.
        let hash = hash(token.to_str().map_err(|_| unauthorized())?);
        let embedded = {
            let tokens = server.inner.embedded.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.iter().find(|(_, token)| token.hash() == hash).map(|(account, _)| *account)
        };
        if let Some(account) = embedded {
            return Ok(Self(account));
        }
        let account = server
            .read(move |transaction, _| {
                Ok(transaction
                    .prepare_cached("SELECT account FROM token WHERE hash = ?1")?
                    .query_row([hash], |row| row.get(0))
                    .optional()?)
            })
            .await?;
        account.map(Self).ok_or_else(unauthorized)
    }
}

/// `GET /vault/account`
pub(crate) async fn show(State(server): State<Server>, account: Account) -> Result<Json<AccountInfo>, Refusal> {
    let cursor = server
        .read(move |transaction, _| {
            Ok(transaction
                .prepare_cached("SELECT coalesce(max(updation_time), 0) FROM file WHERE account = ?1")?
                .query_row([account.0], |row| row.get(0))?)
        })
        .await?;
    let Server { inner } = server;
    Ok(Json(AccountInfo {
        account: account.0,
        vault: inner.vault.clone(),
        cursor,
        grant_ttl_ms: u64::try_from(inner.config.grant_ttl.as_millis()).unwrap_or(u64::MAX),
        object_bytes_max: inner.config.object_bytes_max,
    }))
}
