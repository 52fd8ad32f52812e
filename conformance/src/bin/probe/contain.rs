//! The least that makes a container: the floor under every runtime's time.

use std::ffi::CString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::unistd::{chdir, execv, pivot_root};

use crate::sys;

/// Runs `program` in new namespaces with `root` as its root; its exit code.
pub(crate) fn contain(root: &str, program: &str) -> io::Result<i32> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET;
    match sys::fork_into(flags.bits())? {
        0 => {
            let program = CString::new(program)?;
            let _error = enter(root).and_then(|()| Ok(execv(&program, &[&program])?));
            sys::exit(126)
        }
        pid => {
            let status = sys::wait(pid)?;
            Ok(ExitStatus::from_raw(status).code().unwrap_or(125))
        }
    }
}

fn enter(root: &str) -> io::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(root), root, none, MsFlags::MS_BIND, none)?;
    chdir(root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}
