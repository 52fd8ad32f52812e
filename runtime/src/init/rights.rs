//! From root of the namespace to the user that the configuration names.

use nix::errno::Errno;
use nix::sys::prctl;

use super::namespaces::stay_undumpable;
use crate::error::Error;
use crate::plan::Side;
use crate::plan::caps::Caps;
use crate::plan::process::{Groups, NewPrivileges, Process, Rlimit, User};
use crate::sys::{caps, process};
use crate::wire::InitEnd;

/// Limits hold for the program: before, what is mounted and opened on the way to it would run into them. They need a right that goes
/// with the user, or one of the host's.
pub fn limit(process: &Process, wire: &InitEnd) -> Result<(), Error> {
    match process.rlimits_by {
        Side::Init => set_rlimits(&process.rlimits),
        Side::Host if process.is_limited_by_host() => wire.unlimited().and_then(|()| wire.wait()),
        Side::Host => Ok(()),
    }
}

fn set_rlimits(limits: &[Rlimit]) -> Result<(), Error> {
    for limit in limits {
        process::set_rlimit(0, limit.resource, limit.soft, limit.hard).map_err(|source| {
            let text = format!("set resource limit {} to {}:{}", limit.resource, limit.soft, limit.hard);
            Error::system(text, source)
        })?;
    }
    Ok(())
}

/// While there is still the right to.
pub fn drop_bounding(planned: &Caps) -> Result<(), Error> {
    for cap in planned.drop_from_bounding.numbers() {
        match caps::drop_from_bounding(cap) {
            Err(source) if source.raw_os_error() != Some(libc::EINVAL) => {
                return Err(Error::system(format!("drop capability {cap} from the bounding set"), source));
            }
            // EINVAL: this kernel has no such capability.
            _ => {}
        }
    }
    Ok(())
}

/// Becomes the user; the permitted capabilities stay for `set_caps`.
pub fn become_user(user: &User) -> Result<(), Error> {
    // Root that stays root loses nothing.
    let keep = user.uid != 0;
    if keep {
        prctl::set_keepcaps(true).map_err(|errno| Error::system("keep capabilities", errno))?;
    }
    let set = match &user.groups {
        Groups::Keep => Ok(()),
        Groups::Set(groups) => process::set_groups(groups),
        Groups::NoneWherePossible => match process::set_groups(&[]) {
            Err(source) if source.raw_os_error() == Some(libc::EPERM) => Ok(()),
            other => other,
        },
    };
    set.map_err(|source| Error::system("set the supplementary groups", source))?;
    let unmapped = "is it mapped in the user namespace?";
    process::set_gid(user.gid)
        .map_err(|source| Error::system(format!("become group {}", user.gid), source).hint(unmapped))?;
    process::set_uid(user.uid)
        .map_err(|source| Error::system(format!("become user {}", user.uid), source).hint(unmapped))?;
    match keep {
        true => {
            prctl::set_keepcaps(false).map_err(|errno| Error::system("keep capabilities no more", errno))?;
            stay_undumpable()
        }
        false => Ok(()),
    }
}

/// The sets that execve starts from.
pub fn set_caps(planned: &Caps) -> Result<(), Error> {
    let (effective, permitted) = (planned.effective.0, planned.permitted.0);
    caps::set(effective, permitted, planned.inheritable.0)
        .map_err(|source| Error::system("set the capabilities", source))?;
    if permitted & planned.inheritable.0 != 0 {
        // What is not in both of them the kernel has taken out of the ambient set just now (capabilities(7)).
        caps::clear_ambient().map_err(|source| Error::system("clear the ambient capabilities", source))?;
    }
    for cap in planned.ambient.numbers() {
        caps::raise_ambient(cap)
            .map_err(|source| Error::system(format!("raise ambient capability {cap}"), source))?;
    }
    Ok(())
}

/// No setuid program and no file capability counts from now on.
pub fn forbid_new_privileges(planned: NewPrivileges) -> Result<(), Error> {
    match planned {
        NewPrivileges::Possible => Ok(()),
        NewPrivileges::Never => {
            prctl::set_no_new_privs().map_err(|errno: Errno| Error::system("set no_new_privs", errno))
        }
    }
}
