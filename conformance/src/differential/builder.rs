//! What a builder must be able to do to be compared.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::image::Image;
use super::place::Place;
use super::recipe::{Frontend, Recipe};
use crate::process::{self, Ended};

/// The bound of one build.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

pub(super) trait Builder: Sync {
    /// Its name and version, as the list of known differences has them: `docker 20.10.24`.
    fn name(&self) -> &str;

    /// The newest language that it speaks.
    fn frontend(&self) -> Frontend;

    /// Builds one; code 0 where there is an image then.
    fn build(&self, place: &Place, recipe: &Recipe) -> Result<Ended>;

    /// The images of the recipes that were built, by the recipes' names.
    fn images(&self, recipes: &[&Recipe]) -> Result<BTreeMap<String, Image>>;

    /// Ends whatever it started.
    fn end(self: Box<Self>) -> Result<()>;
}

/// The same without proxy settings: some builders hand them on to every RUN.
pub(super) fn without_proxies(mut command: Command) -> Command {
    for name in ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    command
}

/// Carries out `command`, whose own words say what is built with, on the recipe's Dockerfile and context.
pub(super) fn build_of(recipe: &Recipe, place: &Place, command: &mut Command) -> Result<Ended> {
    command
        .arg("--file")
        .arg(place.dockerfile_folder(recipe).join("Dockerfile"))
        .args(&recipe.flags)
        .arg(".")
        .current_dir(place.context(recipe));
    process::run(command, PATIENCE)
}
