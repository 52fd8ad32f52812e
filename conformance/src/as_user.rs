//! `proof --as USER`: root prepares what an ordinary user cannot, then becomes that user for good.
//!
//! Network helpers need /dev/net/tun, which distributions make 0666 by udev; a machine without udev has it 0600. The user gets
//! a mount namespace of its own where a 0666 node stands over it: nothing on the host changes.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::{account, process};

/// Replaces this process by the user's proof.
pub(crate) fn proof(user: &str, dir: &Path, filter: &[String]) -> Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "--as needs root");
    let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    open_tun().context("give the user /dev/net/tun")?;
    let runuser = process::find("runuser").context("find runuser (util-linux)")?;
    let mut command = Command::new(runuser);
    command.args(["-u", user, "--"]).arg(dir.join("conformance")).arg("proof").arg("--prebuilt").arg(&dir);
    for part in filter {
        command.arg("--filter").arg(part);
    }
    let home = account::named(user)?.with_context(|| format!("find the user {user}"))?.home;
    command.env("HOME", &home).env_remove("XDG_RUNTIME_DIR").current_dir("/");
    Err(command.exec()).context("start runuser")
}

/// A tmpfs over /dev/net with a node that everybody may open.
fn open_tun() -> Result<()> {
    if !Path::new("/dev/net/tun").exists() {
        return Ok(());
    }
    mount(
        Some("tmpfs"),
        "/dev/net",
        Some("tmpfs"),
        MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID,
        Some("mode=755"),
    )?;
    mknod("/dev/net/tun", SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(10, 200))?;
    // The umask of root must not take the permission away again.
    std::fs::set_permissions("/dev/net/tun", std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    Ok(())
}
