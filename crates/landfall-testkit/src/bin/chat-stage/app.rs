//! A host of conversations over a home: what an app or its share extension is.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use landfall::{
    Engine, Env, HttpCarrier, ItemId, Origin, RetryPolicy, Settings, Token, Vault,
    recipes::chat::{
        Chat, ChatHost, ChatRun, ChatServer, ChatSettings, Echo, EchoContent, LanePublisher, Moves, NewFile, Part,
        Publisher, Stage, Transfer, Treatment,
    },
};
use landfall_core::PutReport;
use landfall_crypto::{HostKey, LaneKey, xmtp::Content};
use landfall_store::Reported;
use serde_json::{Value, json};

use crate::{
    lines::{self, Answer, Answers, answer_input, path},
    publisher::Noted,
};

struct App {
    engine: Engine,
    env: Env,
    chat: Chat,
    server: ChatServer,
    keys: BTreeMap<String, LaneKey>,
    /// Where the platform's carrier listens, if it is that which moves bytes.
    platform: Option<String>,
}

/// Acts until standard input ends.
pub(crate) async fn act(begins: &Value) {
    let app = App::open(begins).await.expect("the home opens");
    answer_input(&json!({ "pid": std::process::id() }), Arc::new(app)).await;
}

impl App {
    async fn open(begins: &Value) -> Result<Self, landfall::Error> {
        let env = Env::real();
        // Tests wait for what is tried again.
        let retry = RetryPolicy { base: Duration::from_millis(20), ..RetryPolicy::default() };
        let settings = Settings { retry, ..Settings::new(path(&begins["home"])) };
        let engine = Engine::open(settings, env.clone()).await?;
        let text = |name: &str| begins[name].as_str().unwrap_or_default();
        let carrier = Arc::new(HttpCarrier::default());
        let origin = Origin::parse(text("url")).expect("the server has an address");
        let token = Token::new(text("token")).expect("the server gave a token");
        let server = ChatServer::new(Vault::new(Arc::clone(&carrier) as _, origin, token));
        let lanes = begins["lanes"].as_array().expect("there are lanes");
        let lanes = lanes.iter().map(|lane| lane.as_str().unwrap_or_default().to_owned());
        let keys: BTreeMap<String, LaneKey> =
            lanes.zip(1..).map(|(name, byte)| (name, LaneKey::from_bytes([byte; 32]))).collect();
        let publisher = LanePublisher::new(server.clone(), keys.clone());
        let publisher: Arc<dyn Publisher> = match begins["notes"].as_str() {
            Some(notes) => Arc::new(Noted::new(publisher, notes.as_ref())),
            None => Arc::new(publisher),
        };
        let platform = begins["platform"].as_str().map(str::to_owned);
        let host = ChatHost {
            key: Some(HostKey::from_bytes([7; 32])),
            granter: Arc::new(server.clone()),
            publisher,
            moves: if platform.is_some() {
                Moves::ByPlatform { session: "app".to_owned() }
            } else {
                Moves::InProcess(carrier)
            },
            decoder: None,
        };
        let settings = ChatSettings { allows_loopback: true, ..ChatSettings::default() };
        let chat = Chat::open(&engine, "chat:default", settings, host).await?;
        Ok(Self { engine, env, chat, server, keys, platform })
    }

    async fn stage(&self, question: &Value) -> Answer {
        let treatment = if question["is_photo"] == true { Treatment::Photo } else { Treatment::AsItIs };
        let (path, name) = (path(&question["path"]), question["name"].as_str().unwrap_or_default().to_owned());
        let file = NewFile { path, name, mime: "image/jpeg".to_owned(), treatment };
        let staged = self.chat.stage(file, question["composer"].as_str()).await;
        staged.map(|item| json!(item.0)).map_err(say)
    }

    async fn send(&self, question: &Value) -> Answer {
        let lane = self.chat.lane(question["lane"].as_str().unwrap_or_default()).await.map_err(say)?;
        // What is staged is a number, what is written a string.
        let part = |part: &Value| match part.as_i64() {
            Some(item) => Part::Staged(ItemId(item)),
            None => Part::Text(part.as_str().unwrap_or_default().to_owned()),
        };
        let batch = question["batch"].as_array().expect("a batch is a list").iter().map(part).collect();
        let sent = self.chat.send(&lane, batch).await;
        sent.map(|items| json!(items.iter().map(|item| item.0).collect::<Vec<_>>())).map_err(say)
    }

    async fn run(&self, question: &Value) -> Answer {
        let budget = question["budget_ms"].as_u64().map(Duration::from_millis);
        let report = self.chat.run(ChatRun { budget, ..ChatRun::default() }).await.map_err(say)?;
        Ok(json!({
            "is_drained": report.is_drained,
            "remaining": report.remaining,
            "transfers": report.transfers,
        }))
    }

    /// Hands transfers to the platform; returns their attempts.
    async fn hand_over(&self) -> Answer {
        let live = self.ask_platform(json!({ "do": "live" })).await?;
        let mut handed = Vec::new();
        for transfer in self.chat.take_transfers(usize::MAX).await.map_err(say)? {
            let attempt = transfer.attempt.clone();
            let task = match live.as_array().is_some_and(|live| live.contains(&json!(attempt))) {
                // An app before this one died between the two.
                true => json!(0),
                false => self.ask_platform(json!({ "do": "begin", "task": task(&transfer) })).await?,
            };
            self.env.steps.reached("app.handed-over");
            if !self.chat.transfer_started(&attempt, &task.to_string()).await.map_err(say)? {
                self.ask_platform(json!({ "do": "cancel", "attempt": attempt })).await?;
            }
            handed.push(attempt);
        }
        for attempt in self.chat.take_cancellations().await.map_err(say)? {
            self.ask_platform(json!({ "do": "cancel", "attempt": attempt })).await?;
        }
        Ok(json!(handed))
    }

    /// Hears what the platform tells; returns attempts, and what telling came to.
    async fn hear(&self, question: &Value) -> Answer {
        let reports = self.ask_platform(json!({ "do": "reports", "wait_ms": question["wait_ms"] })).await?;
        let mut heard = Vec::new();
        for report in reports.as_array().into_iter().flatten() {
            let attempt = report[0].as_str().unwrap_or_default();
            self.env.steps.reached("app.heard");
            let reported = self.chat.transfer_finished(attempt, &put_report(&report[1])).await.map_err(say)?;
            heard.push(json!([attempt, matches!(reported, Reported::Taken(_))]));
        }
        Ok(json!(heard))
    }

    /// What a host does when it starts: hears what was told meanwhile, and compares who has what.
    async fn launch(&self) -> Answer {
        self.hear(&Value::Null).await?;
        let live = self.ask_platform(json!({ "do": "live" })).await?;
        let live = live.as_array().into_iter().flatten().filter_map(|attempt| attempt.as_str().map(str::to_owned));
        for attempt in self.chat.reconcile(live.collect()).await.map_err(say)? {
            self.ask_platform(json!({ "do": "cancel", "attempt": attempt })).await?;
        }
        Ok(Value::Null)
    }

    async fn ask_platform(&self, question: Value) -> Answer {
        let platform = self.platform.as_deref().ok_or("this process moves its bytes itself")?;
        lines::ask(platform, &question).await
    }

    async fn echoes(&self, question: &Value) -> Answer {
        let lane = self.chat.lane(question["lane"].as_str().unwrap_or_default()).await.map_err(say)?;
        let (sent, staged) = (self.chat.echoes(&lane).await, self.chat.staged().await);
        let shown = |echoes: Vec<Echo>| echoes.iter().map(echo).collect::<Vec<_>>();
        let sent = sent.map_err(say)?;
        Ok(json!({
            "sent": shown(sent.echoes),
            "staged": shown(staged.map_err(say)?.echoes),
            "cursor": sent.cursor,
        }))
    }

    /// What happened to items, oldest first: pairs of an item and a word.
    async fn events(&self) -> Answer {
        let events = self.engine.events_since(0, usize::MAX).await.map_err(say)?;
        Ok(json!(events.iter().map(|event| json!([event.item.0, event.kind])).collect::<Vec<_>>()))
    }

    async fn release(&self, question: &Value) -> Answer {
        let items = question["items"].as_array().into_iter().flatten().filter_map(|item| item.as_i64().map(ItemId));
        self.chat.release(items.collect()).await.map(|count| json!(count)).map_err(say)
    }

    /// Everything in a lane, as its readers see it: texts as they are, attachments by their names.
    async fn lane(&self, question: &Value) -> Answer {
        let name = question["lane"].as_str().unwrap_or_default();
        let key = self.keys.get(name).ok_or("nobody has the key of that lane")?;
        let mut said = Vec::new();
        let mut after = 0;
        loop {
            let page = self.server.read_lane(key, after).await.map_err(say)?;
            let Some(last) = page.last() else { return Ok(json!(said)) };
            after = last.number;
            said.extend(page.iter().map(|arrived| match &arrived.content {
                Some(Content::Text(text)) => text.clone(),
                Some(Content::RemoteAttachment(remote)) => remote.filename().unwrap_or("?").to_owned(),
                other => format!("{other:?}"),
            }));
        }
    }
}

impl Answers for App {
    fn answer(self: Arc<Self>, question: Value) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            match question["do"].as_str().unwrap_or_default() {
                "stage" => self.stage(&question).await,
                "send" => self.send(&question).await,
                "run" => self.run(&question).await,
                "launch" => self.launch().await,
                "hand-over" => self.hand_over().await,
                "hear" => self.hear(&question).await,
                "echoes" => self.echoes(&question).await,
                "events" => self.events().await,
                "release" => self.release(&question).await,
                "lane" => self.lane(&question).await,
                "suspend" => {
                    self.engine.suspend().await;
                    Ok(Value::Null)
                }
                "resume" => self.engine.resume().await.map(|()| Value::Null).map_err(say),
                other => Err(format!("an app cannot `{other}`")),
            }
        })
    }
}

fn task(transfer: &Transfer) -> Value {
    json!({
        "attempt": transfer.attempt,
        "method": transfer.method,
        "url": transfer.url,
        "headers": transfer.headers,
        "file": transfer.file,
        "bytes": transfer.bytes,
        "deadline": transfer.deadline.map(|deadline| deadline.0),
    })
}

fn put_report(report: &Value) -> PutReport {
    match (report.as_str(), report["answered"].as_u64().and_then(|status| u16::try_from(status).ok())) {
        (_, Some(status)) => PutReport::Answered { status, retry_after: None, says_expired: false },
        (Some("not-sent"), _) => PutReport::NotSent,
        (Some("cancelled"), _) => PutReport::Cancelled,
        _ => PutReport::Unknown,
    }
}

fn echo(echo: &Echo) -> Value {
    let (says, image) = match &echo.content {
        EchoContent::Text(text) => (text.clone(), None),
        EchoContent::Attachment { name, image, .. } => (Some(name.clone()), image.clone()),
    };
    let stage = match &echo.stage {
        Stage::Preparing => "preparing",
        Stage::Uploading(_) => "uploading",
        Stage::Staged => "staged",
        Stage::Publishing => "publishing",
        Stage::Completed => "completed",
        Stage::Failed { message, .. } => message,
        Stage::Paused => "paused",
        Stage::Dropped => "dropped",
    };
    json!({ "item": echo.id.0, "says": says, "stage": stage, "image": image })
}

/// An error and what is behind it.
fn say(error: impl Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said += &format!(": {error}");
        source = error.source();
    }
    said
}
