//! The grammar of what is done with buckets.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use landfall::Bandwidth;

use crate::human::{parse_duration, parse_size};

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Files, or folders whose files are meant; links in folders are skipped
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The destination, by its name
    #[arg(long, value_name = "NAME", value_parser = destination_name)]
    pub to: String,
    /// Of a single file: its key, below the destination's prefix [default: its name]
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Below the destination's prefix: what the keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub below: String,
    /// Replace what is there under these keys
    #[arg(long)]
    pub overwrite: bool,
    /// Media type of all these files
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Seal them on their way: the bucket holds what only this destination's password opens
    #[arg(long)]
    pub seal: bool,
    /// Only queue them: `landfall run` uploads them
    #[arg(long)]
    pub queue: bool,
    #[command(flatten)]
    pub limits: BucketLimits,
}

/// How uploads to a bucket are limited.
#[derive(Debug, Args)]
pub(crate) struct BucketLimits {
    /// Stop taking work after this long, such as `28s` or `5m`; a later run goes on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub budget: Option<Duration>,
    /// How long an absent destination is waited for [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub patience: Option<Duration>,
    /// How many files are uploaded at once [default: what the destination says, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub transfers: Option<u16>,
    /// How fast, such as `2M`, or when: `08:00,512k 19:00,10M 23:00,off`
    #[arg(long, value_name = "RATE", value_parser = bandwidth)]
    pub bwlimit: Option<Bandwidth>,
}

/// How fast, and when.
fn bandwidth(text: &str) -> Result<Bandwidth, String> {
    Bandwidth::parse(text).map_err(|error| error.to_string())
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Keys, below the destination's prefix; one that ends with `/` means all objects below it
    #[arg(required_unless_present = "below", value_name = "KEY")]
    pub keys: Vec<String>,
    /// The destination, by its name
    #[arg(long, value_name = "NAME", value_parser = destination_name)]
    pub from: String,
    /// All objects whose keys begin with this, below the destination's prefix
    #[arg(long, value_name = "PREFIX")]
    pub below: Option<String>,
    /// The folder to fetch to
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Replace existing files
    #[arg(long)]
    pub overwrite: bool,
    /// Fetch what is sealed as it is, without opening it
    #[arg(long)]
    pub as_is: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SessionsArguments {
    #[command(subcommand)]
    pub command: SessionsCommand,
}

/// What can be done to recorded sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Say where sessions are, and where they go
    Add {
        /// The folder that holds one folder per session
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The destination, by its name, if there are several
        #[arg(long, value_name = "NAME", value_parser = destination_name)]
        to: Option<String>,
    },
    /// Forget a folder of sessions; they stay where they are
    Rm {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// List the sessions, newest first, and where their uploads stand
    Ls,
    /// Upload sessions
    Upload {
        /// Sessions, by their names; FOLDER/NAME where two have one name
        #[arg(required = true, value_name = "SESSION")]
        ids: Vec<String>,
        /// Only queue them: `landfall run` uploads them
        #[arg(long)]
        queue: bool,
        #[command(flatten)]
        limits: BucketLimits,
    },
    /// Try failed uploads again
    Retry {
        /// Sessions, by their names; FOLDER/NAME where two have one name
        #[arg(required = true, value_name = "SESSION")]
        ids: Vec<String>,
        /// Only queue them: `landfall run` uploads them
        #[arg(long)]
        queue: bool,
        #[command(flatten)]
        limits: BucketLimits,
    },
    /// Take uploads back; what was sent of them is removed
    Cancel {
        /// Sessions, by their names; FOLDER/NAME where two have one name
        #[arg(required = true, value_name = "SESSION")]
        ids: Vec<String>,
    },
    /// Remove sessions that were never exported, that nobody asked to upload, and in which nothing changed for 24 hours
    Clean {
        /// Name them, and remove none
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// The destination, by its name; all buckets if none is named
    #[arg(long, value_name = "NAME", value_parser = destination_name)]
    pub to: Option<String>,
    /// Only those that were begun longer ago than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "24h")]
    pub older_than: Duration,
    /// Name them, and abort none
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DestinationArguments {
    #[command(subcommand)]
    pub command: DestinationCommand,
}

/// What can be done to destinations.
#[derive(Debug, Subcommand)]
pub(crate) enum DestinationCommand {
    /// Add a destination, or change one
    Add {
        #[command(subcommand)]
        kind: NewDestination,
    },
    /// Try out whether everything works there that an upload needs
    Test {
        /// Its name
        #[arg(value_parser = destination_name)]
        name: String,
    },
    /// List the destinations
    Ls,
    /// Show a destination
    Show {
        /// Its name
        #[arg(value_parser = destination_name)]
        name: String,
    },
    /// Remove a destination from this home, and its secrets; what is in the bucket stays
    Rm {
        /// Its name
        #[arg(value_parser = destination_name)]
        name: String,
    },
}

/// Kinds of destinations.
#[derive(Debug, Subcommand)]
pub(crate) enum NewDestination {
    /// A bucket of Amazon S3, or of any S3-compatible server
    S3(Box<NewBucket>),
}

#[derive(Debug, Args)]
pub(crate) struct NewBucket {
    /// What it is to be called here
    #[arg(value_parser = destination_name)]
    pub name: String,
    /// The bucket
    #[arg(long, value_name = "BUCKET", required_unless_present = "replace")]
    pub bucket: Option<String>,
    /// Its region
    #[arg(long, value_name = "REGION", required_unless_present = "replace")]
    pub region: Option<String>,
    /// The address of its server, unless that is Amazon's
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// What all keys begin with, such as `sessions/`
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// The access key [default: AWS_ACCESS_KEY_ID, or the profile]
    #[arg(long, value_name = "KEY")]
    pub access_key: Option<String>,
    /// Read its secret from a file; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Read the token of temporary keys from a file; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub session_token_file: Option<PathBuf>,
    /// Use this profile of `~/.aws/credentials`
    #[arg(long, value_name = "PROFILE", conflicts_with = "access_key")]
    pub profile: Option<String>,
    /// Name the bucket in the path of addresses
    #[arg(long, overrides_with = "virtual_host")]
    pub path_style: bool,
    /// Name the bucket in the host of addresses
    #[arg(long)]
    pub virtual_host: bool,
    /// Length of a part [default: 10M; more where a file needs it]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub part_size: Option<u64>,
    /// How often an upload is tried again [default: 10]
    #[arg(long, value_name = "N")]
    pub max_retries: Option<u32>,
    /// How many files are uploaded at once [default: 1]
    #[arg(long, value_name = "N")]
    pub transfers: Option<u16>,
    /// How fast, such as `2M`, or when: `08:00,512k 19:00,10M 23:00,off`
    #[arg(long, value_name = "RATE")]
    pub bwlimit: Option<String>,
    /// Change a destination that is there: what is not named stays
    #[arg(long)]
    pub replace: bool,
}

/// What a destination may be called.
fn destination_name(name: &str) -> Result<String, String> {
    crate::buckets::check_name(name).map(|()| name.to_owned())
}
