//! Where a test builds: a store, a mirror setting and a home of its own, and the builder that uses them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::case::Ctx;
use crate::process::{self, Ended, Running};

/// The bound of one build or run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A place to build in.
#[derive(Debug)]
pub(crate) struct Place {
    binaries: PathBuf,
    home: PathBuf,
    pub(crate) store: PathBuf,
    registries: PathBuf,
}

impl Place {
    /// A fresh one below the case's directory, whose Docker Hub is `mirror` (`http://HOST:PORT`).
    pub(crate) fn new(ctx: &Ctx, name: &str, mirror: &str) -> Result<Self> {
        let home = ctx.path(name);
        std::fs::create_dir(&home)?;
        let registries = home.join("registries.toml");
        let text =
            format!("[[registry]]\nprefix = \"docker.io\"\nmirrors = [\"{mirror}\"]\ninsecure = true\n");
        std::fs::write(&registries, text)?;
        Ok(Self { binaries: ctx.binaries.clone(), store: home.join("store"), home, registries })
    }

    /// `builder WORDS...`: the caller may add more.
    pub(crate) fn builder(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("builder"));
        command
            .args(words)
            .env("CORACLE_STORE", &self.store)
            .env("CORACLE_REGISTRIES", &self.registries)
            .env("CORACLE_RUNTIME", self.binaries.join("runtime"))
            .env("HOME", &self.home);
        for proxy in [
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "XDG_RUNTIME_DIR",
        ] {
            command.env_remove(proxy);
        }
        command
    }

    /// Runs `builder WORDS...` to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Ended> {
        process::run(&mut self.builder(words), PATIENCE)
    }

    /// Starts `builder WORDS...`.
    pub(crate) fn start(&self, words: &[&str]) -> Result<Running> {
        process::start(&mut self.builder(words), Stdio::null())
    }

    /// A context `name` with these files, and the probe.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> Result<String> {
        let dir = self.home.join(name);
        std::fs::create_dir_all(&dir)?;
        for (file, text) in files {
            std::fs::write(dir.join(file), text)?;
            // COPY keeps the mode, and the mode is the umask's of whoever runs the test.
            std::fs::set_permissions(dir.join(file), std::fs::Permissions::from_mode(0o644))?;
        }
        std::fs::copy(self.binaries.join("probe"), dir.join("probe"))?;
        Ok(dir.to_string_lossy().into_owned())
    }

    /// Names and sizes of every file in the image layout's `blobs`, and the index's text: what a failed build must not change.
    pub(crate) fn images(&self) -> Result<String> {
        let mut names = Vec::new();
        files(&self.store.join("blobs"), &mut names)?;
        names.sort();
        let index = std::fs::read_to_string(self.store.join("index.json")).unwrap_or_default();
        Ok(format!("{}\n{index}", names.join("\n")))
    }

    /// An error where a blob's content is not what its name says.
    pub(crate) fn verify_blobs(&self) -> Result<()> {
        let blobs = self.store.join("blobs/sha256");
        for entry in std::fs::read_dir(&blobs).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let digest = crate::image::sha256(&entry.path())?;
            if digest != name {
                bail!("the blob {name} holds {digest}");
            }
        }
        Ok(())
    }
}

fn files(dir: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.push(format!("{} {}", entry.path().display(), entry.metadata()?.len()));
        }
    }
    Ok(())
}

/// The body of `http://127.0.0.1:PORT/PATH`, asked until there is an answer.
pub(crate) fn answer(ctx: &Ctx, port: u16, path: &str, running: &mut Running) -> Result<String> {
    let mut body = String::new();
    process::until(&format!("port {port} answers"), Duration::from_secs(60), || {
        if let Some(code) = running.ends_within(Duration::ZERO)? {
            bail!("it ended with {code}: {} {}", running.so_far()?.trim(), running.errors_so_far()?.trim());
        }
        body = get(ctx, port, path)?.unwrap_or_default();
        Ok(!body.is_empty())
    })?;
    Ok(body)
}

/// One request; `None` where nobody answers.
pub(crate) fn get(ctx: &Ctx, port: u16, path: &str) -> Result<Option<String>> {
    let mut command = Command::new(ctx.binaries.join("probe"));
    let ended =
        process::run(command.args(["get", &format!("127.0.0.1:{port}"), path]), Duration::from_secs(60))?;
    let refused = ended.out.starts_with("get ") || ended.out.is_empty();
    Ok((!refused).then_some(ended.out))
}
