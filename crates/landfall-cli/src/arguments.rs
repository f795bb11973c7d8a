//! The command line's grammar.

mod buckets;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

pub(crate) use self::buckets::{
    BucketLimits, DestinationArguments, DestinationCommand, Gc, Get, NewBucket, NewDestination, Put, SessionsArguments,
    SessionsCommand,
};
use crate::{human::parse_duration, output::Colour};

/// Takes media from this device to storage, encrypted, and never loses one.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, arg_required_else_help = true, propagate_version = false)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Subcommands,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done                        5  still queued; safe, a later run goes on
  1  internal                    8  the configuration or the home cannot be used
  2  usage                     130  stopped by Ctrl-C
  3  blocked items, problems   143  stopped by SIGTERM
  4  credentials, or locked";

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The folder of this device's state [env: LANDFALL_HOME]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub home: Option<PathBuf>,
    /// Write one JSON document to stdout
    #[arg(long, global = true, conflicts_with = "json_lines", help_heading = "Global options")]
    pub json: bool,
    /// Write events to stdout as they happen, one JSON object per line
    #[arg(long, global = true, help_heading = "Global options")]
    pub json_lines: bool,
    /// Say errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// Say what happens to every file
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// When to use colour [env: NO_COLOR]
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Global options")]
    pub color: Colour,
    /// Read the password from a file [env: LANDFALL_PASSWORD holds the password itself]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub password_file: Option<PathBuf>,
    /// Read the recovery key from a file [env: LANDFALL_RECOVERY_KEY holds the words themselves]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub recovery_key_file: Option<PathBuf>,
}

/// Most bytes of an album's name: a vault takes 1024 of a sealed one, and sealing adds 16.
const ALBUM_BYTES_MAX: usize = 1008;

/// A name that every vault takes.
fn album_name(name: &str) -> Result<String, String> {
    match name.len() {
        0 => Err("an album needs a name".to_owned()),
        1..=ALBUM_BYTES_MAX => Ok(name.to_owned()),
        bytes => Err(format!("the name of an album has at most {ALBUM_BYTES_MAX} bytes, and this one has {bytes}")),
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    /// Take charge of all media below PATH, and upload it, encrypted
    Backup(Backup),
    /// Get back what a vault holds
    Restore(Restore),
    /// List what a vault holds, with the numbers that `restore` and `rm` take
    Ls(Ls),
    /// Check what a vault holds
    Verify(Verify),
    /// Remove contents from a vault
    Rm(Rm),
    /// Upload files to a bucket, unencrypted unless `--seal` is said
    Put(Put),
    /// Fetch objects from a bucket
    Get(Get),
    /// Recorded sessions, each uploaded to a bucket as one archive
    Sessions(SessionsArguments),
    /// Buckets that files are uploaded to
    Destination(DestinationArguments),
    /// Abort abandoned uploads
    Gc(Gc),
    /// Send files and a text in a lane: all at once, in this order
    Send(Send),
    /// Conversations: their keys, and what arrived in them
    Lane(LaneArguments),
    /// Go on with what is queued
    Run(Run),
    /// Show the queue, with the numbers that `show` and `cancel` take
    Status(Status),
    /// Show one item of the queue and its history
    Show(Show),
    /// Try blocked items again
    Retry(Retry),
    /// Take items back: they are not uploaded
    Cancel(Cancel),
    /// Leave messages out, so that those behind them go on
    Skip(Cancel),
    /// Take messages back, sent or not, and the texts that go with them
    Discard(Cancel),
    /// Stop items for now
    Pause(Items),
    /// Let paused items go on
    Resume(Items),
    /// Check that the vault opens; with `--remember`, keep its key in this home
    Unlock(Unlock),
    /// Forget the keys kept in this home
    Lock,
    /// Change a vault's password
    Password(Password),
    /// Show a vault's recovery key
    RecoveryKey(To),
    /// Keep a server's token in this home
    Login(Login),
    /// Serve a vault folder to other devices
    Server(Server),
    /// Check the disk, the keys, the journal, the settings and the vault
    Doctor,
    /// Show and change settings
    Config(Config),
    /// Write a shell's completions to stdout
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Show the version
    Version,
}

impl Subcommands {
    /// Whether it is for those whose configuration cannot be used.
    pub(crate) fn mends_the_configuration(&self) -> bool {
        matches!(self, Self::Doctor | Self::Config(Config { command: ConfigCommand::Unset { .. } }))
    }
}

/// Which vault to send to.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// The vault: a folder or the address of a server
    #[arg(long, value_name = "DIR|URL")]
    pub to: Option<PathBuf>,
}

/// Which vault to read.
#[derive(Debug, Args)]
pub(crate) struct From {
    /// The vault: a folder or the address of a server
    #[arg(long, value_name = "DIR|URL")]
    pub from: Option<PathBuf>,
}

/// How work is limited.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Stop taking work after this long, such as `28s` or `5m`
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub budget: Option<Duration>,
    /// How long an absent destination is waited for [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub patience: Option<Duration>,
    /// How many files are worked on at once [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub transfers: Option<u16>,
    /// Of these, how many videos [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub videos: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Folders or files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub to: To,
    /// Put everything into this album instead of one per PATH
    #[arg(long, value_name = "NAME", value_parser = album_name)]
    pub album: Option<String>,
    /// Take any file, not only images, videos and their sidecars
    #[arg(long)]
    pub all: bool,
    /// Take only files that match; a pattern without `/` is compared with the name
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out files and folders that match
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Name each file that would be taken, and each that would not with the reason; take nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Accept an empty folder, or another vault, where the vault of earlier backups was
    #[arg(long)]
    pub new_vault: bool,
    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder to restore to
    #[arg(value_name = "OUT")]
    pub folder: PathBuf,
    /// Only these contents, by the numbers that `ls` shows
    #[arg(value_name = "CONTENT")]
    pub ids: Vec<i64>,
    #[command(flatten)]
    pub from: From,
    /// Only this album
    #[arg(long, value_name = "NAME")]
    pub album: Option<String>,
    /// Only files that match; a pattern without `/` is compared with the name
    #[arg(long = "match", value_name = "GLOB")]
    pub matching: Vec<String>,
    /// Older versions as well
    #[arg(long)]
    pub all_versions: bool,
    /// Replace existing files that differ
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Of a bucket: only keys that begin with this, below the destination's prefix
    #[arg(value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// The vault, a folder or the address of a server; or the name of a bucket's destination
    #[arg(long, value_name = "DIR|URL|NAME")]
    pub from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Read and compare every content
    #[arg(long)]
    pub read_data: bool,
    #[command(flatten)]
    pub from: From,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Contents, by the numbers that `ls` shows
    #[arg(required = true, value_name = "CONTENT")]
    pub ids: Vec<i64>,
    #[command(flatten)]
    pub from: From,
}

/// Most bytes of a lane's name.
const LANE_BYTES_MAX: usize = 128;

/// What people call a lane.
fn lane_name(name: &str) -> Result<String, String> {
    match name.len() {
        0 => Err("a lane needs a name".to_owned()),
        _ if name.chars().any(char::is_control) => Err("the name of a lane has no control characters".to_owned()),
        1..=LANE_BYTES_MAX => Ok(name.to_owned()),
        bytes => Err(format!("the name of a lane has at most {LANE_BYTES_MAX} bytes, and this one has {bytes}")),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Files, in the order in which they are to arrive
    #[arg(required_unless_present = "text", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A text that follows the files, or stands alone
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub text: Option<String>,
    /// The lane, as this home calls it
    #[arg(long, value_name = "LANE", default_value = "default", value_parser = lane_name)]
    pub lane: String,
    /// Send photos as they are, with all that the camera noted
    #[arg(long)]
    pub as_file: bool,
    #[command(flatten)]
    pub to: To,
    /// Stop after this long, such as `28s` or `5m`; a later run goes on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub budget: Option<Duration>,
    /// How long an absent destination is waited for [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub patience: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct LaneArguments {
    #[command(subcommand)]
    pub command: LaneCommand,
}

/// What can be done to lanes.
#[derive(Debug, Subcommand)]
pub(crate) enum LaneCommand {
    /// Show the key of a lane, to be given to those who are to read it; a new lane is given one
    Key {
        /// The lane, as this home calls it
        #[arg(value_parser = lane_name)]
        lane: String,
        /// Write it to a new file that only you may read
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        to: To,
    },
    /// Take part in a lane whose key somebody gave you
    Join {
        /// The lane, as this home will call it
        #[arg(value_parser = lane_name)]
        lane: String,
        /// Read the key from a file; `-` is stdin
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        #[command(flatten)]
        to: To,
    },
    /// Show what arrived in a lane, decrypted
    Tail(Tail),
    /// List the lanes of this home
    Ls(To),
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The lane, as this home calls it
    #[arg(value_parser = lane_name)]
    pub lane: String,
    /// Show what arrives until you stop it
    #[arg(short, long)]
    pub follow: bool,
    /// Show all that follows this number
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
    /// Show at most this many, the last ones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, conflicts_with = "after")]
    pub last: usize,
    /// Fetch attachments into this folder
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// How long an absent destination is waited for [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub patience: Option<Duration>,
    #[command(flatten)]
    pub from: From,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub to: To,
    /// Do not wait for a destination that is away
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only say whether nothing is queued: exit 0 if so, 5 if not
    #[arg(long)]
    pub safe_to_quit: bool,
    /// Show at most this many items
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// An item of the queue, by the number that `status` shows; those of `ls` are contents of the vault
    #[arg(value_name = "ITEM")]
    pub id: i64,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// Items, by the numbers that `status` shows
    #[arg(required_unless_present = "all", value_name = "ITEM")]
    pub ids: Vec<i64>,
    /// All blocked items
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Items, by the numbers that `status` shows
    #[arg(required = true, value_name = "ITEM")]
    pub ids: Vec<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct Items {
    /// Items, by the numbers that `status` shows; all if none is named
    #[arg(value_name = "ITEM")]
    pub ids: Vec<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// Keep the key in this home, in `unlock.key`
    #[arg(long)]
    pub remember: bool,
    /// Make a vault there if there is none, to set a machine up before its first backup
    #[arg(long)]
    pub new_vault: bool,
    #[command(flatten)]
    pub to: To,
}

#[derive(Debug, Args)]
pub(crate) struct Password {
    /// Read the new password from a file [env: LANDFALL_NEW_PASSWORD holds the password itself]
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    #[command(flatten)]
    pub to: To,
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The server's address
    pub url: String,
    /// Read the token from a file [env: LANDFALL_TOKEN holds the token itself]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The vault folder
    #[arg(long, value_name = "DIR", global = true)]
    pub vault: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8642")]
    pub listen: String,
    /// How long a signed URL stays valid
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide = true)]
    pub grant_ttl: Option<Duration>,
    #[command(subcommand)]
    pub command: Option<ServerCommand>,
}

/// What can be done to a server's vault folder.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Accounts of the vault
    #[command(subcommand)]
    Account(Account),
}

/// What can be done to accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Make an account, and show its token, once
    Add {
        /// Its name
        name: String,
    },
    /// List the accounts
    Ls,
    /// Remove an account, with its tokens and keys
    Rm {
        /// Its name
        name: String,
        /// Remove all that it has in the vault as well: nobody can get that back
        #[arg(long)]
        delete_contents: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done to settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show all settings
    Show {
        /// And where each comes from
        #[arg(long)]
        origin: bool,
    },
    /// Show one setting
    Get {
        /// Its name
        key: String,
    },
    /// Take a setting out of `config.toml`: its default holds again
    Unset {
        /// Its name
        key: String,
    },
    /// Write a setting to `config.toml` in the home
    Set {
        /// Its name
        key: String,
        /// Its value
        value: String,
    },
}
