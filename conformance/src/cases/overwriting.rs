//! The runtime's own file, which a container must not get to write to.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::{BOUND, Ctx, Shared};
use crate::{image, process};

/// The container hunts for executables of other processes while the runtime runs and execs in it.
pub(super) fn hunt(ctx: &Ctx) -> Result<()> {
    let ctx = &with_a_runtime_of_its_own(ctx)?;
    let before = image::sha256(&ctx.subject.path)?;
    let file = std::fs::metadata(&ctx.subject.path)?;
    let (device, inode) = (file.dev().to_string(), file.ino().to_string());
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "hunt", "6000", &device, &inode])?;
    let caps = json!(["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_KILL", "CAP_FOWNER"]);
    bundle.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))?;
    let id = ctx.id("c");
    // Detached: a runtime that waits in the foreground would keep its binary busy, and so unwritable for another reason.
    let mut running = ctx.rt_start(&["run", "--detach", "--bundle", bundle.path()?, &id])?;
    process::until("the hunt has begun", BOUND, || Ok(bundle.root().join("ready").exists()))?;
    for round in 0..25 {
        // The entry point itself may be the link to the runtime: this is the classic form.
        let program = if round % 2 == 0 { "/proc/self/exe" } else { "/probe" };
        match ctx.rt(&["exec", &id, program, "print", "x"]) {
            Err(error) if !is_busy(&error) => return Err(error),
            _ => {}
        }
    }
    process::until("the hunt has ended", BOUND, || Ok(running.so_far()?.contains("hunt: ")))?;
    let seen = running.so_far()?;
    ensure!(!seen.contains("caught"), "{seen}");
    ensure!(image::sha256(&ctx.subject.path)? == before, "the runtime's binary has changed");
    Ok(())
}

/// The kernel takes the file before it asks the read-only mount, so each refused attempt makes it busy for an instant, and no other
/// case's runtime may suffer from that. (Copied by a process of its own: a descriptor of ours that may write to it would be
/// inherited by what other threads start.)
fn with_a_runtime_of_its_own(ctx: &Ctx) -> Result<Ctx> {
    let copy = ctx.dir.join("runtime-of-its-own");
    process::run(Command::new("cp").arg(&ctx.subject.path).arg(&copy), BOUND)?.success()?;
    let mut subject = ctx.subject.clone();
    subject.path = copy;
    let (host, dir) = (ctx.host.clone(), ctx.dir.clone());
    let (binaries, tag) = (ctx.binaries.clone(), ctx.tag.clone());
    Ok(Ctx { subject, host, dir, binaries, tag, shared: Shared::new() })
}

/// The runtime could not be started at all, because the hunter was just asking for it.
fn is_busy(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy)
}
