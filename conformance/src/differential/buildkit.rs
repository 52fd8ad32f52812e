//! A buildkitd of its own, with an OCI worker over runc: the newest BuildKit, where there is one on PATH.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::builder::{self, Builder, PATIENCE};
use super::image::{self, Image, Reader};
use super::place::Place;
use super::recipe::{Frontend, Recipe};
use crate::process::{self, Ended, Running};

#[derive(Debug)]
pub(crate) struct Buildkit {
    running: Running,
    client: PathBuf,
    dir: PathBuf,
    /// The manifest of the base image in the layout `base`.
    base: String,
}

impl Buildkit {
    /// A daemon whose data are in `dir`, and to which the OCI archive `base` is known.
    pub(crate) fn start_in(dir: &Path, base: &Path) -> Result<Self> {
        let daemon = process::find("buildkitd").context("find buildkitd")?;
        std::fs::create_dir(dir.join("base"))?;
        let mut tar = Command::new("tar");
        process::run(tar.arg("-C").arg(dir.join("base")).arg("-xf").arg(base), PATIENCE)?.success()?;
        let index = image::json(&dir.join("base/index.json"))?;
        let base = index["manifests"][0]["digest"].as_str().context("find the base's manifest")?.to_owned();
        let mut command = Command::new(process::find("setpriv").context("find setpriv (util-linux)")?);
        // However this program ends, the daemon is told to end too.
        command
            .args(["--pdeathsig=TERM", "--", "unshare", "--mount", "--net", "--"])
            .arg(daemon)
            .arg("--root")
            .arg(dir.join("data"));
        command
            .arg("--addr")
            .arg(address(dir))
            .args(["--containerd-worker=false", "--oci-worker-binary=runc"]);
        let running = process::start(&mut command, Stdio::null())?;
        let client = process::find("buildctl").context("find buildctl")?;
        let mut this = Self { running, client, dir: dir.to_owned(), base };
        process::until("buildkitd answers", PATIENCE, || {
            if let Some(code) = this.running.ends_within(Duration::ZERO)? {
                bail!("buildkitd ended with {code}: {}", this.running.errors_so_far()?);
            }
            Ok(process::run(&mut this.command(&["debug", "workers"]), PATIENCE)?.code == 0)
        })?;
        Ok(this)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.arg("--addr").arg(address(&self.dir)).args(words);
        builder::without_proxies(command)
    }

    /// `buildctl build` of `folder`'s Dockerfile in `context`; the caller adds the output.
    pub(crate) fn build_command(&self, folder: &Path, context: &Path) -> Command {
        let mut command = self.command(&["build", "--progress=plain", "--frontend=dockerfile.v0"]);
        command
            .arg(format!("--local=context={}", context.display()))
            .arg(format!("--local=dockerfile={}", folder.display()))
            .arg("--opt=force-network-mode=none")
            .arg(format!("--oci-layout=base={}", self.dir.join("base").display()))
            .arg(format!("--opt=context:base=oci-layout://base@{}", self.base));
        command
    }

    /// The daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.running.signal(Signal::SIGTERM)?;
        self.running.end(PATIENCE)?;
        Ok(())
    }

    fn output(&self, recipe: &Recipe) -> PathBuf {
        self.dir.join("out").join(recipe.slug())
    }
}

fn address(dir: &Path) -> String {
    format!("unix://{}/sock", dir.display())
}

/// A flag of `docker build` in buildctl's words.
fn flag(flag: &str) -> String {
    for (theirs, ours) in [
        ("--build-arg=", "--opt=build-arg:"),
        ("--label=", "--opt=label:"),
        ("--target=", "--opt=target="),
        ("--add-host=", "--opt=add-hosts="),
    ] {
        if let Some(value) = flag.strip_prefix(theirs) {
            return format!("{ours}{value}");
        }
    }
    flag.to_owned()
}

/// Buildkit over the recipes.
#[derive(Debug)]
pub(super) struct Reference {
    buildkit: Buildkit,
    name: String,
}

impl Reference {
    pub(super) fn start(place: &Place) -> Result<Self> {
        let dir = place.folder("buildkit")?;
        std::fs::create_dir(dir.join("out"))?;
        let buildkit = Buildkit::start_in(&dir, &place.base())?;
        Ok(Self { buildkit, name: "buildkit".to_owned() })
    }
}

impl Builder for Reference {
    fn name(&self) -> &str {
        &self.name
    }

    fn frontend(&self) -> Frontend {
        Frontend(1, 26)
    }

    fn build(&self, place: &Place, recipe: &Recipe) -> Result<Ended> {
        let folder = place.dockerfile_folder(recipe);
        let mut command = self.buildkit.build_command(&folder, &place.context(recipe));
        command.args(recipe.flags.iter().map(|text| flag(text)));
        let output = self.buildkit.output(recipe);
        std::fs::create_dir(&output)?;
        command.arg(format!(
            "--output=type=oci,tar=false,dest={},compression=uncompressed,force-compression=true",
            output.display()
        ));
        process::run(command.current_dir(place.context(recipe)), PATIENCE)
    }

    fn images(&self, recipes: &[&Recipe]) -> Result<BTreeMap<String, Image>> {
        let mut reader = Reader::default();
        let mut images = BTreeMap::new();
        for recipe in recipes {
            let output = self.buildkit.output(recipe);
            let index = image::json(&output.join("index.json"))?;
            let digest = index["manifests"][0]["digest"].as_str().context("find the image's manifest")?;
            images.insert(recipe.name.clone(), reader.layout(&output.join("blobs"), digest)?);
        }
        Ok(images)
    }

    fn end(self: Box<Self>) -> Result<()> {
        self.buildkit.stop()
    }
}
