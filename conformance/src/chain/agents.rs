//! `RUN --mount=type=ssh`: real agents, as steps of several users see them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::place::{PATIENCE, Place};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Running};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/build-ssh-agents",
    source: "issue 5: ssh mounts",
    needs: &[Need::UserNamespaces, Need::Program("ssh-agent"), Need::Program("ssh-keygen")],
    run: agents,
}];

/// An agent with one key.
pub(super) struct Agent {
    socket: PathBuf,
    _running: Running,
}

impl Agent {
    pub(super) fn start(ctx: &Ctx, comment: &str) -> Result<Self> {
        let (socket, key) = (ctx.path(format!("{comment}.sock")), ctx.path(comment));
        let running =
            process::start(Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket), Stdio::null())?;
        process::until("the agent listens", Duration::from_secs(60), || Ok(socket.exists()))?;
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(&key);
        process::run(&mut make, PATIENCE)?.success()?;
        let mut add = Command::new("ssh-add");
        process::run(add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket), PATIENCE)?.success()?;
        Ok(Self { socket, _running: running })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn flag(&self, id: &str) -> String {
        format!("{id}={}", self.socket.display())
    }
}

const RUN: &str = r#"RUN --network=none --mount=type=ssh --mount=type=ssh,id=second,mode=0666,uid=UID,gid=UID,target=/run/second,required \
    --mount=type=ssh,id=absent --mount=type=ssh \
    ["/probe", "keys", "/run/second", ",", "stat", "/run/second", ",", "stat", "/run/buildkit/ssh_agent.0", ",", "keys", "/run/buildkit/ssh_agent.3", ",", "show"]
"#;

fn agents(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let (first, second) = (Agent::start(ctx, "one")?, Agent::start(ctx, "two")?);
    let many = ctx.host.lacks(Need::UserIds).is_none();
    let id = if many { "5" } else { "0" };
    let user = format!("USER {id}:{id}\n");
    let text = format!(
        "FROM scratch\nCOPY probe /probe\n{}{user}{}",
        RUN.replace("UID", id),
        r#"RUN --network=none --mount=type=ssh,id=second,uid=UID ["/probe", "keys", "/run/buildkit/ssh_agent.0"]"#
            .replace("UID", id)
    );
    let context = place.context("context", &[("Dockerfile", &text)])?;
    let flags = [first.flag("default"), second.flag("second")];
    let words = ["build", "--progress", "plain", "--ssh", &flags[0], "--ssh", &flags[1], &context];
    let said = place.run(&words)?.success()?.err;
    for expected in [
        "keys /run/second: two".to_owned(),
        format!("stat /run/second: file 0666 {id}:{id} 0"),
        "stat /run/buildkit/ssh_agent.0: file 0600 0:0 0".to_owned(),
        "keys /run/buildkit/ssh_agent.3: one".to_owned(),
        r#""SSH_AUTH_SOCK":"/run/buildkit/ssh_agent.0""#.to_owned(),
        // Of the user whom the mount names, although the agent answers its own only.
        "keys /run/buildkit/ssh_agent.0: two".to_owned(),
    ] {
        ensure!(said.contains(&expected), "{expected:?} is not in {said}");
    }
    place
        .run(&["build", "--no-cache", "--ssh", &flags[0], &context])?
        .code(1)?
        .says("builder: Dockerfile line 3: this step needs the ssh second (give it by --ssh second)\n")?;
    refused(&place, &context, &ctx.path("one"))
}

/// A key is no agent.
fn refused(place: &Place, context: &str, key: &Path) -> Result<()> {
    let flag = format!("default={}", key.display());
    let said = format!(
        "builder: agent default: {} is not an agent's socket (load a key into an agent by ssh-add)\n",
        key.display()
    );
    let ended = place.run(&["build", "--ssh", &flag, context])?.code(1)?;
    ensure!(ended.err == said, "it says {:?}", ended.err);
    Ok(())
}
