//! buildah, with a store of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::builder::{self, Builder, PATIENCE};
use super::image::{self, Image, Reader};
use super::place::Place;
use super::recipe::{Frontend, Recipe};
use crate::process::{self, Ended};

#[derive(Debug)]
pub(super) struct Buildah {
    binary: PathBuf,
    name: String,
    dir: PathBuf,
}

impl Buildah {
    pub(super) fn start(place: &Place) -> Result<Self> {
        let binary = process::find("buildah").context("find buildah")?;
        let version = process::run(Command::new(&binary).arg("--version"), PATIENCE)?.success()?.out;
        let version = version.split_whitespace().nth(2).context("find buildah's version")?.to_owned();
        let this = Self { binary, name: format!("buildah {version}"), dir: place.folder("buildah")? };
        std::fs::create_dir(this.dir.join("out"))?;
        let source = format!("oci-archive:{}", place.base().display());
        process::run(&mut this.command(&["pull", "--quiet", &source]), PATIENCE)?.success()?;
        Ok(this)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        command.args(["--storage-driver", "overlay"]).args(words);
        builder::without_proxies(command)
    }
}

impl Builder for Buildah {
    fn name(&self) -> &str {
        &self.name
    }

    fn frontend(&self) -> Frontend {
        // Without here-documents, --link and newer flags.
        Frontend(1, 2)
    }

    fn build(&self, place: &Place, recipe: &Recipe) -> Result<Ended> {
        let fixed = ["bud", "--quiet", "--layers", "--format=docker", "--isolation=oci", "--network=none"];
        let mut command = self.command(&fixed);
        // Debian's crun refuses hybrid hosts.
        command
            .args(["--runtime=runc", "--identity-label=false", "--pull=never", "--tag"])
            .arg(recipe.slug());
        builder::build_of(recipe, place, &mut command)
    }

    fn images(&self, recipes: &[&Recipe]) -> Result<BTreeMap<String, Image>> {
        let mut reader = Reader::default();
        let mut images = BTreeMap::new();
        let out = self.dir.join("out");
        for recipe in recipes {
            let target = format!("oci:{}:{}", out.display(), recipe.slug());
            let mut push = self.command(&["push", "--quiet", "--disable-compression", "--format=oci"]);
            process::run(push.args([&recipe.slug(), &target]), PATIENCE)?.success()?;
        }
        let index = image::json(&out.join("index.json"))?;
        for recipe in recipes {
            let named = |entry: &&serde_json::Value| {
                entry["annotations"]["org.opencontainers.image.ref.name"] == recipe.slug().as_str()
            };
            let entry = index["manifests"].as_array().into_iter().flatten().find(named);
            let digest = entry.and_then(|entry| entry["digest"].as_str()).context("find the image")?;
            let mut image = reader.layout(&out.join("blobs"), digest)?;
            // As it is kept: the layout's form has no HEALTHCHECK, SHELL and ONBUILD.
            let mut inspect = self.command(&["inspect", "--type=image"]);
            let kept = process::run(inspect.arg(recipe.slug()), PATIENCE)?.success()?.out;
            let kept: serde_json::Value = serde_json::from_str(&kept)?;
            image.config = serde_json::from_str(kept["Config"].as_str().context("find the config")?)?;
            images.insert(recipe.name.clone(), image);
        }
        Ok(images)
    }

    fn end(self: Box<Self>) -> Result<()> {
        // Its overlay of overlays stays mounted otherwise.
        process::run(&mut self.command(&["rm", "--all"]), PATIENCE)?.success().map(drop)
    }
}
