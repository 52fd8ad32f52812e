//! What the tests need of a bare Debian or Ubuntu machine: packages, two ordinary users, and the assets.
//!
//! Invariant: set-up adds and never changes what is there; where it cannot, it says what is missing and the tests that need it
//! are "not run".

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{account, assets, process};

/// The user with subordinate ids, and the one without.
pub(crate) const USER: &str = "coracle";
const SINGLE: &str = "coracle-single";

/// A program that shows that a package is there, and the package.
const PACKAGES: [(&str, &str); 21] = [
    ("newuidmap", "uidmap"),
    ("pasta", "passt"),
    ("slirp4netns", "slirp4netns"),
    ("docker-registry", "docker-registry"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("crun", "crun"),
    ("podman", "podman"),
    ("/usr/lib/podman/netavark", "netavark"),
    ("catatonit", "catatonit"),
    ("buildah", "buildah"),
    ("dockerd", "docker.io"),
    ("docker", "docker-cli"),
    ("strace", "strace"),
    ("xz", "xz-utils"),
    ("skopeo", "skopeo"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("script", "bsdutils"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("pip3", "python3-pip"),
];

/// Does it where it can: root on a machine with apt. Every line that it prints is something that is missing.
pub(crate) fn prepare(out: &mut impl Write) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return explain(out);
    }
    if process::find("apt-get").is_none() {
        writeln!(out, "set-up: no apt-get here: packages and assets stay as they are")?;
    } else {
        install(out)?;
        for line in assets::make_all()? {
            writeln!(out, "set-up: missing: {line}")?;
        }
    }
    for line in users() {
        writeln!(out, "set-up: missing: {line}")?;
    }
    Ok(())
}

/// Where the binaries were carried to, what they need was carried along: only the users are made.
pub(crate) fn carried(out: &mut impl Write) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    for line in users() {
        writeln!(out, "set-up: missing: {line}")?;
    }
    Ok(())
}

fn missing() -> Vec<&'static str> {
    PACKAGES.iter().filter(|(program, _)| process::find(program).is_none()).map(|(_, p)| *p).collect()
}

fn explain(out: &mut impl Write) -> Result<()> {
    let missing = missing();
    if !missing.is_empty() {
        writeln!(
            out,
            "set-up: an ordinary user installs nothing; as root: apt-get install {}",
            missing.join(" ")
        )?;
    }
    Ok(())
}

fn install(out: &mut impl Write) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    writeln!(out, "set-up: installing {}", missing.join(" "))?;
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["-qq", "-y", "-o", "DPkg::Lock::Timeout=120"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive");
        process::run(&mut command, Duration::from_secs(600))
    };
    let updated = apt(&["update"])?;
    // One at a time: a package that this release lacks must not keep the others away.
    for package in missing {
        // An earlier package may have brought the program: docker.io has the client in it on Debian 12.
        if !self::missing().contains(&package) {
            continue;
        }
        let ended = apt(&["install", "--no-install-recommends", package])?;
        if ended.code != 0 {
            let why = if updated.code == 0 { ended.err } else { updated.err.clone() };
            writeln!(out, "set-up: missing: {package}: {}", why.lines().next().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// The users; gives what could not be made.
fn users() -> Vec<String> {
    let mut missing = Vec::new();
    for (name, system) in [(USER, false), (SINGLE, true)] {
        if account::named(name).is_ok_and(|user| user.is_some()) {
            continue;
        }
        let mut command = Command::new("useradd");
        command.args(["--create-home", "--shell", "/bin/bash"]);
        if system {
            // A system account is given no subordinate ids.
            command.arg("--system");
        }
        match process::run(command.arg(name), Duration::from_secs(30)) {
            Ok(ended) if ended.code == 0 => {}
            Ok(ended) => missing.push(format!("user {name}: {}", ended.err.trim())),
            Err(error) => missing.push(format!("user {name}: {error:#}")),
        }
    }
    for (file, flag) in [("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().any(|line| line.starts_with(&format!("{USER}:"))) {
            continue;
        }
        let mut command = Command::new("usermod");
        if let Err(error) = process::run(command.args([flag, "100000-165535", USER]), Duration::from_secs(30))
            .and_then(process::Ended::success)
        {
            missing.push(format!("{file}: {error:#}"));
        }
    }
    missing
}
