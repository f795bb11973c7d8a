//! What a run tells whoever watches it.

use landfall_core::{Code, ItemId};

/// Something that just became true. Bytes are counted when the destination holds them, never before.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Progress {
    /// An item is being worked on.
    Started {
        /// Which.
        item: ItemId,
        /// The last segment of its place, for people.
        name: String,
        /// Bytes of its source.
        bytes: u64,
    },
    /// The source has been read and hashed.
    Prepared {
        /// Which.
        item: ItemId,
    },
    /// The destination holds more of an item's file.
    Stored {
        /// Which.
        item: ItemId,
        /// How many more bytes.
        bytes: u64,
        /// They were found there: sent earlier, or arrived without an answer.
        is_found: bool,
    },
    /// An item is done: durable in the vault and in the journal.
    Done {
        /// Which.
        item: ItemId,
        /// Where it was found.
        place: Vec<u8>,
        /// Its bytes were uploaded by this item; otherwise the vault had them.
        uploaded: bool,
        /// Bytes of its source.
        bytes: u64,
    },
    /// An item is not worked on any more for now; it goes on later by itself.
    Put {
        /// Which.
        item: ItemId,
    },
    /// An item needs a person.
    Blocked {
        /// Which.
        item: ItemId,
        /// Where it was found.
        place: Vec<u8>,
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        message: String,
    },
    /// A file is not taken after all.
    Skipped {
        /// Which.
        item: ItemId,
        /// Where it was found.
        place: Vec<u8>,
        /// Why.
        code: &'static str,
    },
    /// The destination is away or busy; everything waits and goes on by itself.
    Waiting {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        message: String,
    },
    /// The destination answers again.
    Back,
    /// Another worker stood still or died; its items are free again.
    TookOver {
        /// Its process number.
        pid: u32,
        /// How many items.
        items: usize,
    },
    /// Another process is writing to the journal and does not go on.
    JournalHeld {
        /// Its process number, if known.
        pid: Option<u32>,
    },
    /// Something about the vault a person should know.
    Note {
        /// What.
        message: String,
    },
}

/// Told what happens, on the engine's own task: it must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn saw(&self, progress: Progress);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn saw(&self, _: Progress) {}
}
