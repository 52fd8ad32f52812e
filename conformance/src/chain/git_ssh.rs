//! Repositories over ssh: a real sshd on a loopback port, a real agent, and submodules.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::agents::Agent;
use super::place::{PATIENCE, Place};
use crate::account;
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process;

const SSHD: &str = "/usr/sbin/sshd";
const NEEDS: &[Need] = &[
    Need::UserNamespaces,
    Need::Program("git"),
    Need::Program(SSHD),
    Need::Program("ssh-agent"),
    Need::Program("ssh-keygen"),
];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/build-git-over-ssh",
        source: "issue 5: git contexts and ADD over ssh, with submodules",
        needs: NEEDS,
        run: over_ssh,
    },
    Case {
        name: "chain/build-git-over-ssh-refused",
        source: "issue 5: a Dockerfile uses nobody's keys unasked; unknown hosts are an error",
        needs: NEEDS,
        run: refused,
    },
];

/// A server that lets the agent's key in, and what it serves.
struct Site {
    agent: Agent,
    port: u16,
    user: String,
    /// A repository with a submodule.
    repository: PathBuf,
    known_hosts: String,
}

impl Site {
    fn start(ctx: &Ctx) -> Result<Self> {
        let agent = Agent::start(ctx, "one")?;
        let host_key = ctx.path("host");
        let mut make = Command::new("ssh-keygen");
        process::run(make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key), PATIENCE)?
            .success()?;
        let public = std::fs::read_to_string(ctx.path("host.pub"))?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let settings = ctx.path("sshd_config");
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n",
            host_key.display(),
            ctx.path("one.pub").display()
        );
        std::fs::write(&settings, text)?;
        serve(listener, settings);
        let user = account::own()?.name;
        let known_hosts = format!("[127.0.0.1]:{port} {public}");
        Ok(Self { agent, port, user, repository: repositories(&ctx.path("repositories"))?, known_hosts })
    }

    fn address(&self) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, self.repository.display())
    }

    /// A place to build in whose user knows the server, as `near` too.
    fn place(&self, ctx: &Ctx, name: &str) -> Result<Place> {
        let place = Place::new(ctx, name, "http://127.0.0.1:1")?;
        let own = ctx.path(name).join(".ssh");
        std::fs::create_dir(&own)?;
        std::fs::write(own.join("known_hosts"), &self.known_hosts)?;
        let text = format!("Host near\n  HostName 127.0.0.1\n  Port {}\n  User {}\n", self.port, self.user);
        std::fs::write(own.join("config"), text)?;
        Ok(place)
    }
}

/// One sshd a connection, for the rest of this process: no port is asked for that somebody may take meanwhile.
fn serve(listener: TcpListener, settings: PathBuf) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(out) = stream.try_clone() else { continue };
            let (input, out) = (Stdio::from(OwnedFd::from(stream)), Stdio::from(OwnedFd::from(out)));
            let mut command = Command::new("unshare");
            if nix::unistd::geteuid().is_root() {
                // Root's sshd wants a directory in /run; the host's stays as it is.
                let script = "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec \"$@\"";
                command.args(["--mount", "sh", "-c", script, "sh"]);
            } else {
                command = Command::new("env");
            }
            command.args([SSHD, "-i", "-f"]).arg(&settings).stdin(input).stdout(out).stderr(Stdio::null());
            // A client whose server did not start fails, and says so.
            drop(command.spawn().and_then(|mut child| child.wait()));
        }
    });
}

/// `main.git` with a Dockerfile and the submodule `lib`, at a commit that is not the newest of it.
fn repositories(at: &Path) -> Result<PathBuf> {
    let (library, main) = (at.join("lib"), at.join("main.git"));
    let git = |place: &Path, words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]);
        process::run(command.args(words).current_dir(place).env("HOME", at), PATIENCE)?.success()
    };
    for place in [&library, &main] {
        std::fs::create_dir_all(place)?;
        git(place, &["init", "--quiet", "--initial-branch=main"])?;
    }
    for text in ["old", "new"] {
        std::fs::write(library.join("part"), text)?;
        git(&library, &["add", "."])?;
        git(&library, &["commit", "--quiet", "-m", text])?;
    }
    std::fs::write(main.join("Dockerfile"), "FROM scratch\nCOPY . /\n")?;
    std::fs::write(main.join("file"), "in git")?;
    git(&main, &["submodule", "--quiet", "add", "../lib", "lib"])?;
    git(&main.join("lib"), &["checkout", "--quiet", "HEAD~1"])?;
    git(&main, &["add", "."])?;
    git(&main, &["commit", "--quiet", "-m", "one"])?;
    git(&main, &["tag", "v1"])?;
    Ok(main)
}

fn over_ssh(ctx: &Ctx) -> Result<()> {
    let site = Site::start(ctx)?;
    let place = site.place(ctx, "home")?;
    let (address, agent) = (site.address(), site.agent.flag("default"));
    let out = |name: &str| ctx.path(name).to_string_lossy().into_owned();
    let build = |out: &str, context: &str| {
        place.run(&["build", "--ssh", &agent, "--provenance", "mode=min", "-o", out, context])?.success()
    };
    build(&out("context"), &format!("{address}#v1"))?;
    holds(&ctx.path("context"), &[("file", "in git"), ("lib/part", "old")])?;
    let near = format!("near:{}", site.repository.display());
    let text = format!("FROM scratch\nADD {address}#main /by-address/\nADD {}@{near} /by-name/\n", site.user);
    let context = place.context("added", &[("Dockerfile", &text)])?;
    build(&out("added"), &context)?;
    for name in ["by-address", "by-name"] {
        holds(&ctx.path("added").join(name), &[("file", "in git"), ("lib/part", "old")])?;
        ensure!(
            !ctx.path("added").join(name).join("lib/.git").exists(),
            "{name} has a .git of the submodule"
        );
    }
    let said = std::fs::read_to_string(ctx.path("added/provenance.json"))?;
    ensure!(
        said.contains(&format!("\"uri\": \"{address}#main\"").replace(&format!("{}@", site.user), "xxxxx@")),
        "it says {said}"
    );
    Ok(())
}

fn holds(directory: &Path, files: &[(&str, &str)]) -> Result<()> {
    for (name, expected) in files {
        let path = directory.join(name);
        let found = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(found == *expected, "{} holds {found:?}", path.display());
    }
    Ok(())
}

fn refused(ctx: &Ctx) -> Result<()> {
    let site = Site::start(ctx)?;
    let place = site.place(ctx, "home")?;
    let text = format!("FROM scratch\nADD {} /\n", site.address());
    let context = place.context("added", &[("Dockerfile", &text)])?;
    // The agent is there, and nobody said that the build may use it.
    let mut unasked = place.builder(&["build", &context]);
    process::run(unasked.env("SSH_AUTH_SOCK", site.agent.socket()), PATIENCE)?
        .code(1)?
        .says("transport 'ssh' not allowed (a build asks over ssh with --ssh default)\n")?;
    let agent = site.agent.flag("default");
    std::fs::write(ctx.path("home/.ssh/known_hosts"), "")?;
    place.run(&["build", "--ssh", &agent, &context])?.code(1)?.says(
        "Host key verification failed. (connect once by ssh, or add the host's key to ~/.ssh/known_hosts by ssh-keyscan)\n",
    )?;
    std::fs::write(ctx.path("home/.ssh/known_hosts"), &site.known_hosts)?;
    let stranger = Agent::start(ctx, "two")?.flag("default");
    place.run(&["build", "--ssh", &stranger, &context])?.code(1)?.says("Permission denied (publickey")?;
    Ok(())
}
