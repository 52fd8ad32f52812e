//! What others lay in a runtime's way: links under the names that it writes, neighbours that look into what it makes, trees that no
//! path reaches the end of.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde_json::json;

use crate::bundle::Bundle;
use crate::case::{BOUND, Case, Ctx, not_run};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "escapes/a-neighbour-finds-no-directory-of-the-host",
        source: "CVE-2024-21626, CVE-2016-9962: descriptors of an init that is being created, in another container's pid namespace",
        needs: &[Need::Root],
        run: neighbour,
    },
    Case {
        name: "escapes/a-pid-file-is-not-written-through-a-link",
        source: "runc: the pid is written into a file that was not there (O_EXCL), which then gets its name",
        needs: &[],
        run: pid_file,
    },
    Case {
        name: "escapes/a-cgroup-tree-deeper-than-a-path-goes-with-its-container",
        source: "facts/security: `delete --force` always succeeds afterwards; a container may nest its own cgroups",
        needs: &[Need::Root],
        run: deep_cgroups,
    },
];

/// The creation is held up where the container is on record and its init has still to be told so: the one to whom a descriptor of
/// init is to be sent does not answer.
fn neighbour(ctx: &Ctx) -> Result<()> {
    if !ctx.rt(&["create", "--help"])?.out.contains("pidfd-socket") {
        return Err(not_run("this runtime has no --pidfd-socket"));
    }
    let first = ctx.waiting("first")?;
    let bundle = ctx.bundle(&["wait"])?;
    join_pids(&bundle, ctx.pid(&first)?)?;
    let dir = tempfile::Builder::new().prefix("cc.").tempdir_in("/tmp")?;
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path)?;
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0)?)?;
    let queued = UnixStream::connect(&path)?;
    let (id, socket) = (ctx.id("second"), path.to_str().context("a path is text")?);
    let mut creating =
        ctx.rt_start(&["create", "--pidfd-socket", socket, "--bundle", bundle.path()?, &id])?;
    process::until("the container is on record", BOUND, || Ok(ctx.rt(&["state", &id])?.code == 0))?;
    let seen = ctx.rt(&["exec", &first, "/probe", "reach"])?.success()?;
    ensure!(creating.ends_within(std::time::Duration::ZERO)?.is_none(), "the creation was not held up");
    seen.out("reach: []\n")?;
    drop((queued, listener));
    creating.end(BOUND)?;
    Ok(())
}

fn join_pids(bundle: &Bundle, of: u32) -> Result<()> {
    bundle.edit(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(format!("/proc/{of}/ns/pid"));
            }
        }
    })
}

/// runc and others write `.NAME` first.
fn pid_file(ctx: &Ctx) -> Result<()> {
    let (dir, victim) = (ctx.path("pids"), ctx.path("victim"));
    std::fs::create_dir(&dir)?;
    std::fs::write(&victim, "as it was")?;
    symlink(&victim, dir.join(".pid"))?;
    let bundle = ctx.bundle(&["wait"])?;
    let (id, file) = (ctx.id("c"), dir.join("pid"));
    let file = file.to_str().context("a path is text")?;
    // A refusal is as good as a pid.
    let _ended = ctx.rt(&["create", "--pid-file", file, "--bundle", bundle.path()?, &id])?;
    ensure!(std::fs::read_to_string(&victim)? == "as it was", "the pid was written through the link");
    Ok(())
}

const LONG: usize = 250;
/// With names of that length no path leads to the innermost.
const DEPTH: usize = 20;

fn deep_cgroups(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let (name, flags) = ("n".repeat(LONG), OFlag::O_DIRECTORY | OFlag::O_CLOEXEC);
    let top = group(ctx.pid(&id)?, &id)?;
    let mut here = open(&top, flags, Mode::empty())?;
    for _ in 0..DEPTH {
        mkdirat(&here, name.as_str(), Mode::S_IRWXU)?;
        here = openat(&here, name.as_str(), flags, Mode::empty())?;
    }
    let deleted = ctx.rt(&["delete", "--force", &id])?;
    let is_left = top.exists();
    while is_left && here_is_below(&here, &top)? {
        here = openat(&here, "..", flags, Mode::empty())?;
        unlinkat(&here, name.as_str(), UnlinkatFlags::RemoveDir)?;
    }
    deleted.success()?;
    ensure!(!is_left, "{} is still there", top.display());
    Ok(())
}

fn here_is_below(here: &OwnedFd, top: &Path) -> Result<bool> {
    Ok(fstat(here)?.st_ino != std::fs::metadata(top)?.ino())
}

/// Some directory of the container's own, whichever hierarchies there are.
fn group(pid: u32, id: &str) -> Result<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let own = text.lines().filter(|line| line.ends_with(id));
    let parts = own.filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let mut places = parts.flat_map(|(controllers, path)| {
        let top = |hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy);
        [controllers, "unified", ""].map(|hierarchy| top(hierarchy).join(path.trim_start_matches('/')))
    });
    let found = places.find(|place| place.is_dir());
    found.with_context(|| format!("find a cgroup of {id} in {text}"))
}
