//! Registries: names of images, credentials, and the distribution API for pulls and pushes.
//!
//! Invariant: credentials go only to the registry they were given for and to the realm that it names over the same
//! or a better transport; never to a redirect's host, and never into an error text.

mod reference;

pub use reference::Reference;
