//! The workspace's finished binaries: built by calling cargo, or found, and never older than their sources.
//!
//! Invariant: what is tested is what the sources say; a stale binary is an error.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::process;

/// Package and binary.
pub(crate) const BINARIES: [(&str, &str); 5] = [
    ("runtime", "runtime"),
    ("builder", "builder"),
    ("shim", "containerd-shim-coracle-v2"),
    ("conformance", "conformance"),
    ("conformance", "probe"),
];

/// The directory of this program: the other finished binaries are beside it, in cargo's target directory and in a stage alike.
pub(crate) fn beside() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find this program")?;
    Ok(exe.parent().context("find this program's directory")?.to_owned())
}

/// The workspace's sources, where they are on this machine and can be read.
pub(crate) fn sources() -> Option<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    top.join("Cargo.toml").is_file().then(|| top.to_owned())
}

/// A cargo command in the workspace, in the profile that this program was built in.
pub(crate) fn cargo(verb: &str) -> Result<Command> {
    let top = sources().context("find the workspace's sources")?;
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(top).arg(verb).arg("--locked");
    if beside()?.ends_with("release") {
        command.arg("--release");
    }
    Ok(command)
}

/// Builds every binary; cargo's own messages go to this program's standard error.
pub(crate) fn build() -> Result<PathBuf> {
    let status =
        cargo("build")?.args(["--quiet", "--workspace", "--bins"]).status().context("start cargo")?;
    ensure!(status.success(), "build the workspace: cargo ended with {status}");
    fresh(&beside()?)?;
    beside()
}

/// An error where a binary is absent, or older than a source of its package.
pub(crate) fn fresh(binaries: &Path) -> Result<()> {
    for (package, name) in BINARIES {
        let path = binaries.join(name);
        let meta = std::fs::metadata(&path).with_context(|| format!("find {}", path.display()))?;
        let Some(top) = sources() else { continue };
        let newest = newest(&top.join(package).join("src"))?;
        if newest > meta.modified()? && !cargo_agrees(binaries, package)? {
            bail!("{} is older than the sources of {package}; build it again", path.display());
        }
    }
    Ok(())
}

/// cargo keeps a binary's time when a newer source gives the same program; only it can tell, and only for its own directory.
fn cargo_agrees(binaries: &Path, package: &str) -> Result<bool> {
    if binaries != beside()? || binaries.join("assets").is_dir() {
        return Ok(false);
    }
    let mut command = cargo("build")?;
    command.args(["--package", package, "--bins", "--message-format", "json"]);
    let ended = process::run(&mut command, Duration::from_secs(600))?;
    Ok(ended.code == 0 && !ended.out.contains("\"fresh\":false"))
}

fn newest(dir: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let time = if meta.is_dir() { self::newest(&entry.path())? } else { meta.modified()? };
        newest = newest.max(time);
    }
    Ok(newest)
}
