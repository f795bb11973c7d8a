//! Serves an empty bucket on the loopback until standard input ends, for clients that are not written in Rust.
//!
//! `cargo run -p landfall-testkit --example bucket -- garage` prints one line of JSON: where, which bucket, which key.

use std::{env, io, sync::Arc};

use landfall_env::{Clock as _, SystemClock};
use landfall_testkit::bucket::{BucketServer, Credential, Profile};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let name = env::args().nth(1).unwrap_or_else(|| "s3".to_owned());
    let profile = match name.as_str() {
        "s3" => Profile::s3(),
        "ceph" => Profile::ceph(),
        "garage" => Profile::garage(),
        "seaweed" => Profile::seaweed(),
        "r2" => Profile::r2(),
        _ => return Err(io::Error::other(format!("no profile is called `{name}`: s3, ceph, garage, seaweed, r2"))),
    };
    let (clock, region) = (SystemClock::new(), profile.region.clone());
    let server = BucketServer::new(profile, Arc::new(move || clock.wall_ms()));
    let served = server.serve().await?;
    let key = Credential::default();
    let line = serde_json::json!({
        "origin": served.origin(),
        "region": region,
        "bucket": BucketServer::BUCKET,
        "access_key_id": key.access_key_id(),
        "secret_access_key": key.secret_access_key(),
    });
    println!("{line}");
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || ended.send(io::copy(&mut io::stdin(), &mut io::sink())));
    end.await.map_err(io::Error::other)?.map(drop)
}
