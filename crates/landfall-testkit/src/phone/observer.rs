//! Somebody who shows a lane: reads it once, and goes on with what changed.

use std::collections::BTreeMap;

use landfall::recipes::chat::{Changes, Echo, Snapshot, Stage, Uploaded};
use landfall_core::ItemId;

/// What is shown of a lane.
#[derive(Default)]
pub(crate) struct Observer {
    shown: BTreeMap<ItemId, Echo>,
    cursor: i64,
}

impl Observer {
    pub(crate) fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Puts what changed over what is shown.
    pub(crate) fn apply(&mut self, changes: Changes) {
        let Changes::These { echoes, gone, cursor } = changes else {
            self.shown.clear();
            self.cursor = 0;
            return;
        };
        for echo in echoes {
            self.shown.insert(echo.id, settled(echo));
        }
        for id in gone {
            self.shown.remove(&id);
        }
        self.cursor = cursor;
    }

    /// Compares what is shown with everything, read anew; `None` if it is of another moment, or the same.
    pub(crate) fn compare(&self, snapshot: Snapshot) -> Option<String> {
        if snapshot.cursor != self.cursor {
            return None;
        }
        let fresh: BTreeMap<ItemId, Echo> = snapshot.echoes.into_iter().map(|echo| (echo.id, settled(echo))).collect();
        if fresh == self.shown {
            return None;
        }
        let differs = fresh.iter().find(|(id, echo)| self.shown.get(*id) != Some(echo));
        Some(match differs {
            Some((id, echo)) => format!("{id} is shown as {:?} and is {echo:?}", self.shown.get(id)),
            None => "something is shown that is not there".to_owned(),
        })
    }
}

/// How far a transfer is, is told apart.
fn settled(echo: Echo) -> Echo {
    match echo.stage {
        Stage::Uploading(far) => Echo { stage: Stage::Uploading(Uploaded { bytes: 0, ..far }), ..echo },
        _ => echo,
    }
}
