//! What is in a file, and what of it a power cut may leave.

use std::ops::Range;

use crate::SeededRandom;

/// What a drive writes whole or not at all.
const SECTOR: u64 = 512;

/// The bytes of a file as processes see them, and those that are on the platter. The changes between the two are kept
/// one by one, since a power cut may keep some and drop others.
#[derive(Debug, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// The bytes of all unsynced writes, one after the other: a buffer for each would cost more than the copying.
    written: Vec<u8>,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, bytes: Range<usize> },
    SetLen(u64),
}

/// How a power cut treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing of it was written yet.
    Lost,
    /// All of it happened to be written.
    Kept,
    /// It was being written in order; one write is torn.
    Prefix,
    /// It was being written in any order; any write may be torn.
    Subset,
}

impl Fate {
    pub(super) fn draw(random: &SeededRandom) -> Self {
        [Self::Lost, Self::Kept, Self::Prefix, Self::Subset][random.below(4) as usize]
    }
}

impl Content {
    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn len(&self) -> u64 {
        self.now.len() as u64
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let Some(rest) = usize::try_from(offset).ok().and_then(|offset| self.now.get(offset..)) else { return 0 };
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        overwrite(&mut self.now, offset, bytes);
        let start = self.written.len();
        self.written.extend_from_slice(bytes);
        self.unsynced.push(Change::Write { offset, bytes: start..self.written.len() });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        set_len(&mut self.now, len);
        self.unsynced.push(Change::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            self.make_durable(&change);
        }
        self.written.clear();
    }

    pub(super) fn power_cut(&mut self, fate: Fate, random: &SeededRandom) {
        let unsynced = std::mem::take(&mut self.unsynced);
        match fate {
            Fate::Lost => {}
            Fate::Kept => unsynced.iter().for_each(|change| self.make_durable(change)),
            Fate::Prefix => {
                let whole = random.below(unsynced.len() as u64 + 1) as usize;
                unsynced[..whole].iter().for_each(|change| self.make_durable(change));
                if let Some(Change::Write { offset, bytes }) = unsynced.get(whole) {
                    let sectors = sectors(*offset, bytes);
                    let reached = random.below(sectors.len() as u64) as usize;
                    sectors[..reached].iter().for_each(|change| self.make_durable(change));
                }
            }
            Fate::Subset => {
                for change in &unsynced {
                    match (random.below(3), change) {
                        (0, _) => {}
                        (1, Change::Write { offset, bytes }) => {
                            for sector in sectors(*offset, bytes) {
                                if random.chance(0.5) {
                                    self.make_durable(&sector);
                                }
                            }
                        }
                        _ => self.make_durable(change),
                    }
                }
            }
        }
        self.written.clear();
        self.now.clone_from(&self.durable);
    }

    fn make_durable(&mut self, change: &Change) {
        match change {
            Change::Write { offset, bytes } => overwrite(&mut self.durable, *offset, &self.written[bytes.clone()]),
            Change::SetLen(len) => set_len(&mut self.durable, *len),
        }
    }
}

/// A write as the writes of its sectors.
fn sectors(offset: u64, bytes: &Range<usize>) -> Vec<Change> {
    let mut sectors = Vec::new();
    let (mut offset, mut start) = (offset, bytes.start);
    while start < bytes.end {
        let count = usize::try_from(SECTOR - offset % SECTOR).unwrap_or(usize::MAX).min(bytes.end - start);
        sectors.push(Change::Write { offset, bytes: start..start + count });
        start += count;
        offset += count as u64;
    }
    sectors
}

fn overwrite(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).expect("a simulated file fits into memory");
    if start == content.len() {
        content.extend_from_slice(bytes);
        return;
    }
    let end = start + bytes.len();
    if end > content.len() {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

fn set_len(content: &mut Vec<u8>, len: u64) {
    content.resize(usize::try_from(len).expect("a simulated file fits into memory"), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    #[test]
    fn a_cut_tears_unsynced_writes_at_sectors_and_leaves_synced_bytes_alone() {
        let mut torn = 0;
        for seed in 0..500 {
            let random = Seed(seed).random();
            let mut content = Content::default();
            content.write(0, &[1; 2_000]);
            content.sync();
            content.write(100, &[2; 1_500]);
            content.power_cut(Fate::draw(&random), &random);
            let after = content.now();
            assert_eq!((&after[..100], &after[1_600..]), (&[1; 100][..], &[1; 400][..]), "seed {seed}");
            let sectors = [&after[100..512], &after[512..1_024], &after[1_024..1_536], &after[1_536..1_600]];
            assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])), "seed {seed}");
            torn += usize::from(sectors.iter().any(|sector| sector[0] != sectors[0][0]));
        }
        assert!(torn > 50, "{torn} of 500 cuts tore the write");
    }
}
