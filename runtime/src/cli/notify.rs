//! `NOTIFY_SOCKET` in the runtime's environment: the container gets such a socket too, and what it says there goes on.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::create::Born;
use super::{Global, create::add_to_env};
use crate::bundle::Bundle;
use crate::error::Error;
use crate::host::create::Start;
use crate::host::notify::{DIR, Relay, SOCKET, listen, make_dir};
use crate::host::reach;
use crate::state::{Entry, Record};

/// Where the container finds the socket, as with runc.
const INSIDE: &str = "/run/notify";

/// The service manager's address, where there is one.
pub(super) fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}

/// A mount and a variable more. `dir` is the container's state directory.
pub(super) fn offer(bundle: &mut Bundle, dir: &Path) {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(INSIDE))
        .set_source(Some(dir.join(DIR)))
        .set_options(Some(["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec()));
    let mut mounts = bundle.spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    bundle.spec.set_mounts(Some(mounts));
    add_to_env(bundle, &[format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}")]);
}

/// What the mount shows, and for `run` the socket too: `create` ends before anybody could listen, so that `start` does.
pub(super) fn prepare(
    manager: Option<&OsString>,
    start: Start,
    entry: &Entry,
) -> Result<Option<Relay>, Error> {
    let Some(manager) = manager else { return Ok(None) };
    make_dir(entry)?;
    match start {
        Start::Now => listen(entry, manager),
        Start::Later => Ok(None),
    }
}

/// `run --detach` ends when the container is ready. It is there already: a manager that cannot be told is no failure of it.
pub(super) fn after_run(born: &Born, global: &Global) {
    let Some(relay) = &born.relay else { return };
    // `state`, `exec` and `delete` must be able to come in.
    born.entry.unlock();
    let init = &born.alive.init;
    if let Err(error) = relay.until_ready(init.pidfd.as_fd(), init.pid) {
        global.log.warn(&error.to_string());
    }
}

/// The same for `start`.
pub(super) fn after_start(relay: &Relay, record: &Record, entry: &Entry) -> Result<(), Error> {
    entry.unlock();
    match reach::open(record.init.pid)? {
        // Asked after opening: the descriptor means this process and no later one.
        Some(init) if record.init.is_alive() => relay.until_ready(init.as_fd(), record.init.pid),
        _ => Ok(()),
    }
}
