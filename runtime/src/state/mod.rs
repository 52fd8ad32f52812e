//! What is known of each container between two commands: one directory each, below the root directory.
//!
//! `ROOT/ID/state.json` holds one line of JSON, the head, then the configuration, byte for byte as it was at creation, and
//! in the last line the head again, for the day on which the first is damaged.
//! The head is an intent until the container exists, so that a runtime that was killed half-way leaves a list of what
//! to clean up. Every version of the file replaces the one before atomically.
//!
//! Invariant: whether a container runs is never stored; it is asked of the kernel, by pid and start time together.

mod entry;
mod id;
mod live;
mod record;
mod root;

pub use entry::Entry;
pub use id::ContainerId;
pub use live::{Status, is_alive, own, start_time};
pub use record::{
    Cgroup, CgroupDir, Clocks, Driver, Head, Intent, PidNamespace, Process, Rdt, Record, VERSION,
};
pub use root::{Found, Root};

/// In a container's directory: what `start` opens to let init go on, and to hear what went wrong between that and execve.
pub const FIFO: &str = "exec.fifo";
/// In a container's directory.
pub const STATE: &str = "state.json";
