//! Where the kernel lets nobody mount an overlay, a build comes to the same image by copies.

use std::process::Command;

use anyhow::{Result, ensure};

use super::place::{PATIENCE, Place};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::{assets, process};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/build-without-overlays",
    source: "issue 5: overlay mounts are missing in old kernels and under filters",
    needs: &[Need::UserNamespaces],
    run: same,
}];

/// fsopen, on every processor.
const FSOPEN: &str = "430";

const WARNING: &str =
    "warning: overlays cannot be mounted here: each step works on a copy of the files below it";

/// Everything that a layer can say of a change: new, written, its mode, its time, a name more, moved, replaced by another kind, gone, emptied.
const DOCKERFILE: &str = r#"FROM scratch AS base
COPY busybox /bin/busybox
COPY busybox /bin/sh
COPY tree /tree
RUN B=/bin/busybox; cd /tree && $B mkdir -p d/e d/gone d/again keep && for f in a b c d/x d/e/y d/again/old keep/k; do echo $f >$f; done \
  && $B ln -s a link && $B ln a hard && $B mkfifo fifo && $B chmod 4755 b && $B touch -d @1000 a b c d/x d/e/y d/e d/gone d
RUN true
RUN B=/bin/busybox; cd /tree && echo more >>c && $B chmod 600 b && $B mv d/x d/z && $B rm -r d/gone link && $B mkdir link \
  && $B rm -r d/again && $B mkdir d/again && echo new >d/again/new && $B ln d/e/y d/second && $B touch -d @2000 keep/k && $B chmod 700 d/e
RUN /bin/busybox touch /tree/none && /bin/busybox rm /tree/none
WORKDIR /tree/made
COPY tree/from /tree/d/e/from
FROM base AS more
RUN --mount=type=bind,from=base,source=/tree,target=/mnt,rw echo x >/mnt/a && /bin/busybox cat /mnt/keep/k /mnt/from >/tree/taken
FROM scratch
COPY --from=more /bin /bin
COPY --from=more /tree /tree
RUN /bin/busybox rm -r /tree/d
"#;

fn same(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let context = place.context("context", &[("Dockerfile", DOCKERFILE)])?;
    std::fs::copy(assets::get(&ctx.binaries, "busybox")?, format!("{context}/busybox"))?;
    std::fs::create_dir(format!("{context}/tree"))?;
    std::fs::write(format!("{context}/tree/from"), "from\n")?;
    let build = |deny: &[&str], flags: &[&str]| {
        let words = [&["build", "--progress", "plain", "--network", "none"][..], flags, &[&context]].concat();
        let builder = place.builder(&words);
        // A filter needs root, if only of a user namespace: newuidmap would not work below it.
        let mut wrapper: Vec<&str> = if ctx.host.root { Vec::new() } else { vec!["unshare", "-Ur"] };
        wrapper.extend(deny);
        let mut command = match wrapper.split_first() {
            None => Command::new(builder.get_program()),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(builder.get_program());
                command
            }
        };
        command.args(builder.get_args());
        for (name, value) in builder.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        process::run(&mut command, PATIENCE)
    };
    let probe = ctx.binaries.join("probe").to_string_lossy().into_owned();
    let with = build(&[], &[])?.success()?;
    ensure!(!with.err.contains(WARNING), "there are no overlays here at all: {}", with.err);
    std::fs::rename(&place.store, ctx.path("first"))?;
    let without = build(&[&probe, "deny", FSOPEN], &[])?.success()?;
    ensure!(without.err.matches(WARNING).count() == 1, "it says {}", without.err);
    ensure!(without.out == with.out, "{} became {}", with.out, without.out);
    // What the one made is the other's cache, and stands below its steps.
    let cached = build(&[], &["--no-cache-filter", "more"])?.success()?;
    ensure!(cached.out == with.out, "on the layers of copies it became {}", cached.out);
    place.verify_blobs()
}
