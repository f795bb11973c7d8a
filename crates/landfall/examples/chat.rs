//! A small chat between two homes over a vault folder.
//!
//! `cargo run -p landfall --example chat` plays a scene to its end: a photo moves while its text is still being typed, what
//! is sent is shown at once, and a process that is killed in the middle costs nothing. `--talk` lets you type as Anna:
//! a text, or `/photo PATH`; an empty line ends. A folder may be given to keep the homes and the vault in.

use std::{
    error::Error,
    fs,
    io::BufRead as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use landfall::{
    Carrier, Engine, Env, Origin, ServiceCarrier, Settings, Token, Vault,
    recipes::chat::{
        Chat, ChatHost, ChatRun, ChatServer, ChatSettings, Content, EchoContent, HostKey, Inbox, Lane, LanePublisher,
        Lanes, Moves, NewFile, Part, Snapshot, Stage,
    },
};
use landfall_images::fixture;
use landfall_server::{Server, ServerConfig};
use landfall_transport::{Body, Loss};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What tells the process that is going to be killed from the others.
const DOOMED: &str = "--doomed";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let temporary = tempfile::tempdir()?;
    let folder = words.iter().find(|word| !word.starts_with("--")).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| temporary.path().to_owned());
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    match () {
        () if has(DOOMED) => doomed(&folder).await,
        () if has("--talk") => talk(&folder).await,
        () => scene(&folder).await,
    }
}

/// One side of the conversation: a process with a home.
struct Person {
    name: &'static str,
    engine: Engine,
    chat: Chat,
    lane: Lane,
    lanes: Lanes,
    server: ChatServer,
    photos: PathBuf,
    read_up_to: u64,
}

impl Person {
    /// Starts a process over a home, which is made if it is not there.
    async fn start(folder: &Path, name: &'static str) -> Outcome<Self> {
        let (home, env) = (folder.join(name), Env::real());
        let vault = Server::open(ServerConfig::new(folder.join("vault")), env.clone()).await?;
        let token = Token::new(vault.embedded_token(None).await?.as_str())?;
        let wire: Arc<dyn Carrier> = Arc::new(SlowUpload(ServiceCarrier::new(vault.router())));
        let server = ChatServer::new(Vault::new(Arc::clone(&wire), Origin::in_process(), token));
        let engine = Engine::open(Settings::new(&home), env.clone()).await?;
        let key = host_key(&home, &env)?;
        let lanes = Lanes::open(&engine, "chat:default", key.clone()).await?;
        let host = ChatHost {
            key: Some(key),
            granter: Arc::new(server.clone()),
            publisher: Arc::new(LanePublisher::of_home(server.clone(), lanes.clone())),
            moves: Moves::InProcess(wire),
            decoder: None,
        };
        let chat = Chat::open(&engine, "chat:default", ChatSettings::default(), host).await?;
        let lane = chat.lane("family").await?;
        let photos = folder.join(format!("photos of {name}"));
        Ok(Self { name, engine, chat, lane, lanes, server, photos, read_up_to: 0 })
    }

    /// Chooses a photo: from here on its bytes move, whether or not it will be sent.
    async fn choose(&self, path: &Path) -> Outcome<Part> {
        let photo = NewFile::found(&self.engine, path).await?;
        let staged = self.chat.stage(photo, Some("the composer")).await?;
        println!("{} chose {}", self.name, path.display());
        Ok(Part::Staged(staged))
    }

    async fn send(&self, batch: Vec<Part>) -> Outcome<()> {
        self.chat.send(&self.lane, batch).await?;
        println!("{} sent; it is in charge now, and shown:", self.name);
        show(&self.chat.echoes(&self.lane).await?);
        Ok(())
    }

    /// Works until nothing is left to do, and shows how far it is.
    async fn run(&self) -> Outcome<()> {
        let run = self.chat.run(ChatRun::default());
        tokio::pin!(run);
        loop {
            tokio::select! {
                report = &mut run => break report.map(drop)?,
                () = tokio::time::sleep(Duration::from_millis(150)) => {
                    let (sent, total) = self.chat.progress();
                    if let Some(percent) = (sent * 100).checked_div(total) {
                        println!("    {percent} % of {} kB", total / 1000);
                    }
                }
            }
        }
        let snapshot = self.chat.echoes(&self.lane).await?;
        show(&snapshot);
        let done = snapshot.echoes.iter().filter(|echo| echo.stage == Stage::Completed);
        self.chat.release(done.map(|echo| echo.id).collect()).await?;
        Ok(())
    }

    /// Reads what is new, and keeps photos in a folder of the home.
    async fn read(&mut self) -> Outcome<usize> {
        let Some(key) = self.lanes.key("family").await? else { return Ok(0) };
        let inbox = Inbox::open(&self.engine, self.server.clone(), &self.photos).await?;
        let arrived = self.server.read_lane(&key, self.read_up_to).await?;
        for message in &arrived {
            self.read_up_to = message.number;
            match &message.content {
                Some(Content::Text(text)) => println!("{} reads {}: {text}", self.name, message.number),
                Some(Content::RemoteAttachment(remote)) => {
                    let photo = inbox.receive(remote).await?;
                    println!("{} reads {}: a file, {} bytes", self.name, message.number, photo.bytes);
                }
                other => println!("{} reads {}: {other:?}", self.name, message.number),
            }
        }
        Ok(arrived.len())
    }
}

async fn scene(folder: &Path) -> Outcome<()> {
    let (anna, mut ben) = acquainted(folder).await?;
    println!("-- a photo moves while its text is being typed");
    fs::write(folder.join("view.jpg"), fixture::jpeg(7, 3000, 2000))?;
    let photo = anna.choose(&folder.join("view.jpg")).await?;
    anna.run().await?;
    show(&anna.chat.staged().await?);
    anna.send(vec![photo, Part::Text("Look where we are".to_owned())]).await?;
    anna.run().await?;
    ben.read().await?;

    println!("-- a process is killed in the middle");
    drop(anna);
    fs::write(folder.join("snow.mp4"), fixture::Movie::mp4(2_000_000).bytes())?;
    let mut doomed = Command::new(std::env::current_exe()?);
    let mut doomed = doomed.arg(folder).arg(DOOMED).stdout(Stdio::piped()).spawn()?;
    let said = std::io::BufReader::new(doomed.stdout.take().ok_or("no stdout")?);
    for line in said.lines() {
        let line = line?;
        println!("{line}");
        if line.ends_with("kB") && !line.contains(" 0 %") {
            break;
        }
    }
    doomed.kill()?;
    doomed.wait()?;
    println!("killed. Anna starts again, and nothing is lost:");
    let anna = Person::start(folder, "Anna").await?;
    show(&anna.chat.echoes(&anna.lane).await?);
    anna.run().await?;
    let arrived = ben.read().await?;
    assert_eq!(arrived, 2, "the film and its text arrive, once");
    println!("-- the end");
    Ok(())
}

/// Anna begins the lane; Ben is given its key, by a way that they trust.
async fn acquainted(folder: &Path) -> Outcome<(Person, Person)> {
    let (anna, ben) = (Person::start(folder, "Anna").await?, Person::start(folder, "Ben").await?);
    let key = anna.lanes.key_or_new("family").await?;
    assert!(ben.lanes.join("family", &key).await?, "Ben has another key of that lane");
    Ok((anna, ben))
}

/// What the process does that is killed before it is done.
async fn doomed(folder: &Path) -> Outcome<()> {
    let anna = Person::start(folder, "Anna").await?;
    let film = anna.choose(&folder.join("snow.mp4")).await?;
    anna.send(vec![film, Part::Text("It snows".to_owned())]).await?;
    anna.run().await
}

async fn talk(folder: &Path) -> Outcome<()> {
    let (anna, mut ben) = acquainted(folder).await?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let part = match line.strip_prefix("/photo ") {
            Some(path) => anna.choose(Path::new(path.trim())).await?,
            None if line.is_empty() => break,
            None => Part::Text(line),
        };
        anna.send(vec![part]).await?;
        anna.run().await?;
        ben.read().await?;
    }
    Ok(())
}

/// The key under which the journal keeps what it knows of messages. A phone has a key store for it.
fn host_key(home: &Path, env: &Env) -> Outcome<HostKey> {
    let path = home.join("host.key");
    if !path.exists() {
        fs::write(&path, env.random.array::<32>())?;
    }
    Ok(HostKey::from_bytes(fs::read(&path)?.as_slice().try_into()?))
}

/// What this side sees of its own messages before anybody else does.
fn show(snapshot: &Snapshot) {
    for echo in &snapshot.echoes {
        let says = match &echo.content {
            EchoContent::Text(text) => text.clone().unwrap_or_default(),
            EchoContent::Attachment { name, .. } => format!("[{name}]"),
        };
        println!("    {says}: {:?}", echo.stage);
    }
}

/// A way to the vault that takes its time with uploads, so that there is something to see.
struct SlowUpload<C>(C);

impl<C: Carrier> Carrier for SlowUpload<C> {
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        if request.method() != Method::PUT {
            return self.0.carry(request);
        }
        self.0.carry(request.map(|body| {
            let slowly = BodyStream::new(body).then(async |frame| {
                tokio::time::sleep(Duration::from_millis(60)).await;
                frame
            });
            StreamBody::new(slowly).boxed_unsync()
        }))
    }
}
