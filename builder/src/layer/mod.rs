//! Layers: tar archives of changes, compressed; written the same way every time, unpacked into a directory that
//! nothing in them can leave.
//!
//! Invariant: unpacking touches only what is below the directory it is given, whatever the archive says; writing
//! depends only on the entries and the compression.

mod archive;
mod compress;
mod compression;
mod entry;
mod gzip;
mod list;
mod node;
mod number;
mod sniff;
mod stream;
mod tarstream;
mod tree;
mod unpack;
mod whiteout;
mod writer;

pub(crate) use archive::{Archive, Kind as MemberKind};
pub(crate) use compress::Encoder;
pub use compression::Compression;
pub use entry::{Entry, EntryKind};
pub use list::{entries, paths};
pub use sniff::{Content, Packing, sniff, unpacked};
pub(crate) use stream::decoder;
pub use tarstream::{Sink, TarStream};
pub use unpack::{Ownership, Unpack, Unpacked, Whiteouts, unpack};
pub use writer::{Layer, Writer};
