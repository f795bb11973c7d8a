//! Where an item stands.

use crate::{Code, Timestamp};

/// An item's number in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub i64);

impl std::fmt::Display for ItemId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of an item. This very enum is what a row of the journal holds; its CHECK constraints repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Everything that can be done before it is sent is done.
    Staged,
    /// Work remains.
    Active {
        /// Which part of the work.
        phase: Phase,
        /// What must happen first.
        waits: Waits,
    },
    /// A person stopped it.
    Paused {
        /// Where it goes on.
        phase: Phase,
    },
    /// Only a person can unblock it.
    Blocked {
        /// Where it goes on.
        phase: Phase,
        /// Why.
        reason: BlockReason,
    },
    /// The remote holds it, verified.
    Done,
    /// A person decided that it shall not be sent, and what follows it may go on.
    Skipped,
    /// A person took it back.
    Cancelled,
}

impl State {
    /// Nothing will ever happen to it again.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Skipped | Self::Cancelled)
    }
}

/// The three parts of an item's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Read, hash, find duplicates, make the thumbnail, plan the parts.
    Prepare,
    /// Move bytes.
    Upload,
    /// Register, tell someone.
    Publish,
}

/// What an active item waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Nothing: it may be claimed.
    Nothing,
    /// A moment.
    Until(Timestamp),
    /// Keys.
    Unlock,
    /// A token that the destination accepts.
    Token,
    /// Another item that holds the same content, or goes before it.
    Item(ItemId),
    /// A carrier that moves its bytes, perhaps while no process of ours lives.
    Transfer,
}

/// Why an item is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockReason {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// What kind of work an item is, for limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Small and many.
    Photo,
    /// Large and few.
    Video,
    /// Of a conversation. Its limits are those of its phases.
    Message,
    /// To a bucket. It has a limit of its own, for each destination.
    Upload,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Photo, Self::Video, Self::Message, Self::Upload];
}

/// How many items may be worked on at once, over all processes of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimits {
    /// Photos and videos together.
    pub total: usize,
    /// Of these, videos.
    pub video: usize,
    /// Uploads to one bucket.
    pub upload: usize,
}

impl Default for ClassLimits {
    fn default() -> Self {
        Self { total: 4, video: 2, upload: 1 }
    }
}

impl ClassLimits {
    /// How many more items of each class may be claimed when so many are being worked on. The sum of photos and videos
    /// that are claimed must stay within `.total` of the answer.
    pub fn room(self, held: Held) -> Room {
        let total = self.total.saturating_sub(held.photos + held.videos);
        let video = self.video.saturating_sub(held.videos).min(total);
        Room { total, video, upload: self.upload.saturating_sub(held.uploads) }
    }

    /// Most items at once.
    pub fn most(self) -> usize {
        self.total.max(self.upload)
    }
}

/// How many items of each class are being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Photos, over all destinations.
    pub photos: usize,
    /// Videos, over all destinations.
    pub videos: usize,
    /// Uploads to the bucket that is looked at.
    pub uploads: usize,
}

/// What [`ClassLimits`] leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Photos and videos.
    pub total: usize,
    /// Of these, videos.
    pub video: usize,
    /// Uploads to the bucket that is looked at.
    pub upload: usize,
}

macro_rules! names {
    ($type:ty { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// The name in the journal and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The value of that name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use names;

names!(Phase { Prepare = "prepare", Upload = "upload", Publish = "publish" });
names!(Class { Photo = "photo", Video = "video", Message = "message", Upload = "upload" });
