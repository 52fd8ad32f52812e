//! An ordinary user for the cases that only root can prepare.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::account;
use crate::bundle::{self, Bundle, put};
use crate::case::{BOUND, Ctx, not_run};
use crate::process::{self, Ended};

/// Nobody in particular.
pub(super) const SOMEBODY: u32 = 54_321;

/// An ordinary user outside of every cgroup that is his, with a bundle.
pub(super) struct Somebody {
    user: u32,
    pub(super) bundle: Bundle,
    place: tempfile::TempDir,
    /// System calls that his runtime has to do without.
    refused: Option<String>,
}

impl Somebody {
    pub(super) fn new(ctx: &Ctx, user: u32, words: &[&str], edit: impl FnOnce(&mut Value)) -> Result<Self> {
        // The case's own directory is root's.
        let place = tempfile::Builder::new().prefix("conformance.").tempdir_in(crate::work_root())?;
        let bundle = Bundle::make(place.path().join("bundle"), &ctx.binaries.join("probe"))?;
        let mut config = bundle::config(words, false);
        for key in ["/linux/uidMappings/0/hostID", "/linux/gidMappings/0/hostID"] {
            put(&mut config, key, json!(user));
        }
        edit(&mut config);
        bundle.write(&config)?;
        let state = place.path().join("state");
        std::fs::create_dir(&state)?;
        for own in [place.path(), &state, &bundle.root()] {
            std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o755))?;
            chown(own, Some(user), Some(user))?;
        }
        Ok(Self { user, bundle, place, refused: None })
    }

    /// From here on his runtime finds these calls missing or refused, and the set-user-id programs that it starts keep their rights:
    /// the filter is root's.
    pub(super) fn without(&mut self, calls: &str) {
        self.refused = Some(calls.to_owned());
    }

    /// The runtime as this user.
    pub(super) fn rt(&self, ctx: &Ctx, args: &[&str]) -> Result<Ended> {
        let subject = ctx.subject.command();
        let user = self.user.to_string();
        let mut command = match &self.refused {
            None => Command::new("setpriv"),
            Some(calls) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["without", calls, "--", "setpriv"]);
                command
            }
        };
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.arg(subject.get_program()).args(subject.get_args());
        command.arg("--root").arg(self.place.path().join("state"));
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{user}"));
        process::run(command.args(args), BOUND)
    }

    pub(super) fn run(&self, ctx: &Ctx) -> Result<Ended> {
        self.rt(ctx, &["run", "--bundle", self.bundle.path()?, &ctx.id("c")])
    }
}

/// Of an ordinary user who has them: the number, and the first of his subordinate ids of users and of groups.
pub(super) fn with_ranges() -> Result<(u32, u32, u32)> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let (users, groups) = (read("/etc/subuid"), read("/etc/subgid"));
    let row = |line: &str| -> Option<(String, u32)> {
        let (name, rest) = line.split_once(':')?;
        Some((name.to_owned(), rest.split(':').next()?.parse().ok()?))
    };
    for (name, first) in users.lines().filter_map(row) {
        let group = groups.lines().filter_map(row).find(|(other, _)| *other == name);
        // `newgidmap` lets nobody map a group that is not his.
        let user = account::named(&name)?.filter(|user| user.uid != 0 && user.uid == user.gid);
        if let (Some(user), Some((_, group))) = (user, group) {
            return Ok((user.uid, first, group));
        }
    }
    Err(not_run("no ordinary user has ranges in /etc/subuid and /etc/subgid"))
}
