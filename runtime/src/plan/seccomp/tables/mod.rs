//! Numbers of system calls by architecture: facts of the kernel's interface, which never change once released. Names for one
//! number are separated by a slash.
//!
//! Invariant: numbers ascend and are never removed: a filter of an old profile must mean the same for ever.

pub(super) mod arm;
pub(super) mod generic;
pub(super) mod newer;
pub(super) mod powerpc64;
pub(super) mod s390x;
pub(super) mod x32;
pub(super) mod x86;
pub(super) mod x86_64;
