//! `delete`: what is left of a container whose shim has died.

use std::path::{Path, PathBuf};

use containerd_shim_protos::api::DeleteResponse;
use protobuf::Message;

use super::socket;
use crate::cli::Flags;
use crate::error::{Error, Kind};
use crate::events;
use crate::log;
use crate::mounts;
use crate::options;
use crate::runtime::{Choice, Runtime, argv};
use crate::task::{PID_FILE, read_pid};

/// Killed: the shim's death was the container's.
const STATUS: u32 = 128 + 9;

/// Removes everything it can; what it cannot is a warning on standard error, which containerd logs.
pub(crate) fn delete(flags: &Flags) -> Result<Vec<u8>, Error> {
    if flags.id.is_empty() || flags.namespace.is_empty() {
        let what = if flags.id.is_empty() { "id" } else { "namespace" };
        return Err(Error::new(Kind::Invalid, format!("shim {what} cannot be empty")));
    }
    let bundle = bundle_of(flags)?;
    // containerd calls this after every deletion, also of containers that were deleted in the ordinary way.
    if let Some(options) = options::load(&bundle)? {
        let choice =
            Choice { options: &options, bundle: &bundle, namespace: &flags.namespace, debug: flags.debug };
        if let Err(error) = Runtime::choose(&choice).call_and_wait(argv::delete_forced(&flags.id)) {
            log::warn(format!("delete container {}: {error}", flags.id));
        }
    }
    if let Err(error) = mounts::unmount_under(&bundle.join("rootfs")) {
        log::warn(error);
    }
    remove_dead_socket(&bundle);
    let pid =
        read_pid(&bundle.join(PID_FILE)).ok().and_then(|pid| u32::try_from(pid.as_raw()).ok()).unwrap_or(0);
    let response = DeleteResponse {
        pid,
        exit_status: STATUS,
        exited_at: Some(events::now()).into(),
        ..Default::default()
    };
    response.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode the answer: {e}")))
}

/// The working directory is the bundle, or, of older containerds, that of another container beside it.
fn bundle_of(flags: &Flags) -> Result<PathBuf, Error> {
    let given = super::bundle(flags)?;
    if given.file_name().is_some_and(|name| name == flags.id.as_str()) {
        return Ok(given);
    }
    let sibling = given.parent().map(|dir| dir.join(&flags.id)).filter(|dir| dir.is_dir());
    Ok(sibling.unwrap_or(given))
}

/// The dead shim's socket, unless other containers of its pod still have a living one there.
fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join("address")) else { return };
    let Some(path) = address.trim().strip_prefix("unix://").map(Path::new) else { return };
    if socket::is_dead(path)
        && let Err(error) = socket::remove(path)
    {
        log::warn(error);
    }
}
