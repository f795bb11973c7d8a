//! What a person does: chooses, sends, takes back, edits.

use std::path::Path;

use landfall_core::{ItemId, OnFailure, PublishOrder, Timestamp};
use landfall_env::Sabotage;
use landfall_store::{Lane, NewAttachment, NewText, Outgoing, Sent};

use super::{Chat, payload, spool::Arrived};
use crate::Error;

/// A file to be sent.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Where it is. It is copied; when [`Chat::stage`] returns, the caller may delete it.
    pub path: std::path::PathBuf,
    /// The name that those who receive it see.
    pub name: String,
    /// Its media type.
    pub mime: String,
    /// What becomes of it on the way.
    pub treatment: Treatment,
}

/// What becomes of a file on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// A photo is made smaller, turned upright, and sent without what the camera noted.
    Photo,
    /// It is sent as it is, with all that is in it.
    AsItIs,
}

/// A part of what is sent at once.
#[derive(Debug, Clone)]
pub enum Part {
    /// What [`Chat::stage`] returned.
    Staged(ItemId),
    /// A file that nobody staged before: taken in charge with the batch, or not at all.
    New(NewFile),
    /// A text. Sent behind an attachment of the same batch it goes with that one: taken back or left out together.
    Text(String),
}

impl Chat {
    /// Takes a file in charge and begins to move it, although nobody has sent it yet. When this returns a copy is durable
    /// and in the queue.
    ///
    /// `composer` names the place where it was chosen: what was staged there before and not sent is given up. What is
    /// never sent is collected after [`super::ChatSettings::staged_ttl`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if it cannot be sent like that: choose another treatment, or another file. [`Error::Io`] if it
    /// cannot be read, or the home is full. Nothing is in charge then.
    pub async fn stage(&self, file: NewFile, composer: Option<&str>) -> Result<ItemId, Error> {
        let inner = &self.inner;
        let (copy, attachment) = self.copied(file, composer).await?;
        let (destination, spool, now) = (inner.destination, inner.spool.clone(), inner.engine.now());
        let staged = inner.engine.journal.write(move |tx| {
            spool.place(copy)?;
            tx.stage(destination, &attachment, now)
        });
        let staged = staged.await?;
        inner.engine.env.steps.reached("chat.staged");
        Ok(staged)
    }

    /// A copy that is durable, and in nobody's charge yet.
    async fn copied(&self, file: NewFile, composer: Option<&str>) -> Result<(Arrived, NewAttachment), Error> {
        let is_photo = file.treatment == Treatment::Photo;
        if is_photo {
            self.refuse_undrawable(&file.path).await?;
        }
        let copied = self.inner.spool.copy(&file.path).await;
        let copy = copied.map_err(|source| Error::Io { action: "copy", path: file.path.clone(), source })?;
        let attachment = NewAttachment {
            name: file.name,
            mime: file.mime,
            is_photo,
            original: copy.name.clone(),
            size: copy.size,
            composer: composer.map(str::to_owned),
            idempotency_key: self.inner.engine.env.random.name(),
        };
        self.inner.engine.env.steps.reached("chat.copied");
        Ok((copy, attachment))
    }

    async fn refuse_undrawable(&self, path: &Path) -> Result<(), Error> {
        let (files, opened) = (self.inner.engine.env.files.clone(), path.to_owned());
        let head = self.inner.engine.env.blocking.run(move || {
            let mut head = vec![0; landfall_images::SNIFF_LENGTH];
            let count = files.open(&opened)?.read_at(0, &mut head)?;
            head.truncate(count);
            Ok(head)
        });
        let head = head.await.map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        let decoder = self.inner.decoder.as_ref();
        let can_be_drawn =
            landfall_images::sniff(&head).is_some_and(|kind| decoder.is_some_and(|host| host.draws(kind)));
        if payload::is_drawable(&head) || can_be_drawn {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "`{}` is no photo that can be made smaller here; send it as the file that it is, with all that is in it",
            path.display()
        )))
    }

    /// Sends a batch in a lane: all of it or nothing. When this returns it is durable, in its order, and shown by
    /// [`Chat::echoes`], whether or not a byte has moved.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a part is not staged (any more): it was sent, given up, or collected; or if it is in the batch
    /// more than once. As [`Chat::stage`] for files that are new. Nothing is sent then, and none of the new files is in
    /// charge.
    pub async fn send(&self, lane: &Lane, batch: Vec<Part>) -> Result<Vec<ItemId>, Error> {
        if batch.is_empty() {
            return Err(Error::Invalid("there is nothing to send".to_owned()));
        }
        let inner = &self.inner;
        let mut last_attachment = None;
        let (mut outgoing, mut copies) = (Vec::new(), Vec::new());
        for (index, part) in batch.into_iter().enumerate() {
            outgoing.push(match part {
                Part::Staged(id) => {
                    last_attachment = Some(index);
                    Outgoing::Staged(id)
                }
                Part::New(file) => {
                    last_attachment = Some(index);
                    let (copy, attachment) = self.copied(file, None).await?;
                    copies.push(copy);
                    Outgoing::New(Box::new(attachment))
                }
                Part::Text(text) => {
                    let env = &inner.engine.env;
                    let text =
                        NewText { text: inner.at_rest.seal_text(env, &text), idempotency_key: env.random.name() };
                    Outgoing::Text(text, last_attachment)
                }
            });
        }
        let (lane, now) = (lane.clone(), inner.engine.now());
        if inner.engine.env.steps.sabotaged(Sabotage::SendPiecemeal) {
            while outgoing.len() > 1 {
                let (lane, first) = (lane.clone(), vec![outgoing.remove(0)]);
                inner.engine.journal.write(move |tx| tx.send(&lane, &first, now)).await?;
            }
        }
        let spool = inner.spool.clone();
        let sent = inner.engine.journal.write(move |tx| {
            let sent = tx.send(&lane, &outgoing, now)?;
            if matches!(sent, Sent::All(_)) {
                copies.into_iter().try_for_each(|copy| spool.place(copy))?;
            }
            Ok(sent)
        });
        let sent = sent.await?;
        inner.engine.env.steps.reached("chat.sent");
        match sent {
            Sent::All(ids) => Ok(ids),
            Sent::NotStaged(id) => {
                Err(Error::Invalid(format!("{id} is not staged: it was sent, given up, or collected; choose it again")))
            }
            Sent::Twice(id) => Err(Error::Invalid(format!(
                "{id} is in this batch more than once; nothing is sent: name it once, or stage the file again"
            ))),
        }
    }

    /// Takes a message back, staged or sent, and the texts that go with it. Returns what is taken back: empty if it is
    /// finished.
    ///
    /// A message of which a publish was begun may have been seen, or may be in a moment. Those behind it wait until its
    /// publisher has answered, or whoever worked on it is gone, so that it is not seen behind them. That cannot be said of
    /// a publish whose outcome stays unknown: the others may see it late.
    pub async fn discard(&self, id: ItemId) -> Result<Vec<ItemId>, Error> {
        let now = self.inner.engine.now();
        let gone = self.inner.engine.journal.write(move |tx| tx.discard(id, now)).await?;
        self.forget(&gone);
        self.inner.spool.sweep().await?;
        Ok(gone)
    }

    /// Leaves a message out, and the texts that go with it, so that those behind it go on. Returns what is left out. What
    /// is published just now may be seen all the same, as with [`Chat::discard`].
    pub async fn skip(&self, id: ItemId) -> Result<Vec<ItemId>, Error> {
        let now = self.inner.engine.now();
        let gone = self.inner.engine.journal.write(move |tx| tx.skip(id, now)).await?;
        self.forget(&gone);
        self.inner.spool.sweep().await?;
        Ok(gone)
    }

    /// Has a blocked message tried again. Returns whether it was blocked.
    pub async fn retry(&self, id: ItemId) -> Result<bool, Error> {
        let now = self.inner.engine.now();
        Ok(self.inner.engine.journal.write(move |tx| tx.retry(id, now)).await?)
    }

    /// The network is back, or somebody looks: what waits for a moment, after a failure or because it was asked to, is tried
    /// as soon as something runs, and what was tried in vain before counts no more. Returns how many.
    pub async fn try_now(&self) -> Result<usize, Error> {
        self.inner.outage.is_over();
        let destination = self.inner.destination;
        Ok(self.inner.engine.journal.write(move |tx| tx.wake_messages(destination)).await?)
    }

    /// Changes what a text says. `false` if somebody may have seen it already: an edit is then a message of its own.
    pub async fn edit(&self, id: ItemId, text: &str) -> Result<bool, Error> {
        let (now, text) = (self.inner.engine.now(), self.inner.at_rest.seal_text(&self.inner.engine.env, text));
        Ok(self.inner.engine.journal.write(move |tx| tx.edit_text(id, &text, now)).await?)
    }

    /// The lane of that name, made if there is none.
    pub async fn lane(&self, name: &str) -> Result<Lane, Error> {
        let (destination, name) = (self.inner.destination, name.to_owned());
        Ok(self.inner.engine.journal.write(move |tx| tx.lane_named(destination, &name)).await?)
    }

    /// Says who is published before whom in a lane, and what becomes of those behind a blocked message. Holds for what is
    /// sent already, too.
    pub async fn set_policy(&self, lane: &Lane, order: PublishOrder, on_failure: OnFailure) -> Result<(), Error> {
        let (id, now) = (lane.id, self.inner.engine.now());
        Ok(self.inner.engine.journal.write(move |tx| tx.set_policy(id, order, on_failure, now)).await?)
    }

    /// Gives up what was staged too long ago and never sent, and removes files that nothing needs any more. Every
    /// [`Chat::run`] does so as well; the destination is not asked.
    pub async fn tidy(&self) -> Result<(), Error> {
        self.collect_staged(self.inner.engine.now()).await?;
        self.inner.spool.sweep().await?;
        Ok(())
    }

    /// Gives up what was staged too long ago and never sent. Returns how many.
    pub(crate) async fn collect_staged(&self, now: Timestamp) -> Result<usize, Error> {
        let inner = &self.inner;
        let ttl = i64::try_from(inner.settings.staged_ttl.as_millis()).unwrap_or(i64::MAX);
        let (destination, before) = (inner.destination, Timestamp(now.0.saturating_sub(ttl)));
        let has_old = move |tx: &landfall_store::Tx<'_>| Ok(!tx.staged_before(destination, before)?.is_empty());
        if !inner.engine.journal.read(has_old).await? {
            return Ok(0);
        }
        let gone = inner.engine.journal.write(move |tx| {
            let mut gone = Vec::new();
            // Asked again: one of them may have been sent since.
            for id in tx.staged_before(destination, before)? {
                gone.extend(tx.discard(id, now)?);
            }
            Ok(gone)
        });
        let gone = gone.await?;
        self.forget(&gone);
        Ok(gone.len())
    }

    pub(crate) fn forget(&self, gone: &[ItemId]) {
        for id in gone {
            self.inner.at_rest.forget(*id);
        }
    }
}
