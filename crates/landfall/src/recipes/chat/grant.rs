//! Leave to put a payload somewhere.

use std::time::Duration;

use futures_util::future::BoxFuture;
use landfall_core::Failure;

/// What leave is asked for.
#[derive(Debug, Clone)]
pub struct PutIntent {
    /// Exact length of the payload, in bytes.
    pub bytes: u64,
    /// Media type that the payload is sent as.
    pub content_type: String,
    /// SHA-256 of the payload.
    pub digest: [u8; 32],
}

/// Leave to put one payload: the exact request, and where the payload will be. The URL is a secret for as long as it is
/// good.
#[derive(Clone)]
pub struct PutGrant {
    /// HTTP method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Every header that must be sent, in order.
    pub headers: Vec<(String, String)>,
    /// Where whoever receives the message fetches the payload.
    pub asset_url: String,
    /// For how long the leave lasts, from the moment it was asked for.
    pub lasts: Option<Duration>,
}

impl std::fmt::Debug for PutGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutGrant")
            .field("method", &self.method)
            .field("asset_url", &self.asset_url)
            .field("lasts", &self.lasts)
            .finish_non_exhaustive()
    }
}

/// Whoever gives leave: a server's endpoint, or the host.
pub trait Granter: Send + Sync {
    /// Gets leave to put a payload. Each is for an object of its own.
    fn grant(&self, intent: PutIntent) -> BoxFuture<'_, Result<PutGrant, Failure>>;

    /// Asks whether the payload is at an address, whole. `None` if that cannot be told.
    fn is_there<'a>(
        &'a self,
        asset_url: &'a str,
        intent: &'a PutIntent,
    ) -> BoxFuture<'a, Result<Option<bool>, Failure>>;
}
