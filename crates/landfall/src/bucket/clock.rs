//! What time it is at the bucket, by the `Date` of its last answer.
//!
//! When a remote upload was opened is told by the bucket's clock alone. Ours may be wrong, and may be set right at any
//! moment; so what an answer told is carried forward by the clock that only ever goes on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use landfall_core::Timestamp;
use landfall_env::Env;
use landfall_transport::{Body, Carrier, Loss, s3};

/// Carries requests, and takes note of the time that answers tell.
pub(super) struct BucketClock {
    carrier: Arc<dyn Carrier>,
    env: Env,
    /// What the bucket told, and when by the monotonic clock.
    told: Mutex<Option<(Timestamp, Duration)>>,
}

impl BucketClock {
    pub(super) fn new(carrier: Arc<dyn Carrier>, env: Env) -> Arc<Self> {
        Arc::new(Self { carrier, env, told: Mutex::default() })
    }

    /// The moment by the bucket's clock, to a second or so; `None` before its first answer.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let (told, at) = (*self.told.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(told.after(self.env.clock.monotonic().saturating_sub(at)))
    }
}

impl Carrier for BucketClock {
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        Box::pin(async move {
            let response = self.carrier.carry(request).await?;
            if let Some(date) = s3::date(response.headers()) {
                let told = (date, self.env.clock.monotonic());
                *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
            }
            Ok(response)
        })
    }
}
