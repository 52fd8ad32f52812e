//! The root filesystem that a snapshotter asks for.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::containerd::PATIENCE;
use super::lone::{Lone, NEEDS};
use super::ttrpc::Message;
use crate::bundle::Bundle;
use crate::case::{Case, Ctx, not_run};
use crate::needs::Need;
use crate::process;

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
    Case {
        name: "chain/shim-mount-of-a-file",
        source: "containerd's blockfile and erofs snapshotters: option loop",
        needs: &[Need::Root, Need::Program("mkfs.ext4")],
        run: looped,
    },
    Case {
        name: "chain/shim-mount-by-a-helper",
        source: "fuse-overlayfs-snapshotter: mounts of type fuse3.fuse-overlayfs",
        needs: &[Need::Root, Need::Program("mount.fuse3"), Need::Program("fuse-overlayfs")],
        run: helped,
    },
    Case {
        name: "chain/shim-mount-with-shifted-owners",
        source: "containerd's overlay snapshotter since 2.0: options uidmap and gidmap",
        needs: NEEDS,
        run: shifted,
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

fn needs_device(path: &str) -> Result<()> {
    if Path::new(path).exists() { Ok(()) } else { Err(not_run(format!("there is no {path}"))) }
}

fn looped(ctx: &Ctx) -> Result<()> {
    needs_device("/dev/loop-control")?;
    let mut shim = Lone::start(ctx, &["write", "/mark", "kept", ",", "stop"])?;
    let (image, file) = (image(&shim.bundle, "image")?, ctx.path("image.ext4"));
    let mut make = Command::new(process::find("mkfs.ext4").context("find mkfs.ext4")?);
    process::run(make.args(["-q", "-d"]).arg(&image).arg(&file).arg("64M"), PATIENCE)?.success()?;
    let creation = shim.creation()?.with(3, mount("ext4", &file, "", &["loop"]));
    shim.run(&creation)?;
    let mark = shim.bundle.root().join("mark");
    process::until("the file is written", PATIENCE, || Ok(mark.exists()))?;
    let device = device_of(&shim.bundle.root())?;
    shim.end()?;
    ensure!(!mark.exists(), "it is still mounted");
    // The kernel takes the file off its device when the last mount has gone.
    let backing = format!("/sys/block/{}/loop/backing_file", device.trim_start_matches("/dev/"));
    let used = || std::fs::read_to_string(&backing).is_ok_and(|text| text.trim() == file.to_string_lossy());
    process::until("the device is free", PATIENCE, || Ok(!used()))
}

fn device_of(place: &Path) -> Result<String> {
    let mounted = mounted()?;
    let line = mounted.lines().find(|line| line.contains(&format!(" {} ", place.display())));
    Ok(line.and_then(|line| line.split(' ').next()).context("find the mount")?.to_owned())
}

/// An overlay's options, its upper and work directory made.
fn overlay(ctx: &Ctx, lower: &Path) -> Result<Vec<String>> {
    let mut options = vec![format!("lowerdir={}", lower.display())];
    for name in ["upper", "work"] {
        let dir = ctx.path(name);
        std::fs::create_dir_all(&dir)?;
        options.push(format!("{name}dir={}", dir.display()));
    }
    Ok(options)
}

fn helped(ctx: &Ctx) -> Result<()> {
    needs_device("/dev/fuse")?;
    let mut shim = Lone::start(ctx, &["write", "/mark", "kept", ",", "stop"])?;
    let image = image(&shim.bundle, "image")?;
    let options = overlay(ctx, &image)?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let creation =
        shim.creation()?.with(3, mount("fuse3.fuse-overlayfs", Path::new("overlay"), "", &options));
    shim.run(&creation)?;
    let mark = ctx.path("upper/mark");
    process::until("the file is written", PATIENCE, || Ok(mark.exists()))?;
    let root = shim.bundle.root().display().to_string();
    shim.end()?;
    ensure!(!mounted()?.contains(&root), "it is still mounted");
    process::until("the program that served it has ended", PATIENCE, || {
        Ok(!crate::worker::described_descendants().iter().any(|line| line.contains("fuse-overlayfs")))
    })
}

/// What is root's in the image is the container's root's.
fn shifted(ctx: &Ctx) -> Result<()> {
    const MAPS: [&str; 2] = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"];
    let mut shim = Lone::start(ctx, &["stop"])?;
    let image = image(&shim.bundle, "image")?;
    let mut overlay = overlay(ctx, &image)?;
    overlay.extend(MAPS.map(str::to_owned));
    let overlay: Vec<&str> = overlay.iter().map(String::as_str).collect();
    let root = shim.bundle.root();
    for asked in [
        mount("overlay", Path::new("overlay"), "", &overlay),
        mount("bind", &image, "", &[&MAPS[..], &["rbind", "rw"]].concat()),
    ] {
        let creation = shim.creation()?.with(3, asked);
        shim.run(&creation)?;
        let owner = std::fs::metadata(root.join("probe"))?;
        ensure!((owner.uid(), owner.gid()) == (100_000, 200_000), "{}:{}", owner.uid(), owner.gid());
        let init = shim.init();
        shim.client.call("Kill", &init.clone().count(3, 9))?;
        shim.client.call("Wait", &init)?;
        shim.client.call("Delete", &init)?;
        let bundle = shim.bundle.path()?;
        ensure!(!mounted()?.contains(bundle), "a mount is left: {}", mounted()?);
        let layers = shim.bundle.dir().join("coracle-layers");
        ensure!(!layers.exists(), "{} is left", layers.display());
    }
    let owner = std::fs::metadata(image.join("probe"))?;
    ensure!(owner.uid() == 0, "the image itself was changed");
    shim.stop()
}
