//! The three lists: of objects, of uploads in parts, of the parts of one.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    State, moment,
    multipart::Part,
    objects::quoted,
    refusal::{Refusal, Reply},
    service::Call,
    state::Object,
    xml::Xml,
};

impl State {
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
    pub(super) fn list_objects(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let query = &call.asked.query;
        let max = self.page(call, "max-keys")?;
        let (prefix, delimiter) = (query.get("prefix").unwrap_or_default(), query.get("delimiter").unwrap_or_default());
        let after = match query.get("continuation-token") {
            Some(token) => marker_of(token)?,
            None => query.get("start-after").unwrap_or_default().to_owned(),
        };
        let mut page = Page::default();
        for object in self.objects.values().filter(|object| object.bucket == call.asked.bucket) {
            let Some(rest) = object.key.strip_prefix(prefix) else { continue };
            let folder = (!delimiter.is_empty()).then(|| rest.find(delimiter)).flatten();
            let folder = folder.map(|at| object.key[..prefix.len() + at + delimiter.len()].to_owned());
            let is_told = |folder: &String| *folder == after || page.folders.contains(folder);
            if object.key <= after || folder.as_ref().is_some_and(is_told) {
                continue;
            }
            if page.len() == max {
                page.is_truncated = max > 0;
                break;
            }
            page.last = folder.as_ref().unwrap_or(&object.key).clone();
            match folder {
                Some(folder) => drop(page.folders.insert(folder)),
                None => page.objects.push(object),
            }
        }
        let name = Encoding::of(call)?;
        let xml = Xml::new()
            .root("ListBucketResult")
            .text("Name", &call.asked.bucket)
            .text("Prefix", name.written(prefix))
            .maybe("Delimiter", query.get("delimiter").map(|delimiter| name.written(delimiter)).as_deref())
            .maybe("EncodingType", name.name())
            .maybe("ContinuationToken", query.get("continuation-token"))
            .maybe("StartAfter", query.get("start-after").map(|key| name.written(key)).as_deref())
            .number("MaxKeys", max as u64)
            .number("KeyCount", page.len() as u64)
            .text("IsTruncated", page.is_truncated.to_string())
            .maybe("NextContinuationToken", page.is_truncated.then(|| STANDARD.encode(&page.last)).as_deref())
            .each(&page.objects, |xml, object| {
                xml.open("Contents")
                    .text("Key", name.written(&object.key))
                    .text("LastModified", moment::extended(object.modified_ms))
                    .text("ETag", quoted(&object.etag))
                    .number("Size", object.bytes.len() as u64)
                    .text("StorageClass", "STANDARD")
                    .close("Contents")
            })
            .each(&page.folders, |xml, folder| {
                xml.open("CommonPrefixes").text("Prefix", name.written(folder)).close("CommonPrefixes")
            })
            .close("ListBucketResult");
        Ok(Reply::xml(xml.finish()))
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>
    pub(super) fn list_uploads(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let query = &call.asked.query;
        let max = self.page(call, "max-uploads")?;
        if query.get("delimiter").is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(Refusal::not_implemented("uploads are listed without a delimiter here"));
        }
        let prefix = query.get("prefix").unwrap_or_default();
        let (after_key, after_id) = (query.get("key-marker").unwrap_or_default(), query.get("upload-id-marker"));
        let is_behind = |key: &str, id: &str| match after_id {
            // Without an upload to begin behind, all of the marker's key are left out.
            Some(after_id) if !after_id.is_empty() => (key, id) > (after_key, after_id),
            _ => key > after_key,
        };
        let mut found: Vec<_> = (self.uploads.iter())
            .filter(|(_, upload)| upload.bucket == call.asked.bucket && upload.key.starts_with(prefix))
            .filter(|(id, upload)| is_behind(&upload.key, id))
            .collect();
        found.sort_by_key(|(id, upload)| (&upload.key, *id));
        let is_truncated = found.len() > max && max > 0;
        found.truncate(max);
        let next = found.last().filter(|_| is_truncated);
        let name = Encoding::of(call)?;
        let xml = Xml::new()
            .root("ListMultipartUploadsResult")
            .text("Bucket", &call.asked.bucket)
            .text("KeyMarker", name.written(after_key))
            .text("UploadIdMarker", after_id.unwrap_or_default())
            .maybe("NextKeyMarker", next.map(|(_, upload)| name.written(&upload.key)).as_deref())
            .maybe("NextUploadIdMarker", next.map(|(id, _)| id.as_str()))
            .text("Prefix", name.written(prefix))
            .maybe("EncodingType", name.name())
            .number("MaxUploads", max as u64)
            .text("IsTruncated", is_truncated.to_string())
            .each(&found, |xml, (id, upload)| {
                xml.open("Upload")
                    .text("Key", name.written(&upload.key))
                    .text("UploadId", id)
                    .text("StorageClass", "STANDARD")
                    .text("Initiated", moment::extended(upload.initiated_ms))
                    .close("Upload")
            })
            .close("ListMultipartUploadsResult");
        Ok(Reply::xml(xml.finish()))
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>
    pub(super) fn list_parts(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let upload = self.upload(call)?;
        let max = self.page(call, "max-parts")?;
        let marker = call.asked.query.get("part-number-marker").unwrap_or("0");
        let after: u32 = marker.parse().map_err(|_| invalid_argument("part-number-marker"))?;
        let behind = upload.parts.range(after.saturating_add(1)..);
        let all: Vec<(u32, &Part)> =
            behind.flat_map(|(number, sent)| sent.iter().map(|part| (*number, part))).collect();
        let page = &all[..all.len().min(max)];
        let is_truncated = page.len() < all.len() && max > 0;
        let (algorithm, cover) = upload.checksum.kind.filter(|_| upload.checksum.is_declared).unzip();
        let xml = Xml::new()
            .root("ListPartsResult")
            .text("Bucket", &upload.bucket)
            .text("Key", &upload.key)
            .text("UploadId", call.asked.upload_id().unwrap_or_default())
            .text("StorageClass", "STANDARD")
            .number("PartNumberMarker", after)
            .number("NextPartNumberMarker", page.last().map_or(0, |(number, _)| *number))
            .number("MaxParts", max as u64)
            .text("IsTruncated", is_truncated.to_string())
            .maybe("ChecksumAlgorithm", algorithm.map(|algorithm| algorithm.upper()).as_deref())
            .maybe("ChecksumType", cover.map(|cover| cover.name()))
            .each(page, |xml, (number, part)| {
                let xml = xml
                    .open("Part")
                    .number("PartNumber", *number)
                    .text("LastModified", moment::extended(part.modified_ms))
                    .text("ETag", quoted(&part.etag()))
                    .number("Size", part.len());
                let xml = match &part.checksum {
                    Some(kept) => xml.text(&kept.algorithm.element(), &kept.text),
                    None => xml,
                };
                xml.close("Part")
            })
            .close("ListPartsResult");
        Ok(Reply::xml(xml.finish()))
    }

    /// How many entries an answer has.
    fn page(&self, call: &Call<'_>, parameter: &'static str) -> Result<usize, Refusal> {
        let asked = call.asked.query.get(parameter).map(|text| text.parse().map_err(|_| invalid_argument(parameter)));
        Ok(asked.transpose()?.map_or(self.profile.page_max, |asked: usize| asked.min(self.profile.page_max)))
    }
}

/// One answer of a list of objects.
#[derive(Default)]
struct Page<'a> {
    objects: Vec<&'a Object>,
    /// What the keys up to a delimiter have in common.
    folders: BTreeSet<String>,
    last: String,
    is_truncated: bool,
}

impl Page<'_> {
    fn len(&self) -> usize {
        self.objects.len() + self.folders.len()
    }
}

/// How keys are written into XML, which cannot hold every character of them.
enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    fn of(call: &Call<'_>) -> Result<Self, Refusal> {
        match call.asked.query.get("encoding-type") {
            None => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => Err(invalid_argument("encoding-type")),
        }
    }

    fn name(&self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Url => Some("url"),
        }
    }

    fn written(&self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            // As in forms, a space becomes a plus.
            Self::Url => utf8_percent_encode(text, URL).to_string().replace("%20", "+"),
        }
    }
}

fn marker_of(token: &str) -> Result<String, Refusal> {
    let bytes = STANDARD.decode(token).map_err(|_| invalid_argument("continuation-token"))?;
    String::from_utf8(bytes).map_err(|_| invalid_argument("continuation-token"))
}

fn invalid_argument(name: &str) -> Refusal {
    Refusal::new(400, "InvalidArgument", format!("the value of `{name}` is none")).saying("ArgumentName", name)
}

const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');
