//! A git repository at a commit, by the git that is installed: it can have the user's credentials, certificates and proxies.

mod program;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Kind};
use crate::registry::decoded;
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
    /// The commit that it must be, or the tag, or the beginning of either.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// Whether its submodules are fetched too.
    pub submodules: bool,
    /// Whose keys it is asked with over ssh.
    pub ssh: Ssh,
    /// Who wants it: whose logins it is asked with.
    pub named_by: NamedBy,
}

/// Who wants a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The user, on the command line: it is asked for with the user's own logins.
    User,
    /// A Dockerfile, whose author may be a stranger: with none.
    Dockerfile,
}

/// What a repository is asked with over ssh: in a Dockerfile stands what its author wants, not what the user allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ssh {
    /// Nothing.
    Refused,
    /// What the user's own ssh has.
    Users,
    /// The agent behind this socket, and what the user's own ssh has.
    Agent(PathBuf),
}

impl Repository {
    /// The commit that the reference names now.
    ///
    /// # Errors
    /// git's; a reference that the repository does not have; another commit than the one that it must be.
    pub fn resolve(&self) -> Result<String, Error> {
        let (commit, tag) = self.named()?;
        let Some(checksum) = self.checksum.as_deref().map(str::to_ascii_lowercase) else { return Ok(commit) };
        let is_it = |found: &String| found.starts_with(&checksum);
        if is_it(&commit) || tag.as_ref().is_some_and(is_it) {
            return Ok(commit);
        }
        let tag = tag.map(|tag| format!(", its tag {tag}")).unwrap_or_default();
        let text = format!("verify {}: its commit is {commit}{tag}, not {checksum}", self.address());
        Err(Error::new(Kind::Attack, text))
    }

    /// The commit, and the tag with a message that is of it.
    fn named(&self) -> Result<(String, Option<String>), Error> {
        if is_commit(&self.reference) {
            return Ok((self.reference.to_ascii_lowercase(), None));
        }
        let name = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        let said = self.git(None, &["ls-remote", "--", self.address().as_str()])?;
        let find = |wanted: &str| {
            let lines = said.lines().filter_map(|line| line.split_once('\t'));
            let mut commits = lines.filter(|(commit, _)| is_commit(commit));
            commits.find(|(_, found)| *found == wanted).map(|(commit, _)| commit.to_owned())
        };
        // The whole name, then a branch before a tag, as BuildKit and checkout have it.
        for form in ["refs/%", "refs/heads/%", "refs/tags/%", "%"] {
            let form = form.replace('%', name);
            let (found, of_tag) = (find(&form), find(&format!("{form}^{{}}")));
            match (found, of_tag) {
                (tag, Some(commit)) => return Ok((commit, tag)),
                (Some(commit), None) => return Ok((commit, None)),
                (None, None) => {}
            }
        }
        let text = format!("find {name} in {}: no branch or tag is named so", self.address());
        Err(Error::new(Kind::Invalid, text).hint("a commit is named by all of its digits"))
    }

    /// Without a login, which errors and a kept `.git` have no business with.
    fn address(&self) -> String {
        split(&self.remote).0
    }

    /// In lines of their own: one with the end of a line in it would say more than it is.
    fn login(&self) -> Result<Option<Login>, Error> {
        let (address, Some((server, login))) = split(&self.remote) else { return Ok(None) };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (decoded(user), Some(decoded(password))),
            None => (decoded(login), None),
        };
        if [Some(&user), password.as_ref()].iter().flatten().any(|part| part.contains(['\0', '\n', '\r'])) {
            let text = format!("ask {address}: the login in its address has a control character");
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(Some(Login { server, user, password }))
    }

    /// Lays the files of `commit` out below `place`, which is made; returns the wanted directory.
    ///
    /// # Errors
    /// git's; the file system's.
    pub fn check_out(&self, commit: &str, place: &Path) -> Result<PathBuf, Error> {
        let doing = |error| Error::system(format!("lay out {}", self.address()), error);
        fs::create_dir(place).map_err(doing)?;
        let git = |words: &[&str]| self.git(Some(place), words);
        git(&["init", "--quiet", "--template=", "."])?;
        git(&["remote", "add", "--", "origin", &self.address()])?;
        // Servers that do not give a single commit (plain files over HTTP, old ones) give all of them.
        if git(&["fetch", "--quiet", "--depth=1", "--no-tags", "origin", commit]).is_err() {
            git(&["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"])?;
        }
        git(&["checkout", "--quiet", "--detach", commit, "--"])?;
        if self.submodules && place.join(".gitmodules").exists() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            if git(&[&update[..], &["--depth=1"]].concat()).is_err() {
                // The commit is not the newest of its branch, and the server does not give it alone: all of them, anew, since
                // what is shallow stays so.
                git(&["submodule", "--quiet", "deinit", "--all", "--force"])?;
                fs::remove_dir_all(place.join(".git/modules")).map_err(doing)?;
                git(&update)?;
            }
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
        let doing = |error| Error::system(format!("open {} of {}", self.subdir, self.address()), error);
        let at = root::open_dir(place).map_err(doing)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let found = root::open(&at, &Path::new("/").join(subdir), flags).map_err(doing)?;
        fs::read_link(crate::sys::proc_path(&found)).map_err(doing)
    }

    fn git(&self, at: Option<&Path>, words: &[&str]) -> Result<String, Error> {
        let verb = words.first().copied().unwrap_or_default();
        let address = self.address();
        let doing = format!("run git {verb} for {address}");
        let mut command = program::git(self, at)?;
        command.args(words);
        let output = command.output().map_err(|error| Error::system(doing.clone(), error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let error = failed(&doing, &String::from_utf8_lossy(&output.stderr));
        if self.named_by == NamedBy::Dockerfile && error.to_string().contains(": could not read ") {
            return Err(error
                .hint("a Dockerfile gets no login of the user's: name the repository with --build-context"));
        }
        Err(error)
    }
}

/// A directory that git has checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The address of `origin`, or of the only other remote.
    pub source: Option<String>,
    /// The commit.
    pub revision: String,
}

/// What git says of a directory; nothing where it is no checkout, or there is no git.
#[must_use]
pub fn checkout(directory: &Path) -> Option<Checkout> {
    let ask = |words: &[&str]| {
        // Nothing of what a repository may have run: no hook, no monitor, no pager.
        let mut command = Command::new("git");
        command.arg("-C").arg(directory).args(words).stdin(Stdio::null()).env("LC_ALL", "C");
        let output = command.output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
    };
    let revision = ask(&["rev-parse", "--verify", "--quiet", "HEAD"]).filter(|text| is_commit(text))?;
    let remotes = ask(&["remote"]).unwrap_or_default();
    let name = match remotes.lines().collect::<Vec<_>>().as_slice() {
        [only] => (*only).to_owned(),
        _ => "origin".to_owned(),
    };
    Some(Checkout { source: ask(&["config", "--get", &format!("remote.{name}.url")]), revision })
}

/// The line in which git says why; ssh says it before git does.
fn failed(doing: &str, said: &str) -> Error {
    let of_ssh =
        |line: &&str| line.contains("Host key verification failed") || line.contains("Permission denied (");
    let find = |test: &dyn Fn(&&str) -> bool| said.lines().find(test);
    let line = find(&of_ssh)
        .or_else(|| find(&|line| line.starts_with("fatal: ")))
        .or_else(|| said.lines().last())
        .unwrap_or("it failed")
        .trim_start_matches("fatal: ");
    let failed = Error::new(Kind::System, format!("{doing}: {}", line.trim_end()));
    if line.contains("Host key verification failed") {
        return failed
            .hint("connect once by ssh, or add the host's key to ~/.ssh/known_hosts by ssh-keyscan");
    }
    match line.contains("transport 'ssh' not allowed") {
        true => failed.hint("a build asks over ssh with --ssh default"),
        false => failed,
    }
}

/// What an address gives a server, in plain letters.
struct Login {
    /// `https://host:port`.
    server: String,
    user: String,
    password: Option<String>,
}

/// The address without the login that is in it, and that.
fn split(remote: &str) -> (String, Option<(String, &str)>) {
    let plain = || (remote.to_owned(), None);
    let Some((scheme @ ("http" | "https"), rest)) = remote.split_once("://") else { return plain() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((login, host)) = authority.rsplit_once('@') else { return plain() };
    let server = format!("{scheme}://{host}");
    (format!("{server}{path}"), Some((server, login)))
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
