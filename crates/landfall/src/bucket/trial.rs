//! Trying a destination out: can everything be done there that an upload needs?

use std::time::Duration;

use landfall_core::{Algorithm, Code, Failure, Proof, Remedy};
use landfall_transport::s3::{
    answer,
    request::{self, Condition, NewObject},
};

use super::{Bucket, probe, remote::Way};
use crate::Error;

/// A clock that is further away is worth a word, although requests are signed by the bucket's.
const CLOCK_WARNING: Duration = Duration::from_secs(300);

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which, as a stable word.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Ok {
        /// What was found.
        message: String,
    },
    /// It can be lived with.
    Warn {
        /// What was found.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// Uploads will fail.
    Fail {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// It was not asked, because of what came before.
    Skipped,
}

impl Verdict {
    fn ok(message: impl Into<String>) -> Self {
        Self::Ok { message: message.into() }
    }

    fn warn(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Warn { message: message.into(), remedy: remedy.into() }
    }

    fn fail(failure: &Failure) -> Self {
        Self::Fail { code: failure.code, message: failure.message.clone(), remedy: failure.code.advice().to_owned() }
    }

    fn is_failure(&self) -> bool {
        matches!(self, Self::Fail { .. })
    }
}

/// The questions, in their order.
const NAMES: [&str; 8] = ["bucket", "region", "clock", "write", "read", "checksums", "overwrite", "multipart"];

impl Bucket {
    /// Tries out whether everything can be done that an upload needs: asks for the bucket, puts a small object below the
    /// prefix, reads it back, tries to overwrite it, removes it, opens a remote upload and aborts it. What it puts it
    /// removes, also if something fails on the way; if it may not, it says what it left. What it learns is kept.
    ///
    /// # Errors
    /// The journal's. What the bucket refuses is in the checks.
    pub async fn test(&self) -> Result<Vec<Check>, Error> {
        let mut checks: Vec<Check> = Vec::new();
        let key = probe::canary(&self.inner.engine, self);
        let mut is_there = false;
        for name in NAMES {
            let verdict = if checks.iter().any(|check| check.verdict.is_failure()) {
                Verdict::Skipped
            } else {
                self.check(name, &key, &mut is_there).await.unwrap_or_else(|failure| Verdict::fail(&failure))
            };
            checks.push(Check { name, verdict });
        }
        let verdict = if is_there { self.remove(&key).await } else { Verdict::Skipped };
        checks.push(Check { name: "delete", verdict });
        self.inner.remote.keep_facts().await?;
        Ok(checks)
    }

    async fn check(&self, name: &str, key: &str, is_there: &mut bool) -> Result<Verdict, Failure> {
        match name {
            "bucket" => self.find().await,
            "region" => Ok(self.compare_regions()),
            "clock" => Ok(self.compare_clocks()),
            "write" => {
                self.inner.remote.put_bytes(key, probe::canary_bytes(), None, &Condition::Always).await?;
                *is_there = true;
                Ok(Verdict::ok("an object was put below the prefix"))
            }
            "read" => self.read_back(key).await,
            "checksums" => self.try_checksums().await,
            "overwrite" => self.try_to_overwrite(key).await,
            _ => self.open_and_abort(key).await,
        }
    }

    /// The bucket is there and we are somebody to it. A refusal of `HEAD` says nothing but its status, so that a question
    /// whose refusal has words follows it.
    async fn find(&self) -> Result<Verdict, Failure> {
        let remote = &self.inner.remote;
        let (bucket, endpoint) =
            (remote.bucket.place().bucket().to_owned(), remote.bucket.place().endpoint().to_string());
        let there = Verdict::ok(format!("`{bucket}` at {endpoint} answers"));
        let Err(failure) = remote.ask(request::head_bucket, answer::bucket).await else { return Ok(there) };
        if matches!(failure.remedy, Remedy::Wait { .. }) {
            return Err(failure);
        }
        let prefix = self.inner.prefix.clone();
        let listed = remote.ask(|| request::list(&prefix, None, None), |page| answer::objects(page, &prefix, None));
        match listed.await {
            Ok(_) => Ok(there),
            // Whoever may put need not be allowed to list.
            Err(failure) if failure.code == Code::AccessDenied => Ok(Verdict::warn(
                format!("`{bucket}` at {endpoint} answers, and does not let these keys list it"),
                "nothing, unless you want to list it; a bucket that is not there may answer like that as well",
            )),
            Err(failure) => Err(failure),
        }
    }

    fn compare_regions(&self) -> Verdict {
        let (found, configured) = (self.inner.remote.bucket.place(), &self.inner.region);
        if found.region() == configured {
            return Verdict::ok(format!("`{configured}` is right, or not looked at"));
        }
        Verdict::warn(
            format!("the bucket is in `{}`, and `{configured}` is configured", found.region()),
            format!(
                "requests go to the right one; `landfall destination add s3 NAME --replace --region {}` says so for good",
                found.region()
            ),
        )
    }

    fn compare_clocks(&self) -> Verdict {
        let ahead_ms = self.inner.remote.its_time().0.saturating_sub(self.inner.engine.now().0);
        if Duration::from_millis(ahead_ms.unsigned_abs()) < CLOCK_WARNING {
            return Verdict::ok("the clock of this device is near that of the bucket");
        }
        let (minutes, direction) = (ahead_ms.unsigned_abs() / 60_000, if ahead_ms > 0 { "behind" } else { "ahead" });
        Verdict::warn(
            format!("the clock of this device is {minutes} minutes {direction}"),
            "set the clock of this device; until then requests are signed by the bucket's",
        )
    }

    async fn read_back(&self, key: &str) -> Result<Verdict, Failure> {
        let read = self.inner.remote.fetch_short(key, probe::canary_bytes().len()).await?;
        if !probe::is_canary(&read) {
            return Err(super::bad_answer("what was put does not come back"));
        }
        Ok(Verdict::ok("what was put comes back"))
    }

    async fn try_checksums(&self) -> Result<Verdict, Failure> {
        let remote = &self.inner.remote;
        let proof = probe::proof(&self.inner.engine, self).await?;
        remote.learn_proof(proof);
        Ok(match proof {
            Proof::Checksum(algorithm) => {
                Verdict::ok(format!("damaged bytes are refused by their {}", name_of(algorithm)))
            }
            Proof::SignedPayload => Verdict::warn(
                "the endpoint ignores checksums",
                "nothing; each part is signed with its SHA-256 instead, and no checksum is kept with the object",
            ),
        })
    }

    /// Whether what is under a key is overwritten also when it is not to be: learned, and said.
    async fn try_to_overwrite(&self, key: &str) -> Result<Verdict, Failure> {
        let remote = &self.inner.remote;
        let guards_put = probe::put_over(self, key).await?;
        remote.learn_guards(Way::Put, guards_put);
        // What it left open is said by the question that comes next.
        let guards_complete = probe::complete_over(self, key).await?.guards?;
        remote.learn_guards(Way::Complete, guards_complete);
        let what = match (guards_put, guards_complete) {
            (true, true) => return Ok(Verdict::ok("an object that is there is not overwritten")),
            (true, false) => "the endpoint overwrites with files of several parts also when it is asked not to",
            (false, true) => "the endpoint overwrites with short files also when it is asked not to",
            (false, false) => "the endpoint overwrites also when it is asked not to",
        };
        Ok(Verdict::warn(
            what,
            "nothing; what is there is looked at just before, and known by its tag; let nobody else write to the prefix",
        ))
    }

    async fn open_and_abort(&self, key: &str) -> Result<Verdict, Failure> {
        let remote = &self.inner.remote;
        let algorithm = match remote.proof() {
            Some(Proof::Checksum(algorithm)) => Some(algorithm),
            _ => None,
        };
        let new = NewObject { content_type: None, tag: None, algorithm, metadata: &[] };
        let upload_id = remote.create(key, &new).await?;
        match remote.abort(key, &upload_id).await {
            Err(failure) if failure.code == Code::AccessDenied => Ok(Verdict::warn(
                format!("multipart uploads to `{key}` were opened, and these keys may not abort them"),
                "give them the right s3:AbortMultipartUpload; without it what is cancelled keeps its room in the bucket",
            )),
            other => other.map(|()| Verdict::ok("a multipart upload was opened, and aborted")),
        }
    }

    async fn remove(&self, key: &str) -> Verdict {
        match self.inner.remote.ask(|| request::delete(key), answer::deleted).await {
            Ok(()) => Verdict::ok("what was put was removed"),
            Err(failure) => Verdict::warn(
                format!("`{key}` was put there and could not be removed: {failure}"),
                "remove it yourself; uploads need no right to delete",
            ),
        }
    }
}

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc64Nvme => "CRC64NVME",
        Algorithm::Crc32c => "CRC32C",
        Algorithm::Sha256 => "SHA-256",
    }
}
