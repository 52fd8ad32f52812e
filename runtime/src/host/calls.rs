//! For `doctor`: the newer system calls that the runtime uses, and what is done without them.

use super::doctor::{Finding, State};
use crate::plan::caps;
use crate::plan::facts::Caller;
use crate::sys::missing::{Presence, presence};

struct Call {
    name: &'static str,
    number: libc::c_long,
    since: &'static str,
    /// It looks for the right to mount before anything else.
    privileged: bool,
    /// What cannot be done at all then; else there is a slower way.
    loses: Option<&'static str>,
}

const fn call(name: &'static str, number: libc::c_long, since: &'static str) -> Call {
    Call { name, number, since, privileged: false, loses: None }
}

const LIVE: &str = "mounts into a running container";

const CALLS: [Call; 13] = [
    call("openat2", libc::SYS_openat2, "5.6"),
    call("clone3", libc::SYS_clone3, "5.3"),
    call("close_range", libc::SYS_close_range, "5.9"),
    Call { loses: Some(LIVE), ..call("open_tree", libc::SYS_open_tree, "5.2") },
    Call { privileged: true, loses: Some(LIVE), ..call("move_mount", libc::SYS_move_mount, "5.2") },
    Call { privileged: true, loses: Some(LIVE), ..call("fsopen", libc::SYS_fsopen, "5.2") },
    Call { loses: Some(LIVE), ..call("fsconfig", libc::SYS_fsconfig, "5.2") },
    Call { privileged: true, loses: Some(LIVE), ..call("fsmount", libc::SYS_fsmount, "5.2") },
    Call { loses: Some("idmapped mounts"), ..call("mount_setattr", libc::SYS_mount_setattr, "5.12") },
    Call { loses: Some("exec, kill, forced delete"), ..call("pidfd_open", libc::SYS_pidfd_open, "5.3") },
    Call {
        loses: Some("kill, forced delete"),
        ..call("pidfd_send_signal", libc::SYS_pidfd_send_signal, "5.1")
    },
    call("execveat", libc::SYS_execveat, "3.19"),
    call("memfd_create", libc::SYS_memfd_create, "3.17"),
];

/// All of them in one finding.
pub(super) fn examine(caller: &Caller) -> Finding {
    let may = caller.may(caps::SYS_ADMIN);
    let lacks = |call: &&Call| match presence(call.number) {
        Presence::There => false,
        Presence::Missing => true,
        Presence::Refused => may || !call.privileged,
    };
    let missing: Vec<&Call> = CALLS.iter().filter(lacks).collect();
    if missing.is_empty() {
        return Finding::good("system calls", "all that are used are there");
    }
    let names: Vec<String> =
        missing.iter().map(|call| format!("{} (Linux {})", call.name, call.since)).collect();
    let mut lost: Vec<&str> = missing.iter().filter_map(|call| call.loses).collect();
    lost.dedup();
    let then = match lost.is_empty() {
        true => "slower ways are taken".to_owned(),
        false => format!("these are refused: {}", lost.join(", ")),
    };
    let mend = "a kernel that has them, or a seccomp profile of the outer container that allows them";
    Finding::bad("system calls", State::Limited, format!("no {}: {then}", names.join(", ")), mend)
}
