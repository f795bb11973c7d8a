//! `GET` and `PUT /vault/keys`: the wrapped key material of an account.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use landfall_protocol::{Base64, ErrorCode, KeyAttributes};
use rusqlite::{OptionalExtension as _, named_params};

use crate::{Server, account::Account, database::Transaction, json::Json, refusal::Refusal};

/// Argon2id memory that a client may ask of other clients, in bytes.
const MEM_LIMITS: std::ops::RangeInclusive<u64> = 8 << 10..=4 << 30;
/// Argon2id passes, likewise.
const OPS_LIMITS: std::ops::RangeInclusive<u32> = 1..=1024;

/// `GET /vault/keys`: 404 if the account has none yet.
pub(crate) async fn show(State(server): State<Server>, account: Account) -> Result<Response, Refusal> {
    let stored = server.read(move |transaction, _| Ok(select(transaction, account)?)).await?;
    stored.map(answer).ok_or_else(|| Refusal::not_found("this account has no keys yet"))
}

/// `PUT /vault/keys`: creates with `If-None-Match: *`, replaces with `If-Match: "<version>"`. Answers what is now stored.
pub(crate) async fn put(
    State(server): State<Server>,
    account: Account,
    headers: HeaderMap,
    Json(keys): Json<KeyAttributes>,
) -> Result<Response, Refusal> {
    check(&keys)?;
    let replaces = condition(&headers)?;
    let stored = server
        .write(move |transaction, _| {
            let present = select(transaction, account)?.map(|keys| keys.version);
            match (replaces, present) {
                (None, None) => {}
                (Some(version), Some(present)) if version == present => {}
                (None, Some(_)) => return Err(failed(ErrorCode::KeysExist, "this account has keys already")),
                (Some(_), _) => {
                    return Err(failed(ErrorCode::VersionMismatch, "the keys have another version; read them again"));
                }
            }
            let keys = KeyAttributes { version: present.unwrap_or(0) + 1, ..keys };
            replace(transaction, account, &keys)?;
            Ok(keys)
        })
        .await?;
    Ok(answer(stored))
}

fn answer(keys: KeyAttributes) -> Response {
    let version = HeaderValue::from_str(&format!("\"{}\"", keys.version)).expect("digits and quotes are visible ASCII");
    ([(header::ETAG, version)], Json(keys)).into_response()
}

/// The version to be replaced; `None` for "there must be none".
fn condition(headers: &HeaderMap) -> Result<Option<u32>, Refusal> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    match (text(header::IF_NONE_MATCH), text(header::IF_MATCH)) {
        (Some("*"), None) => Ok(None),
        (None, Some(version)) => version
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .and_then(|digits| digits.parse().ok())
            .map(Some)
            .ok_or_else(|| Refusal::invalid("`If-Match` names one version in quotes")),
        _ => Err(Refusal::invalid("send `If-None-Match: *` to create or `If-Match: \"<version>\"` to replace")),
    }
}

fn failed(code: ErrorCode, detail: &'static str) -> Refusal {
    Refusal::new(StatusCode::PRECONDITION_FAILED, code, detail)
}

fn check(keys: &KeyAttributes) -> Result<(), Refusal> {
    let wraps = [
        (&keys.encrypted_key, &keys.key_decryption_nonce),
        (&keys.master_key_encrypted_with_recovery_key, &keys.master_key_decryption_nonce),
        (&keys.recovery_key_encrypted_with_master_key, &keys.recovery_key_decryption_nonce),
    ];
    if wraps.iter().any(|(key, nonce)| key.0.len() != 48 || nonce.0.len() != 24) || keys.kek_salt.0.len() != 16 {
        return Err(Refusal::invalid("a wrapped key has 48 bytes, its nonce 24, the salt 16"));
    }
    if !MEM_LIMITS.contains(&keys.mem_limit) || !OPS_LIMITS.contains(&keys.ops_limit) {
        return Err(Refusal::invalid("Argon2id takes 8 KiB to 4 GiB and 1 to 1024 passes here"));
    }
    Ok(())
}

fn select(transaction: &Transaction<'_>, account: Account) -> rusqlite::Result<Option<KeyAttributes>> {
    transaction
        .prepare_cached(
            "SELECT kek_salt, mem_limit, ops_limit, encrypted_key, key_nonce, master_key_by_recovery,
                    master_key_by_recovery_nonce, recovery_key_by_master, recovery_key_by_master_nonce, version
               FROM key_attributes WHERE account = ?1",
        )?
        .query_row([account.0], |row| {
            let bytes = |column| row.get(column).map(Base64);
            Ok(KeyAttributes {
                kek_salt: bytes(0)?,
                mem_limit: row.get::<_, i64>(1)?.unsigned_abs(),
                ops_limit: row.get(2)?,
                encrypted_key: bytes(3)?,
                key_decryption_nonce: bytes(4)?,
                master_key_encrypted_with_recovery_key: bytes(5)?,
                master_key_decryption_nonce: bytes(6)?,
                recovery_key_encrypted_with_master_key: bytes(7)?,
                recovery_key_decryption_nonce: bytes(8)?,
                version: row.get(9)?,
            })
        })
        .optional()
}

fn replace(transaction: &Transaction<'_>, account: Account, keys: &KeyAttributes) -> rusqlite::Result<()> {
    transaction
        .execute(
            "INSERT OR REPLACE INTO key_attributes (account, version, kek_salt, mem_limit, ops_limit, encrypted_key,
                key_nonce, master_key_by_recovery, master_key_by_recovery_nonce, recovery_key_by_master,
                recovery_key_by_master_nonce)
             VALUES (:account, :version, :salt, :mem, :ops, :key, :key_nonce, :master, :master_nonce, :recovery,
                :recovery_nonce)",
            named_params! {
                ":account": account.0,
                ":version": keys.version,
                ":salt": keys.kek_salt.0,
                ":mem": i64::try_from(keys.mem_limit).unwrap_or(i64::MAX),
                ":ops": keys.ops_limit,
                ":key": keys.encrypted_key.0,
                ":key_nonce": keys.key_decryption_nonce.0,
                ":master": keys.master_key_encrypted_with_recovery_key.0,
                ":master_nonce": keys.master_key_decryption_nonce.0,
                ":recovery": keys.recovery_key_encrypted_with_master_key.0,
                ":recovery_nonce": keys.recovery_key_decryption_nonce.0,
            },
        )
        .map(drop)
}
