//! Records a session, as a desktop recorder would, and uploads it to a bucket.
//!
//! ```text
//! S3_ENDPOINT=http://127.0.0.1:8333 S3_BUCKET=media S3_REGION=us-east-1 \
//!   AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… cargo run -p landfall --example recorder -- FOLDER
//! ```
//!
//! Kill it in the middle and start it again: it goes on with what it has begun, and sends nothing twice.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use landfall::{
    Engine, Env, HttpCarrier, Observer, Origin, Progress, RunOptions, Settings,
    bucket::{BucketOptions, RETRIES_MAX},
    recipes::sessions::{Sessions, Status},
    s3::{Credentials, Place, Style},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let folder = PathBuf::from(env::args().nth(1).ok_or("name a folder for the home and the sessions")?);
    let recordings = folder.join("sessions");
    fs::create_dir_all(&recordings)?;

    // The queue of this application: what is in it survives whatever happens to the process.
    let engine = Engine::open(Settings::new(folder.join("home")), Env::real()).await?;
    let bucket = engine.bucket("recordings", options()?).await?;
    let sessions = Sessions::open(&engine, recordings.clone(), Some(bucket), RETRIES_MAX).await?;

    let is_begun = sessions.list().await?.iter().any(|session| session.state.status == Status::Pending);
    if !is_begun {
        let id = record(&recordings)?;
        println!("recorded {id}");
        // A person has clicked on *upload*. From here on nothing is lost.
        sessions.upload(&id).await??;
    }
    sessions.run(RunOptions::default(), Arc::new(Bar)).await?;
    for session in sessions.list().await? {
        let key = session.state.s3_key.unwrap_or_default();
        println!(
            "{} {} {key} {}",
            session.id,
            session.state.status.as_str(),
            session.state.last_error.unwrap_or_default()
        );
    }
    Ok(())
}

/// Where sessions go: what the environment says.
fn options() -> Outcome<BucketOptions> {
    let said = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let endpoint = match env::var("S3_ENDPOINT") {
        Ok(url) => Some(Origin::parse(&url)?),
        Err(_) => None,
    };
    let style = endpoint.as_ref().map(|_| Style::Path);
    let place = Place::new(endpoint, &said("S3_BUCKET")?, &said("S3_REGION")?, style)?;
    let token = env::var("AWS_SESSION_TOKEN").ok();
    let credentials = Credentials::new(said("AWS_ACCESS_KEY_ID")?, said("AWS_SECRET_ACCESS_KEY")?, token)?;
    let mut options = BucketOptions::new(place, credentials, Arc::new(HttpCarrier::default()));
    options.prefix = "recorder/".to_owned();
    Ok(options)
}

/// Writes a session: a video that is none, two screenshots, actions, and what is said of it. `.exported` comes last.
fn record(recordings: &Path) -> Outcome<String> {
    let number = fs::read_dir(recordings)?.count();
    let (id, created) = (format!("session-{number}"), 1_700_000_000_000_u64 + number as u64 * 60_000);
    let session = recordings.join(&id);
    fs::create_dir_all(session.join("video"))?;
    fs::create_dir_all(session.join("screenshots"))?;
    let noise = |seed: u8, bytes: usize| (0..bytes).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect::<Vec<u8>>();
    fs::write(session.join("video/screen.webm"), noise(1, 12 << 20))?;
    for shot in 0..2 {
        fs::write(session.join(format!("screenshots/{shot}.png")), noise(shot, 40_000))?;
    }
    let actions: Vec<String> = (0..500).map(|at| format!(r#"{{"at":{at},"type":"click"}}"#)).collect();
    fs::write(session.join("actions.json"), format!("[{}]", actions.join(",")))?;
    let meta = format!(
        r#"{{"sessionId":"{id}","createdAt":{created},"endedAt":{},"actionCount":500,"screenshotCount":2,"videoRef":"video/screen.webm"}}"#,
        created + 30_000
    );
    fs::write(session.join("session-meta.json"), meta)?;
    fs::write(session.join(".exported"), "")?;
    Ok(id)
}

/// Says how far it is.
struct Bar;

impl Observer for Bar {
    fn saw(&self, progress: Progress) {
        match progress {
            Progress::Stored { bytes, .. } => println!("the bucket has {bytes} bytes more"),
            Progress::Waiting { message, .. } => println!("waiting: {message}"),
            Progress::Blocked { message, .. } => println!("failed: {message}"),
            _ => {}
        }
    }
}
