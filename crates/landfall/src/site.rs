//! What a run works for: a vault, or a bucket.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use landfall_core::Failure;
use landfall_store::{DestinationId, Lease, StoreError, Tx};

use crate::{
    Error, Observer, Session,
    drive::{Drive, Driven},
    engine::Inner,
    reap::{Reaped, reap},
};

/// A destination with all that is needed to work on its items.
pub(crate) trait Site: Send + Sync {
    /// Which.
    fn destination(&self) -> DestinationId;

    /// How long it has been out of reach or has taken nothing, and why.
    fn away(&self) -> Option<(Duration, Failure)>;

    /// How long nothing has come of anything, and why; `None` while something may.
    fn hopeless(&self) -> Option<(Duration, Failure)>;

    /// Whatever was found out about that is to be found out anew: the next request goes at once.
    fn try_anew(&self);

    /// Whether it is still what it was when it was opened.
    fn is_current(&self, tx: &Tx<'_>) -> Result<bool, StoreError>;

    /// Works on one item under a lease, until it cannot be taken further.
    fn drive(
        &self,
        engine: &Arc<Inner>,
        lease: Lease,
        observer: Arc<dyn Observer>,
    ) -> BoxFuture<'static, Result<Driven, Error>>;

    /// Deletes some of the remote uploads that nobody wants any more.
    fn reap<'s>(&'s self, engine: &'s Arc<Inner>) -> BoxFuture<'s, Result<Reaped, Error>>;
}

impl Site for Session {
    fn destination(&self) -> DestinationId {
        self.inner.destination
    }

    fn away(&self) -> Option<(Duration, Failure)> {
        self.inner.remote.away()
    }

    fn hopeless(&self) -> Option<(Duration, Failure)> {
        self.inner.remote.hopeless()
    }

    fn try_anew(&self) {
        self.inner.remote.try_anew();
    }

    fn is_current(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        self.inner.is_current(tx)
    }

    fn drive(
        &self,
        engine: &Arc<Inner>,
        lease: Lease,
        observer: Arc<dyn Observer>,
    ) -> BoxFuture<'static, Result<Driven, Error>> {
        let drive = Drive {
            engine: Arc::clone(engine),
            session: self.clone(),
            lease,
            observer,
            grants: BTreeMap::new(),
            known: BTreeSet::new(),
            uploaded: false,
            just_prepared: false,
            free_failures: 0,
        };
        drive.run().boxed()
    }

    fn reap<'s>(&'s self, engine: &'s Arc<Inner>) -> BoxFuture<'s, Result<Reaped, Error>> {
        reap(engine, self).boxed()
    }
}
