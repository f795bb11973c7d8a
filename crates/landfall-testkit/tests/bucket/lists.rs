//! Lists, and their pages.

use landfall_testkit::bucket::Profile;

use crate::bench::{Bench, Heard};

/// Asks page after page and returns what `element` says on each.
async fn pages(bench: &Bench, parameters: &[(&str, &str)], next: &[(&str, &str)], element: &str) -> Vec<Vec<String>> {
    let mut markers: Vec<(String, String)> = Vec::new();
    let mut pages = Vec::new();
    loop {
        let ask = parameters.iter().fold(bench.get(""), |ask, (name, value)| ask.query(name, value));
        let heard = markers.iter().fold(ask, |ask, (name, value)| ask.query(name, value)).send().await;
        assert_eq!(heard.status, 200, "{}", heard.text());
        pages.push(heard.elements(element));
        assert!(pages.len() < 100, "the list does not end: {}", heard.text());
        if heard.element("IsTruncated") == "false" {
            return pages;
        }
        markers = next.iter().map(|(name, element)| ((*name).to_owned(), heard.element(element))).collect();
    }
}

const OBJECTS: (&str, &str) = ("list-type", "2");
const TOKEN: (&str, &str) = ("continuation-token", "NextContinuationToken");

fn with(keys: &[&str]) -> Bench {
    let bench = Bench::new();
    for key in keys {
        bench.server.put(key, "1");
    }
    bench
}

#[tokio::test]
async fn objects_are_listed_in_the_order_of_their_bytes_page_by_page() {
    let bench = with(&["b", "a/2", "a/1", "ä", "a", "Z"]);
    let all = ["Z", "a", "a/1", "a/2", "b", "ä"].map(str::to_owned);
    for (max, count) in [("1", 6), ("4", 2), ("6", 1), ("9999", 1)] {
        let pages = pages(&bench, &[OBJECTS, ("max-keys", max)], &[TOKEN], "Key").await;
        assert_eq!((pages.len(), pages.concat()), (count, all.to_vec()), "{max}");
    }
    let after = pages(&bench, &[OBJECTS, ("start-after", "a/1")], &[TOKEN], "Key").await;
    assert_eq!(after.concat(), all[3..]);
    let below = pages(&bench, &[OBJECTS, ("prefix", "a/"), ("max-keys", "1")], &[TOKEN], "Key").await;
    assert_eq!(below, [["a/1"], ["a/2"]]);
}

#[tokio::test]
async fn what_keys_have_in_common_is_told_once() {
    let bench = with(&["s/1/a", "s/1/b", "s/2/a", "s/3", "s/4/a", "t"]);
    let query = [OBJECTS, ("prefix", "s/"), ("delimiter", "/")];
    let heard = query.iter().fold(bench.get(""), |ask, (name, value)| ask.query(name, value)).send().await;
    let common = |heard: &Heard| {
        heard
            .elements("CommonPrefixes")
            .iter()
            .map(|text| text.replace("<Prefix>", "").replace("</Prefix>", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (heard.elements("Key"), common(&heard)),
        (vec!["s/3".into()], vec!["s/1/".into(), "s/2/".into(), "s/4/".into()])
    );
    assert_eq!(heard.element("KeyCount"), "4");
    let parameters = [OBJECTS, ("prefix", "s/"), ("delimiter", "/"), ("max-keys", "1")];
    let keys = pages(&bench, &parameters, &[TOKEN], "Key").await;
    let prefixes = pages(&bench, &parameters, &[TOKEN], "CommonPrefixes").await;
    assert_eq!(keys, [vec![], vec![], vec!["s/3".to_owned()], vec![]]);
    assert_eq!(prefixes.concat().len(), 3);
}

#[tokio::test]
async fn keys_are_written_so_that_xml_can_hold_them() {
    let bench = with(&["a & b+<c>.zip"]);
    let heard = bench.get("").query("list-type", "2").send().await;
    assert!(heard.text().contains("<Key>a &amp; b+&lt;c&gt;.zip</Key>"), "{}", heard.text());
    let heard = bench.get("").query("list-type", "2").query("encoding-type", "url").send().await;
    assert_eq!((heard.element("Key"), heard.element("EncodingType")), ("a+%26+b%2B%3Cc%3E.zip".into(), "url".into()));
    let other = bench.get("").query("list-type", "2").query("encoding-type", "utf-7").send().await;
    assert_eq!(other.refusal(), (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn parts_are_listed_page_by_page() {
    let bench = Bench::with(Profile { page_max: 2, ..Profile::s3() });
    let id = bench.open("a", &[("x-amz-checksum-algorithm", "CRC64NVME")]).await;
    bench.send("a", &id, &[b"1", b"22", b"333", b"4444", b"55555"]).await;
    let page = |marker: &str| bench.get("a").query("uploadId", &id).query("part-number-marker", marker);
    let first = bench.get("a").query("uploadId", &id).query("max-parts", "1000").send().await;
    assert_eq!((first.elements("PartNumber"), first.element("MaxParts")), (vec!["1".into(), "2".into()], "2".into()));
    assert_eq!((first.element("IsTruncated"), first.element("NextPartNumberMarker")), ("true".into(), "2".into()));
    assert_eq!(
        (first.element("ChecksumAlgorithm"), first.elements("ChecksumCRC64NVME").len()),
        ("CRC64NVME".into(), 2)
    );
    let last = page("4").send().await;
    assert_eq!((last.elements("Size"), last.element("IsTruncated")), (vec!["5".into()], "false".into()));
    assert_eq!(last.element("ETag"), "\"c5fe25896e49ddfe996db7508cf00534\"");
    assert_eq!(page("x").send().await.refusal(), (400, "InvalidArgument".into()));
}

#[tokio::test]
async fn uploads_are_listed_page_by_page_also_several_of_one_key() {
    let bench = Bench::with(Profile { page_max: 2, ..Profile::s3() });
    let mut opened = Vec::new();
    for key in ["s/b", "s/a", "s/a", "s/a", "t"] {
        opened.push(bench.open(key, &[]).await);
    }
    let next = [("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker")];
    let parameters = [("uploads", ""), ("prefix", "s/")];
    let ids = pages(&bench, &parameters, &next, "UploadId").await;
    assert_eq!(ids, [[opened[1].clone(), opened[2].clone()], [opened[3].clone(), opened[0].clone()]]);
    let behind = bench.get("").query("uploads", "").query("key-marker", "s/a").send().await;
    assert_eq!(behind.elements("Key"), ["s/b", "t"]);
}
