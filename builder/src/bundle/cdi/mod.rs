//! Devices by name, as the Container Device Interface describes them (cncf-tags/container-device-interface, SPEC.md).
//!
//! Files of the host say what a container gets with a device: nodes, mounts, variables, hooks. Invariant: a file that is not
//! understood whole gives no device.

mod document;
mod edits;
mod registry;

pub use edits::Devices;
pub(super) use edits::Node;
pub use registry::Registry;

/// Where the files are, the last directory before the others.
pub const DIRECTORIES: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];
