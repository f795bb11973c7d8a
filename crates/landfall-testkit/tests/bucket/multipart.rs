//! Uploads in parts.

use landfall_testkit::bucket::{Again, IfNoneMatch, Operation, Profile};

use crate::bench::Bench;

#[tokio::test]
async fn parts_become_one_object_with_what_was_said_of_it() {
    let bench = Bench::new();
    let id = bench.open("a.zip", &[("content-type", "application/zip"), ("x-amz-meta-id", "7")]).await;
    let upload = &bench.server.incomplete_uploads()[0];
    assert_eq!((upload.upload_id.as_str(), upload.headers["x-amz-meta-id"].as_str()), (id.as_str(), "7"));
    let parts = bench.send("a.zip", &id, &[b"12345", b"6789"]).await;
    assert_eq!(parts[0].1, "\"827ccb0eea8a706c4c34a16891f84e7b\"");
    assert_eq!(bench.server.incomplete_uploads()[0].parts.values().copied().collect::<Vec<_>>(), [5, 4]);
    assert!(bench.server.object("a.zip").is_none());
    let heard = bench.complete("a.zip", &id, &parts).send().await;
    assert_eq!((heard.status, heard.element("ETag")), (200, "\"324730582f20c3f18cbb66d63a6137d2-2\"".into()));
    let object = bench.server.object("a.zip").unwrap();
    assert_eq!((&object.bytes[..], &object.parts[..]), (&b"123456789"[..], &[5, 4][..]));
    let heard = bench.head("a.zip").send().await;
    assert_eq!((heard.header("x-amz-meta-id"), heard.header("content-type")), ("7".into(), "application/zip".into()));
    assert_eq!(heard.header("etag"), "\"324730582f20c3f18cbb66d63a6137d2-2\"");
    assert!(bench.server.incomplete_uploads().is_empty());
    assert_eq!(bench.server.bytes_received(Operation::UploadPart), 9);
}

#[tokio::test]
async fn of_a_part_that_is_sent_again_the_last_counts() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    let old = bench.send("a", &id, &[b"old"]).await;
    let new = bench.send("a", &id, &[b"new!"]).await;
    let list = bench.get("a").query("uploadId", &id).send().await;
    assert_eq!(list.elements("Size"), ["4"]);
    let heard = bench.complete("a", &id, &old).send().await;
    assert_eq!((heard.refusal(), heard.element("PartNumber")), ((400, "InvalidPart".into()), "1".into()));
    bench.server.set_profile(Profile { keeps_replaced_parts: true, ..Profile::s3() });
    bench.send("a", &id, &[b"newest"]).await;
    let list = bench.get("a").query("uploadId", &id).send().await;
    assert_eq!(
        (list.elements("PartNumber"), list.elements("Size")),
        (vec!["1".into(), "1".into()], vec!["4".into(), "6".into()])
    );
    assert_eq!(bench.complete("a", &id, &new).send().await.status, 200);
    assert_eq!(bench.server.object("a").unwrap().bytes, "new!");
}

#[tokio::test]
async fn a_list_of_parts_that_is_wrong_completes_nothing() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    let parts = bench.send("a", &id, &[b"1", b"2"]).await;
    let complete = |parts: &[_]| bench.complete("a", &id, parts).send();
    let turned: Vec<_> = parts.iter().rev().cloned().collect();
    let twice = [parts[0].clone(), parts[0].clone()];
    let missing = [(3, parts[0].1.clone(), String::new())];
    let other = [(1, "\"00000000000000000000000000000000\"".to_owned(), String::new())];
    assert_eq!(complete(&turned).await.refusal(), (400, "InvalidPartOrder".into()));
    assert_eq!(complete(&twice).await.refusal(), (400, "InvalidPartOrder".into()));
    assert_eq!(complete(&missing).await.refusal(), (400, "InvalidPart".into()));
    assert_eq!(complete(&other).await.refusal(), (400, "InvalidPart".into()));
    assert_eq!(complete(&[]).await.refusal(), (400, "MalformedXML".into()));
    for body in [
        "",
        "<CompleteMultipartUpload><Part>",
        "<Other/>",
        "<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
    ] {
        let heard = bench.ask("POST", "a").query("uploadId", &id).body(body).send().await;
        assert_eq!(heard.refusal(), (400, "MalformedXML".into()), "{body}");
    }
    assert!(bench.server.objects().is_empty());
    bench.server.set_profile(Profile { ordered_parts: false, part_bytes_min: 0, ..Profile::s3() });
    assert_eq!(complete(&turned).await.status, 200);
    assert_eq!(bench.server.object("a").unwrap().bytes, "12");
}

#[tokio::test]
async fn the_list_may_come_with_a_name_space_and_with_plain_etags() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    let parts = bench.send("a", &id, &[b"1"]).await;
    let etag = parts[0].1.trim_matches('"');
    let name_space = "http://s3.amazonaws.com/doc/2006-03-01/";
    let part = format!("  <Part>\n    <ETag>{etag}</ETag>\n    <PartNumber>1</PartNumber>\n  </Part>\n");
    let list = format!("<CompleteMultipartUpload xmlns=\"{name_space}\">\n{part}</CompleteMultipartUpload>");
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{list}");
    let heard = bench.ask("POST", "a").query("uploadId", &id).body(body).send().await;
    assert_eq!(heard.status, 200, "{}", heard.text());
}

#[tokio::test]
async fn parts_that_are_too_small_are_noticed_at_the_end() {
    let bench = Bench::with(Profile { part_bytes_min: 4, ..Profile::s3() });
    let id = bench.open("a", &[]).await;
    let parts = bench.send("a", &id, &[b"1234", b"123", b"1"]).await;
    let heard = bench.complete("a", &id, &parts).send().await;
    assert_eq!((heard.refusal(), heard.element("PartNumber")), ((400, "EntityTooSmall".into()), "2".into()));
    let parts = bench.send("a", &id, &[b"1234", b"12345", b"1"]).await;
    assert_eq!(bench.complete("a", &id, &parts).send().await.status, 200);
}

#[tokio::test]
async fn unequal_parts_are_noticed_at_the_end_where_equal_ones_are_demanded() {
    let bench = Bench::with(Profile { part_bytes_min: 0, ..Profile::r2() });
    let id = bench.open("a", &[]).await;
    for bodies in [&[&b"1234"[..], b"123", b"1"][..], &[b"1234", b"1234", b"12345"], &[b"1234", b"12345"]] {
        let parts = bench.send("a", &id, bodies).await;
        assert_eq!(bench.complete("a", &id, &parts).send().await.refusal(), (400, "InvalidPart".into()));
    }
    let parts = bench.send("a", &id, &[b"1234", b"1234", b"1"]).await;
    assert_eq!(bench.complete("a", &id, &parts).send().await.status, 200);
}

#[tokio::test]
async fn an_upload_that_is_completed_again_succeeds_or_is_gone() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    let parts = bench.send("a", &id, &[b"1"]).await;
    let complete = || bench.complete("a", &id, &parts);
    let first = complete().send().await;
    bench.server.remove("a");
    let again = complete().header("if-none-match", "*").send().await;
    assert_eq!((again.status, again.text()), (200, first.text()));
    assert!(bench.server.objects().is_empty(), "nothing happens again");
    let other = [(1, "\"00000000000000000000000000000000\"".to_owned(), String::new())];
    assert_eq!(bench.complete("a", &id, &other).send().await.refusal(), (404, "NoSuchUpload".into()));
    assert_eq!(bench.part("a", &id, 1, "1").send().await.refusal(), (404, "NoSuchUpload".into()));
    bench.server.set_profile(Profile { complete_again: Again::NoSuchUpload, ..Profile::s3() });
    assert_eq!(complete().send().await.refusal(), (404, "NoSuchUpload".into()));
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    let parts = bench.send("a", &id, &[b"1"]).await;
    let abort = || bench.ask("DELETE", "a").query("uploadId", &id);
    assert_eq!(abort().send().await.status, 204);
    assert!(bench.server.incomplete_uploads().is_empty());
    for ask in
        [bench.part("a", &id, 1, "1"), bench.complete("a", &id, &parts), bench.get("a").query("uploadId", &id), abort()]
    {
        assert_eq!(ask.send().await.refusal(), (404, "NoSuchUpload".into()));
    }
    bench.server.set_profile(Profile { abort_again: Again::Succeeds, ..Profile::s3() });
    assert_eq!(abort().send().await.status, 204);
    assert_eq!(bench.ask("DELETE", "a").query("uploadId", "never").send().await.status, 404);
}

#[tokio::test]
async fn an_upload_belongs_to_its_key_and_ends_with_the_buckets_rules() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    assert_eq!(bench.part("b", &id, 1, "1").send().await.refusal(), (404, "NoSuchUpload".into()));
    for number in [0, 10_001] {
        assert_eq!(bench.part("a", &id, number, "1").send().await.refusal(), (400, "InvalidArgument".into()));
    }
    assert_eq!(bench.part("a", &id, 10_000, "1").send().await.status, 200);
    bench.server.expire_uploads();
    assert_eq!(bench.part("a", &id, 1, "1").send().await.refusal(), (404, "NoSuchUpload".into()));
}

#[tokio::test]
async fn an_upload_is_completed_only_where_there_is_no_object() {
    for (obedience, refusal, is_left) in [
        (IfNoneMatch::Obeyed, (412, "PreconditionFailed"), true),
        (IfNoneMatch::Conflict, (409, "ConditionalRequestConflict"), false),
        (IfNoneMatch::NotImplemented, (501, "NotImplemented"), true),
        (IfNoneMatch::Ignored, (200, ""), false),
    ] {
        let bench = Bench::with(Profile { complete_if_none_match: obedience, ..Profile::s3() });
        let id = bench.open("a", &[]).await;
        let parts = bench.send("a", &id, &[b"1"]).await;
        bench.server.put("a", "somebody else's");
        let heard = bench.complete("a", &id, &parts).header("if-none-match", "*").send().await;
        assert_eq!(heard.refusal(), (refusal.0, refusal.1.into()), "{obedience:?}");
        assert_eq!(bench.server.incomplete_uploads().len(), usize::from(is_left), "{obedience:?}");
    }
}
