//! WORKDIR: a directory that must exist.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::unistd::{Gid, Uid, fchownat};

use crate::bundle::resolve_account;
use crate::error::{Error, Kind};
use crate::graph::Workdir;
use crate::snapshot::Draft;
use crate::sys::root;

pub(super) fn make(workdir: &Workdir, draft: &Draft) -> Result<(), Error> {
    let view = draft.view()?;
    let at = view.root().ok_or_else(|| Error::new(Kind::System, "the step has no file system"))?;
    let account = resolve_account(at, &workdir.user)?;
    let own = |_: &OwnedFd, _: &OsStr, new: &OwnedFd| {
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        Ok(fchownat(new, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?)
    };
    root::make_dirs(at, Path::new(&workdir.path), own)
        .map(drop)
        .map_err(|error| Error::system(format!("make the directory {}", workdir.path), error))
}
