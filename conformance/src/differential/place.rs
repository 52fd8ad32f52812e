//! Where the recipes are built: their context, their Dockerfiles, and the base image.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::recipe::Recipe;
use super::tree::{Layer, Tree};
use crate::{assets, image, process};

const PATIENCE: Duration = Duration::from_secs(120);

/// The name of the base image in the recipes.
pub(crate) const BASE: &str = "docker.io/library/base:latest";

#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    /// Makes context and base image below `dir`.
    pub(crate) fn make(dir: &Path, binaries: &Path) -> Result<Self> {
        let this = Self { dir: dir.to_owned() };
        let script = dir.join("context.sh");
        std::fs::write(&script, include_str!("../../differential/context.sh"))?;
        let mut sh = Command::new("sh");
        sh.arg(&script).args([dir.join("context"), dir.join("root")]).arg(assets::get(binaries, "busybox")?);
        process::run(&mut sh, PATIENCE)?.success().context("make the context")?;
        let layer = dir.join("layer.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(dir.join("root")).args([
            "--numeric-owner",
            "--owner=0",
            "--group=0",
            "--mtime=@1540000000",
        ]);
        tar.args(["--sort=name", "-cf"]).arg(&layer).arg(".");
        process::run(&mut tar, PATIENCE)?.success()?;
        let config = json!({"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
        image::write(&this.base(), &layer, &config, BASE)?;
        Ok(this)
    }

    /// The archive of the base image.
    pub(crate) fn base(&self) -> PathBuf {
        self.dir.join("base.tar")
    }

    /// The files of the base image.
    pub(super) fn base_tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.apply(&Layer::read(std::fs::File::open(self.dir.join("layer.tar"))?, 0)?)?;
        Ok(tree)
    }

    /// A fresh directory for a builder.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.dir.join(name);
        std::fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// Writes the recipe's files; the context of its own that it may have.
    pub(super) fn write(&self, recipe: &Recipe) -> Result<()> {
        let dir = self.dockerfile_folder(recipe);
        std::fs::create_dir_all(dir.parent().context("find the folder's parent")?)?;
        if recipe.has_own_context() {
            let mut copy = Command::new("cp");
            process::run(copy.arg("-a").arg(self.dir.join("context")).arg(&dir), PATIENCE)?.success()?;
        } else {
            std::fs::create_dir(&dir)?;
        }
        for (name, text) in &recipe.files {
            std::fs::write(dir.join(name), text)?;
        }
        Ok(())
    }

    /// Where its `Dockerfile` is.
    pub(super) fn dockerfile_folder(&self, recipe: &Recipe) -> PathBuf {
        self.dir.join("recipes").join(recipe.slug())
    }

    pub(super) fn context(&self, recipe: &Recipe) -> PathBuf {
        if recipe.has_own_context() { self.dockerfile_folder(recipe) } else { self.dir.join("context") }
    }
}
