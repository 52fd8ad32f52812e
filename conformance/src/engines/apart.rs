//! Apart from the host: root's engines work in a mount and a network namespace of their own, so that bridges, packet filters,
//! ports, mounts and shared memory are theirs alone and go away with them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::engine::PATIENCE;
use crate::case::Ctx;
use crate::process;

/// Where engines keep things under fixed names.
const OWN: [&str; 4] = ["/dev/shm", "/run/netns", "/run/containerd", "/var/lib/cni"];

/// Moves this thread, and with it every program that it starts, into the namespaces. An ordinary user stays: the engines make him
/// a user namespace.
pub(crate) fn go(ctx: &Ctx) -> Result<()> {
    if !ctx.host.root {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("leave the host's namespaces")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    for dir in OWN {
        if Path::new(dir).is_dir() {
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
                .with_context(|| format!("mount a tmpfs on {dir}"))?;
        }
    }
    let ip = process::find("ip").context("find ip (iproute2)")?;
    process::run(Command::new(ip).args(["link", "set", "lo", "up"]), PATIENCE)?.success()?;
    Ok(())
}
