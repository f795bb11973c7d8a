//! Attachments of chats: leave to put one, and more time for those that are kept.

use serde::{Deserialize, Serialize};

/// Leave to put one attachment: a URL that works without a token until it expires.
///
/// Every one is for an object of its own. Putting again while it lasts replaces the object, and is harmless with the same
/// bytes. Any answer of the 2xx means that the object is durable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PresignedUpload {
    /// Name of the object, drawn at random. Whoever knows it may read the object, so it is as secret as
    /// [`Self::asset_url`].
    pub object_key: String,
    /// Where to put the bytes: path and query below the server's origin, or an absolute URL. Secret while it lives.
    pub upload_url: String,
    /// Where the object can be read once it is there, without a token: a path below the server's origin, or an absolute
    /// URL. Who knows it may read the object, and nobody else can find it.
    pub asset_url: String,
    /// The method to put with.
    pub method: String,
    /// Headers that belong to the grant, as name and value: exactly these must be sent, in this order.
    pub headers: Vec<(String, String)>,
    /// When the leave ends, by the server's clock.
    pub expires_at_ms: i64,
    /// How long it is valid from the moment of the answer, in milliseconds. Relative, so that clocks need not agree.
    pub ttl_ms: u64,
    /// How long the object is kept after it was last put or renewed, in milliseconds.
    pub asset_ttl_ms: u64,
}

impl std::fmt::Debug for PresignedUpload {
    /// Leaves the key and the URLs out: whoever has them may read and write.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PresignedUpload").field("expires_at_ms", &self.expires_at_ms).finish_non_exhaustive()
    }
}

/// Asks for more time for attachments of the account, at most [`crate::RENEW_MAX`] at once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewAssets {
    /// Their [`PresignedUpload::object_key`].
    pub asset_keys: Vec<String>,
}

impl std::fmt::Debug for RenewAssets {
    /// Leaves the keys out: whoever has them may read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RenewAssets({} keys)", self.asset_keys.len())
    }
}

/// What became of attachments that were to be kept for longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewedAssets {
    /// In the order of the request.
    pub assets: Vec<RenewedAsset>,
}

/// What became of one of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewedAsset {
    /// The key, as it was asked for.
    pub asset_key: String,
    /// What became of it.
    #[serde(flatten)]
    pub renewal: Renewal,
}

impl std::fmt::Debug for RenewedAsset {
    /// Leaves the key out: whoever has it may read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.renewal.fmt(f)
    }
}

/// Whether an attachment has more time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Renewal {
    /// It is kept until then, by the server's clock.
    Renewed {
        /// The moment.
        expires_at_ms: i64,
    },
    /// Its time is over and its bytes are gone: put it again, under a new key.
    Expired,
    /// The account has no such attachment: it was never put, expired long ago, or is another's.
    NotFound,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_are_told_apart_by_their_outcome() {
        let asset = |renewal| RenewedAsset { asset_key: "ab".into(), renewal };
        let texts = [
            (Renewal::Renewed { expires_at_ms: 7 }, r#"{"assetKey":"ab","outcome":"renewed","expiresAtMs":7}"#),
            (Renewal::Expired, r#"{"assetKey":"ab","outcome":"expired"}"#),
            (Renewal::NotFound, r#"{"assetKey":"ab","outcome":"not-found"}"#),
        ];
        for (renewal, text) in texts {
            assert_eq!(serde_json::to_string(&asset(renewal)).unwrap(), text);
            assert_eq!(serde_json::from_str::<RenewedAsset>(text).unwrap(), asset(renewal));
        }
    }

    #[test]
    fn what_may_be_read_or_written_with_is_not_printed() {
        let grant = PresignedUpload {
            object_key: "secret".into(),
            upload_url: "/assets/secret?signature=secret".into(),
            asset_url: "/assets/secret".into(),
            method: "PUT".into(),
            headers: vec![("content-type".into(), "image/jpeg".into())],
            expires_at_ms: 1,
            ttl_ms: 1,
            asset_ttl_ms: 1,
        };
        let renew = RenewAssets { asset_keys: vec!["secret".into()] };
        let renewed = RenewedAsset { asset_key: "secret".into(), renewal: Renewal::Expired };
        assert!(!format!("{grant:?} {renew:?} {renewed:?}").contains("secret"));
    }
}
