//! Names in folders, and which of their changes a power cut may leave.
//!
//! A change of names is all or nothing, and a file never disappears because it was moved: like a journalling file
//! system, and unlike the order in which the calls were made, which is *not* kept between names that have nothing to do
//! with each other. That is harsher than most file systems are, and what a portable program may count on.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

use super::{content::Fate, inode::Inode};
use crate::SeededRandom;

/// The number of a file or folder.
pub(super) type Ino = u64;

/// The names in a folder: as processes see them, and as they are on the platter.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) now: BTreeMap<OsString, Ino>,
    pub(super) durable: BTreeMap<OsString, Ino>,
}

impl Names {
    /// What any name stands for, now or on the platter.
    pub(super) fn all(&self) -> impl Iterator<Item = Ino> {
        self.now.values().chain(self.durable.values()).copied()
    }
}

/// A change of names that may not be durable yet.
#[derive(Debug, Clone, Default)]
pub(super) struct NameChange {
    /// What each name stands for afterwards.
    pub(super) edits: Vec<(Ino, OsString, Option<Ino>)>,
    /// What gained a name.
    pub(super) adds: Option<Ino>,
    /// What lost a name.
    pub(super) removes: Vec<Ino>,
    /// The new name's folder, if something moved into it.
    pub(super) moves_into: Option<Ino>,
    pub(super) makes_dir: Option<Ino>,
    pub(super) removes_dir: Option<Ino>,
}

impl NameChange {
    fn touches(&self, dir: Ino) -> bool {
        self.edits.iter().any(|(edited, ..)| *edited == dir)
    }

    fn names(&self) -> impl Iterator<Item = (Ino, &OsString)> {
        self.edits.iter().map(|(dir, name, _)| (*dir, name))
    }

    pub(super) fn make_durable(&self, inodes: &mut BTreeMap<Ino, Inode>) {
        for (dir, name, inode) in &self.edits {
            let Some(names) = inodes.get_mut(dir).and_then(Inode::names_mut) else { continue };
            match inode {
                Some(inode) => names.durable.insert(name.clone(), *inode),
                None => names.durable.remove(name),
            };
        }
    }
}

/// Makes durable what happened in a folder, and what that depends on, and no more.
pub(super) fn sync_dir(pending: &mut Vec<NameChange>, dir: Ino, inodes: &mut BTreeMap<Ino, Inode>) {
    let mut names = BTreeSet::new();
    let mut new_dirs = BTreeSet::new();
    let mut whole_dirs = BTreeSet::from([dir]);
    let mut losers = BTreeSet::<Ino>::new();
    let mut wanted = vec![false; pending.len()];
    for (change, wanted) in pending.iter().zip(&mut wanted).rev() {
        let makes_wanted_dir = change.makes_dir.is_some_and(|made| new_dirs.contains(&made));
        *wanted = makes_wanted_dir
            || whole_dirs.iter().any(|dir| change.touches(*dir))
            || change.names().any(|(dir, name)| names.contains(&(dir, name.clone())))
            || change.adds.is_some_and(|added| losers.contains(&added));
        if *wanted {
            names.extend(change.names().map(|(dir, name)| (dir, name.clone())));
            losers.extend(&change.removes);
            whole_dirs.extend(change.removes_dir);
            new_dirs.extend(change.moves_into);
            if makes_wanted_dir {
                new_dirs.extend(change.edits.iter().map(|(dir, ..)| *dir));
            }
        }
    }
    let mut wanted = wanted.into_iter();
    pending.retain(|change| {
        let wanted = wanted.next().unwrap_or(false);
        if wanted {
            change.make_durable(inodes);
        }
        !wanted
    });
}

/// Keeps some of the pending changes: never one without those it depends on.
pub(super) fn power_cut(
    pending: &mut Vec<NameChange>,
    fate: Fate,
    random: &SeededRandom,
    inodes: &mut BTreeMap<Ino, Inode>,
) {
    let mut names = BTreeSet::new();
    let mut unmade_dirs = BTreeSet::new();
    let mut touched_dirs = BTreeSet::new();
    let mut unnamed = BTreeSet::new();
    let prefix = random.below(pending.len() as u64 + 1) as usize;
    for (index, change) in std::mem::take(pending).into_iter().enumerate() {
        let wanted = match fate {
            Fate::Lost => false,
            Fate::Kept => true,
            Fate::Prefix => index < prefix,
            Fate::Subset => random.chance(0.5),
        };
        let possible = !change.names().any(|(dir, name)| names.contains(&(dir, name.clone())))
            && !change.removes.iter().any(|loser| unnamed.contains(loser))
            && !change.moves_into.is_some_and(|dir| unmade_dirs.contains(&dir))
            && !change.removes_dir.is_some_and(|dir| touched_dirs.contains(&dir));
        let into_nowhere = change.makes_dir.is_some() && change.edits.iter().any(|(dir, ..)| unmade_dirs.contains(dir));
        if wanted && possible && !into_nowhere {
            change.make_durable(inodes);
            continue;
        }
        names.extend(change.edits.iter().map(|(dir, name, _)| (*dir, name.clone())));
        touched_dirs.extend(change.edits.iter().map(|(dir, ..)| *dir));
        unnamed.extend(change.adds);
        unmade_dirs.extend(change.makes_dir);
    }
}
