//! A real registry (Debian's docker-registry) on a loopback port of its own, and images pushed to it with the builder.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::place::Place;
use crate::assets;
use crate::case::Ctx;
use crate::process::{self, Running};

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    _running: Running,
    port: u16,
}

impl Registry {
    /// Starts one with its storage in the case's directory, on a port that the kernel chooses.
    pub(crate) fn start(ctx: &Ctx) -> Result<Self> {
        let program = assets::get(&ctx.binaries, "docker-registry")?;
        let file = ctx.path("registry.yml");
        let storage = ctx.path("registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
            storage.display()
        );
        std::fs::write(&file, text)?;
        let mut running = process::start(Command::new(program).arg("serve").arg(&file), Stdio::null())?;
        let mut port = None;
        process::until("the registry listens", Duration::from_secs(30), || {
            if let Some(code) = running.ends_within(Duration::ZERO)? {
                bail!("it ended with {code}: {}", running.errors_so_far()?);
            }
            let log = running.errors_so_far()?;
            port = log.split("listening on 127.0.0.1:").nth(1).and_then(|rest| {
                rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
            });
            Ok(port.is_some())
        })?;
        Ok(Self { _running: running, port: port.context("find the registry's port")? })
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Loads the archive, whose image is named `docker.io/NAME`, and pushes it as NAME: with a store that is not used again.
    pub(crate) fn publish(&self, ctx: &Ctx, archive: &Path, name: &str) -> Result<()> {
        let place = Place::new(ctx, &format!("publisher-{}", name.replace(['/', ':'], "-")), &self.url())?;
        let target = format!("127.0.0.1:{}/{name}", self.port);
        place.run(&["load", "-i", &archive.to_string_lossy()])?.success()?;
        place.run(&["tag", &format!("docker.io/{name}"), &target])?.success()?;
        place.run(&["push", &target])?.success()?;
        Ok(())
    }
}
