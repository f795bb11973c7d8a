//! Destinations in buckets: how they are configured, and how one is opened.
//!
//! What is configured is a table `[destination.NAME]` of `config.toml`, without any secret; those are where
//! [`crate::credentials`] finds them.

use std::sync::Arc;

use landfall::{
    Bandwidth, Carrier, Engine, HttpCarrier, Origin,
    bucket::{Bucket, BucketOptions, PART_BYTES, RETRIES_MAX},
    s3::{Place, Style},
};
use toml_edit::{Item, Table, value};

use crate::{
    command::Command,
    credentials::CredentialStore,
    destination::show_recovery_key,
    failed::{During as _, Failed},
    home::HomeLock,
    human,
    secret::Purpose,
};

/// What is configured of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketConfig {
    /// What it is called here.
    pub name: String,
    /// Its name there.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Its endpoint; Amazon's if there is none.
    pub endpoint: Option<String>,
    /// All keys begin with it.
    pub prefix: String,
    /// Whose rights are used; those of the environment or a profile if there is none.
    pub access_key: Option<String>,
    /// A profile of `~/.aws/credentials`.
    pub profile: Option<String>,
    /// The bucket is named in the path, or in the host; what is usual there if nothing is said.
    pub path_style: Option<bool>,
    /// Length of a part, in bytes.
    pub part_size: u64,
    /// How often an upload is tried again.
    pub max_retries: u32,
    /// How many files are uploaded at once.
    pub transfers: u16,
    /// How fast, and when.
    pub bandwidth: Option<String>,
    /// Folders of recorded sessions that go there.
    pub sessions: Vec<String>,
}

/// Shortest and longest part that may be configured, in bytes.
const PART_SIZES: std::ops::RangeInclusive<u64> = (5 << 20)..=(5 << 30);
/// Most retries that may be configured.
const RETRIES: std::ops::RangeInclusive<i64> = 0..=1000;
/// Most bytes of a prefix: what is left of a key must do for names.
const PREFIX_BYTES_MAX: usize = 512;

impl BucketConfig {
    /// One of which only this is known.
    pub(crate) fn new(name: String, bucket: String, region: String) -> Self {
        Self {
            name,
            bucket,
            region,
            endpoint: None,
            prefix: String::new(),
            access_key: None,
            profile: None,
            path_style: None,
            part_size: PART_BYTES,
            max_retries: RETRIES_MAX,
            transfers: 1,
            bandwidth: None,
            sessions: Vec::new(),
        }
    }

    /// Reads it out of its table.
    ///
    /// # Errors
    /// Which line is wrong, and why.
    fn read(name: &str, table: &Table) -> Result<Self, String> {
        check_name(name)?;
        let text = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(item) => item.as_str().map(|text| Some(text.to_owned())).ok_or(format!("`{key}` is no text")),
        };
        let number = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(item) => item.as_integer().map(Some).ok_or(format!("`{key}` is no number")),
        };
        let needed = |key: &str| text(key)?.ok_or(format!("`{key}` is missing"));
        if let Some((unknown, _)) = table.iter().find(|(key, _)| !FIELDS.contains(key)) {
            return Err(format!("there is no setting `{unknown}`"));
        }
        if needed("kind")? != "s3" {
            return Err("`kind` is not `s3`".to_owned());
        }
        let defaults = Self::new(name.to_owned(), needed("bucket")?, needed("region")?);
        let part_size = match text("part_size")? {
            None => defaults.part_size,
            Some(text) => human::parse_size(&text).map_err(|why| format!("`part_size`: {why}"))?,
        };
        let max_retries = number("max_retries")?.unwrap_or(i64::from(defaults.max_retries));
        let transfers = number("transfers")?.unwrap_or(i64::from(defaults.transfers));
        let config = Self {
            endpoint: text("endpoint")?,
            prefix: text("prefix")?.unwrap_or_default(),
            access_key: text("access_key")?,
            profile: text("profile")?,
            path_style: match table.get("path_style") {
                None => None,
                Some(item) => Some(item.as_bool().ok_or("`path_style` is neither true nor false")?),
            },
            part_size,
            max_retries: u32::try_from(max_retries).unwrap_or(u32::MAX),
            transfers: u16::try_from(transfers).unwrap_or(0),
            bandwidth: text("bandwidth")?,
            sessions: match table.get("sessions") {
                None => Vec::new(),
                Some(item) => {
                    let folders = item.as_array().ok_or("`sessions` is no list of folders")?;
                    let folder = |value: &toml_edit::Value| value.as_str().map(str::to_owned);
                    folders.iter().map(folder).collect::<Option<_>>().ok_or("`sessions` is no list of folders")?
                }
            },
            ..defaults
        };
        config.check()?;
        Ok(config)
    }

    /// Whether it could be used.
    ///
    /// # Errors
    /// Why not, as a sentence that says what would be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        self.place()?;
        if self.prefix.len() > PREFIX_BYTES_MAX || self.prefix.chars().any(char::is_control) {
            return Err(format!("a prefix has at most {PREFIX_BYTES_MAX} bytes and no control characters"));
        }
        if self.prefix.starts_with('/') {
            return Err("a prefix does not begin with `/`: keys of a bucket do not".to_owned());
        }
        if !PART_SIZES.contains(&self.part_size) {
            return Err(format!("a part has 5 MiB to 5 GiB, not {} bytes", self.part_size));
        }
        if !RETRIES.contains(&i64::from(self.max_retries)) {
            return Err("`max_retries` is 0 to 1000".to_owned());
        }
        if !(1..=64).contains(&self.transfers) {
            return Err("`transfers` is 1 to 64".to_owned());
        }
        if self.access_key.is_some() && self.profile.is_some() {
            return Err("it has both an access key and a profile; one of them is enough".to_owned());
        }
        if let Some(text) = &self.bandwidth {
            Bandwidth::parse(text).map_err(|error| format!("`bandwidth`: {error}"))?;
        }
        Ok(())
    }

    /// Where the bucket is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn place(&self) -> Result<Place, String> {
        let endpoint = match &self.endpoint {
            None => None,
            Some(text) => Some(Origin::parse(text).map_err(|error| format!("`{text}` is {error}"))?),
        };
        let style = self.path_style.map(|is_path| if is_path { Style::Path } else { Style::VirtualHost });
        Place::new(endpoint, &self.bucket, &self.region, style).map_err(|error| error.to_string())
    }

    /// Its table.
    fn table(&self) -> Table {
        let mut table = Table::new();
        let mut put = |key: &str, item: Option<Item>| {
            if let Some(item) = item {
                table[key] = item;
            }
        };
        let text = |text: &Option<String>| text.as_deref().map(value);
        put("kind", Some(value("s3")));
        put("bucket", Some(value(&self.bucket)));
        put("region", Some(value(&self.region)));
        put("endpoint", text(&self.endpoint));
        put("prefix", (!self.prefix.is_empty()).then(|| value(&self.prefix)));
        put("access_key", text(&self.access_key));
        put("profile", text(&self.profile));
        put("path_style", self.path_style.map(value));
        put("part_size", (self.part_size != PART_BYTES).then(|| value(human::exact_size(self.part_size))));
        put("max_retries", (self.max_retries != RETRIES_MAX).then(|| value(i64::from(self.max_retries))));
        put("transfers", (self.transfers != 1).then(|| value(i64::from(self.transfers))));
        put("bandwidth", text(&self.bandwidth));
        let folders: toml_edit::Array = self.sessions.iter().collect();
        put("sessions", (!folders.is_empty()).then(|| value(folders)));
        table
    }

    /// `s3://bucket/prefix`.
    pub(crate) fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }
}

const FIELDS: [&str; 13] = [
    "kind",
    "bucket",
    "region",
    "endpoint",
    "prefix",
    "access_key",
    "profile",
    "path_style",
    "part_size",
    "max_retries",
    "transfers",
    "bandwidth",
    "sessions",
];

/// Whether a destination may be called that: it must be told from a folder and from an address.
///
/// # Errors
/// What a name is.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err("the name of a destination has 1 to 64 letters, digits, `-` and `_`".to_owned());
    }
    Ok(())
}

/// All configured buckets, by name.
///
/// # Errors
/// `bad-config`: which is wrong, and why.
pub(crate) fn all(command: &Command) -> Result<Vec<BucketConfig>, Failed> {
    command.home.destinations().map(|(name, table)| read(command, name, table)).collect()
}

/// The bucket of that name, if there is one.
///
/// # Errors
/// `bad-config`.
pub(crate) fn find(command: &Command, name: &str) -> Result<Option<BucketConfig>, Failed> {
    let found = command.home.destinations().find(|(known, _)| *known == name);
    found.map(|(name, table)| read(command, name, table)).transpose()
}

/// The bucket of that name.
///
/// # Errors
/// `no-such-destination`, `bad-config`.
pub(crate) fn named(command: &Command, name: &str) -> Result<BucketConfig, Failed> {
    find(command, name)?.ok_or_else(|| {
        let known: Vec<&str> = command.home.destinations().map(|(name, _)| name).collect();
        let hint = match known.as_slice() {
            [] => "`landfall destination add s3 NAME --bucket B --region R` makes one".to_owned(),
            known => format!("there is {}", known.join(", ")),
        };
        Failed::new("no-such-destination", format!("there is no destination `{name}`"), "").hint(hint)
    })
}

fn read(command: &Command, name: &str, table: &Table) -> Result<BucketConfig, Failed> {
    BucketConfig::read(name, table).map_err(|why| {
        let what = format!("cannot use the destination `{name}` of `{}`", command.home.config_path().display());
        Failed::new("bad-config", what, why)
            .hint(format!("correct that line, or say all of it anew with `landfall destination add s3 {name} --replace --bucket B --region R`"))
    })
}

/// Writes a bucket to the configuration; when this returns it is durable.
///
/// # Errors
/// If the home cannot be written to.
pub(crate) fn write(command: &mut Command, lock: &HomeLock, config: &BucketConfig) -> Result<(), Failed> {
    command.home.set_destination(&command.env, lock, &config.name, Some(config.table()))
}

/// Takes a bucket out of the configuration. Returns whether it was there.
///
/// # Errors
/// If the home cannot be written to.
pub(crate) fn remove(command: &mut Command, lock: &HomeLock, name: &str) -> Result<bool, Failed> {
    if !command.home.destinations().any(|(known, _)| known == name) {
        return Ok(false);
    }
    command.home.set_destination(&command.env, lock, name, None)?;
    Ok(true)
}

/// Opens a configured bucket. Asks nobody yet.
///
/// # Errors
/// If there are no credentials for it; `destination-moved`.
pub(crate) async fn open(command: &Command, engine: &Engine, config: &BucketConfig) -> Result<Bucket, Failed> {
    let what = format!("cannot use the destination `{}`", config.name);
    let place = config.place().map_err(|why| Failed::new("bad-config", &what, why))?;
    let credentials = CredentialStore::of(command).credentials(config).await?;
    let carrier: Arc<dyn Carrier> = Arc::new(HttpCarrier::default());
    let mut options = BucketOptions::new(place, credentials, carrier);
    options.prefix.clone_from(&config.prefix);
    options.part_size = config.part_size;
    options.retry.attempts_max = config.max_retries + 1;
    options.bandwidth = match (&command.bandwidth, &config.bandwidth) {
        (Some(said), _) => Some(said.clone()),
        (None, Some(text)) => {
            Some(Bandwidth::parse(text).map_err(|error| Failed::new("bad-config", &what, error.to_string()))?)
        }
        (None, None) => None,
    };
    engine.bucket(&config.name, options).await.during(&what).map_err(|failed| failed.at(config))
}

/// Opens the keys of what is sealed in a bucket; makes them with a new password if there are none.
///
/// # Errors
/// `locked`, `wrong-password`; what the bucket says.
pub(crate) async fn unlock(command: &Command, bucket: &Bucket, config: &BucketConfig) -> Result<(), Failed> {
    let what = format!("cannot open the keys of `{}`", config.name);
    let has_keys = bucket.has_keys().await.during(&what).map_err(|failed| failed.at(config))?;
    let purpose = if has_keys { Purpose::Open } else { Purpose::Create };
    // Keys of buckets are not kept in the home: only what is said now counts.
    let secret = command.secrets.secret(&command.env, &command.out, purpose).await.map_err(|failed| {
        match failed.code.as_str() {
            "locked" => {
                Failed { what: what.clone(), ..failed }.hint("set LANDFALL_PASSWORD, or give `--password-file FILE`")
            }
            _ => failed,
        }
    })?;
    let keys = bucket.unlock(secret).await.during(&what)?;
    if let Some(created) = &keys.created {
        let place = format!("what is sealed in {}", config.url(&config.prefix));
        show_recovery_key(command, &place, &created.recovery_phrase);
    }
    Ok(())
}
