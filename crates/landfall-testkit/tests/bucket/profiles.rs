//! Servers other than Amazon's, as they were seen to behave.

use landfall_testkit::bucket::Profile;

use crate::bench::Bench;

/// What one server does with the same requests.
#[derive(Debug, PartialEq, Eq)]
struct Behaviour {
    put_on_existing: u16,
    complete_on_existing: u16,
    etag_of_complete: bool,
    complete_again: u16,
    abort_again: u16,
    small_parts: u16,
    parts_in_wrong_order: u16,
    wrong_checksum: (u16, String),
}

async fn behaviour(profile: Profile) -> Behaviour {
    let min = profile.part_bytes_min;
    let bench = Bench::with(Profile { part_bytes_min: min.min(3), ..profile });
    bench.server.put("there", "1");
    let create = bench.put("there", "2").header("if-none-match", "*");
    let put_on_existing = create.send().await.status;
    let opened = async |key: &'static str, bodies: &'static [&'static [u8]]| {
        let id = bench.open(key, &[]).await;
        let parts = bench.send(key, &id, bodies).await;
        (id, parts)
    };
    let (id, parts) = opened("there", &[b"333", b"333"]).await;
    let complete_on_existing = bench.complete("there", &id, &parts).header("if-none-match", "*").send().await.status;
    let (id, parts) = opened("new", &[b"333", b"333"]).await;
    let completed = bench.complete("new", &id, &parts).send().await;
    assert_eq!(bench.head("new").send().await.header("etag").len(), 36, "the right one, with its quotes");
    let complete_again = bench.complete("new", &id, &parts).send().await.status;
    let (id, _) = opened("aborted", &[]).await;
    bench.ask("DELETE", "aborted").query("uploadId", &id).send().await;
    let abort_again = bench.ask("DELETE", "aborted").query("uploadId", &id).send().await.status;
    let (id, parts) = opened("small", &[b"1", b"1"]).await;
    let small_parts = bench.complete("small", &id, &parts).send().await.status;
    let (id, mut parts) = opened("turned", &[b"333", b"333"]).await;
    parts.reverse();
    let parts_in_wrong_order = bench.complete("turned", &id, &parts).send().await.status;
    let wrong = bench.put("wrong", "1").header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=").send().await;
    Behaviour {
        put_on_existing,
        complete_on_existing,
        etag_of_complete: !completed.element("ETag").is_empty(),
        complete_again,
        abort_again,
        small_parts,
        parts_in_wrong_order,
        wrong_checksum: wrong.refusal(),
    }
}

fn s3() -> Behaviour {
    Behaviour {
        put_on_existing: 412,
        complete_on_existing: 412,
        etag_of_complete: true,
        complete_again: 200,
        abort_again: 404,
        small_parts: 400,
        parts_in_wrong_order: 400,
        wrong_checksum: (400, "BadDigest".into()),
    }
}

#[tokio::test]
async fn each_profile_differs_from_s3_where_its_server_does() {
    assert_eq!(behaviour(Profile::s3()).await, s3());
    let ceph = Behaviour {
        complete_on_existing: 200,
        etag_of_complete: false,
        parts_in_wrong_order: 200,
        wrong_checksum: (200, String::new()),
        ..s3()
    };
    assert_eq!(behaviour(Profile::ceph()).await, ceph);
    let garage = Behaviour {
        put_on_existing: 200,
        complete_on_existing: 200,
        complete_again: 404,
        small_parts: 200,
        wrong_checksum: (400, "InvalidDigest".into()),
        ..s3()
    };
    assert_eq!(behaviour(Profile::garage()).await, garage);
    assert_eq!(behaviour(Profile::seaweed()).await, Behaviour { abort_again: 204, ..s3() });
    let r2 = Behaviour {
        complete_on_existing: 200,
        complete_again: 404,
        wrong_checksum: (501, "NotImplemented".into()),
        ..s3()
    };
    assert_eq!(behaviour(Profile::r2()).await, r2);
}
