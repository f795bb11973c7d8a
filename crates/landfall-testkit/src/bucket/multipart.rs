//! Uploads in parts: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>.

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use md5::{Digest as _, Md5};

use super::{
    State,
    checksum::{self, Algorithm, Cover, Kept, Plan, other_kind},
    objects::{check_key, kept_headers, quoted},
    profile::{Again, IfNoneMatch},
    refusal::{Refusal, Reply},
    service::Call,
    signature::hex,
    state::{Completed, Object, Upload},
    xml::{ListedPart, PartList, Xml},
};

/// A part as it was stored.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    md5: [u8; 16],
    /// If the upload was opened for one.
    pub(super) checksum: Option<Kept>,
    pub(super) modified_ms: i64,
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Without quotes.
    pub(super) fn etag(&self) -> String {
        hex(&self.md5)
    }

    /// Whether a list means this part, by its ETag and its checksum.
    fn is(&self, listed: &ListedPart, plan: &Plan) -> bool {
        let is_right = |(claimed, text): (Algorithm, &str)| match plan.kind {
            Some((algorithm, _)) => algorithm == claimed && algorithm.text(&self.bytes) == text,
            None => true,
        };
        listed.etag.trim_matches('"') == self.etag() && checksums(listed).all(is_right)
    }
}

impl State {
    pub(super) fn create_upload(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        check_key(&call.asked.key)?;
        let checksum = Plan::of(&call.head.headers, &self.profile)?;
        // What has to be encoded in a URL is in it, since identifiers are opaque. Later ones are sorted behind.
        let upload_id = format!("{:06}/+upload==", self.next_number());
        let upload = Upload {
            bucket: call.asked.bucket.clone(),
            key: call.asked.key.clone(),
            headers: kept_headers(&call.head.headers),
            initiated_ms: call.now_ms,
            checksum,
            parts: Default::default(),
        };
        let xml = Xml::new()
            .root("InitiateMultipartUploadResult")
            .text("Bucket", &upload.bucket)
            .text("Key", &upload.key)
            .text("UploadId", &upload_id)
            .close("InitiateMultipartUploadResult");
        self.uploads.insert(upload_id, upload);
        let reply = Reply::xml(xml.finish());
        Ok(match checksum.kind {
            Some((algorithm, cover)) => {
                reply.with("x-amz-checksum-algorithm", algorithm.upper()).with("x-amz-checksum-type", cover.name())
            }
            None => reply,
        })
    }

    pub(super) fn upload_part(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let number = call.asked.part_number().filter(|number| (1..=PARTS_MAX).contains(number));
        let number = number
            .ok_or_else(|| Refusal::new(400, "InvalidArgument", format!("parts have numbers from 1 to {PARTS_MAX}")))?;
        let plan = self.upload(call)?.checksum;
        let claimed = checksum::verify(&call.head.headers, &call.body, &self.profile)?;
        plan.check_part(claimed.as_ref().map(|(algorithm, _)| *algorithm))?;
        let checksum = plan.of_part(claimed, &call.body);
        let reply = Reply::empty(StatusCode::OK);
        let reply = match &checksum {
            Some(kept) => reply.with(&kept.algorithm.header(), &kept.text),
            None => reply,
        };
        let part = Part {
            bytes: call.body.clone(),
            md5: Md5::digest(&call.body).into(),
            checksum: checksum.filter(|_| plan.is_declared),
            modified_ms: call.now_ms,
        };
        let reply = reply.with("etag", quoted(&part.etag()));
        let keeps_replaced = self.profile.keeps_replaced_parts;
        let sent = self.upload_mut(call)?.parts.entry(number).or_default();
        if !keeps_replaced {
            sent.clear();
        }
        sent.push(part);
        Ok(reply)
    }

    pub(super) fn abort_upload(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let upload_id = call.asked.upload_id().unwrap_or_default().to_owned();
        let is_repeated = self.aborted.contains(&upload_id) && self.profile.abort_again == Again::Succeeds;
        if !is_repeated {
            self.upload(call)?;
            self.uploads.remove(&upload_id);
            self.aborted.insert(upload_id);
        }
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    pub(super) fn complete_upload(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let upload_id = call.asked.upload_id().unwrap_or_default().to_owned();
        let list = PartList::parse(&call.body).filter(|list| !list.parts.is_empty());
        let list = list.ok_or_else(|| Refusal::new(400, "MalformedXML", "the body is no list of parts"))?;
        if let Some(answer) = self.answer_again(call, &upload_id, &list) {
            return Ok(Reply::xml(answer));
        }
        let upload = self.upload(call)?;
        if let Err(refusal) = self.check_condition(call, self.profile.complete_if_none_match) {
            if self.profile.complete_if_none_match == IfNoneMatch::Conflict {
                self.uploads.remove(&upload_id);
            }
            return Err(refusal);
        }
        let parts = self.chosen_parts(upload, list)?;
        let object = self.assembled(call, upload, &parts)?;
        let answer = self.completed_xml(call, &object);
        let numbers = parts.iter().map(|(number, part)| (*number, part.etag())).collect();
        let (bucket, key) = call.place();
        let completed = Completed { bucket, key, parts: numbers, answer: answer.clone() };
        self.completed.insert(upload_id.clone(), completed);
        self.uploads.remove(&upload_id);
        self.objects.insert(call.place(), object);
        Ok(Reply::xml(answer))
    }

    /// What was answered when the same parts were completed before. No condition is looked at again.
    fn answer_again(&self, call: &Call<'_>, upload_id: &str, list: &PartList) -> Option<Bytes> {
        let completed = self.completed.get(upload_id).filter(|_| self.profile.complete_again == Again::Succeeds)?;
        let listed = list.parts.iter().map(|part| (part.part_number, part.etag.trim_matches('"').to_owned()));
        let is_same = (&completed.bucket, &completed.key) == (&call.asked.bucket, &call.asked.key)
            && listed.eq(completed.parts.iter().cloned());
        is_same.then(|| completed.answer.clone())
    }

    /// The parts that a list names, in the order of their numbers.
    fn chosen_parts(&self, upload: &Upload, mut list: PartList) -> Result<Vec<(u32, Part)>, Refusal> {
        if self.profile.ordered_parts && !list.parts.is_sorted_by(|a, b| a.part_number < b.part_number) {
            return Err(Refusal::new(400, "InvalidPartOrder", "list the parts in the order of their numbers"));
        }
        list.parts.sort_by_key(|part| part.part_number);
        let parts = list.parts.iter().map(|listed| {
            let sent = upload.parts.get(&listed.part_number).into_iter().flatten();
            let part = sent.rev().find(|part| part.is(listed, &upload.checksum)).ok_or_else(|| no_such_part(listed))?;
            let needs_checksum = matches!(upload.checksum.kind, Some((_, Cover::Composite)));
            if needs_checksum && checksums(listed).next().is_none() {
                let number = listed.part_number;
                let message = format!("the upload has checksums of its parts; that of part {number} is missing");
                return Err(Refusal::invalid_request(message));
            }
            Ok((listed.part_number, part.clone()))
        });
        parts.collect()
    }

    fn assembled(&self, call: &Call<'_>, upload: &Upload, parts: &[(u32, Part)]) -> Result<Object, Refusal> {
        self.check_sizes(parts)?;
        let bytes = parts.iter().fold(BytesMut::new(), |mut bytes, (_, part)| {
            bytes.extend_from_slice(&part.bytes);
            bytes
        });
        if let Some(size) = call.header("x-amz-mp-object-size").filter(|size| size.parse() != Ok(bytes.len())) {
            let message = format!("the parts have {} bytes and x-amz-mp-object-size says {size}", bytes.len());
            return Err(Refusal::invalid_request(message));
        }
        let slices = parts.iter().map(|(_, part)| part.bytes.as_ref());
        let checksum = upload.checksum.of_object(slices, &bytes);
        self.check_object_checksum(call, upload, checksum.as_ref())?;
        let md5s: Vec<u8> = parts.iter().flat_map(|(_, part)| part.md5).collect();
        Ok(Object {
            bucket: upload.bucket.clone(),
            key: upload.key.clone(),
            bytes: bytes.freeze(),
            etag: format!("{}-{}", hex(&Md5::digest(md5s)), parts.len()),
            headers: upload.headers.clone(),
            parts: parts.iter().map(|(_, part)| part.len()).collect(),
            modified_ms: call.now_ms,
            checksum,
        })
    }

    fn check_sizes(&self, parts: &[(u32, Part)]) -> Result<(), Refusal> {
        let Some(((last_number, last), others)) = parts.split_last() else { return Ok(()) };
        let min = self.profile.part_bytes_min;
        if let Some((number, part)) = others.iter().find(|(_, part)| part.len() < min) {
            let refusal = Refusal::new(400, "EntityTooSmall", "only the last part may be this small");
            return Err(refusal
                .saying("ProposedSize", part.len().to_string())
                .saying("MinSizeAllowed", min.to_string())
                .saying("PartNumber", number.to_string())
                .saying("ETag", part.etag()));
        }
        let first = others.first().map_or(last.len(), |(_, part)| part.len());
        let unequal = others.iter().find(|(_, part)| part.len() != first).map(|(number, _)| number);
        match unequal.or((last.len() > first).then_some(last_number)) {
            Some(number) if self.profile.equal_parts => {
                Err(Refusal::new(400, "InvalidPart", format!("part {number} is not as long as those before it")))
            }
            _ => Ok(()),
        }
    }

    /// What the request says of the whole object's checksum. S3 looks at it only if the upload was opened with one.
    fn check_object_checksum(&self, call: &Call<'_>, upload: &Upload, made: Option<&Kept>) -> Result<(), Refusal> {
        let claimed = checksum::claimed(&call.head.headers, &self.profile)?;
        let Some(made) = made.filter(|_| upload.checksum.is_declared) else { return Ok(()) };
        let cover = call.header("x-amz-checksum-type");
        if cover.is_some_and(|cover| cover != made.cover.name()) {
            return Err(Refusal::invalid_request(format!("the checksum of the upload is {}", made.cover.name())));
        }
        match claimed {
            None => Ok(()),
            Some((algorithm, _)) if algorithm != made.algorithm => {
                Err(other_kind(made.algorithm.name(), algorithm.name()))
            }
            Some((algorithm, text)) if text != made.text => Err(checksum::bad_digest(algorithm, &self.profile)),
            Some(_) => Ok(()),
        }
    }

    fn completed_xml(&self, call: &Call<'_>, object: &Object) -> Bytes {
        let etag = if self.profile.complete_without_etag { String::new() } else { quoted(&object.etag) };
        let xml = Xml::new()
            .waited()
            .root("CompleteMultipartUploadResult")
            .text("Location", format!("http://{}/{}/{}", self.profile.host_name, call.asked.bucket, call.asked.key))
            .text("Bucket", &object.bucket)
            .text("Key", &object.key)
            .text("ETag", etag);
        let xml = match &object.checksum {
            Some(kept) => xml.text(&kept.algorithm.element(), &kept.text).text("ChecksumType", kept.cover.name()),
            None => xml,
        };
        xml.close("CompleteMultipartUploadResult").finish()
    }

    /// The upload that a request names, if it is for the same key.
    pub(super) fn upload(&self, call: &Call<'_>) -> Result<&Upload, Refusal> {
        let upload = self.uploads.get(call.asked.upload_id().unwrap_or_default());
        let is_meant = |upload: &&Upload| (&upload.bucket, &upload.key) == (&call.asked.bucket, &call.asked.key);
        upload.filter(is_meant).ok_or_else(Refusal::no_such_upload)
    }

    fn upload_mut(&mut self, call: &Call<'_>) -> Result<&mut Upload, Refusal> {
        self.uploads.get_mut(call.asked.upload_id().unwrap_or_default()).ok_or_else(Refusal::no_such_upload)
    }
}

fn no_such_part(listed: &ListedPart) -> Refusal {
    Refusal::new(400, "InvalidPart", "a part of the list is not there, or is another")
        .saying("PartNumber", listed.part_number.to_string())
        .saying("ETag", &listed.etag)
}

/// The checksums that a list has of a part.
fn checksums(listed: &ListedPart) -> impl Iterator<Item = (Algorithm, &str)> {
    let all = [
        (Algorithm::Crc64Nvme, &listed.crc64nvme),
        (Algorithm::Crc32c, &listed.crc32c),
        (Algorithm::Crc32, &listed.crc32),
        (Algorithm::Sha256, &listed.sha256),
    ];
    all.into_iter().filter_map(|(algorithm, text)| Some((algorithm, text.as_deref()?)))
}

const PARTS_MAX: u32 = 10_000;
