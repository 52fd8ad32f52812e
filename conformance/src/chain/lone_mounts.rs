//! The root filesystem that a snapshotter asks for.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::lone::{Lone, NEEDS};
use super::ttrpc::Message;
use crate::bundle::Bundle;
use crate::case::{Case, Ctx};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/shim-mount-stays-inside",
        source: "containerd: a mount's target is resolved inside the root filesystem",
        needs: NEEDS,
        run: inside,
    },
    Case {
        name: "chain/shim-bundle-behind-a-link",
        source: "containerd: what is unmounted is found by its real path",
        needs: NEEDS,
        run: behind_a_link,
    },
];

fn mount(kind: &str, source: &Path, target: &str, options: &[&str]) -> Message {
    let source = source.to_string_lossy();
    let message = Message::default().with(1, kind).with(2, source.as_bytes()).with(3, target);
    options.iter().fold(message, |message, option| message.with(4, option))
}

/// An image: the bundle's root filesystem, moved aside.
fn image(bundle: &Bundle, name: &str) -> Result<PathBuf> {
    let image = bundle.dir().with_file_name(name);
    std::fs::rename(bundle.root(), &image)?;
    std::fs::create_dir(bundle.root())?;
    Ok(image)
}

fn mounted() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/self/mounts")?)
}

/// A link in the image must not lead a mount out of it.
fn inside(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["touch", "/vol/mark", ",", "list", "/vol"])?;
    let image = image(&shim.bundle, "image")?;
    let victim = ctx.path("victim");
    std::fs::create_dir(&victim)?;
    let within = image.join(victim.strip_prefix("/")?);
    std::fs::create_dir_all(&within)?;
    symlink(&victim, image.join("vol"))?;
    let creation = shim
        .creation()?
        .with(3, mount("bind", &image, "", &["rbind", "rw"]))
        .with(3, mount("tmpfs", Path::new("tmpfs"), "vol", &["nosuid", "size=1m"]));
    shim.run(&creation)?;
    let out = mounted()?.lines().any(|line| line.contains(&format!(" {} ", victim.display())));
    let init = shim.init();
    shim.client.call("Wait", &init)?;
    shim.end()?;
    ensure!(!out, "a filesystem was mounted on the host");
    ensure!(std::fs::read_dir(&within)?.next().is_none(), "it was not mounted in the image either");
    Ok(())
}

fn behind_a_link(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let image = image(&shim.bundle, "image")?;
    symlink(shim.bundle.dir(), ctx.path("bundle-link"))?;
    let bundle = ctx.path("bundle-link").display().to_string();
    // The later of two values of a field counts.
    let creation = shim.creation()?.with(2, bundle).with(3, mount("bind", &image, "", &["rbind", "rw"]));
    shim.run(&creation)?;
    let root = shim.bundle.root().display().to_string();
    ensure!(mounted()?.contains(&root), "it is not mounted");
    shim.end()?;
    ensure!(!mounted()?.contains(&root), "it is still mounted");
    Ok(())
}
