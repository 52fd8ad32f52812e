//! Raw kernel calls: borrowed descriptors in, owned descriptors out, `io::Result`.
//!
//! Invariant: every descriptor made here is close-on-exec from birth, and no other room of the shim is `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod child;
pub(crate) mod fd;
pub(crate) mod heap;
pub(crate) mod idmap;
pub(crate) mod limits;
pub(crate) mod loops;
pub(crate) mod poll;
pub(crate) mod socket;
pub(crate) mod tty;
pub(crate) mod wait;
