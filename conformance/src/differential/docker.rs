//! Docker's BuildKit, in a daemon of its own: its own data, its own mount and network namespace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::builder::{self, Builder, PATIENCE};
use super::image::{self, Image, Reader};
use super::place::Place;
use super::recipe::{Frontend, Recipe};
use crate::process::{self, Ended, Running};

#[derive(Debug)]
pub(crate) struct Docker {
    running: Running,
    client: PathBuf,
    name: String,
    frontend: Frontend,
    dir: PathBuf,
}

impl Docker {
    pub(super) fn start(place: &Place) -> Result<Self> {
        let this = Self::start_in(&place.folder("docker")?)?;
        process::run(this.command(&["load", "--input"]).arg(place.base()), PATIENCE)?.success()?;
        Ok(this)
    }

    /// A daemon whose data are in `dir`.
    pub(crate) fn start_in(dir: &Path) -> Result<Self> {
        let daemon = process::find("dockerd").context("find dockerd (Debian: docker.io)")?;
        let version = process::run(Command::new(&daemon).arg("--version"), PATIENCE)?.success()?.out;
        let version = version.split([' ', ',']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let version = version.context("find dockerd's version")?.split(['+', '-']).next().unwrap_or_default();
        let mut command = Command::new(process::find("setpriv").context("find setpriv (util-linux)")?);
        // However this program ends, the daemon is told to end too.
        command.args(["--pdeathsig=TERM", "--", "unshare", "--mount", "--net", "--"]).arg(&daemon);
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(dir.join(name));
        }
        command.arg("--host").arg(format!("unix://{}/sock", dir.display()));
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false"]);
        let running = process::start(&mut command, Stdio::null())?;
        let mut this = Self {
            running,
            client: client(&daemon)?,
            name: format!("docker {version}"),
            frontend: frontend(version),
            dir: dir.to_owned(),
        };
        process::until("dockerd answers", PATIENCE, || {
            if let Some(code) = this.running.ends_within(Duration::ZERO)? {
                bail!("dockerd ended with {code}: {}", this.running.errors_so_far()?);
            }
            Ok(process::run(&mut this.command(&["version"]), PATIENCE)?.code == 0)
        })?;
        Ok(this)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command
            .args(words)
            .env("DOCKER_BUILDKIT", "1")
            .env("DOCKER_HOST", format!("unix://{}/sock", self.dir.display()))
            .env("DOCKER_CONFIG", self.dir.join("config"));
        builder::without_proxies(command)
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
}

/// The client of the daemon's own package: another one may come first on PATH.
fn client(daemon: &Path) -> Result<PathBuf> {
    let beside = ["/usr/bin/docker", "/bin/docker"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let found = beside.filter(|_| daemon.starts_with("/usr")).or_else(|| process::find("docker"));
    found.context("find docker (Debian: docker.io, docker-cli)")
}

/// The Dockerfile frontend that is built into a version of dockerd.
fn frontend(version: &str) -> Frontend {
    let major = version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    Frontend(
        1,
        match major {
            ..=20 => 2,
            21..=23 => 4,
            24 => 5,
            25 => 6,
            26 => 7,
            27 => 10,
            _ => 15,
        },
    )
}

impl Builder for Docker {
    fn name(&self) -> &str {
        &self.name
    }

    fn frontend(&self) -> Frontend {
        self.frontend
    }

    fn build(&self, place: &Place, recipe: &Recipe) -> Result<Ended> {
        let mut command = self.command(&["build", "--quiet", "--network=none", "--tag"]);
        command.arg(recipe.slug());
        builder::build_of(recipe, place, &mut command)
    }

    fn images(&self, recipes: &[&Recipe]) -> Result<BTreeMap<String, Image>> {
        let mut images = BTreeMap::new();
        if recipes.is_empty() {
            return Ok(images);
        }
        let saved = self.dir.join("saved");
        std::fs::create_dir(&saved)?;
        let archive = self.dir.join("saved.tar");
        let mut save = self.command(&["save", "--output"]);
        save.arg(&archive).args(recipes.iter().map(|recipe| recipe.slug()));
        process::run(&mut save, PATIENCE)?.success()?;
        let mut tar = Command::new("tar");
        process::run(tar.arg("-C").arg(&saved).arg("-xf").arg(&archive), PATIENCE)?.success()?;
        let mut reader = Reader::default();
        let list = image::json(&saved.join("manifest.json"))?;
        for entry in list.as_array().context("read manifest.json")? {
            let tags = entry["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let tags: Vec<&str> = tags.filter_map(|tag| tag.strip_suffix(":latest")).collect();
            for recipe in recipes.iter().filter(|recipe| tags.contains(&recipe.slug().as_str())) {
                images.insert(recipe.name.clone(), reader.saved(&saved, entry)?);
            }
        }
        Ok(images)
    }

    fn end(self: Box<Self>) -> Result<()> {
        self.stop()
    }
}
