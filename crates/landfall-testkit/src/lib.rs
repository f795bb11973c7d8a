//! A world to run Landfall in: one seed decides everything that happens in it.
//!
//! The machines of this world have a [`SimClock`] that follows paused time, a [`SimDisk`] that forgets what was not
//! synced when the power is cut, and the real SQLite on that disk by way of [`SimVfs`]. All randomness comes from a
//! [`Seed`].

mod clock;
mod disk;
mod seed;
mod vfs;

pub use self::{
    clock::SimClock,
    disk::{Op, ProcessId, SimDisk},
    seed::{Seed, SeededRandom},
    vfs::SimVfs,
};
