//! `landfall lane key`, `join` and `ls`: who takes part in a conversation.

use std::{
    io::{self, Read as _},
    path::Path,
};

use landfall::recipes::chat::{LaneKey, lane_key_text};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::place_of;
use crate::{
    arguments::To,
    command::Command,
    conversations::Conversations,
    exit::Exit,
    failed::{During as _, Failed},
    human,
    output::fields,
    secret,
};

/// Carries out `landfall lane key`.
pub(crate) async fn key(command: &Command, lane: &str, out: Option<&Path>, to: &To) -> Result<Exit, Failed> {
    let conversations = open(command, to).await?;
    let key = conversations.lanes.key_or_new(lane).await.during(&format!("cannot open the lane `{lane}`"))?;
    let text = lane_key_text(&key);
    let warning = "whoever has it can read and write in the lane";
    match out {
        Some(file) => {
            write_new(command, file, &text)?;
            command.out.document(fields(json!({ "lane": lane, "file": file.display().to_string() })));
            command.out.note(&format!("the key of `{lane}` is in `{}`; {warning}", file.display()));
        }
        None => {
            command.out.line(&text);
            command.out.document(fields(json!({ "lane": lane, "key": text.as_str() })));
            command.out.note(warning);
        }
    }
    Ok(Exit::Done)
}

/// Carries out `landfall lane join`.
pub(crate) async fn join(command: &Command, lane: &str, key_file: &Path, to: &To) -> Result<Exit, Failed> {
    let text = if key_file == Path::new("-") { read_stdin()? } else { secret::read(key_file)? };
    let key: LaneKey = text.parse().map_err(|error: landfall::recipes::chat::NotALaneKey| {
        Failed::usage(format!("cannot join the lane `{lane}`"), error.to_string())
            .hint("give the text that `landfall lane key` wrote, all of it")
    })?;
    let conversations = open(command, to).await?;
    let what = format!("cannot join the lane `{lane}`");
    if !conversations.lanes.join(lane, &key).await.during(&what)? {
        let hint = format!("join under another name, such as `landfall lane join '{lane} 2' --key-file FILE`");
        return Err(Failed::usage(what, "this home has another key of a lane of that name").hint(hint));
    }
    command.out.document(fields(json!({ "lane": lane, "joined": true })));
    command.out.note(&format!("joined; `landfall lane tail '{lane}'` shows what arrived"));
    Ok(Exit::Done)
}

/// Carries out `landfall lane ls`.
pub(crate) async fn list(command: &Command, to: &To) -> Result<Exit, Failed> {
    let place = place_of(command, to.to.as_deref())?;
    let lanes = match Conversations::find(command, place).await? {
        Some(conversations) => conversations.lanes.all().await.during("cannot read the journal")?,
        None => Vec::new(),
    };
    for lane in &lanes {
        command.out.line(&human::text(&lane.name));
    }
    let lanes: Vec<Value> = lanes.iter().map(|lane| json!({ "name": lane.name, "read": lane.cursor })).collect();
    command.out.document(fields(json!({ "lanes": lanes })));
    Ok(Exit::Done)
}

async fn open(command: &Command, to: &To) -> Result<Conversations, Failed> {
    let place = place_of(command, to.to.as_deref())?;
    Conversations::open(command, command.engine().await?, place).await
}

/// Writes a secret to a file that only its owner may read, and that was not there.
fn write_new(command: &Command, file: &Path, text: &str) -> Result<(), Failed> {
    let write = || -> io::Result<()> {
        let mut new = command.env.files.create_new(file)?;
        new.append(text.as_bytes())?;
        new.append(b"\n")?;
        new.sync()
    };
    write().map_err(|error| {
        let what = format!("cannot write `{}`", file.display());
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failed::usage(what, "it is there already").hint("name a new file, or remove that one")
            }
            _ => Failed::new("not-permitted", what, error.to_string())
                .hint("name a file in a folder that you may write to"),
        }
    })
}

fn read_stdin() -> Result<Zeroizing<String>, Failed> {
    /// Longer than any key.
    const BYTES_MAX: u64 = 4096;
    let mut text = Zeroizing::new(String::with_capacity(4096));
    io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text).map_err(|error| {
        Failed::usage("cannot read the key from stdin", error.to_string()).hint("give a file with `--key-file FILE`")
    })?;
    Ok(text)
}
