//! Layers: tar archives of changes, compressed; written the same way every time, unpacked into a directory that
//! nothing in them can leave.
//!
//! Invariant: unpacking touches only what is below the directory it is given, whatever the archive says; writing
//! depends only on the entries and the compression.

mod compression;

pub use compression::Compression;
