//! A RUN step or a `run` as an OCI bundle on disk, carried out by somebody's runtime.
//!
//! The seam of the package: below it nothing is known but the runtime specification and runc's command line.
//! Invariant: everything that a container needs from the host dies with the value that stands for it here.

mod account;
mod capability;
mod cdi;
mod cgroup;
mod files;
mod id;
mod limits;
mod mounts;
mod network;
mod port;
mod runtime;
mod seccomp;
mod spec;
mod stubs;

pub use account::{Account, resolve as resolve_account, resolve_owner};
pub use cdi::{DIRECTORIES as DEVICE_DIRECTORIES, Devices, Registry as DeviceRegistry};
pub use cgroup::{of as cgroup_of, sweep as sweep_cgroups};
pub use files::{Host, Resolver};
pub use id::fresh as new_id;
pub use limits::{Limits, Ulimit, parse_bytes, parse_cpus};
pub use mounts::{Source, Volume, parse_volume};
pub use network::{Choice, Network, attach as attach_network, check_ports, usable as network_usable};
pub use port::{Port, Protocol, parse as parse_port};
pub use runtime::{Exit, Runtime, Stdio};
pub use spec::{Container, Extra, Isolation, NetworkNamespace, write};
pub use stubs::{Kind as StubKind, Stubs, make as make_stubs};
