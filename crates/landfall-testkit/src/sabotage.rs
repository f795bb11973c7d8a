//! Safety measures that are taken away one at a time, to see that the worlds notice.

use landfall_env::Sabotage;

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
