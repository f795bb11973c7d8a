//! What answers mean, honest and hostile ones.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use landfall_core::{Code, Failure, Remedy};
use landfall_protocol::{
    Base64, CompletePart, Diff, FileRecord, Grant, KeyAttributes, NewCollection, NewFile, NewUpload, PartChecksum,
    SealedMetadata, SealedObject, SignedParts, StoredPart, UploadState, UploadStatus,
};
use landfall_transport::vault::{
    Answer, Origin, Plan, RequestBody, Target,
    answer::{self, Abandoned, Fetched, MagicUpdated, Registered},
    refusal, request,
};
use proptest::prelude::*;
use serde::Serialize;

#[test]
fn an_opened_upload_is_the_one_that_was_asked_for() {
    answer::opened(&json(200, &status()), &upload(), &origin()).unwrap();
    type Lie = fn(&mut UploadStatus);
    let lies: [(&str, Lie); 14] = [
        ("another key", |s| s.object_key = "other".into()),
        ("another size", |s| s.size += 1),
        ("another part size", |s| s.part_size += 1),
        ("parts out of order", |s| s.parts.swap(0, 1)),
        ("a part twice", |s| s.parts[1] = s.parts[0]),
        ("part 0", |s| s.parts[0].number = 0),
        ("a part beyond the plan", |s| s.parts[1].number = 4),
        ("a part of another length", |s| s.parts[1].length -= 1),
        ("a grant for another part", |s| s.grants[0].number = 2),
        ("a grant twice", |s| s.grants.push(s.grants[0].clone())),
        ("a grant for a server without TLS", |s| s.grants[0].url = "http://evil.example/1".into()),
        ("a grant for another host in disguise", |s| s.grants[0].url = "//evil.example/1".into()),
        ("a grant that sets the host", |s| s.grants[0].headers = vec![("Host".into(), "evil.example".into())]),
        ("a grant with a header that is two", |s| s.grants[0].headers = vec![("a".into(), "b\r\nc: d".into())]),
    ];
    for (lie, make) in lies {
        let mut status = status();
        make(&mut status);
        let failure = answer::opened(&json(200, &status), &upload(), &origin()).expect_err(lie);
        assert_eq!(failure.code, Code::BadAnswer, "{lie}");
    }
}

#[test]
fn grants_are_for_the_parts_asked_for_in_their_order() {
    let parts = [part(1), part(2)];
    let signed = |numbers: &[u32]| {
        let answer = json(200, &SignedParts { grants: numbers.iter().map(|number| grant(*number)).collect() });
        answer::signed(&answer, &parts, &origin())
    };
    assert_eq!(signed(&[1, 2]).unwrap().len(), 2);
    for numbers in [&[1][..], &[2, 1], &[1, 2, 3], &[1, 1], &[]] {
        assert_eq!(signed(numbers).unwrap_err().code, Code::BadAnswer, "{numbers:?}");
    }
}

#[test]
fn a_part_is_stored_only_if_the_answer_names_its_checksum() {
    let stored = |status, etag: Option<&str>, body: &str| {
        let mut answer = text(status, body);
        if let Some(etag) = etag {
            answer.headers.insert("etag", HeaderValue::from_str(etag).unwrap());
        }
        answer::part_stored(&answer, &part(1)).map_err(|failure| (failure.remedy, failure.code))
    };
    let error = "<?xml version='1.0'?><Error><Code>InternalError</Code></Error>";
    assert_eq!(stored(200, Some("\"000000a1\""), ""), Ok(()));
    assert_eq!(stored(204, Some("000000a1"), ""), Ok(()));
    assert_eq!(stored(200, Some("\"000000a2\""), ""), Err((Remedy::Retry, Code::DamagedInTransit)));
    assert_eq!(stored(200, Some("W/\"000000a1\""), ""), Err((Remedy::Retry, Code::DamagedInTransit)));
    assert_eq!(stored(200, None, ""), Err((Remedy::Ask, Code::BadAnswer)));
    assert_eq!(stored(200, Some("\"000000a1\""), error), Err((Remedy::Retry, Code::ServerError)));
    assert_eq!(stored(500, Some("\"000000a1\""), ""), Err((Remedy::Retry, Code::ServerError)));
    assert_eq!(stored(307, Some("\"000000a1\""), ""), Err((Remedy::Retry, Code::BadAnswer)));
}

#[test]
fn a_part_goes_only_where_its_own_grant_says() {
    let put = |change: fn(&mut Grant)| {
        let mut grant = grant(1);
        change(&mut grant);
        request::put_part(&grant, &part(1))
    };
    let request = put(|_| ()).unwrap();
    assert_eq!(request.target, Target::Url("/blob/1?sig=1".into()));
    assert_eq!(request.headers, [("x-landfall-crc32c".into(), "000000a1".to_owned())]);
    assert_eq!(request.body, RequestBody::Stream { length: 4 });
    put(|grant| grant.headers.push(("content-length".into(), "4".into()))).unwrap();
    for change in [
        (|grant| grant.number = 2) as fn(&mut Grant),
        |grant| grant.headers.push(("content-length".into(), "5".into())),
        |grant| grant.headers[0].1 = "000000a2".into(),
        |grant| grant.headers.push(("x-auth-token".into(), "t".into())),
        |grant| grant.headers.push(("Transfer-Encoding".into(), "chunked".into())),
        |grant| grant.headers.extend((0..40).map(|n| (format!("x-{n}"), String::new()))),
    ] {
        assert_eq!(put(change).unwrap_err().code, Code::BadAnswer);
    }
}

#[test]
fn an_upload_that_is_not_there_is_no_failure_to_who_asks() {
    let plan = Plan::from(&upload());
    assert_eq!(answer::status_of(&problem(404, "no-such-upload"), &plan), Ok(None));
    assert_eq!(answer::status_of(&json(200, &status()), &plan), Ok(Some(status())));
    assert_eq!(answer::status_of(&problem(401, "unauthorized"), &plan).unwrap_err().remedy, Remedy::LogIn);
}

#[test]
fn a_completed_object_is_stored_with_our_parts() {
    let plan = Plan::from(&upload());
    let ours: Vec<_> = (1..=3).map(|number| CompletePart { number, crc32c: part(number).crc32c }).collect();
    let completed = |change: fn(&mut UploadStatus)| {
        let mut status = status();
        status.state = UploadState::Stored;
        status.parts = (1..=3).map(stored).collect();
        change(&mut status);
        answer::completed(&json(200, &status), &plan, &ours).map_err(|failure| failure.remedy)
    };
    assert_eq!(completed(|_| ()), Ok(()));
    assert_eq!(completed(|status| status.parts.clear()), Ok(()));
    assert_eq!(completed(|status| status.state = UploadState::Open), Err(Remedy::Ask));
    assert_eq!(completed(|status| status.parts.truncate(2)), Err(Remedy::Ask));
    assert_eq!(completed(|status| status.parts[2].crc32c = 1), Err(Remedy::Ask));
    assert_eq!(completed(|status| status.size = 1), Err(Remedy::Retry));
    let lost = answer::completed(&problem(409, "incomplete"), &plan, &ours).unwrap_err();
    assert_eq!(lost.remedy, Remedy::Ask);
    let error = "<Error><Code>NoSuchUpload</Code></Error>";
    assert_eq!(answer::completed(&text(200, error), &plan, &ours).unwrap_err().remedy, Remedy::Reopen);
}

#[test]
fn abandoning_what_is_gone_succeeds_and_what_is_used_stays() {
    assert_eq!(answer::abandoned(&text(204, "")), Ok(Abandoned::Gone));
    assert_eq!(answer::abandoned(&problem(404, "no-such-upload")), Ok(Abandoned::Gone));
    assert_eq!(answer::abandoned(&problem(409, "in-use")), Ok(Abandoned::InUse));
    assert!(answer::abandoned(&text(404, "<html>")).is_err());
}

#[test]
fn a_registered_file_names_our_objects_and_a_winner_our_content() {
    assert_eq!(answer::registered(&json(200, &record()), &file()), Ok(Registered::Done(Box::new(record()))));
    let mut other = record();
    other.file.file.object_key = "other".into();
    assert_eq!(answer::registered(&json(200, &other), &file()).unwrap_err().code, Code::BadAnswer);

    let removed = FileRecord {
        is_deleted: true,
        file: NewFile {
            encrypted_key: Base64::default(),
            metadata: SealedMetadata { encrypted_data: Base64::default(), decryption_header: Base64::default() },
            content_tag: None,
            magic_metadata: None,
            ..file()
        },
        ..record()
    };
    assert_eq!(answer::registered(&json(200, &removed), &file()), Ok(Registered::Done(Box::new(removed.clone()))));
    let other_removed = FileRecord { file: other.file.clone(), ..removed };
    assert!(answer::registered(&json(200, &other_removed), &file()).is_err());

    let exists = |winner: &serde_json::Value| {
        let problem = serde_json::json!({ "status": 409, "code": "content-exists", "detail": "", "winner": winner });
        answer::registered(&json(409, &problem), &file())
    };
    let winner = serde_json::to_value(&other).unwrap();
    assert_eq!(exists(&winner), Ok(Registered::ContentExists(Box::new(other.clone()))));
    assert_eq!(exists(&serde_json::Value::Null).unwrap_err().code, Code::BadAnswer);
    other.file.content_tag = Some(vec![9; 32].into());
    assert_eq!(exists(&serde_json::to_value(&other).unwrap()).unwrap_err().code, Code::BadAnswer);
    let differs = answer::registered(&problem(409, "registered-differently"), &file()).unwrap_err();
    assert_eq!((differs.remedy, differs.code), (Remedy::Block, Code::Refused));
}

#[test]
fn there_are_no_keys_only_if_the_server_says_so_in_its_own_words() {
    assert_eq!(answer::keys(&problem(404, "not-found")), Ok(None));
    assert!(answer::keys(&text(404, "<html>not found</html>")).is_err());
    assert_eq!(answer::keys(&json(200, &keys())), Ok(Some(keys())));
    assert_eq!(answer::keys_stored(&problem(412, "keys-exist")), Ok(false));
    assert_eq!(answer::keys_stored(&text(204, "")), Ok(true));
    assert!(answer::keys_stored(&text(500, "")).is_err());
}

#[test]
fn an_upload_that_is_stored_has_the_parts_that_were_sent() {
    let parts: Vec<_> =
        status().parts.iter().map(|part| CompletePart { number: part.number, crc32c: part.crc32c }).collect();
    let stored = |lie: fn(&mut UploadStatus)| {
        let mut status = UploadStatus { state: UploadState::Stored, ..status() };
        lie(&mut status);
        answer::stored_as_sent(&status, &parts).map_err(|failure| (failure.remedy, failure.code))
    };
    let tampered = Err((Remedy::Block, Code::Tampered));
    assert_eq!(stored(|_| {}), Ok(()));
    // It may have forgotten them.
    assert_eq!(stored(|status| status.parts.clear()), Ok(()));
    assert_eq!(stored(|status| status.parts[0].crc32c ^= 1), tampered);
    assert_eq!(stored(|status| status.parts.truncate(1)), tampered);
    // What is wrong in an open one is sent again.
    let mut open = status();
    open.parts[0].crc32c ^= 1;
    assert_eq!(answer::stored_as_sent(&open, &parts), Ok(()));
}

#[test]
fn a_version_that_is_not_the_stored_one_is_an_outcome() {
    assert_eq!(answer::magic_updated(&problem(409, "version-mismatch")), Ok(MagicUpdated::VersionMismatch));
    assert_eq!(answer::magic_updated(&text(200, "{}")), Ok(MagicUpdated::Done));
    assert!(answer::magic_updated(&text(409, "")).is_err());
    let refused = answer::magic_updated(&problem(413, "too-large")).unwrap_err();
    assert_eq!((refused.remedy, refused.code), (Remedy::Block, Code::TooManyPlaces));
}

#[test]
fn a_page_of_changes_moves_the_cursor_on() {
    let page = |times: &[i64], has_more| {
        let diff = times.iter().map(|time| FileRecord { updation_time: *time, ..record() }).collect();
        answer::diff(&json(200, &Diff { diff, has_more }), 10).map(|page| page.diff.len()).map_err(|bad| bad.code)
    };
    assert_eq!(page(&[], false), Ok(0));
    assert_eq!(page(&[11, 12, 12], true), Ok(3));
    assert_eq!(page(&[10], true), Err(Code::BadAnswer));
    assert_eq!(page(&[12, 11], false), Err(Code::BadAnswer));
    assert_eq!(page(&[], true), Err(Code::BadAnswer));
}

#[test]
fn a_file_and_a_collection_are_the_ones_asked_for() {
    assert_eq!(answer::file(&json(200, &record()), 4), Ok(Some(record())));
    assert_eq!(answer::file(&problem(404, "not-found"), 4), Ok(None));
    assert_eq!(answer::file(&json(200, &record()), 5).unwrap_err().code, Code::BadAnswer);
}

#[test]
fn a_range_is_the_one_asked_for_or_all() {
    let fetched = |status, range: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", HeaderValue::from_static("5"));
        headers.insert("content-range", HeaderValue::from_str(range).unwrap());
        answer::fetched(status, &headers, 6).map_err(|failure| failure.code)
    };
    assert_eq!(fetched(206, "bytes 6-10/11"), Ok(Fetched { start: 6, size: Some(11) }));
    assert_eq!(fetched(206, "bytes 6-10/*"), Ok(Fetched { start: 6, size: None }));
    assert_eq!(fetched(200, ""), Ok(Fetched { start: 0, size: Some(5) }));
    for lie in
        ["bytes 5-10/11", "bytes 6-9/11", "bytes 6-5/11", "bytes 6-18446744073709551615/0", "bytes */11", "6", ""]
    {
        assert_eq!(fetched(206, lie), Err(Code::BadAnswer), "{lie}");
    }
    assert_eq!(fetched(416, ""), Err(Code::Refused));
}

#[test]
fn addresses_are_read_and_compared() {
    for good in ["https://vault.example", "http://localhost:8080/", " https://[::1]:443 "] {
        Origin::parse(good).unwrap();
    }
    for bad in [
        "",
        "vault.example",
        "ftp://vault.example",
        "https://vault.example/path",
        "https://a:b@vault.example",
        "https://vault.example?x",
        "https://vault.example#x",
        "https://vault.example:99999",
        "https://",
        "/",
        "https://:1",
    ] {
        Origin::parse(bad).expect_err(bad);
    }
    let origin = Origin::parse("https://Vault.example").unwrap();
    for own in ["https://vault.example:443/x", "HTTPS://VAULT.EXAMPLE/"] {
        assert!(origin.holds(&own.parse().unwrap()), "{own}");
    }
    for other in ["https://vault.example:444/", "http://vault.example/", "https://vault.example.evil/", "/x"] {
        assert!(!origin.holds(&other.parse().unwrap()), "{other}");
    }
}

#[test]
fn a_servers_url_is_followed_if_it_is_below_the_origin_or_has_tls() {
    let origin = Origin::parse("http://10.0.0.2:8080").unwrap();
    for (url, followed) in [
        ("/blob/1?sig=s", Some("http://10.0.0.2:8080/blob/1?sig=s")),
        ("http://10.0.0.2:8080/blob", Some("http://10.0.0.2:8080/blob")),
        ("https://s3.example/blob", Some("https://s3.example/blob")),
        ("http://10.0.0.2/blob", None),
        ("http://127.0.0.1:8080/", None),
        ("https://user:word@s3.example/", None),
        ("file:///etc/passwd", None),
        ("//s3.example/blob", None),
        ("blob/1", None),
        ("", None),
    ] {
        assert_eq!(origin.resolve(url).ok().map(|uri| uri.to_string()).as_deref(), followed, "{url}");
    }
}

#[test]
fn a_key_stays_one_segment_of_its_path() {
    let target = |key: &str| request::status(key).target;
    assert_eq!(target("00ff"), Target::Path("/vault/uploads/00ff".into()));
    assert_eq!(target("../a?b"), Target::Path("/vault/uploads/%2E%2E%2Fa%3Fb".into()));
}

proptest! {
    #[test]
    fn no_answer_makes_us_panic(
        status in any::<u16>(),
        headers in proptest::collection::vec((header_name(), proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
        body in body(),
    ) {
        let mut answer = Answer { status, headers: HeaderMap::new(), body: body.into() };
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                answer.headers.append(HeaderName::from_static(name), value);
            }
        }
        read_as_everything(&answer);
        // Whatever the status is, the body must have been looked at.
        answer.status = [200, 404, 409, 412][usize::from(status % 4)];
        read_as_everything(&answer);
    }
}

fn read_as_everything(answer: &Answer) {
    let plan = Plan::from(&upload());
    let sent = NewCollection {
        encrypted_key: Base64::default(),
        key_decryption_nonce: Base64::default(),
        encrypted_name: Base64::default(),
        name_decryption_nonce: Base64::default(),
        kind: "album".into(),
        name_tag: None,
    };
    let outcomes: [Option<Failure>; 18] = [
        answer::opened(answer, &upload(), &origin()).err(),
        answer::signed(answer, &[part(1)], &origin()).err(),
        answer::part_stored(answer, &part(1)).err(),
        answer::status_of(answer, &plan).err(),
        answer::completed(answer, &plan, &[]).err(),
        answer::abandoned(answer).err(),
        answer::registered(answer, &file()).err(),
        answer::magic_updated(answer).err(),
        answer::keys(answer).err(),
        answer::keys_stored(answer).err(),
        answer::account(answer).err(),
        answer::collections(answer).err(),
        answer::collection_created(answer, &sent).err(),
        answer::diff(answer, 0).err(),
        answer::file(answer, 4).err(),
        answer::trashed(answer).err(),
        answer::redirected(&answer.headers, &origin()).err(),
        answer::fetched(answer.status, &answer.headers, 6).err(),
    ];
    let refused = refusal(answer.status, &answer.headers, &answer.body);
    for failure in outcomes.into_iter().flatten().chain([refused]) {
        assert!(!failure.message.is_empty() && failure.message.len() < 2000);
    }
}

fn header_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["etag", "retry-after", "date", "location", "content-range", "content-length"])
}

/// Noise, and almost what the protocol says.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let honest = [
        serde_json::to_vec(&status()).unwrap(),
        serde_json::to_vec(&record()).unwrap(),
        serde_json::to_vec(&keys()).unwrap(),
        serde_json::to_vec(&Diff { diff: vec![record()], has_more: true }).unwrap(),
        br#"{"status":409,"code":"content-exists","detail":"x","winner":null}"#.to_vec(),
        b"<Error><Code>SlowDown</Code></Error>".to_vec(),
    ];
    let spoiled = (prop::sample::select(honest.to_vec()), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        spoiled.prop_map(|(mut text, at, byte, cut)| {
            let at = at.index(text.len());
            if cut {
                text.truncate(at)
            } else {
                text[at] = byte
            }
            text
        }),
    ]
}

fn origin() -> Origin {
    Origin::in_process()
}

/// Ten bytes in three parts.
fn upload() -> NewUpload {
    NewUpload { object_key: "k".into(), size: 10, part_size: 4, sign: vec![part(1), part(3)] }
}

fn status() -> UploadStatus {
    UploadStatus {
        object_key: "k".into(),
        state: UploadState::Open,
        size: 10,
        part_size: 4,
        parts: vec![stored(2), stored(3)],
        grants: vec![grant(1)],
    }
}

fn part(number: u32) -> PartChecksum {
    PartChecksum { number, length: if number == 3 { 2 } else { 4 }, crc32c: 0xa0 + number }
}

fn stored(number: u32) -> StoredPart {
    let PartChecksum { number, length, crc32c } = part(number);
    StoredPart { number, length, crc32c }
}

fn grant(number: u32) -> Grant {
    let headers = vec![("x-landfall-crc32c".to_owned(), format!("{:08x}", part(number).crc32c))];
    Grant { number, url: format!("/blob/{number}?sig=1"), headers, ttl_ms: 1000 }
}

fn file() -> NewFile {
    let object = |key: &str| SealedObject { object_key: key.into(), decryption_header: vec![1; 24].into(), size: 10 };
    NewFile {
        collection_id: 1,
        encrypted_key: vec![2; 48].into(),
        key_decryption_nonce: vec![3; 24].into(),
        file: object("k"),
        thumbnail: object("t"),
        metadata: SealedMetadata { encrypted_data: vec![4; 9].into(), decryption_header: vec![5; 24].into() },
        pub_magic_metadata: None,
        magic_metadata: None,
        content_tag: Some(vec![6; 32].into()),
    }
}

fn record() -> FileRecord {
    FileRecord { id: 4, owner_id: 1, file: file(), updation_time: 11, is_deleted: false }
}

fn keys() -> KeyAttributes {
    let bytes = |length: usize| Base64(vec![7; length]);
    KeyAttributes {
        kek_salt: bytes(16),
        mem_limit: 1,
        ops_limit: 1,
        encrypted_key: bytes(48),
        key_decryption_nonce: bytes(24),
        master_key_encrypted_with_recovery_key: bytes(48),
        master_key_decryption_nonce: bytes(24),
        recovery_key_encrypted_with_master_key: bytes(48),
        recovery_key_decryption_nonce: bytes(24),
        version: 1,
    }
}

fn json(status: u16, value: &impl Serialize) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: serde_json::to_vec(value).unwrap().into() }
}

fn problem(status: u16, code: &str) -> Answer {
    json(status, &serde_json::json!({ "status": status, "code": code, "detail": "the reason" }))
}

fn text(status: u16, body: &str) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
}
