//! A git repository at a commit, by the git that is installed: it has the user's credentials, certificates and proxies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Kind};
use crate::sys::root;

/// What of a repository is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Where it is.
    pub remote: String,
    /// Branch, tag or whole commit; empty for the default branch.
    pub reference: String,
    /// The directory of it that is wanted; empty for all.
    pub subdir: String,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// The socket of an agent for `ssh://`.
    pub agent: Option<PathBuf>,
}

impl Repository {
    /// The commit that the reference names now.
    ///
    /// # Errors
    /// git's; a reference that the repository does not have.
    pub fn resolve(&self) -> Result<String, Error> {
        if is_commit(&self.reference) {
            return Ok(self.reference.to_ascii_lowercase());
        }
        let name = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        let said = self.git(None, &["ls-remote", "--", &self.remote])?;
        let find = |wanted: String| {
            let lines = said.lines().filter_map(|line| line.split_once('\t'));
            lines.filter(|(commit, _)| is_commit(commit)).find(|(_, found)| *found == wanted)
        };
        // A tag before a branch, and what an annotated tag is of before the tag.
        let found = ["refs/tags/%^{}", "refs/tags/%", "refs/heads/%", "%^{}", "%"]
            .iter()
            .find_map(|form| find(form.replace('%', name)));
        found.map(|(commit, _)| commit.to_owned()).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("find {name} in {}: no branch or tag is named so", self.remote))
                .hint("a commit is named by all of its digits")
        })
    }

    /// Lays the files of `commit` out below `place`, which is made; returns the wanted directory.
    ///
    /// # Errors
    /// git's; the file system's.
    pub fn check_out(&self, commit: &str, place: &Path) -> Result<PathBuf, Error> {
        let doing = |error| Error::system(format!("lay out {}", self.remote), error);
        fs::create_dir(place).map_err(doing)?;
        let git = |words: &[&str]| self.git(Some(place), words);
        git(&["init", "--quiet", "--template=", "."])?;
        git(&["remote", "add", "--", "origin", &self.remote])?;
        // Servers that do not give a single commit (plain files over HTTP, old ones) give all of them.
        if git(&["fetch", "--quiet", "--depth=1", "--no-tags", "origin", commit]).is_err() {
            git(&["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"])?;
        }
        git(&["checkout", "--quiet", "--detach", commit, "--"])?;
        if place.join(".gitmodules").exists() {
            git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        if !self.keep_git_dir {
            let directory = root::open_dir(place).map_err(doing)?;
            forget(&directory).map_err(doing)?;
        }
        self.wanted(place)
    }

    /// Resolved inside the repository: its links are a stranger's.
    fn wanted(&self, place: &Path) -> Result<PathBuf, Error> {
        use nix::fcntl::OFlag;
        let subdir = Path::new(self.subdir.trim_matches('/'));
        let doing = |error| Error::system(format!("open {} of {}", self.subdir, self.remote), error);
        let at = root::open_dir(place).map_err(doing)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let found = root::open(&at, &Path::new("/").join(subdir), flags).map_err(doing)?;
        fs::read_link(crate::sys::proc_path(&found)).map_err(doing)
    }

    fn git(&self, at: Option<&Path>, words: &[&str]) -> Result<String, Error> {
        let verb = words.first().copied().unwrap_or_default();
        let doing = format!("run git {verb} for {}", self.remote);
        // The modes of what is checked out must not depend on who builds.
        let mut command = Command::new("sh");
        command.args(["-c", "umask 022; exec git \"$@\"", "git"]);
        command.args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.autocrlf=false",
            "-c",
            "core.symlinks=true",
        ]);
        command.args(words).stdin(Stdio::null());
        // Whatever repository this process stands in has nothing to do with it.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
            command.env_remove(name);
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "http:https:git:ssh");
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let Some(at) = at {
            command.current_dir(at);
        }
        let output = command.output().map_err(|error| Error::system(doing.clone(), error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        if output.status.code() == Some(127) {
            let missing = Error::new(Kind::Unsupported, format!("{doing}: git is not installed"));
            return Err(missing.hint("repositories are fetched by the git program"));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.starts_with("fatal: ")).or_else(|| said.lines().last());
        let line = line.unwrap_or("it failed").trim_start_matches("fatal: ");
        Err(Error::new(Kind::System, format!("{doing}: {line}")))
    }
}

/// SHA-1, or SHA-256 in newer repositories.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes every `.git`: submodules have one each.
fn forget(directory: &std::os::fd::OwnedFd) -> io::Result<()> {
    use nix::fcntl::OFlag;
    for name in root::names(directory)? {
        if name == ".git" {
            root::remove(directory, &name)?;
        } else if let Ok(inside) = root::open_child(directory, &name, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            forget(&inside)?;
        }
    }
    Ok(())
}
