//! One message under a lease, from where the journal has it to where it cannot be taken further.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use landfall_core::{
    Action, BlockReason, Code, Failure, ItemId, MessageConditions, MessageStep, MessageView, Payload, PublishState,
    Remedy, Timestamp, Waits, next_message_step,
};
use landfall_crypto::xmtp::{AttachmentSecrets, ContentDigest, RemoteAttachment, encode_text};
use landfall_env::Sabotage;
use landfall_store::{AttachmentRow, AttemptState, Lease, Message, MessageContent, NewAttempt, Sealed, StoreError, Tx};
use zeroize::Zeroizing;

use super::{
    Chat, Moves,
    grant::PutIntent,
    payload,
    publisher::{Publication, Published},
};
use crate::Error;

/// Works on one message. Dropping it stops the work; the journal then shows what is unknown.
pub(crate) struct Work {
    pub(crate) chat: Chat,
    pub(crate) lease: Lease,
    /// Counts what was published.
    pub(crate) published: Arc<AtomicU64>,
}

/// Why a step did not succeed.
enum Halt {
    Failed(Failure),
    /// The lease is gone, or was given back.
    LeaseGone,
    Fatal(Error),
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

/// A message with what stands around it, as the journal has it now.
struct Present {
    message: Message,
    lane: Option<String>,
    behind: Option<ItemId>,
}

impl Work {
    /// Takes steps until there is none to take.
    pub(crate) async fn run(self) -> Result<(), Error> {
        loop {
            let taken = match self.present().await {
                Ok(present) => self.step(&present).await,
                Err(halt) => Err(halt),
            };
            match taken {
                Ok(()) => {}
                Err(Halt::LeaseGone) => return Ok(()),
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Failed(failure)) => match self.settle(failure).await {
                    Err(Halt::Fatal(error)) => return Err(error),
                    _ => return Ok(()),
                },
            }
        }
    }

    async fn present(&self) -> Result<Present, Halt> {
        let lease = self.lease.clone();
        let read = move |tx: &Tx<'_>| {
            let message = tx.message(lease.item)?;
            if message.generation != lease.generation && !tx.sabotaged(Sabotage::DropGenerationCheck) {
                return Err(StoreError::LostLease(lease.item));
            }
            let lane = message.lane.map(|lane| tx.lane(lane)).transpose()?.map(|lane| lane.name);
            let behind = tx.behind(lease.item)?;
            Ok(Present { message, lane, behind })
        };
        Ok(self.chat.inner.engine.journal.read(read).await?)
    }

    async fn step(&self, present: &Present) -> Result<(), Halt> {
        let conditions = MessageConditions { unlocked: true, reuse: self.chat.inner.settings.reuse };
        match next_message_step(&self.view(present), &conditions, self.now()) {
            Action::Start(MessageStep::Prepare) => self.prepare(present).await,
            Action::Start(MessageStep::Grant) => self.grant(present).await,
            Action::Start(MessageStep::Ask) => self.ask(present).await,
            Action::Start(MessageStep::Freeze) => self.freeze(present).await,
            Action::Start(MessageStep::Thaw) => self.write(|tx, lease, now| tx.thaw(lease, now)).await,
            Action::Start(MessageStep::Publish) => self.publish(present).await,
            Action::WaitUntil(moment) => self.give_back(Waits::Until(moment)).await,
            Action::WaitFor(condition) => self.wait_for(condition).await,
            Action::Rest => self.give_back(Waits::Nothing).await,
        }
    }

    fn view(&self, present: &Present) -> MessageView {
        let payload = match &present.message.content {
            MessageContent::Text { .. } => None,
            MessageContent::Attachment(row) => Some(match row.payload() {
                Payload::Original => Payload::Original,
                _ if self.secrets(present.message.id, row).is_none() => Payload::Unreadable,
                other => other,
            }),
        };
        MessageView {
            state: present.message.state.clone(),
            payload,
            behind: present.behind.filter(|_| !self.sabotaged(Sabotage::PublishOutOfTurn)),
            is_frozen: present.message.publish == PublishState::Frozen,
            may_be_seen: present.message.publishes > 0,
        }
    }

    fn secrets(&self, item: ItemId, row: &AttachmentRow) -> Option<AttachmentSecrets> {
        let record = self.chat.inner.at_rest.secrets(item, row.sealing, row.secrets.as_deref())?;
        AttachmentSecrets::from_record(&record).ok()
    }

    async fn prepare(&self, present: &Present) -> Result<(), Halt> {
        let inner = &self.chat.inner;
        let row = attachment(&present.message)?;
        let random = &inner.engine.env.random;
        // Drawn for this sealing alone: what an earlier one sealed may have been other bytes.
        let secrets = AttachmentSecrets::new(random.array(), random.array(), random.array());
        let record = secrets.to_record();
        let made =
            payload::make(&inner.engine, &inner.spool, row, secrets, inner.settings.photos, inner.decoder.clone())
                .await?;
        self.reached("chat.sealed");
        let sealed = Sealed {
            file: made.file.name.clone(),
            size: made.size,
            digest: made.digest.as_bytes().to_vec(),
            secrets: inner.at_rest.seal(&inner.engine.env, &record),
        };
        inner.at_rest.remember_secrets(self.lease.item, row.sealing + 1, record);
        let spool = inner.spool.clone();
        self.write(move |tx, lease, now| {
            // First: a file that is moved for a lease that is gone would lie there until it is swept.
            tx.sealed(lease, &sealed, now)?;
            spool.place(made.file)
        })
        .await?;
        self.reached("chat.sealed.committed");
        Ok(())
    }

    async fn grant(&self, present: &Present) -> Result<(), Halt> {
        let inner = &self.chat.inner;
        let row = attachment(&present.message)?;
        if !self.has_payload(row).await {
            // Somebody removed it. Nobody has been told of it, so it is made again, under other secrets.
            return self.prepare(present).await;
        }
        let asked = self.now();
        let grant = self.in_time(inner.granter.grant(intent(row)?)).await?;
        inner.outage.is_over();
        self.reached("chat.granted");
        let id = inner.engine.env.random.name();
        let worker = match &inner.moves {
            Moves::ByPlatform { .. } => None,
            Moves::InProcess(_) => Some(self.lease.worker.clone()),
        };
        let attempt = NewAttempt {
            request: inner.keep_request(&id, &grant),
            id,
            asset_url: grant.asset_url.clone(),
            deadline: grant.lasts.map(|lasts| asked.after(lasts)),
            worker,
        };
        self.write(move |tx, lease, now| tx.granted(lease, &attempt, now)).await?;
        self.reached("chat.granted.committed");
        Err(Halt::LeaseGone)
    }

    async fn ask(&self, present: &Present) -> Result<(), Halt> {
        let row = attachment(&present.message)?;
        let Some((id, _)) = row.attempt.clone() else { return self.give_back(Waits::Nothing).await };
        let wanted = id.clone();
        let known = self.chat.inner.engine.journal.read(move |tx| tx.attempt(&wanted)).await?;
        let Some(known) = known else { return self.give_back(Waits::Nothing).await };
        let asked = intent(row)?;
        let is_there = self.in_time(self.chat.inner.granter.is_there(&known.asset_url, &asked)).await?;
        // Where it cannot be told, the payload is put once more, elsewhere.
        let is_there = is_there.unwrap_or(false);
        let attempt = id.clone();
        self.write(move |tx, lease, now| tx.payload_asked(lease, &id, is_there, now)).await?;
        self.chat.inner.progress.ended(&attempt);
        if is_there {
            return Ok(());
        }
        // Charged: where every upload ends like that, somebody has to hear of it.
        Err(Failure::new(Remedy::Retry, Code::AnswerLost, "the upload did not arrive").into())
    }

    async fn has_payload(&self, row: &AttachmentRow) -> bool {
        let inner = &self.chat.inner;
        let Some(sealed) = &row.sealed else { return false };
        let (files, path) = (inner.engine.env.files.clone(), inner.spool.path(sealed));
        let found = inner.engine.env.blocking.run(move || files.status(&path)).await;
        found.map_or_else(|error| error.kind() != std::io::ErrorKind::NotFound, |_| true)
    }

    /// Whoever gives leave may be the host: one that does not answer must not keep others waiting.
    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let patience = self.chat.inner.settings.publish_timeout;
        let late = |_| Failure::new(Remedy::Retry, Code::Stalled, "no answer came in time");
        tokio::time::timeout(patience, asked).await.map_err(late)?
    }

    async fn freeze(&self, present: &Present) -> Result<(), Halt> {
        let inner = &self.chat.inner;
        let bytes = self.content(&present.message)?;
        let body = inner.at_rest.keep_body(&inner.engine.env, self.lease.item, &bytes);
        self.write(move |tx, lease, now| tx.freeze(lease, &body, now)).await?;
        self.reached("chat.frozen");
        Ok(())
    }

    /// The bytes that tell others of a message.
    fn content(&self, message: &Message) -> Result<Zeroizing<Vec<u8>>, Halt> {
        let inner = &self.chat.inner;
        let block = |code, why: String| Halt::Failed(Failure::new(Remedy::Block, code, why));
        match &message.content {
            MessageContent::Text { text, .. } => {
                let text = inner.at_rest.open_text(text).ok_or_else(|| locked("the text"))?;
                encode_text(&text).map(Zeroizing::new).map_err(|error| block(Code::Refused, error.to_string()))
            }
            MessageContent::Attachment(row) => {
                let secrets = self.secrets(message.id, row).ok_or_else(|| locked("the attachment's secrets"))?;
                let lost = || block(Code::BadAnswer, "the journal lost a part of this attachment".to_owned());
                let url = row.asset_url.as_deref().ok_or_else(lost)?;
                let digest: [u8; 32] =
                    row.payload_digest.as_deref().and_then(|digest| digest.try_into().ok()).ok_or_else(lost)?;
                let size = row.payload_size.ok_or_else(lost)?;
                let digest = ContentDigest::from_bytes(digest);
                let name = payload::shown_name(&row.name, row.is_photo);
                let make =
                    if inner.settings.allows_loopback { RemoteAttachment::on_loopback } else { RemoteAttachment::new };
                make(url, digest, secrets, size, &name)
                    .and_then(|remote| remote.encode())
                    .map_err(|error| block(Code::Refused, error.to_string()))
            }
        }
    }

    async fn publish(&self, present: &Present) -> Result<(), Halt> {
        let inner = &self.chat.inner;
        let kept = present.message.body.as_deref().unwrap_or_default();
        let Some(body) = inner.at_rest.body(self.lease.item, kept) else {
            if present.message.publishes == 0 {
                // Nobody can have seen it: it is made anew.
                return self.write(|tx, lease, now| tx.thaw(lease, now)).await;
            }
            let why = "it may have been published, and the keys to publish the same again are lost";
            return Err(Failure::new(Remedy::Block, Code::AnswerLost, why).into());
        };
        if !self.sabotaged(Sabotage::SkipPublishIntent) {
            let may_begin = self.write(|tx, lease, now| tx.publishing(lease, now)).await?;
            if !may_begin {
                return Err(Halt::LeaseGone);
            }
        }
        self.reached("chat.publishing");
        let idempotency_key = match self.sabotaged(Sabotage::FreshKeyPerPublish) {
            true => inner.engine.env.random.name(),
            false => present.message.idempotency_key.clone(),
        };
        let publication = Publication {
            lane: present.lane.clone().unwrap_or_default(),
            idempotency_key,
            content: Bytes::copy_from_slice(&body),
        };
        let told = tokio::time::timeout(inner.settings.publish_timeout, inner.publisher.publish(publication)).await;
        self.reached("chat.published");
        match told {
            Ok(Published::Accepted) => {
                if self.write(|tx, lease, now| tx.message_published(lease, now)).await? {
                    self.published.fetch_add(1, Ordering::Relaxed);
                }
                self.reached("chat.published.committed");
                inner.at_rest.forget(self.lease.item);
                Err(Halt::LeaseGone)
            }
            Ok(Published::Rejected { reason }) => Err(Failure::new(Remedy::Block, Code::Refused, reason).into()),
            Ok(Published::NotReady { retry_after }) => {
                let until = self.now().after(retry_after.max(Duration::from_millis(10)));
                self.not_published(Waits::Until(until)).await
            }
            Ok(Published::LoggedOut) => self.not_published(Waits::Token).await,
            Ok(Published::Unknown { reason }) => Err(Failure::new(Remedy::Retry, Code::AnswerLost, reason).into()),
            Err(_) => {
                let why = "the publisher did not answer in time";
                Err(Failure::new(Remedy::Retry, Code::Stalled, why).into())
            }
        }
    }

    /// As if nothing had been tried.
    async fn not_published(&self, waits: Waits) -> Result<(), Halt> {
        self.write(move |tx, lease, now| tx.not_published(lease, waits, now)).await?;
        Err(Halt::LeaseGone)
    }

    /// Does what a failure's remedy says, and gives the message back.
    async fn settle(&self, failure: Failure) -> Result<(), Halt> {
        tracing::debug!(item.id = %self.lease.item, code = %failure.code, "A step failed: {failure}");
        let inner = &self.chat.inner;
        let (now, fraction, policy) = (self.now(), inner.engine.env.random.fraction(), inner.engine.settings.retry);
        match failure.remedy {
            Remedy::Wait { retry_after } => {
                let pause = retry_after.unwrap_or_else(|| inner.outage.pause().mul_f64(0.5 + fraction / 2.0));
                self.give_back(Waits::Until(now.after(pause))).await
            }
            Remedy::LogIn => self.give_back(Waits::Token).await,
            Remedy::Block => self.block(failure.code, failure.message).await,
            Remedy::Ask | Remedy::Renew | Remedy::Reopen | Remedy::NewRevision | Remedy::Retry => {
                let lease = self.lease.clone();
                let message = failure.message.clone();
                let read = self.present().await?;
                let attempts = read.message.attempts + 1;
                // What may have been published is never given up by itself: somebody may have seen it.
                if policy.is_exhausted(attempts) && read.message.publish != PublishState::Frozen {
                    return self
                        .block(Code::TooManyAttempts, format!("{attempts} attempts failed; the last: {failure}"))
                        .await;
                }
                let until = now.after(policy.delay(attempts, fraction));
                inner.engine.journal.write(move |tx| tx.charge(&lease, &message, until, now)).await?;
                Ok(())
            }
        }
    }

    async fn block(&self, code: Code, message: String) -> Result<(), Halt> {
        let reason = BlockReason { code, message };
        self.write(move |tx, lease, now| tx.block(lease, &reason, now)).await
    }

    /// Gives the message back until something has happened. What that is is asked again in the same transaction: a message
    /// or a transfer that ended since has woken those that waited for it then, and wakes nobody later.
    async fn wait_for(&self, condition: Waits) -> Result<(), Halt> {
        self.write(move |tx, lease, now| {
            let waits = match condition {
                other if tx.sabotaged(Sabotage::WaitUnasked) => other,
                Waits::Item(_) => tx.behind(lease.item)?.map_or(Waits::Nothing, Waits::Item),
                Waits::Transfer => match tx.present_attempt(lease.item)?.map(|attempt| attempt.state) {
                    Some(AttemptState::Ready | AttemptState::Out) => Waits::Transfer,
                    _ => Waits::Nothing,
                },
                other => other,
            };
            tx.release(lease, waits, now)
        })
        .await?;
        Err(Halt::LeaseGone)
    }

    async fn give_back(&self, waits: Waits) -> Result<(), Halt> {
        self.write(move |tx, lease, now| tx.release(lease, waits, now)).await?;
        Err(Halt::LeaseGone)
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Tx<'_>, &Lease, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Halt> {
        let (lease, now) = (self.lease.clone(), self.now());
        Ok(self.chat.inner.engine.journal.write(move |tx| change(tx, &lease, now)).await?)
    }

    fn now(&self) -> Timestamp {
        self.chat.inner.engine.now()
    }

    fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.chat.inner.engine.env.steps.sabotaged(sabotage)
    }

    fn reached(&self, step: &'static str) {
        self.chat.inner.engine.env.steps.reached(step);
    }
}

fn attachment(message: &Message) -> Result<&AttachmentRow, Halt> {
    match &message.content {
        MessageContent::Attachment(row) => Ok(row),
        MessageContent::Text { .. } => {
            Err(Failure::new(Remedy::Block, Code::BadAnswer, "a text has no payload").into())
        }
    }
}

fn intent(row: &AttachmentRow) -> Result<PutIntent, Failure> {
    let lost = || Failure::new(Remedy::Block, Code::BadAnswer, "the journal lost a part of this attachment");
    Ok(PutIntent {
        bytes: row.payload_size.ok_or_else(lost)?,
        content_type: "application/octet-stream".to_owned(),
        digest: row.payload_digest.as_deref().and_then(|digest| digest.try_into().ok()).ok_or_else(lost)?,
    })
}

fn locked(what: &str) -> Halt {
    Failure::new(
        Remedy::Block,
        Code::Locked,
        format!("{what} cannot be opened: the host's key is another, or not at hand"),
    )
    .into()
}
