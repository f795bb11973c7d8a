//! `landfall lane tail`: what arrived in a lane, decrypted, and its attachments if they are wanted.

use std::{collections::VecDeque, time::Duration};

use landfall::{
    Error,
    recipes::chat::{Arrived, ChatServer, Content, Inbox, Lane, LaneKey, Received, RemoteAttachment},
};
use serde_json::{Map, Value, json};

use super::place_of;
use crate::{
    arguments::Tail,
    command::Command,
    conversations::{self, Conversations},
    destination::patiently,
    exit::Exit,
    failed::{During as _, Failed, failed},
    human,
    output::{Format, fields},
};

/// Where the next line of a text begins: below the first.
const NEXT_LINE: &str = "\n                                  ";
/// How often it is asked what else arrived.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Carries out `landfall lane tail`.
pub(crate) async fn tail(command: &Command, arguments: &Tail) -> Result<Exit, Failed> {
    if arguments.follow && command.out.format() == Format::Json {
        return Err(Failed::usage("cannot follow a lane with `--json`", "one document has an end")
            .hint("`--json-lines` writes each message as it arrives"));
    }
    let place = place_of(command, arguments.from.from.as_deref())?;
    let found = Conversations::find(command, place.clone()).await?;
    let conversations = found.ok_or_else(|| conversations::no_lane(&arguments.lane, &place))?;
    let lane = conversations.lane(&arguments.lane).await?;
    let what = format!("cannot read the lane `{}`", arguments.lane);
    let key = conversations.lanes.key(&lane.name).await.during(&what)?;
    let key = key.ok_or_else(|| conversations::no_lane(&lane.name, &conversations.place))?;
    let connected = conversations.connect(command).await?;
    let inbox = match &arguments.save {
        Some(folder) => {
            let what = format!("cannot save to `{}`", folder.display());
            if folder.exists() && !folder.is_dir() {
                return Err(Failed::usage(what, "it is no folder").hint("name a folder; it is made if it is not there"));
            }
            Some(Inbox::open(&conversations.engine, connected.server.clone(), folder).await.during(&what)?)
        }
        None => None,
    };
    let mut shown = Shown { command, inbox, document: Vec::new(), problems: 0 };
    let reader = Reader { command, server: &connected.server, key, what };
    let mut at = match arguments.after {
        Some(after) => reader.all_after(after, &mut shown).await?,
        None => reader.last(&lane, arguments.last, &mut shown).await?,
    };
    if arguments.after != Some(at) {
        note_read(&conversations, &lane, at).await?;
    }
    if arguments.follow {
        // Until somebody says stop, or the lane cannot be read any more.
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            let next = reader.all_after(at, &mut shown).await?;
            if next != at {
                at = next;
                note_read(&conversations, &lane, at).await?;
            }
        }
    }
    let problems = shown.problems;
    let mut document = fields(json!({ "lane": lane.name, "next": at, "problems": problems }));
    if command.out.format() == Format::Json {
        document.insert("messages".to_owned(), shown.document.into());
    }
    command.out.document(document);
    Ok(if problems == 0 { Exit::Done } else { Exit::Problems })
}

/// So that the next time the end of a long lane is found without reading all of it.
async fn note_read(conversations: &Conversations, lane: &Lane, number: u64) -> Result<(), Failed> {
    if i64::try_from(number).is_ok_and(|number| number <= lane.cursor) {
        return Ok(());
    }
    conversations.lanes.read_up_to(lane, number).await.during("cannot write to the journal")
}

/// Reads a lane page by page.
struct Reader<'t> {
    command: &'t Command,
    server: &'t ChatServer,
    key: LaneKey,
    what: String,
}

impl Reader<'_> {
    async fn page(&self, after: u64) -> Result<Vec<Arrived>, Failed> {
        let ask = async || self.server.read_lane(&self.key, after).await.map_err(Error::Destination);
        patiently(self.command, ask).await.during(&self.what)
    }

    /// Shows all that follows a number, and returns the last one's.
    async fn all_after(&self, mut after: u64, shown: &mut Shown<'_>) -> Result<u64, Failed> {
        loop {
            let page = self.page(after).await?;
            let Some(last) = page.last().map(|arrived| arrived.number) else { return Ok(after) };
            for arrived in &page {
                shown.show(arrived).await;
            }
            after = last;
        }
    }

    /// Shows the last ones, and returns the last one's number.
    async fn last(&self, lane: &Lane, count: usize, shown: &mut Shown<'_>) -> Result<u64, Failed> {
        let read = u64::try_from(lane.cursor).unwrap_or(0);
        let (mut last, mut at) = self.end_of(read.saturating_sub(count as u64), count).await?;
        if last.len() < count && read > count as u64 {
            // The vault was put back to an older state: it has less than was read once.
            (last, at) = self.end_of(0, count).await?;
        }
        for arrived in &last {
            shown.show(arrived).await;
        }
        if shown.inbox.is_some() && last.front().is_some_and(|first| first.number > 1) {
            self.command.out.note("earlier attachments are not saved; `--after 0` shows and saves all");
        }
        Ok(at)
    }

    /// The last ones of those that follow a number, and the number of the very last.
    async fn end_of(&self, mut after: u64, count: usize) -> Result<(VecDeque<Arrived>, u64), Failed> {
        let mut last = VecDeque::new();
        loop {
            let page = self.page(after).await?;
            let Some(number) = page.last().map(|arrived| arrived.number) else { return Ok((last, after)) };
            after = number;
            last.extend(page);
            last.drain(..last.len().saturating_sub(count));
        }
    }
}

/// What is shown, and where attachments go.
struct Shown<'t> {
    command: &'t Command,
    inbox: Option<Inbox>,
    /// For the one document.
    document: Vec<Value>,
    problems: u64,
}

impl Shown<'_> {
    async fn show(&mut self, arrived: &Arrived) {
        let (kind, says) = match &arrived.content {
            Some(Content::Text(text)) => ("text", text.lines().map(human::text).collect::<Vec<_>>().join(NEXT_LINE)),
            Some(Content::RemoteAttachment(_) | Content::MultiRemoteAttachment(_) | Content::Attachment { .. }) => {
                ("attachment", String::new())
            }
            Some(Content::Other { fallback, .. }) => {
                let fallback = fallback.as_deref().unwrap_or("something that is not shown here");
                ("other", format!("({})", human::text(fallback)))
            }
            Some(_) => ("other", "(something that is not shown here)".to_owned()),
            None => ("unreadable", "(does not open: altered, or written by a newer version)".to_owned()),
        };
        let mut message = fields(json!({
            "number": arrived.number,
            "at": human::moment(arrived.created_at_ms),
            "kind": kind,
        }));
        if let Some(Content::Text(text)) = &arrived.content {
            message.insert("text".to_owned(), text.as_str().into());
        }
        let head = format!("{:>6}  {}  ", arrived.number, human::moment(arrived.created_at_ms));
        if kind != "attachment" {
            self.command.out.line(&format!("{head}{says}"));
        }
        let mut attachments = Vec::new();
        match &arrived.content {
            Some(Content::RemoteAttachment(remote)) => attachments.push(self.remote(&head, remote).await),
            Some(Content::MultiRemoteAttachment(several)) => {
                for remote in several.attachments() {
                    attachments.push(self.remote(&head, remote).await);
                }
            }
            Some(Content::Attachment { attachment, content }) => {
                let received = match &self.inbox {
                    Some(inbox) => Some(inbox.keep(attachment.filename.as_deref(), content.clone()).await),
                    None => None,
                };
                let name = attachment.filename.as_deref();
                attachments.push(self.attachment(&head, name, Some(content.len() as u64), received));
            }
            _ => {}
        }
        if kind == "attachment" {
            message.insert("attachments".to_owned(), attachments.into());
        }
        match self.command.out.format() {
            Format::Json => self.document.push(Value::Object(message)),
            _ => self.command.out.event("message", message),
        }
    }

    async fn remote(&mut self, head: &str, remote: &RemoteAttachment) -> Value {
        let received = match &self.inbox {
            Some(inbox) => Some(inbox.receive(remote).await),
            None => None,
        };
        self.attachment(head, remote.filename(), remote.payload_len(), received)
    }

    fn attachment(
        &mut self,
        head: &str,
        name: Option<&str>,
        bytes: Option<u64>,
        received: Option<Result<Received, Error>>,
    ) -> Value {
        let shown = human::text(name.unwrap_or("(no name)"));
        let mut one: Map<String, Value> = fields(json!({ "name": name, "bytes": bytes }));
        let size = |bytes: u64| format!(" ({})", human::size(bytes));
        match received {
            None => self.command.out.line(&format!("{head}{shown}{}", bytes.map(size).unwrap_or_default())),
            Some(Ok(Received { path, bytes, was_there })) => {
                let word = if was_there { "is there as" } else { "saved as" };
                let path_shown = human::path(path.as_os_str().as_encoded_bytes());
                self.command.out.line(&format!("{head}{shown}{}, {word} {path_shown}", size(bytes)));
                one.insert("bytes".to_owned(), bytes.into());
                one.insert("was_there".to_owned(), was_there.into());
                human::put_path(&mut one, "saved", path.as_os_str().as_encoded_bytes());
            }
            Some(Err(error)) => {
                self.problems += 1;
                let failed = failed(&format!("cannot save `{shown}`"), &error);
                self.command.out.line(&format!("{head}{shown}{}, not saved", bytes.map(size).unwrap_or_default()));
                self.command.out.say(&format!("problem: {}", human::text(&failed.message())));
                let problem = json!({ "code": failed.code, "message": failed.message(), "remedy": failed.hint });
                one.insert("problem".to_owned(), problem);
            }
        }
        Value::Object(one)
    }
}
