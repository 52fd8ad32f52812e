//! A subject: one OCI runtime under test, with what must stand around it on this host.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::needs::Host;
use crate::process;

/// Which runtime it is: decides the file of its expected failures, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Ours,
    Runc,
    Crun,
    Youki,
    Other,
}

/// A runtime binary and the words that go before it on a command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Subject {
    /// The column's heading.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    /// What `--version` prints.
    pub(crate) version: String,
    wrapper: Vec<String>,
}

impl Subject {
    /// `text` is a path, a name on PATH, or `ours` for the runtime beside `binaries`.
    pub(crate) fn find(text: &str, binaries: &Path, host: &Host) -> Result<Self> {
        let path = match text {
            "ours" => Some(binaries.join("runtime")).filter(|p| p.is_file()),
            _ if text.contains('/') => Some(PathBuf::from(text)).filter(|p| p.is_file()),
            _ => process::find(text),
        };
        let path = path.with_context(|| format!("find the runtime {text}"))?;
        let path = path.canonicalize()?;
        let mut version = Command::new(&path);
        let version = process::run(version.arg("--version"), std::time::Duration::from_secs(10))?;
        let kind = kind(text, &version.out);
        let needs_wrapper = kind == Kind::Crun && host.root && Path::new("/sys/fs/cgroup/unified").is_dir();
        let wrapper = if needs_wrapper { without_unified() } else { Vec::new() };
        Ok(Self {
            name: text.rsplit('/').next().unwrap_or(text).to_owned(),
            kind,
            path,
            version: version.out,
            wrapper,
        })
    }

    /// One file that an engine can be pointed at: the runtime itself, or a script below `dir` that does what must stand around it.
    pub(crate) fn executable(&self, dir: &Path) -> Result<PathBuf> {
        if self.wrapper.is_empty() {
            return Ok(self.path.clone());
        }
        let quoted: Vec<String> = self.wrapper.iter().map(|w| format!("'{w}'")).collect();
        let text = format!("#!/bin/sh\nexec {} '{}' \"$@\"\n", quoted.join(" "), self.path.display());
        let script = dir.join(&self.name);
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(script)
    }

    /// Something stands before the runtime on its command line.
    pub(crate) fn is_wrapped(&self) -> bool {
        !self.wrapper.is_empty()
    }

    /// The runtime's command line so far: the caller adds arguments.
    pub(crate) fn command(&self) -> Command {
        match self.wrapper.split_first() {
            None => Command::new(&self.path),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(&self.path);
                command
            }
        }
    }
}

fn kind(text: &str, version: &str) -> Kind {
    let first = version.lines().next().unwrap_or_default();
    match first.split_whitespace().next().unwrap_or_default() {
        _ if text == "ours" => Kind::Ours,
        "runc" => Kind::Runc,
        "crun" => Kind::Crun,
        "youki" => Kind::Youki,
        _ => Kind::Other,
    }
}

/// crun before 1.9 refuses a hybrid host: it runs in a mount namespace where the unified hierarchy is not mounted.
fn without_unified() -> Vec<String> {
    let script = "umount /sys/fs/cgroup/unified && exec \"$@\"";
    ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"].map(str::to_owned).to_vec()
}
