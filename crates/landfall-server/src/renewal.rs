//! `POST /v2/assets/renew-batch`: attachments are kept for longer.

use axum::extract::State;
use landfall_protocol::{RENEW_MAX, RenewAssets, Renewal, RenewedAsset, RenewedAssets};
use rusqlite::OptionalExtension as _;

use crate::{
    Server,
    account::Account,
    asset::{self, Asset, after},
    database::Transaction,
    json::Json,
    refusal::Refusal,
    server::Inner,
};

/// `POST /v2/assets/renew-batch`. Of the account's own attachments alone: who was given a URL may read, but how long
/// something takes up room is for whoever put it there. Each key has its own answer.
pub(crate) async fn renew(
    State(server): State<Server>,
    account: Account,
    Json(request): Json<RenewAssets>,
) -> Result<Json<RenewedAssets>, Refusal> {
    if request.asset_keys.len() > RENEW_MAX {
        return Err(Refusal::too_large(format!("at most {RENEW_MAX} attachments are renewed at once")));
    }
    let assets = server
        .write(move |transaction, inner| {
            let renewed = request.asset_keys.into_iter().map(|asset_key| {
                let renewal = renew_one(transaction, inner, account, &asset_key)?;
                Ok(RenewedAsset { asset_key, renewal })
            });
            Ok(renewed.collect::<rusqlite::Result<Vec<_>>>()?)
        })
        .await?;
    Ok(Json(RenewedAssets { assets }))
}

fn renew_one(
    transaction: &Transaction<'_>,
    inner: &Inner,
    account: Account,
    asset_key: &str,
) -> rusqlite::Result<Renewal> {
    let owner: Option<i64> = transaction
        .prepare_cached("SELECT account FROM asset WHERE asset_key = ?1")?
        .query_row([asset_key], |row| row.get(0))
        .optional()?;
    if owner != Some(account.0) {
        return Ok(Renewal::NotFound);
    }
    Ok(match asset::select(transaction, asset_key, inner.now_ms())? {
        Some(Asset::Stored(_)) => Renewal::Renewed {
            expires_at_ms: asset::renew(transaction, asset_key, after(inner.now_ms(), inner.config.asset_ttl))?,
        },
        Some(Asset::Gone) => Renewal::Expired,
        Some(Asset::Granted) | None => Renewal::NotFound,
    })
}
