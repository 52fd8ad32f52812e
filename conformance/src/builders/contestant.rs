//! The builders that are measured, each as it is meant to be used, and what each leaves behind: an image in its own store, or an
//! archive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::usage::{self, Cost};
use crate::differential::buildkit::Buildkit;
use crate::differential::docker::Docker;
use crate::differential::place::Place;
use crate::process;

const PATIENCE: Duration = Duration::from_secs(120);

/// What is wanted of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    /// An image in the builder's own store, uncompressed.
    Stored,
    /// An OCI archive whose layers are packed with gzip.
    Gzip,
    /// An OCI archive whose layers are packed with zstd.
    Zstd,
}

impl Product {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stored => "kept, uncompressed",
            Self::Gzip => "archive, gzip",
            Self::Zstd => "archive, zstd",
        }
    }

    fn compression(self) -> &'static str {
        match self {
            Self::Stored => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd:3",
        }
    }
}

/// One builder with a place of its own.
pub(super) enum Contestant {
    Ours { binary: PathBuf, runtime: PathBuf, dir: PathBuf, base: PathBuf },
    Docker { docker: Docker, dir: PathBuf },
    Buildkit { buildkit: Buildkit, dir: PathBuf },
    Buildah { binary: PathBuf, dir: PathBuf, base: PathBuf },
}

/// What is built: folder of the Dockerfile, context.
type Source<'a> = (&'a Path, &'a Path);

impl Contestant {
    pub(super) fn ours(place: &Place, binary: PathBuf, runtime: PathBuf) -> Result<Self> {
        Ok(Self::Ours { binary, runtime, dir: place.folder("ours")?, base: place.base() })
    }

    pub(super) fn docker(place: &Place) -> Result<Self> {
        let dir = place.folder("docker")?;
        let docker = Docker::start_in(&dir)?;
        process::run(docker.command(&["load", "--input"]).arg(place.base()), PATIENCE)?.success()?;
        Ok(Self::Docker { docker, dir })
    }

    pub(super) fn buildkit(place: &Place) -> Result<Self> {
        let dir = place.folder("buildkit")?;
        Ok(Self::Buildkit { buildkit: Buildkit::start_in(&dir, &place.base())?, dir })
    }

    pub(super) fn buildah(place: &Place) -> Result<Self> {
        let binary = process::find("buildah").context("find buildah")?;
        Ok(Self::Buildah { binary, dir: place.folder("buildah")?, base: place.base() })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ours { .. } => "ours",
            Self::Docker { .. } => "docker",
            Self::Buildkit { .. } => "buildkit",
            Self::Buildah { .. } => "buildah",
        }
    }

    /// Whether it can give the product at all.
    pub(super) fn offers(&self, product: Product) -> bool {
        match self {
            Self::Ours { .. } => true,
            Self::Docker { .. } => product != Product::Zstd,
            Self::Buildkit { .. } => product != Product::Stored,
            Self::Buildah { .. } => product == Product::Gzip,
        }
    }

    /// Forgets all steps; the base image is there afterwards.
    pub(super) fn forget(&self) -> Result<()> {
        match self {
            Self::Ours { dir, base, .. } => {
                let store = dir.join("store");
                if store.exists() {
                    // Not deleted now: ext4 looks for a long time at what was deleted in the last seconds before it makes a file.
                    let aside = tempfile::Builder::new().prefix("forgotten.").tempdir_in(dir)?.keep();
                    std::fs::rename(&store, aside.join("store"))?;
                }
                process::run(self.command(&["load", "--input"]).arg(base), PATIENCE)?.success()?;
            }
            Self::Docker { docker, .. } => {
                let _absent = process::run(&mut docker.command(&["rmi", "--force", "made"]), PATIENCE)?;
                process::run(&mut docker.command(&["builder", "prune", "--all", "--force"]), PATIENCE)?
                    .success()?;
            }
            Self::Buildkit { buildkit, .. } => {
                process::run(&mut buildkit.command(&["prune", "--all"]), PATIENCE)?.success()?;
            }
            Self::Buildah { base, .. } => {
                process::run(&mut self.command(&["rmi", "--all", "--force"]), PATIENCE)?.success()?;
                let source = format!("oci-archive:{}", base.display());
                process::run(&mut self.command(&["pull", "--quiet", &source]), PATIENCE)?.success()?;
            }
        }
        Ok(())
    }

    /// Builds, and makes the product.
    pub(super) fn build(&self, (folder, context): Source<'_>, product: Product) -> Result<Cost> {
        let file = folder.join("Dockerfile");
        let archive = self.dir().join("image.tar");
        if archive.exists() {
            std::fs::remove_file(&archive)?;
        }
        let mut commands = Vec::new();
        let tail = |mut command: Command| {
            command.arg("--file").arg(&file).arg(context);
            command
        };
        match self {
            Self::Ours { .. } => {
                let compression = format!("--compression={}", product.compression());
                let flags = ["build", "--quiet", "--network=none", &compression, "--tag=made"];
                let mut command = self.command(&flags);
                if product != Product::Stored {
                    command.arg(format!("--output=type=oci,dest={}", archive.display()));
                }
                commands.push(tail(command));
            }
            Self::Docker { docker, .. } => {
                commands.push(tail(docker.command(&["build", "--quiet", "--network=none", "--tag=made"])));
                if product != Product::Stored {
                    let mut save = Command::new("sh");
                    save.args(["-euc", "\"$0\" \"$@\" save made | gzip >\"$ARCHIVE\""]);
                    let client = docker.command(&[]);
                    save.arg(client.get_program()).env("ARCHIVE", &archive);
                    save.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
                    commands.push(save);
                }
            }
            Self::Buildkit { buildkit, .. } => {
                let mut command = buildkit.build_command(folder, context);
                let kind = product.compression().split(':').next().unwrap_or_default();
                command.arg(format!("--output=type=oci,dest={},compression={kind}", archive.display()));
                commands.push(command);
            }
            Self::Buildah { .. } => {
                let flags = ["bud", "--quiet", "--layers", "--network=none", "--pull=never", "--tag=made"];
                let mut command = self.command(&flags);
                // Debian's crun refuses hybrid hosts.
                command.arg("--runtime=runc");
                commands.push(tail(command));
                let target = format!("oci-archive:{}", archive.display());
                commands.push(self.command(&["push", "--quiet", "made", &target]));
            }
        }
        usage::of(&mut commands, self.daemon())
    }

    pub(super) fn end(self) -> Result<()> {
        match self {
            Self::Docker { docker, .. } => docker.stop(),
            Self::Buildkit { buildkit, .. } => buildkit.stop(),
            Self::Ours { .. } | Self::Buildah { .. } => Ok(()),
        }
    }

    fn dir(&self) -> &Path {
        match self {
            Self::Ours { dir, .. }
            | Self::Docker { dir, .. }
            | Self::Buildkit { dir, .. }
            | Self::Buildah { dir, .. } => dir,
        }
    }

    fn daemon(&self) -> Option<u32> {
        match self {
            Self::Docker { docker, .. } => Some(docker.pid()),
            Self::Buildkit { buildkit, .. } => Some(buildkit.pid()),
            Self::Ours { .. } | Self::Buildah { .. } => None,
        }
    }

    /// A command of a builder without a daemon.
    fn command(&self, words: &[&str]) -> Command {
        match self {
            Self::Ours { binary, runtime, dir, .. } => {
                let mut command = Command::new(binary);
                command.args(words).env("CORACLE_STORE", dir.join("store")).env("CORACLE_RUNTIME", runtime);
                command
            }
            Self::Buildah { binary, dir, .. } => {
                let mut command = Command::new(binary);
                command.arg("--root").arg(dir.join("root")).arg("--runroot").arg(dir.join("run"));
                command.args(["--storage-driver", "overlay"]).args(words);
                command
            }
            Self::Docker { docker, .. } => docker.command(words),
            Self::Buildkit { buildkit, .. } => buildkit.command(words),
        }
    }
}
