//! What the answers of S3 and its kin mean, honest and hostile ones.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use landfall_core::{Algorithm, Checksum, Code, Failure, PartNumber, Remedy, Timestamp};
use landfall_transport::s3::{
    Answer, UploadMarker,
    answer::{self, Completed, Fetched, HeldPart, Receipt, UploadId},
    refusal,
};
use proptest::prelude::*;

const CREATED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>media</Bucket>\
    <Key>a &amp; b/&#252;.jpg</Key><UploadId>VXBsb2Fk.~_-</UploadId></InitiateMultipartUploadResult>";

#[test]
fn an_upload_is_open_under_the_key_that_was_asked_for() {
    let created = |body: &str, key| answer::created(&text(200, body), key).map_err(|failure| failure.code);
    assert_eq!(created(CREATED, "a & b/ü.jpg"), Ok(UploadId("VXBsb2Fk.~_-".to_owned())));
    assert_eq!(created(CREATED, "a"), Err(Code::BadAnswer));
    // The key need not be told, and cannot be if it has characters that XML has no place for.
    assert!(created(&CREATED.replace("<Key>a &amp; b/&#252;.jpg</Key>", ""), "a").is_ok());
    assert!(created(CREATED, "a\u{1}b").is_ok());
    for lie in [
        CREATED.replace("VXBsb2Fk.~_-", ""),
        CREATED.replace("VXBsb2Fk.~_-", &"x".repeat(3000)),
        CREATED.replace("VXBsb2Fk.~_-", "a&#10;b"),
        CREATED.replace("<UploadId>", "<UploadId>other</UploadId><UploadId>"),
        CREATED.replace("InitiateMultipartUploadResult", "ListPartsResult"),
        CREATED.replace("</InitiateMultipartUploadResult>", ""),
        String::new(),
        "<html><body>Welcome to this hotel</body></html>".to_owned(),
    ] {
        assert_eq!(created(&lie, "a & b/ü.jpg"), Err(Code::BadAnswer), "{lie}");
    }
    let refused = answer::created(&error(200, "AccessDenied"), "k").unwrap_err();
    assert_eq!((refused.remedy, refused.code), (Remedy::Block, Code::AccessDenied));
}

#[test]
fn a_part_is_stored_with_an_etag_and_no_other_checksum_than_ours() {
    let crc = checksum(Algorithm::Crc32c, 7);
    let stored = |status, headers: &[(&'static str, &str)], body: &str| {
        let answer = Answer { headers: header_map(headers), ..text(status, body) };
        let part = answer::part_stored(&answer, Some(&crc)).map_err(|failure| (failure.remedy, failure.code));
        assert_eq!(part, answer::stored(&answer, Some(&crc)).map_err(|failure| (failure.remedy, failure.code)));
        part
    };
    let receipt = Ok(Receipt { etag: "0cc1-2".to_owned() });
    assert_eq!(stored(200, &[("etag", "\"0cc1-2\""), ("x-amz-checksum-crc32c", "BwcHBw==")], ""), receipt);
    assert_eq!(stored(200, &[("ETag", "0cc1-2")], ""), receipt);
    // Another algorithm's is what the store adds of its own.
    assert_eq!(stored(200, &[("etag", "\"0cc1-2\""), ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")], ""), receipt);
    let damaged = Err((Remedy::Retry, Code::DamagedInTransit));
    assert_eq!(stored(200, &[("etag", "\"e\""), ("x-amz-checksum-crc32c", "CAgICA==")], ""), damaged);
    assert_eq!(stored(200, &[("etag", "\"e\""), ("x-amz-checksum-crc32c", "?")], ""), damaged);
    let unsure = Err((Remedy::Ask, Code::BadAnswer));
    for etag in ["", "\"\"", "a b", &"e".repeat(300)] {
        assert_eq!(stored(200, &[("etag", etag)], ""), unsure, "{etag}");
    }
    assert_eq!(stored(200, &[], ""), unsure);
    let internal = "<Error><Code>InternalError</Code></Error>";
    assert_eq!(stored(200, &[("etag", "\"e\"")], internal), Err((Remedy::Retry, Code::ServerError)));
    assert_eq!(stored(307, &[("etag", "\"e\"")], ""), Err((Remedy::Block, Code::WrongRegion)));
}

const PARTS: &str = "<?xml version=\"1.0\"?><ListPartsResult><Bucket>media</Bucket><Key>k</Key><UploadId>id</UploadId>\
    <PartNumberMarker>1</PartNumberMarker><NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>2</MaxParts>\
    <IsTruncated>true</IsTruncated>\
    <Part><PartNumber>2</PartNumber><LastModified>2026-11-10T20:48:34.000Z</LastModified><ETag>&quot;e2&quot;</ETag>\
    <Size>10485760</Size><ChecksumCRC64NVME>BwcHBwcHBwc=</ChecksumCRC64NVME></Part>\
    <Part><PartNumber>3</PartNumber><ETag>e3</ETag><Size>0</Size></Part></ListPartsResult>";

#[test]
fn a_page_of_parts_is_one_of_this_upload() {
    let page = answer::parts(&text(200, PARTS), "k", "id").unwrap();
    let two = HeldPart {
        number: PartNumber(2),
        size: 10 << 20,
        etag: "e2".to_owned(),
        checksum: Some(checksum(Algorithm::Crc64Nvme, 7)),
    };
    let three = HeldPart { number: PartNumber(3), size: 0, etag: "e3".to_owned(), checksum: None };
    assert_eq!((page.parts, page.next), (vec![two, three], Some(3)));
    let last = PARTS.replace("true", "false").replace("<NextPartNumberMarker>3</NextPartNumberMarker>", "");
    assert_eq!(answer::parts(&text(200, &last), "k", "id").unwrap().next, None);
    let none = "<ListPartsResult><PartNumberMarker/></ListPartsResult>";
    assert_eq!(answer::parts(&text(200, none), "k", "id").unwrap().parts, []);
    // Some stores keep what was replaced.
    let twice = PARTS.replace("<PartNumber>3<", "<PartNumber>2<");
    assert_eq!(answer::parts(&text(200, &twice), "k", "id").unwrap().parts.len(), 2);
}

#[test]
fn a_page_of_parts_that_contradicts_the_question_is_refused() {
    for (what, lie) in [
        ("another key", PARTS.replace("<Key>k<", "<Key>other<")),
        ("another upload", PARTS.replace("<UploadId>id<", "<UploadId>other<")),
        ("parts that descend", PARTS.replace("<PartNumber>3<", "<PartNumber>1<")),
        ("part 0", PARTS.replace("<PartNumber>2<", "<PartNumber>0<")),
        ("part 10 001", PARTS.replace("<PartNumber>3<", "<PartNumber>10001<")),
        ("a part without number", PARTS.replace("<PartNumber>3</PartNumber>", "")),
        ("a part with two numbers", PARTS.replace("<PartNumber>3<", "<PartNumber>3</PartNumber><PartNumber>4<")),
        ("a number that is none", PARTS.replace("<PartNumber>3<", "<PartNumber>+3<")),
        ("a number beyond all", PARTS.replace("<PartNumber>3<", "<PartNumber>99999999999999999999<")),
        ("a negative size", PARTS.replace("<Size>0<", "<Size>-1<")),
        ("an absurd size", PARTS.replace("<Size>0<", "<Size>18446744073709551615<")),
        ("a part without size", PARTS.replace("<Size>0</Size>", "")),
        ("a part without ETag", PARTS.replace("<ETag>e3</ETag>", "")),
        ("parts before those asked for", PARTS.replace("Marker>1<", "Marker>2<")),
        ("more, and not where", PARTS.replace("<NextPartNumberMarker>3</NextPartNumberMarker>", "")),
        ("more, before its end", PARTS.replace("<NextPartNumberMarker>3<", "<NextPartNumberMarker>2<")),
        ("more, beyond all parts", PARTS.replace("<NextPartNumberMarker>3<", "<NextPartNumberMarker>10001<")),
        ("perhaps more", PARTS.replace("true", "maybe")),
        ("more of nothing", "<ListPartsResult><IsTruncated>true</IsTruncated></ListPartsResult>".to_owned()),
        ("another question's", PARTS.replace("ListPartsResult", "ListBucketResult")),
        ("half an answer", PARTS[..PARTS.len() / 2].to_owned()),
        ("two megabytes", format!("{PARTS}{}", " ".repeat(2 << 20))),
        ("a grammar", format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{PARTS}")),
    ] {
        let failure = answer::parts(&text(200, &lie), "k", "id").expect_err(what);
        assert_eq!((failure.remedy, failure.code), (Remedy::Retry, Code::BadAnswer), "{what}");
    }
    let gone = answer::parts(&error(404, "NoSuchUpload"), "k", "id").unwrap_err();
    assert_eq!((gone.remedy, gone.code), (Remedy::Reopen, Code::NoSuchUpload));
}

#[test]
fn a_page_of_a_thousand_parts_with_checksums_fits() {
    let part = |number| {
        format!(
            "<Part><PartNumber>{number}</PartNumber><LastModified>2026-11-10T20:48:34.000Z</LastModified>\
             <ETag>&quot;7778aef83f66abc1fa1e8477f296d394&quot;</ETag><Size>10485760</Size><ChecksumSHA256>{}=</ChecksumSHA256></Part>",
            "A".repeat(43)
        )
    };
    let parts: String = (1..=1000).map(part).collect();
    let page = format!("<ListPartsResult>{parts}</ListPartsResult>");
    let page = answer::parts(&text(200, &page), "k", "id").unwrap();
    assert_eq!(page.parts.len(), 1000);
    assert!(
        page.parts.iter().all(|part| part.checksum.as_ref().is_some_and(|sum| sum.algorithm() == Algorithm::Sha256))
    );
}

#[test]
fn an_upload_is_complete_only_if_the_answer_says_so_to_its_end() {
    let completed =
        |status, body: &str| answer::completed(&text(status, body)).map_err(|failure| (failure.remedy, failure.code));
    let body = "  \n\n <?xml version=\"1.0\"?>\n<CompleteMultipartUploadResult><ETag>&#34;3858-2&#34;</ETag>\
        <ChecksumCRC64NVME>BwcHBwcHBwc=</ChecksumCRC64NVME></CompleteMultipartUploadResult>";
    let whole = Completed { etag: Some("3858-2".to_owned()), checksum: Some(checksum(Algorithm::Crc64Nvme, 7)) };
    assert_eq!(completed(200, body), Ok(whole));
    let composite = body.replace("CRC64NVME", "CRC32C").replace("BwcHBwcHBwc=", "BwcHBw==-2");
    assert_eq!(completed(200, &composite).unwrap().checksum, Some(checksum(Algorithm::Crc32c, 7)));
    // A HEAD will prove it.
    let bare = "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>";
    assert_eq!(completed(200, bare), Ok(Completed { etag: None, checksum: None }));

    let unsure = Err((Remedy::Ask, Code::BadAnswer));
    for cut in ["", " \n ", "<?xml version=\"1.0\"?>", "<CompleteMultipartUploadResult>", "<html></html>", "ok"] {
        assert_eq!(completed(200, cut), unsure, "{cut}");
    }
    let word = |code: &str| format!(" <?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>");
    for (status, code, expected) in [
        (200, "InternalError", (Remedy::Ask, Code::ServerError)),
        (200, "AWordOfTomorrow", (Remedy::Ask, Code::BadAnswer)),
        (200, "AccessDenied", (Remedy::Block, Code::AccessDenied)),
        (200, "NoSuchUpload", (Remedy::Reopen, Code::NoSuchUpload)),
        (200, "BadDigest", (Remedy::Retry, Code::DamagedInTransit)),
        (404, "NoSuchUpload", (Remedy::Reopen, Code::NoSuchUpload)),
        (409, "ConditionalRequestConflict", (Remedy::Reopen, Code::ServerError)),
        (200, "OperationAborted", (Remedy::Reopen, Code::ServerError)),
        (412, "PreconditionFailed", (Remedy::Ask, Code::KeyTaken)),
        (400, "InvalidPart", (Remedy::Ask, Code::ServerError)),
        (400, "EntityTooSmall", (Remedy::Block, Code::Refused)),
        (500, "InternalError", (Remedy::Retry, Code::ServerError)),
        (503, "SlowDown", (Remedy::Wait { retry_after: None }, Code::Throttled)),
    ] {
        assert_eq!(completed(status, &word(code)), Err(expected), "{status} {code}");
    }
}

#[test]
fn what_is_gone_is_given_up_and_removed() {
    answer::aborted(&text(204, "")).unwrap();
    answer::aborted(&error(404, "NoSuchUpload")).unwrap();
    assert_eq!(answer::aborted(&error(404, "NoSuchBucket")).unwrap_err().code, Code::NoSuchBucket);
    answer::aborted(&text(404, "<html>")).unwrap_err();
    answer::deleted(&text(204, "")).unwrap();
    answer::deleted(&error(404, "NoSuchKey")).unwrap();
    answer::deleted(&text(404, "")).unwrap_err();
    assert_eq!(answer::deleted(&error(403, "AccessDenied")).unwrap_err().code, Code::AccessDenied);
}

#[test]
fn a_head_tells_what_lies_under_a_key() {
    let told = [
        ("Content-Length", "7"),
        ("ETag", "\"e-2\""),
        ("Content-Type", "image/heic"),
        ("Last-Modified", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-checksum-sha256", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=-2"),
        ("x-amz-checksum-type", "COMPOSITE"),
        ("X-Amz-Meta-Landfall-Id", "tag"),
        ("x-amz-meta-camera", "old one"),
    ];
    let head =
        |headers: &[(&'static str, &str)]| answer::head(&Answer { headers: header_map(headers), ..text(200, "") });
    let object = head(&told).unwrap().unwrap();
    assert_eq!((object.size, object.etag.as_str(), object.tag.as_deref()), (7, "e-2", Some("tag")));
    assert_eq!(object.checksum, Some(checksum(Algorithm::Sha256, 7)));
    assert_eq!(object.content_type.as_deref(), Some("image/heic"));
    assert_eq!(object.last_modified, Some(Timestamp(1_369_353_600_000)));
    assert_eq!(object.metadata.iter().collect::<Vec<_>>().len(), 2);
    assert_eq!(object.metadata["camera"], "old one");

    assert_eq!(answer::head(&text(404, "")), Ok(None));
    // A checksum of the parts of an object is not one of the object.
    let odd = [("content-length", "7"), ("etag", "e"), ("x-amz-checksum-crc64nvme", "BwcHBwcHBwc=-2")];
    assert_eq!(head(&odd).unwrap().unwrap().checksum, None);
    for lie in [
        &[("etag", "e")][..],
        &[("content-length", "7")],
        &[("etag", "e"), ("content-length", "-7")],
        &[("etag", "e"), ("content-length", "99999999999999999")],
    ] {
        assert_eq!(head(lie).unwrap_err().code, Code::BadAnswer, "{lie:?}");
    }
    let refused = |status| answer::head(&text(status, "")).map_err(|failure| (failure.remedy, failure.code));
    assert_eq!(refused(403), Err((Remedy::Block, Code::AccessDenied)));
    assert_eq!(refused(503), Err((Remedy::Wait { retry_after: None }, Code::Throttled)));
    assert_eq!(refused(500), Err((Remedy::Retry, Code::ServerError)));
}

#[test]
fn a_bucket_is_there_or_it_is_said_what_is_wrong() {
    let bucket = |status| answer::bucket(&text(status, "")).map_err(|failure| (failure.remedy, failure.code));
    assert_eq!(bucket(200), Ok(()));
    assert_eq!(bucket(404), Err((Remedy::Block, Code::NoSuchBucket)));
    assert_eq!(bucket(403), Err((Remedy::Block, Code::AccessDenied)));
    assert_eq!(bucket(301), Err((Remedy::Block, Code::WrongRegion)));
}

const UPLOADS: &str = "<ListMultipartUploadsResult><Bucket>media</Bucket><KeyMarker/><UploadIdMarker/>\
    <NextKeyMarker>p/b+%2B%C3%BC</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker><EncodingType>url</EncodingType>\
    <MaxUploads>2</MaxUploads><IsTruncated>true</IsTruncated>\
    <Upload><Key>p/a</Key><UploadId>u1</UploadId><Initiator><ID>me</ID></Initiator>\
    <Initiated>2013-05-24T00:00:00.000Z</Initiated></Upload>\
    <Upload><Key>p/b+%2B%C3%BC</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>";

#[test]
fn a_page_of_uploads_goes_on_behind_its_last_one() {
    let marker = |key: &str, upload_id: &str| UploadMarker { key: key.to_owned(), upload_id: upload_id.to_owned() };
    let page = answer::uploads(&text(200, UPLOADS), "p/", None).unwrap();
    let keys: Vec<_> = page.uploads.iter().map(|upload| (upload.key.as_str(), &*upload.upload_id)).collect();
    assert_eq!(keys, [("p/a", "u1"), ("p/b +ü", "u2")]);
    assert_eq!(page.uploads[0].initiated, Some(Timestamp(1_369_353_600_000)));
    assert_eq!(page.next, Some(marker("p/b +ü", "u2")));
    answer::uploads(&text(200, UPLOADS), "p/", Some(&marker("p/b +ü", "u1"))).unwrap();
    answer::uploads(&text(200, UPLOADS), "p/", Some(&marker("p/a", ""))).unwrap();
    for (what, lie, prefix, after) in [
        ("the same again", UPLOADS.to_owned(), "p/", Some(marker("p/b +ü", "u2"))),
        ("back", UPLOADS.to_owned(), "p/", Some(marker("p/c", "u1"))),
        ("another prefix", UPLOADS.to_owned(), "q/", None),
        ("no marker", UPLOADS.replace("<NextKeyMarker>p/b+%2B%C3%BC</NextKeyMarker>", ""), "p/", None),
        ("an upload without id", UPLOADS.replace("<UploadId>u1</UploadId>", ""), "p/", None),
        ("an upload without key", UPLOADS.replace("<Key>p/a</Key>", ""), "p/", None),
        ("a key that is not encoded", UPLOADS.replace("%C3%BC", "%C3"), "p/", None),
    ] {
        let failure = answer::uploads(&text(200, &lie), prefix, after.as_ref()).expect_err(what);
        assert_eq!(failure.code, Code::BadAnswer, "{what}");
    }
    // Without the word, or with an empty one, the keys are as they are.
    let silent = UPLOADS.replace("<EncodingType>url</EncodingType>", "<EncodingType></EncodingType>");
    assert_eq!(answer::uploads(&text(200, &silent), "p/", None).unwrap().uploads[1].key, "p/b+%2B%C3%BC");
    let plain = UPLOADS.replace("<EncodingType>url</EncodingType>", "");
    assert_eq!(answer::uploads(&text(200, &plain), "p/", None).unwrap().uploads[1].key, "p/b+%2B%C3%BC");
    let last = answer::uploads(&text(200, &UPLOADS.replace("true", "false")), "p/", None).unwrap();
    assert_eq!(last.next, None);
}

const OBJECTS: &str = "<ListBucketResult><Name>media</Name><Prefix>p/</Prefix><KeyCount>2</KeyCount>\
    <NextContinuationToken>t&amp;2</NextContinuationToken><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
    <Contents><Key>p/a%26b</Key><LastModified>2013-05-24T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size>\
    <Owner><ID>x</ID></Owner></Contents>\
    <Contents><Key>p/c</Key><Size>0</Size></Contents>\
    <CommonPrefixes><Prefix>p/d+e/</Prefix></CommonPrefixes></ListBucketResult>";

#[test]
fn a_page_of_objects_is_below_the_prefix_and_goes_on() {
    let page = answer::objects(&text(200, OBJECTS), "p/", Some("t1")).unwrap();
    assert_eq!(page.next.as_deref(), Some("t&2"));
    assert_eq!(page.prefixes, ["p/d e/"]);
    let [first, second] = &page.objects[..] else { panic!("two objects") };
    assert_eq!((first.key.as_str(), first.size, first.etag.as_str()), ("p/a&b", 7, "e"));
    assert_eq!(first.last_modified, Some(Timestamp(1_369_353_600_000)));
    assert_eq!((second.key.as_str(), second.size, second.etag.as_str()), ("p/c", 0, ""));
    for (what, lie, prefix, after) in [
        ("the same again", OBJECTS.to_owned(), "p/", Some("t&2")),
        ("another prefix", OBJECTS.to_owned(), "p/a", None),
        ("no token", OBJECTS.replace("<NextContinuationToken>t&amp;2</NextContinuationToken>", ""), "p/", None),
        ("an empty token", OBJECTS.replace("t&amp;2", ""), "p/", None),
        ("a negative size", OBJECTS.replace("<Size>7<", "<Size>-7<"), "p/", None),
        ("a foreign folder", OBJECTS.replace("p/d+e/", "d/"), "p/", None),
    ] {
        let failure = answer::objects(&text(200, &lie), prefix, after).expect_err(what);
        assert_eq!(failure.code, Code::BadAnswer, "{what}");
    }
    let last = OBJECTS.replace("true", "false");
    assert_eq!(answer::objects(&text(200, &last), "p/", None).unwrap().next, None);
}

#[test]
fn bytes_come_from_where_they_were_asked_for() {
    let fetched = |status, range: &str| {
        let headers = header_map(&[("content-length", "5"), ("content-range", range)]);
        answer::fetched(status, &headers, 6).map_err(|failure| (failure.remedy, failure.code))
    };
    assert_eq!(fetched(206, "bytes 6-10/11"), Ok(Fetched { start: 6, size: Some(11) }));
    assert_eq!(fetched(200, ""), Ok(Fetched { start: 0, size: Some(5) }));
    assert_eq!(fetched(206, "bytes 5-10/11"), Err((Remedy::Retry, Code::BadAnswer)));
    assert_eq!(fetched(416, ""), Err((Remedy::Block, Code::Refused)));
    assert_eq!(fetched(403, ""), Err((Remedy::Block, Code::AccessDenied)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_answer_panics_and_none_that_is_read_is_a_lie(answer in hostile()) {
        if let Ok(page) = answer::parts(&answer, "k", "id") {
            prop_assert!(page.parts.is_sorted_by_key(|part| part.number));
            let last = page.parts.last().map_or(0, |part| part.number.0);
            prop_assert!(page.next.is_none_or(|next| next >= last));
        }
        if let Ok(page) = answer::objects(&answer, "p/", Some("t1")) {
            prop_assert!(page.objects.iter().all(|object| object.key.starts_with("p/")));
            prop_assert!(page.next.as_deref() != Some("t1"));
        }
        if let Ok(page) = answer::uploads(&answer, "p/", None) {
            prop_assert!(page.uploads.iter().all(|upload| upload.key.starts_with("p/") && !upload.upload_id.is_empty()));
        }
        let crc = checksum(Algorithm::Crc32c, 7);
        let _ = answer::created(&answer, "k");
        let _ = answer::part_stored(&answer, Some(&crc));
        let _ = answer::completed(&answer);
        let _ = answer::aborted(&answer);
        let _ = answer::deleted(&answer);
        let _ = answer::bucket(&answer);
        let _ = answer::head(&answer);
        let Failure { message, .. } = refusal(&answer).failure;
        prop_assert!(message.chars().count() < 600 && !message.chars().any(char::is_control), "{}", message);
    }
}

/// Anything, and honest answers with a byte spoiled, cut, or said twice.
fn hostile() -> impl Strategy<Value = Answer> {
    let refused = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting 'eu-west-1'</Message></Error>";
    let honest = [CREATED, PARTS, UPLOADS, OBJECTS, refused].map(|text| text.as_bytes().to_vec());
    let spoiled = (prop::sample::select(honest.to_vec()), any::<prop::sample::Index>(), any::<u8>(), 0..3);
    let body = prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        4 => spoiled.prop_map(|(mut text, at, byte, how)| {
            let at = at.index(text.len());
            match how {
                0 => text.truncate(at),
                1 => text[at] = byte,
                _ => text.extend_from_within(at..),
            }
            text
        }),
    ];
    let header = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20));
    (body, prop_oneof![3 => Just(200u16), 1 => 100u16..600], header).prop_map(|(body, status, header)| {
        let mut headers = HeaderMap::new();
        if let Some(value) = header.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok()) {
            for name in
                ["etag", "content-length", "x-amz-checksum-crc32c", "x-amz-bucket-region", "date", "x-amz-meta-a"]
            {
                headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        Answer { status, headers, body: body.into() }
    })
}

fn checksum(algorithm: Algorithm, byte: u8) -> Checksum {
    Checksum::new(algorithm, vec![byte; algorithm.bytes()]).unwrap()
}

fn header_map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    headers.iter().map(pair).collect()
}

fn error(status: u16, code: &str) -> Answer {
    text(status, &format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>"))
}

fn text(status: u16, body: &str) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
}
