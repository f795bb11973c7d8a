//! Where the secrets of destinations are.
//!
//! A destination with an access key of its own has a secret that was kept when it was added: in the platform's key store if
//! one answers, else in `credentials.json` of the home, which only its owner may read. A service may be handed it as a file
//! instead (`CREDENTIALS_DIRECTORY`, as systemd's `LoadCredential` does). One without an access key uses those of the
//! environment, or of a profile, as other tools for Amazon's services do.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use landfall::s3::Credentials;
use landfall_env::Env;
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{buckets::BucketConfig, command::Command, failed::Failed, home::HomeLock, keyring, secret};

/// The secrets of one destination.
#[derive(Clone)]
pub(crate) struct Secrets {
    /// The secret that belongs to its access key.
    pub secret: Zeroizing<String>,
    /// The token that temporary keys come with.
    pub session_token: Option<Zeroizing<String>>,
}

/// Where secrets are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In the platform's key store.
    Platform,
    /// In a file of the home.
    File,
    /// In a file that the service was handed.
    Handed,
}

impl Kept {
    /// For people.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Platform => "the key store of this system",
            Self::File => "`credentials.json` in the home",
            Self::Handed => "the folder that CREDENTIALS_DIRECTORY names",
        }
    }

    /// For programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Platform => "keyring",
            Self::File => "file",
            Self::Handed => "service",
        }
    }
}

/// The secrets of a home's destinations.
pub(crate) struct CredentialStore {
    home: PathBuf,
    env: Env,
}

impl CredentialStore {
    /// That of the command's home.
    pub(crate) fn of(command: &Command) -> Self {
        Self { home: command.home.folder.clone(), env: command.env.clone() }
    }

    /// The credentials of a destination.
    ///
    /// # Errors
    /// `no-credentials` if there are none; `bad-config` if they cannot be.
    pub(crate) async fn credentials(&self, config: &BucketConfig) -> Result<Credentials, Failed> {
        let name = &config.name;
        let bad = |why: String| Failed::new("bad-config", format!("cannot use the credentials of `{name}`"), why);
        let Some(access_key) = &config.access_key else {
            let (access_key, secrets) = self.surrounding(config)?;
            return credentials(&access_key, &secrets).map_err(bad);
        };
        match self.find(name).await? {
            Some((secrets, _)) => credentials(access_key, &secrets).map_err(bad),
            None => {
                Err(Failed::new("no-credentials", format!("there is no secret for the access key of `{name}`"), "")
                    .hint(format!("`landfall destination add s3 {name} --replace --secret-file FILE` keeps one")))
            }
        }
    }

    /// The secrets that were kept for a destination, and where.
    ///
    /// # Errors
    /// If they are there and cannot be read.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<(Secrets, Kept)>, Failed> {
        if let Some(secrets) = handed(name)? {
            return Ok(Some((secrets, Kept::Handed)));
        }
        if let Some(text) = self.platform(name, keyring::find).await
            && let Some(secrets) = read(&text)
        {
            return Ok(Some((secrets, Kept::Platform)));
        }
        Ok(self.load()?.remove(name).and_then(|text| read(&text)).map(|secrets| (secrets, Kept::File)))
    }

    /// Keeps the secrets of a destination. When this returns they are durable.
    ///
    /// # Errors
    /// If neither a key store nor the home takes them.
    pub(crate) async fn keep(&self, _: &HomeLock, name: &str, secrets: &Secrets) -> Result<Kept, Failed> {
        let text = write(secrets);
        let entry = text.clone();
        if self.platform(name, move |home, name| keyring::keep(home, name, &entry)).await.is_some() {
            self.forget_in_file(name)?;
            return Ok(Kept::Platform);
        }
        let mut all = self.load()?;
        all.insert(name.to_owned(), text);
        self.store(&all)?;
        Ok(Kept::File)
    }

    /// Forgets the secrets of a destination, wherever they are kept.
    ///
    /// # Errors
    /// If the home cannot be written to.
    pub(crate) async fn forget(&self, _: &HomeLock, name: &str) -> Result<(), Failed> {
        let _ = self.platform(name, keyring::forget).await;
        self.forget_in_file(name)
    }

    async fn platform<T: Send + 'static>(
        &self,
        name: &str,
        ask: impl FnOnce(&Path, &str) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let (home, name) = (self.home.clone(), name.to_owned());
        self.env.blocking.run(move || ask(&home, &name)).await
    }

    /// What the environment, or a profile, says.
    fn surrounding(&self, config: &BucketConfig) -> Result<(String, Secrets), Failed> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let no_credentials = |why: String| {
            Failed::new("no-credentials", format!("there are no credentials for `{}`", config.name), why).hint(format!(
                "`landfall destination add s3 {} --replace --access-key KEY --secret-file FILE` keeps some",
                config.name
            ))
        };
        if config.profile.is_none()
            && let Some(access_key) = variable("AWS_ACCESS_KEY_ID")
        {
            let Some(secret) = variable("AWS_SECRET_ACCESS_KEY") else {
                return Err(no_credentials("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not".to_owned())
                    .hint("set AWS_SECRET_ACCESS_KEY as well, or unset AWS_ACCESS_KEY_ID"));
            };
            let session_token = variable("AWS_SESSION_TOKEN").map(Zeroizing::new);
            return Ok((access_key, Secrets { secret: Zeroizing::new(secret), session_token }));
        }
        let profile = config.profile.clone().or_else(|| variable("AWS_PROFILE")).unwrap_or_else(|| "default".into());
        let path = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let path = path.or_else(|| std::env::home_dir().map(|home| home.join(".aws/credentials")));
        let found = path.and_then(|path| std::fs::read_to_string(path).ok()).map(Zeroizing::new);
        found
            .and_then(|text| profile_in(&text, &profile))
            .ok_or_else(|| no_credentials(format!("neither AWS_ACCESS_KEY_ID nor the profile `{profile}` is there")))
    }

    fn path(&self) -> PathBuf {
        self.home.join("credentials.json")
    }

    fn load(&self) -> Result<BTreeMap<String, Zeroizing<String>>, Failed> {
        let text = match std::fs::read(self.path()) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(self.unreadable(&error.to_string())),
        };
        let all: BTreeMap<String, String> =
            serde_json::from_slice(&text).map_err(|_| self.unreadable("it is not what Landfall wrote"))?;
        Ok(all.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect())
    }

    fn forget_in_file(&self, name: &str) -> Result<(), Failed> {
        let mut all = self.load()?;
        if all.remove(name).is_none() {
            return Ok(());
        }
        self.store(&all)
    }

    fn store(&self, all: &BTreeMap<String, Zeroizing<String>>) -> Result<(), Failed> {
        let plain: BTreeMap<&str, &str> = all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let text = Zeroizing::new(serde_json::to_vec(&plain).expect("names and texts are plain data"));
        let (files, path) = (self.env.files.as_ref(), self.path());
        let draft = path.with_extension(format!("{}.tmp", self.env.random.name()));
        let write = || -> io::Result<()> {
            files.create_dir_durable(&self.home)?;
            // Made for its owner alone.
            let mut file = files.create_new(&draft)?;
            file.append(&text)?;
            file.sync()?;
            drop(file);
            files.rename(&draft, &path)?;
            files.sync_dir(&self.home)
        };
        write().map_err(|error| {
            let _ = files.remove_file(&draft);
            Failed::new("not-permitted", format!("cannot write `{}`", path.display()), error.to_string())
                .hint("make the home writable, or choose another with `--home`")
        })
    }

    fn unreadable(&self, why: &str) -> Failed {
        Failed::new("bad-config", format!("cannot read the secrets kept in `{}`", self.path().display()), why)
            .hint("remove the file, then give each secret again with `landfall destination add s3 NAME --replace --secret-file FILE`")
    }
}

fn credentials(access_key: &str, secrets: &Secrets) -> Result<Credentials, String> {
    let token = secrets.session_token.as_ref().map(|token| token.to_string());
    Credentials::new(access_key, secrets.secret.as_str(), token).map_err(|error| error.to_string())
}

/// What the service manager hands over.
fn handed(name: &str) -> Result<Option<Secrets>, Failed> {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else { return Ok(None) };
    let (secret_path, token_path) =
        (folder.join(format!("landfall-{name}-secret")), folder.join(format!("landfall-{name}-token")));
    if !secret_path.exists() {
        return Ok(None);
    }
    let session_token = if token_path.exists() { Some(secret::read(&token_path)?) } else { None };
    Ok(Some(Secrets { secret: secret::read(&secret_path)?, session_token }))
}

fn write(secrets: &Secrets) -> Zeroizing<String> {
    let token = secrets.session_token.as_ref().map(|token| token.as_str());
    let mut value = json!({ "secret": secrets.secret.as_str(), "session_token": token });
    let text = Zeroizing::new(value.to_string());
    wipe(&mut value);
    text
}

fn read(text: &str) -> Option<Secrets> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    let field = |name: &str| value.get(name)?.as_str().map(|text| Zeroizing::new(text.to_owned()));
    let secrets = field("secret").map(|secret| Secrets { secret, session_token: field("session_token") });
    wipe(&mut value);
    secrets
}

fn wipe(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.iter_mut().for_each(|(_, field)| {
            if let Value::String(text) = field {
                text.zeroize();
            }
        });
    }
}

/// The credentials of a profile, in the format of `~/.aws/credentials`.
/// <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html>
fn profile_in(text: &str, profile: &str) -> Option<(String, Secrets)> {
    let mut is_in = false;
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_in = name.trim() == profile;
        } else if let Some((key, value)) = line.split_once('=')
            && is_in
            && !line.starts_with(['#', ';'])
        {
            found.insert(key.trim(), value.trim());
        }
    }
    let secret = Zeroizing::new((*found.get("aws_secret_access_key")?).to_owned());
    let session_token = found.get("aws_session_token").map(|token| Zeroizing::new((*token).to_owned()));
    Some(((*found.get("aws_access_key_id")?).to_owned(), Secrets { secret, session_token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_as_other_tools_read_it() {
        let text = "[default]\naws_access_key_id = AKD\naws_secret_access_key=SD\n\n# [other]\n[ other ]\n; no\n\
                    aws_access_key_id=AKO\naws_secret_access_key = S=O/+\naws_session_token = T\n";
        let of = |profile: &str| {
            let (key, secrets) = profile_in(text, profile)?;
            Some((key, secrets.secret.to_string(), secrets.session_token.map(|token| token.to_string())))
        };
        assert_eq!(of("default"), Some(("AKD".into(), "SD".into(), None)));
        assert_eq!(of("other"), Some(("AKO".into(), "S=O/+".into(), Some("T".into()))));
        assert_eq!(of("none"), None);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        for session_token in [None, Some(Zeroizing::new("to\"ken".to_owned()))] {
            let secrets = Secrets { secret: Zeroizing::new("s\\ecret".into()), session_token };
            let again = read(&write(&secrets)).unwrap();
            assert_eq!((again.secret, again.session_token), (secrets.secret, secrets.session_token));
        }
    }
}
