//! The locks that SQLite holds through open files, and the memory that its processes share.

use super::*;

/// SQLite's locks and shared memory.
impl State {
    /// Raises the lock of a database file; false if another opening is in the way.
    pub(crate) fn lock(&mut self, id: OpenId, level: LockLevel) -> io::Result<bool> {
        let ino = self.enter_open(id, Op::Lock)?;
        let held = self.open[&id].level;
        if held >= level {
            return Ok(true);
        }
        let others = self.others(id, ino).map(|open| open.level).max().unwrap_or(LockLevel::None);
        let granted = match level {
            LockLevel::Shared => others < LockLevel::Pending,
            LockLevel::Reserved => others < LockLevel::Reserved,
            _ => others == LockLevel::None,
        };
        let level = match granted {
            true => level,
            // Readers may finish, new ones may not begin.
            false if level == LockLevel::Exclusive && held == LockLevel::Reserved => LockLevel::Pending,
            false => held,
        };
        self.open.entry(id).and_modify(|open| open.level = level);
        Ok(granted)
    }

    pub(crate) fn unlock(&mut self, id: OpenId, level: LockLevel) {
        self.open.entry(id).and_modify(|open| open.level = open.level.min(level));
    }

    /// Whether anyone is about to write the database file.
    pub(crate) fn is_reserved(&mut self, id: OpenId) -> io::Result<bool> {
        let ino = self.enter_open(id, Op::Lock)?;
        Ok(self.open.values().any(|open| open.inode == ino && open.level >= LockLevel::Reserved))
    }

    /// The memory that all openings of a database file share.
    pub(crate) fn map_memory(&mut self, id: OpenId) -> io::Result<Arc<SharedMemory>> {
        let ino = self.enter_open(id, Op::Lock)?;
        self.open.entry(id).and_modify(|open| open.maps_memory = true);
        Ok(Arc::clone(self.shared_memory.entry(ino).or_default()))
    }

    pub(crate) fn unmap_memory(&mut self, id: OpenId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        (open.maps_memory, open.shared_mask, open.exclusive_mask) = (false, 0, 0);
        let ino = open.inode;
        self.forget_unmapped(ino);
    }

    /// Takes all locks in `mask`, or none of them and returns false.
    pub(crate) fn lock_memory(&mut self, id: OpenId, mask: u8, exclusive: bool) -> io::Result<bool> {
        let ino = self.enter_open(id, Op::Lock)?;
        let in_the_way = self.others(id, ino).any(|open| {
            let conflicting = if exclusive { open.shared_mask | open.exclusive_mask } else { open.exclusive_mask };
            conflicting & mask != 0
        });
        if !in_the_way {
            self.open.entry(id).and_modify(|open| match exclusive {
                true => open.exclusive_mask |= mask,
                false => open.shared_mask |= mask,
            });
        }
        Ok(!in_the_way)
    }

    pub(crate) fn unlock_memory(&mut self, id: OpenId, mask: u8) {
        self.open.entry(id).and_modify(|open| {
            open.exclusive_mask &= !mask;
            open.shared_mask &= !mask;
        });
    }

    fn others(&self, id: OpenId, ino: Ino) -> impl Iterator<Item = &OpenFile> {
        self.open.iter().filter(move |(other, open)| **other != id && open.inode == ino).map(|(_, open)| open)
    }

    /// The next to map the memory finds it empty, and builds it again from the log, as after the last process's end.
    pub(super) fn forget_unmapped(&mut self, ino: Ino) {
        if !self.open.values().any(|open| open.inode == ino && open.maps_memory) {
            self.shared_memory.remove(&ino);
        }
    }
}
