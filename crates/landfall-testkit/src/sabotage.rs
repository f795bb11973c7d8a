//! Safety measures that are taken away one at a time, to see that the worlds notice.

use std::{collections::BTreeMap, sync::Mutex};

use landfall_env::Sabotage;

use crate::on_all_cores;

/// A safety measure that can be taken away.
#[derive(Debug, Clone, Copy)]
pub struct Catalogued {
    /// Which.
    pub sabotage: Sabotage,
    /// What is taken away.
    pub takes_away: &'static str,
    /// What then does not hold, so that the auditor complains.
    pub breaks: &'static str,
}

/// Those of `catalogue` that nothing notices. `run` takes one away in the world of a seed, and returns what was complained of
/// there. What caught each is printed.
///
/// `LANDFALL_SABOTAGE=name` tries that one alone.
pub fn survivors(
    catalogue: Vec<Catalogued>,
    seeds: u64,
    run: impl Fn(Sabotage, u64) -> Option<String> + Sync,
) -> Vec<Sabotage> {
    let wanted = std::env::var("LANDFALL_SABOTAGE").ok();
    let is_wanted = |one: &Catalogued| wanted.as_ref().is_none_or(|wanted| *wanted == format!("{:?}", one.sabotage));
    let mut survivors = Vec::new();
    for one in catalogue.into_iter().filter(is_wanted) {
        let caught: Mutex<BTreeMap<u64, String>> = Mutex::default();
        on_all_cores(seeds, |seed| {
            let complaint = run(one.sabotage, seed);
            let is_clean = complaint.is_none();
            caught.lock().expect("no world panics").extend(complaint.map(|complaint| (seed, complaint)));
            is_clean
        });
        match caught.into_inner().expect("no world panics").first_key_value() {
            Some((seed, complaint)) => {
                println!("{:?} ({}): caught at seed {seed}: {complaint}", one.sabotage, one.takes_away);
            }
            None => {
                println!("{:?} ({}): NOT CAUGHT", one.sabotage, one.takes_away);
                survivors.push(one.sabotage);
            }
        }
    }
    survivors
}

/// Every sabotage there is. Each is wired into the real code, behind `Steps::sabotaged`.
pub fn sabotages() -> Vec<Catalogued> {
    let catalogued = |sabotage, takes_away, breaks| Catalogued { sabotage, takes_away, breaks };
    vec![
        catalogued(
            Sabotage::DropGenerationCheck,
            "a worker whose lease is gone may go on writing",
            "one holder at a time changes an item",
        ),
        catalogued(
            Sabotage::PublishBeforeReceipt,
            "parts count as stored as soon as they are handed over",
            "a file is registered after a receipt of every part, and progress counts what the vault holds",
        ),
        catalogued(
            Sabotage::SkipFolderSync,
            "the server does not sync the folder of a stored part",
            "what the vault acknowledged survives a power cut",
        ),
        catalogued(
            Sabotage::SkipFileSync,
            "the server does not sync the bytes of a stored part",
            "what the vault acknowledged survives a power cut",
        ),
        catalogued(
            Sabotage::ReuseKeyForNewRevision,
            "a changed source is sealed with the keys of its last revision",
            "no two ciphertexts under one key and nonce ever leave",
        ),
        catalogued(
            Sabotage::LostAnswerIsFailure,
            "after a lost answer the upload begins anew, without asking what arrived",
            "every remote upload is completed or deleted, and no content is uploaded twice without a reason",
        ),
        catalogued(
            Sabotage::WallClockLease,
            "how long a worker stood still is told by the wall clock",
            "nothing is taken from a worker that lives and goes on",
        ),
        catalogued(
            Sabotage::DeleteBeforeCommit,
            "remote objects are deleted before the journal gives them up",
            "a remote delete touches only what the journal has given up",
        ),
        catalogued(
            Sabotage::NoIntentRow,
            "a remote upload is opened before the journal says so",
            "every remote upload is in the journal before its first part",
        ),
        catalogued(
            Sabotage::SkipJournalSync,
            "the journal's commits are not synced",
            "what was reported done survives a power cut",
        ),
        catalogued(
            Sabotage::SkipMacCheck,
            "a source that changed is sent without comparing what is sealed with what was prepared",
            "bytes of two source revisions never share an object",
        ),
        catalogued(
            Sabotage::SkipTwinCheck,
            "two items with one content do not wait for each other",
            "no content is uploaded twice without a reason",
        ),
    ]
}

/// Every sabotage of conversations: those that programs on a phone have to notice.
pub fn phone_sabotages() -> Vec<Catalogued> {
    let catalogued = |sabotage, takes_away, breaks| Catalogued { sabotage, takes_away, breaks };
    vec![
        catalogued(
            Sabotage::SkipJournalSync,
            "the journal's commits are not synced",
            "what was sent survives a power cut",
        ),
        catalogued(
            Sabotage::DropGenerationCheck,
            "a worker whose lease is gone may go on writing",
            "a message is finished once",
        ),
        catalogued(
            Sabotage::SendPiecemeal,
            "a batch is sent in several transactions",
            "a batch is sent whole or not at all",
        ),
        catalogued(
            Sabotage::PublishOutOfTurn,
            "nobody looks who comes before a message",
            "messages are published in the order of their lane",
        ),
        catalogued(
            Sabotage::WaitUnasked,
            "a message that decides to wait for another does not ask again when it writes so",
            "nothing waits for what has happened already",
        ),
        catalogued(
            Sabotage::FreshKeyPerPublish,
            "every publish has an idempotency key of its own",
            "a message is seen once",
        ),
        catalogued(
            Sabotage::SkipPublishIntent,
            "the journal does not say that a publish is about to begin",
            "what may have been seen is never made anew",
        ),
        catalogued(
            Sabotage::SkipAttemptFence,
            "a report about an attempt that nobody waits for counts",
            "a message names the payload of the attempt that succeeded",
        ),
        catalogued(
            Sabotage::UnknownIsFailure,
            "an upload whose outcome is unknown counts as failed",
            "a payload that arrived is not put again",
        ),
        catalogued(
            Sabotage::SweepCarriedFiles,
            "files are removed although a carrier may be reading them",
            "a carrier's file stays until it has let go",
        ),
        catalogued(Sabotage::SkipSpoolSync, "files of messages are not synced", "what was staged survives a power cut"),
    ]
}

/// Every sabotage of uploads to a bucket: those that programs on a desktop have to notice.
pub fn desktop_sabotages() -> Vec<Catalogued> {
    let catalogued = |sabotage, takes_away, breaks| Catalogued { sabotage, takes_away, breaks };
    vec![
        catalogued(
            Sabotage::SkipJournalSync,
            "the journal's commits are not synced",
            "what was taken in charge, and what was reported done, survives a power cut",
        ),
        catalogued(
            Sabotage::DropGenerationCheck,
            "a worker whose lease is gone may go on writing",
            "an upload is finished once, and what a new holder wrote stays",
        ),
        catalogued(
            Sabotage::NoIntentRow,
            "a remote upload is opened before the journal says so",
            "no incomplete upload is left that nobody knows",
        ),
        catalogued(
            Sabotage::LostAnswerIsFailure,
            "after a lost answer the upload begins anew, without asking what arrived",
            "what the bucket holds is not sent again, and nothing is left behind",
        ),
        catalogued(
            Sabotage::SkipMacCheck,
            "a source that changed is sent without comparing it with what was prepared",
            "bytes of two moments never share an object",
        ),
        catalogued(
            Sabotage::TakeAnyForOurs,
            "whatever is under the key counts as what was sent",
            "an object of somebody else's is never called done, nor replaced",
        ),
        catalogued(
            Sabotage::DropGuard,
            "nobody looks whether something is there already",
            "an object of somebody else's is not overwritten unasked",
        ),
    ]
}
