//! One item, from where the journal has it to where it cannot be taken further.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use landfall_core::{
    Action, BlockReason, Code, Conditions, Failure, ItemView, PublishState, Remedy, Role, Step, Timestamp, Waits,
    next_action,
};
use landfall_protocol::Grant;
use landfall_store::{Item, Lease, Object, ObjectId, Root, StoreError, Tx};

use crate::{Error, Observer, Progress, Session, engine::Inner};

/// Works on one item under a lease. Dropping it stops the work; the journal then shows what is unknown, and the next
/// holder asks.
pub(crate) struct Drive {
    pub(crate) engine: Arc<Inner>,
    pub(crate) session: Session,
    pub(crate) lease: Lease,
    pub(crate) observer: Arc<dyn Observer>,
    /// Leave to put parts. Only in memory: another holder gets its own.
    pub(crate) grants: BTreeMap<(ObjectId, u32), (Grant, Duration)>,
    /// Objects of which the remote has said, under this lease, what it holds.
    pub(crate) known: BTreeSet<ObjectId>,
    /// The item brought its bytes itself.
    pub(crate) uploaded: bool,
    /// It was prepared under this lease, and turned out to be in the vault.
    pub(crate) just_prepared: bool,
    /// Failures in a row that cost no attempt.
    pub(crate) free_failures: u32,
}

/// How many lost answers, expired grants and vanished uploads in a row cost no attempt.
const FREE_FAILURES_MAX: u32 = 12;

/// A source that is found changed so often, after it was prepared, is left to a person.
const REVISIONS_MAX: u32 = 20;

/// Why a step did not succeed.
pub(crate) enum Halt {
    /// Something failed; the remedy says what to do.
    Failed(Failure),
    /// The lease is gone: somebody else has the item, or it is finished, or it was given back.
    LeaseGone,
    /// The whole run must end.
    Fatal(Error),
}

/// What became of an item's turn.
pub(crate) enum Driven {
    /// The lease is gone or was given back.
    Released,
    /// The token is refused: nothing more can be done at this destination.
    LoggedOut(Failure),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LostLease(_) => Self::LeaseGone,
            other => Self::Fatal(other.into()),
        }
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        match error {
            Error::Tampered(message) => Self::Failed(Failure::new(Remedy::Block, Code::Tampered, message)),
            Error::Destination(failure) => Self::Failed(failure),
            other => Self::Fatal(other),
        }
    }
}

/// An item with everything around it, as the journal has it now.
pub(crate) struct Present {
    pub(crate) item: Item,
    pub(crate) root: Root,
    pub(crate) objects: Vec<Object>,
}

impl Drive {
    /// Takes steps until there is none to take.
    pub(crate) async fn run(mut self) -> Result<Driven, Error> {
        let mut announced = false;
        loop {
            let present = match self.present().await {
                Ok(present) => present,
                Err(Halt::Fatal(error)) => return Err(error),
                Err(_) => return Ok(Driven::Released),
            };
            if !announced {
                announced = true;
                let (name, bytes) = (display_name(&present), present.item.bytes);
                self.observer.saw(Progress::Started { item: self.lease.item, name, bytes });
            }
            let step = match next_action(&view(&present), &self.conditions(), self.engine.now()) {
                Action::Start(step) => step,
                Action::WaitUntil(moment) => return self.give_back(Waits::Until(moment)).await,
                Action::WaitFor(condition) => return self.give_back(condition).await,
                Action::Rest => return self.give_back(Waits::Nothing).await,
            };
            let failure = match self.take(step, &present).await {
                Ok(()) => continue,
                Err(Halt::LeaseGone) => return Ok(Driven::Released),
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Failed(failure)) => failure,
            };
            match self.settle(failure, &present).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Failed(_) | Halt::LeaseGone) => return Ok(Driven::Released),
            }
        }
    }

    fn conditions(&self) -> Conditions {
        Conditions { unlocked: true, token: true, parts_in_flight_max: self.engine.settings.parts_in_flight_max }
    }

    async fn present(&self) -> Result<Present, Halt> {
        let lease = self.lease.clone();
        Ok(self
            .engine
            .journal
            .read(move |tx| {
                let item = tx.item(lease.item)?;
                let checked = !tx.sabotaged(landfall_env::Sabotage::DropGenerationCheck);
                if item.generation != lease.generation && checked {
                    return Err(StoreError::LostLease(lease.item));
                }
                let root = tx.root(item.root)?;
                let objects = tx.objects(&item)?;
                Ok(Present { item, root, objects })
            })
            .await?)
    }

    async fn take(&mut self, step: Step, present: &Present) -> Result<(), Halt> {
        match step {
            Step::Prepare => self.prepare(present).await,
            Step::Open(role) => self.open(object(present, role)?).await,
            Step::Ask(role) => self.ask(object(present, role)?).await,
            Step::Send(role, numbers) => {
                let object = object(present, role)?;
                if self.known.contains(&object.id) {
                    self.send(present, object, numbers).await
                } else {
                    // An earlier holder opened it, and may have got further than the journal knows: a home that was
                    // restored from a copy, or lost the end of its log, is older than the remote.
                    self.open(object).await
                }
            }
            Step::Complete(role) => self.complete(object(present, role)?).await,
            Step::Freeze => self.freeze(present).await,
            Step::Register => self.register(present).await,
            Step::Link => self.link(present).await,
            Step::Finish => self.finish(present).await,
        }
    }

    /// Does what a failure's remedy says. `None`: go on with the next step.
    async fn settle(&mut self, failure: Failure, present: &Present) -> Result<Option<Driven>, Halt> {
        tracing::debug!(item.id = %self.lease.item, code = %failure.code, "A step failed: {failure}");
        let place = place_of(present);
        let remedy = match failure.remedy {
            Remedy::Ask | Remedy::Renew | Remedy::Reopen => {
                self.free_failures += 1;
                // Nothing has come of it for so long that it may never: from now on it costs attempts.
                if self.free_failures > FREE_FAILURES_MAX { Remedy::Retry } else { failure.remedy }
            }
            other => other,
        };
        match remedy {
            // The step has written what is unknown; the gate holds back the next request.
            Remedy::Ask | Remedy::Renew | Remedy::Reopen => Ok(None),
            Remedy::Wait { .. } => {
                self.observer.saw(Progress::Waiting { code: failure.code, message: failure.message });
                Ok(None)
            }
            Remedy::Retry => {
                let (now, fraction) = (self.engine.now(), self.engine.env.random.fraction());
                let attempts = present.item.attempts + 1;
                if self.engine.settings.retry.is_exhausted(attempts) {
                    let message = format!("{attempts} attempts failed; the last: {failure}");
                    return self.block(Code::TooManyAttempts, message, place).await.map(Some);
                }
                let until = now.after(self.engine.settings.retry.delay(attempts, fraction));
                let (lease, message) = (self.lease.clone(), failure.message);
                self.engine.journal.write(move |tx| tx.charge(&lease, &message, until, now)).await?;
                self.observer.saw(Progress::Put { item: self.lease.item });
                Ok(Some(Driven::Released))
            }
            Remedy::NewRevision => {
                let times = u32::try_from(present.item.revision).unwrap_or(u32::MAX) % REVISIONS_MAX;
                self.new_revision(present, failure.message).await?;
                match times {
                    0 => {
                        let message = format!("it was found changed {REVISIONS_MAX} times while it was sent");
                        self.block(failure.code, message, place).await.map(Some)
                    }
                    1 => Ok(None),
                    // Whoever writes it is not done.
                    _ => {
                        let pause = self.engine.settings.retry.delay(times - 1, self.engine.env.random.fraction());
                        Ok(Some(self.give_back(Waits::Until(self.engine.now().after(pause))).await?))
                    }
                }
            }
            Remedy::LogIn => {
                self.write(|tx, lease, now| tx.release(lease, Waits::Token, now)).await?;
                Ok(Some(Driven::LoggedOut(failure)))
            }
            Remedy::Block => self.block(failure.code, failure.message, place).await.map(Some),
        }
    }

    async fn block(&mut self, code: Code, message: String, place: Vec<u8>) -> Result<Driven, Halt> {
        let reason = BlockReason { code, message: message.clone() };
        self.write(move |tx, lease, now| tx.block(lease, &reason, now)).await?;
        self.observer.saw(Progress::Blocked { item: self.lease.item, place, code, message });
        Ok(Driven::Released)
    }

    async fn give_back(&self, waits: Waits) -> Result<Driven, Error> {
        match self.write(move |tx, lease, now| tx.release(lease, waits, now)).await {
            Err(Halt::Fatal(error)) => Err(error),
            _ => {
                self.observer.saw(Progress::Put { item: self.lease.item });
                Ok(Driven::Released)
            }
        }
    }

    /// A transition of this item, durable when it returns.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Tx<'_>, &Lease, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Halt> {
        let (lease, now) = (self.lease.clone(), self.engine.now());
        Ok(self.engine.journal.write(move |tx| change(tx, &lease, now)).await?)
    }

    pub(crate) fn reached(&self, step: &'static str) {
        self.engine.env.steps.reached(step);
    }

    pub(crate) fn sabotaged(&self, sabotage: landfall_env::Sabotage) -> bool {
        self.engine.env.steps.sabotaged(sabotage)
    }
}

fn view(present: &Present) -> ItemView {
    let objects = match present.item.publish {
        PublishState::Nothing => present.objects.iter().map(Object::view).collect(),
        _ => Vec::new(),
    };
    ItemView { state: present.item.state.clone(), objects, publish: present.item.publish }
}

fn object(present: &Present, role: Role) -> Result<&Object, Halt> {
    present.objects.iter().find(|object| object.role == role).ok_or_else(|| {
        Halt::Fatal(Error::Tampered(format!("item {} has no {} object", present.item.id, role.as_str())))
    })
}

/// Where an item was found: the root's name, then the segments below it.
pub(crate) fn place_of(present: &Present) -> Vec<u8> {
    place_below(&present.root, &present.item.path)
}

/// A place: the root's name, then the segments below it.
pub(crate) fn place_below(root: &Root, path: &[u8]) -> Vec<u8> {
    let mut place = root.name.clone();
    if !path.is_empty() {
        place.push(b'/');
        place.extend_from_slice(path);
    }
    place
}

fn display_name(present: &Present) -> String {
    let place = place_of(present);
    let last = place.rsplit(|byte| *byte == b'/').next().unwrap_or(&[]);
    String::from_utf8_lossy(last).into_owned()
}
