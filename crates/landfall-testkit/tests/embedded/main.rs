//! An engine and a vault in one process, over the server's real router, without faults.

mod albums;
mod duplicates;
mod exchange;
mod hanging;
mod held;
mod hung;
mod lies;
mod memory;
mod restore;
