//! The workspace's finished binaries: built by calling cargo, or found, and never older than their sources.
//!
//! Invariant: what is tested is what the sources say; a stale binary is an error.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

/// The folder of a binary's sources, and the binary.
pub(crate) const BINARIES: [(&str, &str); 5] = [
    ("runtime/src", "runtime"),
    ("builder/src", "builder"),
    ("shim/src", "containerd-shim-coracle-v2"),
    ("conformance/src", "conformance"),
    ("conformance/src/bin/probe", "probe"),
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
    beside()
}

/// An error where a finished binary is absent, or older than one of its sources.
pub(crate) fn fresh(binaries: &Path) -> Result<()> {
    for (folder, name) in BINARIES {
        let path = binaries.join(name);
        let meta = std::fs::metadata(&path).with_context(|| format!("find {}", path.display()))?;
        let Some(top) = sources() else { continue };
        if newest(&top.join(folder))? > meta.modified()? {
            bail!("{} is older than its sources in {folder}; build it again", path.display());
        }
    }
    Ok(())
}

/// The newest file below; a folder `bin` belongs to other binaries.
fn newest(dir: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name() == "bin" {
            continue;
        }
        let meta = entry.metadata()?;
        let time = if meta.is_dir() { self::newest(&entry.path())? } else { meta.modified()? };
        newest = newest.max(time);
    }
    Ok(newest)
}
