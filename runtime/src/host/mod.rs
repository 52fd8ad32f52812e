//! The parent's side: everything that is done outside of the container.
//!
//! Invariant: nothing is decided here; what is done comes out of a plan or a record.

pub mod cgroup;
pub mod clock;
pub mod facts;
pub mod remove;
