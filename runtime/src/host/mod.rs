//! The parent's side: everything that is done outside of the container.
//!
//! Invariant: nothing is decided here; what is done comes out of a plan or a record.

pub mod account;
mod calls;
pub mod cgroup;
pub mod clock;
pub mod console;
pub mod create;
pub mod criu;
pub mod doctor;
pub mod exec;
pub mod facts;
pub mod foreground;
pub mod hooks;
pub mod ids;
pub mod in_place;
mod limits;
pub mod live_mounts;
pub mod neighbours;
pub mod net_devices;
pub mod network;
pub mod notify;
pub mod proc;
pub mod rdt;
pub mod reach;
pub mod remove;
pub mod seal;
pub mod seccomp_agent;
pub mod seize;
pub mod sources;
pub mod spawn;
pub mod start;
pub mod undo;
