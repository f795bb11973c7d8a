//! Checksums: verified, kept, told, combined. The checksums of `123456789` are the check values of the CRC catalogue.

use landfall_testkit::bucket::{Checksums, Profile};

use crate::bench::Bench;

const NINE: &str = "123456789";
const CRC64NVME: &str = "rosUhgp5mIg=";
const CRC32C: &str = "4waSgw==";
const CRC32: &str = "y/Q5Jg==";
const SHA256: &str = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";

#[tokio::test]
async fn a_right_checksum_is_kept_and_told_on_demand() {
    let bench = Bench::new();
    for (name, value) in [("crc64nvme", CRC64NVME), ("crc32c", CRC32C), ("crc32", CRC32), ("sha256", SHA256)] {
        let header = format!("x-amz-checksum-{name}");
        let heard = bench.put("a", NINE).header(&header, value).send().await;
        assert_eq!((heard.status, heard.header(&header)), (200, value.into()), "{}", heard.text());
        let heard = bench.head("a").header("x-amz-checksum-mode", "ENABLED").send().await;
        assert_eq!((heard.header(&header), heard.header("x-amz-checksum-type")), (value.into(), "FULL_OBJECT".into()));
        assert_eq!(bench.head("a").send().await.header(&header), "");
    }
    bench.put("a", NINE).send().await;
    let heard = bench.get("a").header("x-amz-checksum-mode", "ENABLED").send().await;
    assert_eq!(heard.header("x-amz-checksum-crc64nvme"), CRC64NVME);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_nothing_is_stored() {
    let bench = Bench::new();
    for (name, value) in [("crc64nvme", CRC64NVME), ("crc32c", CRC32C), ("crc32", CRC32), ("sha256", SHA256)] {
        let header = format!("x-amz-checksum-{name}");
        let heard = bench.put("a", "12345678").header(&header, value).send().await;
        assert_eq!(heard.refusal(), (400, "BadDigest".into()), "{name}");
        let heard = bench.put("a", NINE).header(&header, "AAA=").send().await;
        assert_eq!(heard.refusal(), (400, "InvalidRequest".into()), "{name}");
    }
    let md5 = |value| bench.put("a", NINE).header("content-md5", value).send();
    assert_eq!(md5("AAAAAAAAAAAAAAAAAAAAAA==").await.refusal(), (400, "BadDigest".into()));
    assert_eq!(md5("md5").await.refusal(), (400, "InvalidDigest".into()));
    let two = bench.put("a", NINE).header("x-amz-checksum-crc32c", CRC32C).header("x-amz-checksum-sha256", SHA256);
    assert_eq!(two.send().await.refusal(), (400, "InvalidRequest".into()));
    assert!(bench.server.objects().is_empty());
    assert_eq!(md5("JfnnlDI7RTiF9RgfG2JNCw==").await.status, 200);
}

#[tokio::test]
async fn the_checksum_of_an_object_in_parts_covers_all_its_bytes_or_the_checksums_of_its_parts() {
    let bench = Bench::new();
    for (algorithm, of_parts, of_object, cover) in [
        ("CRC64NVME", None, CRC64NVME, "FULL_OBJECT"),
        ("CRC32C", Some(["GNEjNQ==", "wn5dsg=="]), "ZrDMrw==-2", "COMPOSITE"),
        (
            "SHA256",
            Some(["WZRHGrsBESr8wYFZ9sx0tPURuZgG2lmzyvWpwXPKz8U=", "SZvH352Ic8HDjmiYF3w0Oyo00utDF4qetO/LmTNmyM0="]),
            "/wiQ+jHXUUcr18tTEaeru5H1cBgrYDQGvfxkGFLzgl4=-2",
            "COMPOSITE",
        ),
    ] {
        let name = algorithm.to_lowercase();
        let header = format!("x-amz-checksum-{name}");
        let id = bench.open("a", &[("x-amz-checksum-algorithm", algorithm)]).await;
        let mut parts = Vec::new();
        for (number, body) in [(1, "12345"), (2, "6789")] {
            let ask = bench.part("a", &id, number, body);
            let ask = match of_parts {
                Some(values) => ask.header(&header, values[number as usize - 1]),
                None => ask,
            };
            let heard = ask.send().await;
            assert_eq!(heard.status, 200, "{}", heard.text());
            let more = format!("<Checksum{algorithm}>{}</Checksum{algorithm}>", heard.header(&header));
            parts.push((number, heard.header("etag"), more));
        }
        let wrong = bench.complete("a", &id, &parts).header(&header, "AAAAAAAAAAA=").send().await;
        assert_eq!(wrong.refusal(), (400, "BadDigest".into()), "{algorithm}");
        let complete = bench.complete("a", &id, &parts).header(&header, of_object).header("x-amz-checksum-type", cover);
        let heard = complete.header("x-amz-mp-object-size", "9").send().await;
        assert_eq!(
            (heard.element(&format!("Checksum{algorithm}")), heard.element("ChecksumType")),
            (of_object.into(), cover.into()),
            "{}",
            heard.text()
        );
        let heard = bench.head("a").header("x-amz-checksum-mode", "ENABLED").send().await;
        assert_eq!((heard.header(&header), heard.header("x-amz-checksum-type")), (of_object.into(), cover.into()));
    }
}

#[tokio::test]
async fn checksums_of_parts_belong_to_the_upload() {
    let bench = Bench::new();
    let id = bench.open("a", &[("x-amz-checksum-algorithm", "SHA256")]).await;
    assert_eq!(bench.part("a", &id, 1, NINE).send().await.refusal(), (400, "InvalidRequest".into()));
    let other = bench.part("a", &id, 1, NINE).header("x-amz-checksum-crc32c", CRC32C).send().await;
    assert_eq!(other.refusal(), (400, "InvalidRequest".into()));
    let part = bench.part("a", &id, 1, NINE).header("x-amz-checksum-sha256", SHA256).send().await;
    let listed = |more: &str| vec![(1, part.header("etag"), more.to_owned())];
    assert_eq!(bench.complete("a", &id, &listed("")).send().await.refusal(), (400, "InvalidRequest".into()));
    let wrong = listed("<ChecksumSHA256>AAAA</ChecksumSHA256>");
    assert_eq!(bench.complete("a", &id, &wrong).send().await.refusal(), (400, "InvalidPart".into()));
    let right = listed(&format!("<ChecksumSHA256>{SHA256}</ChecksumSHA256>"));
    let other = bench.complete("a", &id, &right).header("x-amz-checksum-type", "FULL_OBJECT").send().await;
    assert_eq!(other.refusal(), (400, "InvalidRequest".into()));
    let size = bench.complete("a", &id, &right).header("x-amz-mp-object-size", "8").send().await;
    assert_eq!(size.refusal(), (400, "InvalidRequest".into()));
    assert_eq!(bench.complete("a", &id, &right).send().await.status, 200);
}

#[tokio::test]
async fn an_upload_that_was_opened_for_no_checksum_takes_all_and_forgets_them() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    let header = "x-amz-checksum-sha256";
    assert_eq!(bench.part("a", &id, 1, "1").header(header, SHA256).send().await.refusal(), (400, "BadDigest".into()));
    let part = bench.part("a", &id, 1, NINE).header(header, SHA256).send().await;
    assert_eq!((part.status, part.header(header)), (200, SHA256.into()));
    let list = bench.get("a").query("uploadId", &id).send().await;
    assert_eq!(list.element("ChecksumSHA256"), "");
    let listed = |more: &str| vec![(1, part.header("etag"), more.to_owned())];
    let named = listed(&format!("<ChecksumSHA256>{SHA256}</ChecksumSHA256>"));
    assert_eq!(bench.complete("a", &id, &named).send().await.refusal(), (400, "InvalidPart".into()));
    let complete = bench.complete("a", &id, &listed("")).header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=");
    assert_eq!(complete.send().await.element("ChecksumCRC64NVME"), CRC64NVME);
}

#[tokio::test]
async fn kinds_of_checksums_that_do_not_exist_are_refused_when_an_upload_is_opened() {
    let bench = Bench::new();
    for (algorithm, cover, status) in [
        ("SHA256", "FULL_OBJECT", 400),
        ("CRC64NVME", "COMPOSITE", 400),
        ("CRC32C", "HALF_OBJECT", 400),
        ("SHA1", "COMPOSITE", 501),
        ("CRC32C", "FULL_OBJECT", 200),
    ] {
        let ask = bench.ask("POST", "a").query("uploads", "").header("x-amz-checksum-algorithm", algorithm);
        let heard = ask.header("x-amz-checksum-type", cover).send().await;
        assert_eq!(heard.status, status, "{algorithm} {cover}");
    }
    let ask = bench.ask("POST", "a").query("uploads", "").header("x-amz-checksum-type", "COMPOSITE");
    assert_eq!(ask.send().await.refusal(), (400, "InvalidRequest".into()));
}

#[tokio::test]
async fn where_nobody_looks_at_checksums_wrong_ones_are_stored_and_where_they_are_not_known_none_are() {
    let bench = Bench::with(Profile { checksums: Checksums::Ignored, ..Profile::s3() });
    let put = || bench.put("a", "1").header("x-amz-checksum-crc32c", CRC32C);
    let heard = put().send().await;
    assert_eq!((heard.status, heard.header("x-amz-checksum-crc32c")), (200, String::new()));
    bench.server.remove("a");
    bench.server.set_profile(Profile { checksums: Checksums::NotImplemented, ..Profile::s3() });
    assert_eq!(put().send().await.refusal(), (501, "NotImplemented".into()));
    assert_eq!(bench.put("a", "1").send().await.status, 200);
    let open = bench.ask("POST", "a").query("uploads", "").header("x-amz-checksum-algorithm", "CRC32C");
    assert_eq!(open.send().await.refusal(), (501, "NotImplemented".into()));
}
