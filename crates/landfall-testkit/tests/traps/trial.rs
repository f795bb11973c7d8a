//! Trying a destination out names what is wrong with it, and each refusal is seen on the wire.

use std::sync::atomic::Ordering;

use landfall::bucket::{Check, Verdict};
use landfall_testkit::bucket::{Credential, Outcome};

use crate::world::{Operation, Steering, World};

#[tokio::test]
async fn a_destination_that_is_right_passes_and_is_left_as_it_was() {
    let world = World::new().await;
    let checks = world.bucket.test().await.unwrap();
    for check in &checks {
        assert!(matches!(check.verdict, Verdict::Ok { .. }), "{check:?}");
    }
    assert_eq!(world.server.objects().len(), 0);
    assert_eq!(world.server.incomplete_uploads().len(), 0);
}

#[tokio::test]
async fn each_wrong_setting_is_named_with_a_remedy() {
    let good = Credential::default();
    let (key, secret) = (good.access_key_id().to_owned(), good.secret_access_key().to_owned());
    for (what, steering, failing, code, seen) in [
        (
            "a key that nobody knows",
            Steering { credentials: ("AKIAUNKNOWN".into(), secret.clone(), None), ..Steering::default() },
            "bucket",
            "bad-credentials",
            "InvalidAccessKeyId",
        ),
        (
            "a wrong secret",
            Steering { credentials: (key.clone(), "wrong".into(), None), ..Steering::default() },
            "bucket",
            "bad-credentials",
            "SignatureDoesNotMatch",
        ),
        ("no such bucket", Steering::default(), "bucket", "no-such-bucket", "NoSuchBucket"),
        ("no leave to write", Steering::default(), "write", "access-denied", "AccessDenied"),
    ] {
        let world = World::with(steering).await;
        match what {
            "no such bucket" => world.server.remove_bucket(landfall_testkit::bucket::BucketServer::BUCKET),
            "no leave to write" => world.server.allow(good.clone().denied(&Operation::WRITES, "")),
            _ => {}
        }
        let checks = world.bucket.test().await.unwrap();
        let Check { name, verdict } = failed(&checks).unwrap_or_else(|| panic!("{what}: {checks:?}"));
        let Verdict::Fail { code: said, message, remedy } = verdict else { panic!("{verdict:?}") };
        assert_eq!((*name, said.as_str()), (failing, code), "{what}: {message}");
        assert!(!message.is_empty() && !remedy.is_empty());
        assert!(was_refused_as(&world, seen), "{what}: {seen} was not seen on the wire");
        assert_eq!(world.server.objects().len(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_wrong_region_is_corrected_and_said() {
    let world = World::with(Steering { region: "us-west-2", ..Steering::default() }).await;
    let checks = world.bucket.test().await.unwrap();
    assert!(failed(&checks).is_none(), "{checks:?}");
    let Verdict::Warn { message, remedy } = verdict_of(&checks, "region") else { panic!("{checks:?}") };
    assert!(message.contains("eu-central-1") && message.contains("us-west-2"), "{message}");
    assert!(remedy.contains("--region eu-central-1"), "{remedy}");
    let is_400 = |outcome: &Outcome| matches!(outcome, Outcome::Answered { status: 400, .. });
    assert!(world.server.requests().iter().any(|request| is_400(&request.outcome)), "it was refused on the wire");
}

#[tokio::test]
async fn a_skewed_clock_is_corrected_and_said() {
    for (ahead, direction) in [(3_600_000, "behind"), (-3_600_000, "ahead")] {
        let world = World::new().await;
        world.ahead.store(ahead, Ordering::Relaxed);
        let checks = world.bucket.test().await.unwrap();
        assert!(failed(&checks).is_none(), "{checks:?}");
        let Verdict::Warn { message, remedy } = verdict_of(&checks, "clock") else { panic!("{checks:?}") };
        assert!(message.contains(direction) && remedy.contains("clock"), "{message}");
        let is_403 = |outcome: &Outcome| matches!(outcome, Outcome::Answered { status: 403, .. });
        assert!(world.server.requests().iter().any(|request| is_403(&request.outcome)), "it was refused on the wire");
    }
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_named() {
    let mut world = World::new().await;
    world.stop_serving().await;
    let checks = world.bucket.test().await.unwrap();
    let Check { name, verdict } = failed(&checks).unwrap();
    let Verdict::Fail { code, remedy, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!((*name, code.as_str()), ("bucket", "offline"));
    assert!(remedy.contains("network"), "{remedy}");
}

fn failed(checks: &[Check]) -> Option<&Check> {
    checks.iter().find(|check| matches!(check.verdict, Verdict::Fail { .. }))
}

fn verdict_of<'c>(checks: &'c [Check], name: &str) -> &'c Verdict {
    &checks.iter().find(|check| check.name == name).unwrap().verdict
}

fn was_refused_as(world: &World, code: &str) -> bool {
    let is_it = |outcome: &Outcome| matches!(outcome, Outcome::Answered { code: Some(said), .. } if said == code);
    world.server.requests().iter().any(|request| is_it(&request.outcome))
}
