//! This workspace's builder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::builder::{self, Builder, PATIENCE};
use super::image::{Image, Reader};
use super::place::Place;
use super::recipe::{Frontend, Recipe};
use crate::process::{self, Ended};

#[derive(Debug)]
pub(super) struct Ours {
    binaries: PathBuf,
    dir: PathBuf,
}

impl Ours {
    pub(super) fn start(place: &Place, binaries: &Path) -> Result<Self> {
        let this = Self { binaries: binaries.to_owned(), dir: place.folder("ours")? };
        process::run(this.builder(&["load", "--input"]).arg(place.base()), PATIENCE)?.success()?;
        Ok(this)
    }

    fn builder(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("builder"));
        command
            .args(words)
            .env("CORACLE_STORE", self.dir.join("store"))
            .env("CORACLE_RUNTIME", self.binaries.join("runtime"));
        builder::without_proxies(command)
    }

    fn digest_file(&self, recipe: &Recipe) -> PathBuf {
        self.dir.join(recipe.slug())
    }
}

impl Builder for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn frontend(&self) -> Frontend {
        Frontend(u32::MAX, 0)
    }

    fn build(&self, place: &Place, recipe: &Recipe) -> Result<Ended> {
        let mut command =
            self.builder(&["build", "--quiet", "--network=none", "--compression=none", "--timestamps=keep"]);
        command.arg("--iidfile").arg(self.digest_file(recipe));
        builder::build_of(recipe, place, &mut command)
    }

    fn images(&self, recipes: &[&Recipe]) -> Result<BTreeMap<String, Image>> {
        let mut reader = Reader::default();
        let mut images = BTreeMap::new();
        for recipe in recipes {
            let digest = std::fs::read_to_string(self.digest_file(recipe))?;
            let image = reader.layout(&self.dir.join("store/blobs"), digest.trim())?;
            images.insert(recipe.name.clone(), image);
        }
        Ok(images)
    }

    fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
