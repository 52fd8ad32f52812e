//! Writes the mappings of a new user namespace.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, Kind};
use crate::init::procfs;
use crate::plan::facts::Setgroups;
use crate::plan::ids::{Ids, Map, Mapping, Writer};
use crate::sys::command;

/// Users and groups of the process `pid`, which waits for them.
pub fn write(proc: &OwnedFd, pid: i32, ids: &Ids) -> Result<(), Error> {
    if ids.setgroups == Setgroups::Deny {
        // The kernel insists: else dropping a group could open what is closed to it.
        put(proc, pid, "setgroups", "deny")?;
    }
    map(proc, pid, &ids.users, ("uid_map", "newuidmap"))?;
    map(proc, pid, &ids.groups, ("gid_map", "newgidmap"))
}

fn map(proc: &OwnedFd, pid: i32, map: &Map, (file, program): (&str, &str)) -> Result<(), Error> {
    match map.writer {
        Writer::Direct => {
            let lines: String = map.lines.iter().map(|line| words(line).join(" ") + "\n").collect();
            put(proc, pid, file, &lines)
        }
        Writer::Setuid => run(program, pid, &map.lines),
    }
}

fn words(line: &Mapping) -> [String; 3] {
    [line.inside, line.outside, line.count].map(|number| number.to_string())
}

fn put(proc: &OwnedFd, pid: i32, file: &str, text: &str) -> Result<(), Error> {
    procfs::write(proc, &Path::new(&pid.to_string()).join(file), text)
        .map_err(|source| Error::system(format!("write {:?} to /proc/{pid}/{file}", text.trim_end()), source))
}

/// The setuid helper, which asks /etc/subuid and /etc/subgid.
fn run(program: &str, pid: i32, lines: &[Mapping]) -> Result<(), Error> {
    let mut command = Command::new(find(program));
    command.arg(pid.to_string()).args(lines.iter().flat_map(words));
    let output = command::output(&mut command).map_err(|source| {
        Error::system(format!("run {program}"), source).hint("it comes with Debian's package uidmap")
    })?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().lines().last().unwrap_or("it failed").to_owned();
            Err(Error::new(Kind::System, format!("map ids by {program}: {said}"))
                .hint("the ranges have to be in /etc/subuid and /etc/subgid"))
        }
    }
}

/// Engines may call without a PATH.
fn find(program: &str) -> String {
    let usual =
        ["/usr/bin", "/usr/local/bin", "/bin", "/run/wrappers/bin"].map(|dir| format!("{dir}/{program}"));
    usual.into_iter().find(|path| Path::new(path).exists()).unwrap_or_else(|| program.to_owned())
}
