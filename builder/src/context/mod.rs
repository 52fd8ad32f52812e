//! Where files come from: trees that steps copy from, and what they are by content.
//!
//! Invariant: a tree is read through one descriptor and never left; a digest covers paths, kinds, modes, owners and
//! bytes, and no time.

mod crew;
mod digest;
mod git;
mod http;
mod known;
mod matched;
mod tree;

pub use digest::{Content, content};
pub use git::{Checkout, NamedBy, Repository, Ssh, checkout};
pub use http::{download, is_known, lay_out};
pub use matched::{Match, Parents, find};
pub use tree::{Owner, Tree};
