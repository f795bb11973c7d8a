//! An engine and a vault in one process, over the server's real router, without faults.

mod held;
mod memory;
mod restore;
