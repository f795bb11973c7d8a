//! `GET /v2/attachments/presigned`: leave to put an attachment.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::Response,
};
use landfall_protocol::{CONTENT_TYPE_BYTES_MAX, FILE_NAME_BYTES_MAX, PresignedUpload, route};
use serde::Deserialize;

use crate::{
    Server,
    account::Account,
    asset::{self, after},
    json::Json,
    refusal::Refusal,
    server::Inner,
    uploads::secret,
};

/// `?contentType=&filename=[&contentLength=]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    content_type: String,
    /// Nobody needs it here; it is taken because clients send it.
    #[serde(default)]
    filename: String,
    content_length: Option<u64>,
}

/// `GET /v2/attachments/presigned`. Every answer is for an object of its own. From the moment this commits, the key's
/// files are looked after.
pub(crate) async fn show(
    State(server): State<Server>,
    account: Account,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(wanted) = wanted
        .map_err(|_| Refusal::invalid("send `contentType`; `contentLength`, if sent, is a whole number of bytes"))?;
    check(&wanted, server.inner.config.object_bytes_max)?;
    let granted = server
        .write(move |transaction, inner| {
            let object_key = inner.env.random.name();
            let expires_at_ms = after(inner.now_ms(), inner.config.asset_grant_ttl);
            asset::grant(transaction, inner, account, &object_key, expires_at_ms)?;
            Ok(presigned(inner, object_key, &wanted, expires_at_ms))
        })
        .await?;
    Ok(secret(Json(granted)))
}

fn check(wanted: &Wanted, object_bytes_max: u64) -> Result<(), Refusal> {
    if !is_media_type(&wanted.content_type) {
        return Err(Refusal::invalid(format!(
            "`contentType` is a media type of at most {CONTENT_TYPE_BYTES_MAX} bytes, as `image/jpeg`"
        )));
    }
    if wanted.filename.len() > FILE_NAME_BYTES_MAX {
        return Err(Refusal::invalid(format!("`filename` has at most {FILE_NAME_BYTES_MAX} bytes")));
    }
    match wanted.content_length {
        Some(0) => Err(Refusal::invalid("an attachment has at least one byte")),
        Some(length) if length > object_bytes_max => {
            Err(Refusal::too_large(format!("an attachment has at most {object_bytes_max} bytes here")))
        }
        _ => Ok(()),
    }
}

/// Whether a text is `type/subtype`, with or without parameters, and can be sent as a header's value as it is.
fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~%".contains(&byte))
    };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, "none"));
    text.len() <= CONTENT_TYPE_BYTES_MAX
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && parameters.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !parameters.is_empty()
        && !parameters.ends_with(' ')
}

fn presigned(inner: &Inner, object_key: String, wanted: &Wanted, expires_at_ms: i64) -> PresignedUpload {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    PresignedUpload {
        upload_url: inner.signer.asset_url(&object_key, &wanted.content_type, wanted.content_length, expires_at_ms),
        asset_url: route::asset(&object_key),
        object_key,
        method: "PUT".to_owned(),
        headers: vec![(header::CONTENT_TYPE.as_str().to_owned(), wanted.content_type.clone())],
        expires_at_ms,
        ttl_ms: millis(inner.config.asset_grant_ttl),
        asset_ttl_ms: millis(inner.config.asset_ttl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_told_from_what_could_not_be_sent() {
        let long = format!("image/{}", "x".repeat(CONTENT_TYPE_BYTES_MAX));
        for (text, is) in [
            ("image/jpeg", true),
            ("application/octet-stream", true),
            ("image/svg+xml", true),
            ("text/plain;charset=utf-8", true),
            ("text/plain; charset=\"utf-8\"", true),
            ("", false),
            ("image", false),
            ("/jpeg", false),
            ("image/", false),
            ("image/jpeg;", false),
            ("image/jpeg ", false),
            ("image/jpeg; a=b ", false),
            ("image/jpeg\r\nx: y", false),
            ("image/jpeg; a=\r\n", false),
            ("image/jpég", false),
            ("image/a/b", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_media_type(text), is, "{text:?}");
        }
    }
}
