//! What may be wrong with the address of a bucket, of what came of asking there.

use landfall::{RunEnd, RunReport, bucket::Verdict};

use crate::{
    buckets::BucketConfig,
    command::Command,
    failed::{Failed, naming},
};

/// Codes of failures that a wrong address may be behind.
const OF_ADDRESSES: [&str; 5] = ["offline", "answer-lost", "stalled", "bad-answer", "refused"];

impl Failed {
    /// Says which destination this is about: its address if that may be wrong, and its name in what can be typed.
    pub(crate) fn at(self, config: &BucketConfig) -> Self {
        let suspicion = suspicion(config, &self.code, &self.why);
        let why = match tried(config, &self.code) {
            Some(tried) if self.why.is_empty() => tried,
            Some(tried) => format!("{}; {tried}", self.why),
            None => self.why,
        };
        let hint = suspicion.map(str::to_owned).or(self.hint.map(|hint| naming(&hint, &config.name)));
        Self { why, hint, ..self }
    }
}

/// Says where a run that was given up had tried, and what may be wrong with that.
pub(crate) fn say_away(command: &Command, config: &BucketConfig, report: &RunReport) {
    if let RunEnd::Away(failure) = &report.end
        && let Some(tried) = tried(config, failure.code.as_str())
    {
        command.out.warn(&tried, suspicion(config, failure.code.as_str(), &failure.message));
    }
}

/// A verdict on a bucket, with its address and its name where they matter.
pub(crate) fn explained(config: &BucketConfig, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Fail { code, message, remedy } => {
            let remedy = suspicion(config, code.as_str(), &message).map_or(remedy, str::to_owned);
            let message = match tried(config, code.as_str()) {
                Some(tried) => format!("{message}; {tried}"),
                None => message,
            };
            Verdict::Fail { code, message, remedy }
        }
        other => other,
    }
}

fn tried(config: &BucketConfig, code: &str) -> Option<String> {
    let endpoint = config.place().ok()?.endpoint().to_string();
    // A refusal has come from somewhere.
    let may_be_away = OF_ADDRESSES.contains(&code) && code != "refused";
    may_be_away.then(|| format!("tried `{endpoint}`, bucket `{}`", config.bucket))
}

fn suspicion(config: &BucketConfig, code: &str, message: &str) -> Option<&'static str> {
    if !OF_ADDRESSES.contains(&code) {
        return None;
    }
    let said = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let is_tls = config.endpoint.as_ref().is_none_or(|endpoint| endpoint.starts_with("https://"));
    if is_tls && says(&["invalidcontenttype", "corrupt message", "wrong version"]) {
        return Some("this server does not speak TLS: try `--endpoint http://…`");
    }
    if says(&["certificate", "unknownissuer", "unknown issuer"]) {
        return Some("the certificate is not trusted: give the name that it is for, or have this system trust it");
    }
    if !is_tls && says(&["http request to an https", "invalid http version"]) {
        return Some("this server seems to speak TLS: try `--endpoint https://…`");
    }
    if says(&["dns error", "failed to lookup", "name or service not known"]) {
        return Some(match (&config.endpoint, config.path_style) {
            (Some(_), None | Some(false)) => {
                "check the address; or add `--path-style`: then the bucket is not named in it"
            }
            _ => "check the address",
        });
    }
    (code == "bad-answer").then_some("what answers there is no S3 server: check the address and its port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_tells_what_is_wrong_with_the_address() {
        let config = |endpoint: Option<&str>, path_style| BucketConfig {
            endpoint: endpoint.map(str::to_owned),
            path_style,
            ..BucketConfig::new("lab".into(), "media".into(), "us-east-1".into())
        };
        let (plain, tls) = (config(Some("http://host:1"), None), config(Some("https://host:1"), Some(true)));
        for (config, code, said, hint) in [
            (&tls, "offline", "received corrupt message of type InvalidContentType", "http://…"),
            (&tls, "offline", "invalid peer certificate: UnknownIssuer", "is not trusted"),
            (&plain, "refused", "Client sent an HTTP request to an HTTPS server", "https://…"),
            (&plain, "answer-lost", "invalid HTTP version parsed", "https://…"),
            (&plain, "offline", "dns error: failed to lookup address", "--path-style"),
            (&tls, "bad-answer", "it is no XML", "no S3 server"),
        ] {
            let found = suspicion(config, code, said).unwrap_or_default();
            assert!(found.contains(hint), "{said}: {found}");
        }
        assert_eq!(suspicion(&plain, "offline", "connection refused"), None);
        assert_eq!(suspicion(&tls, "access-denied", "certificate"), None);
        assert_eq!(tried(&plain, "offline").as_deref(), Some("tried `http://host:1`, bucket `media`"));
    }
}
