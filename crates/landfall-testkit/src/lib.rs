//! A world to run Landfall in: one seed decides everything that happens in it.
//!
//! The machines of this world have a [`SimClock`] that follows paused time, a [`SimDisk`] that forgets what was not
//! synced when the power is cut, and the real SQLite on that disk by way of [`SimVfs`]. All randomness comes from a
//! [`Seed`]. A [`world`] runs the real engine against the real server's router there, [`Chaos`] strikes it with
//! faults, and an auditor looks at what is left. On a [`phone`] people talk to each other while everything goes wrong. A
//! [`bucket`] is a server of another kind, S3's, with a script of all that goes wrong there; from a [`desktop`] files and
//! recordings go there.

mod audit;
pub mod bucket;
mod chaos;
mod clock;
pub mod desktop;
mod disk;
mod network;
pub mod phone;
mod process;
mod programs;
mod sabotage;
mod seed;
mod sweep;
mod tap;
mod trouble;
mod vfs;
pub mod world;

pub use self::{
    chaos::{Chaos, Fault, FaultTable, Phase},
    clock::SimClock,
    disk::{Op, ProcessId, SimDisk},
    programs::{ProgramOptions, ProgramOutcome, Programs},
    sabotage::{Catalogued, desktop_sabotages, phone_sabotages, sabotages, survivors},
    seed::{Seed, SeededRandom},
    sweep::{number, on_all_cores},
    vfs::SimVfs,
};
