//! A case: one claim about a runtime (or about the chain), what it needs, where the rule comes from, and the deed.
//!
//! Invariant: a case touches only its own directory and the containers in its own state root.

use std::any::Any;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::{self, Bundle};
use crate::needs::{Host, Need};
use crate::process::{self, Ended, Running};
use crate::subject::Subject;

/// When a command of a runtime counts as hung: far beyond what the slowest machine under load needs.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// One claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// `topic/claim`.
    pub(crate) name: &'static str,
    /// Where the rule is written: a section of the specification, a man page, runc's behaviour, an advisory.
    pub(crate) source: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&Ctx) -> Result<()>,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "snake_case")]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    NotRun(String),
}

/// An error that means "could not be tried", never "wrong".
#[derive(Debug)]
pub(crate) struct NotRun(pub(crate) String);

impl std::fmt::Display for NotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRun {}

/// Ends a case as "not run".
pub(crate) fn not_run(reason: impl Into<String>) -> anyhow::Error {
    anyhow!(NotRun(reason.into()))
}

/// What ended a case, as its outcome.
pub(crate) fn outcome(result: Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => match error.downcast_ref::<NotRun>() {
            Some(NotRun(reason)) => Outcome::NotRun(reason.clone()),
            None => Outcome::Failed(format!("{error:#}")),
        },
    }
}

/// What the cases of one group share: an engine that the first of them starts, and that ends after the last.
pub(crate) trait Session: Any + std::fmt::Debug {
    /// Takes everything down that the session has started; what cannot be taken down is the error.
    fn close(&mut self) -> Result<()>;
}

/// The session of a group: nothing yet, one that runs, or why it could not be started.
pub(crate) type Shared = OnceCell<std::result::Result<Box<dyn Session>, Outcome>>;

/// What a case works with.
#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) subject: Subject,
    pub(crate) host: Host,
    /// A directory of its own, removed afterwards.
    pub(crate) dir: PathBuf,
    /// The directory of the finished binaries: runtime, builder, shim, probe.
    pub(crate) binaries: PathBuf,
    /// Part of every container's id: unique on this host.
    pub(crate) tag: String,
    pub(crate) shared: Shared,
}

impl Ctx {
    /// The session of this group of cases, started when the first one asks. One that cannot be started is tried once.
    pub(crate) fn session<S: Session>(&self, start: impl FnOnce(&Self) -> Result<S>) -> Result<&S> {
        let started = self.shared.get_or_init(|| match start(self) {
            Ok(session) => Ok(Box::new(session)),
            Err(error) => Err(outcome(Err(error))),
        });
        match started {
            Ok(session) => {
                let session: &dyn Any = session.as_ref();
                session.downcast_ref().context("a group of cases has sessions of one kind")
            }
            Err(Outcome::NotRun(reason)) => Err(not_run(reason.clone())),
            Err(Outcome::Failed(reason)) => Err(anyhow!("start the session: {reason}")),
            Err(Outcome::Passed) => Err(anyhow!("start the session")),
        }
    }

    /// Container ids are unique on the host: cgroups are shared between state roots.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// The directory of all state of the subject's containers.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// A bundle with the probe as its whole root; `words` are the probe's deeds.
    pub(crate) fn bundle(&self, words: &[&str]) -> Result<Bundle> {
        self.bundle_named("bundle", words)
    }

    /// The same under another name, for a case with several.
    pub(crate) fn bundle_named(&self, name: &str, words: &[&str]) -> Result<Bundle> {
        let bundle = Bundle::make(self.path(name), &self.binaries.join("probe"))?;
        bundle.write(&bundle::config(words, self.host.root))?;
        Ok(bundle)
    }

    /// The subject with its state root: the caller adds the verb.
    pub(crate) fn runtime(&self) -> Command {
        let mut command = self.subject.command();
        command.arg("--root").arg(self.state_root());
        command
    }

    /// Runs `runtime ARGS...` to its end.
    pub(crate) fn rt(&self, args: &[&str]) -> Result<Ended> {
        process::run(self.runtime().args(args), BOUND)
    }

    /// Starts `runtime ARGS...` and leaves it running.
    pub(crate) fn rt_start(&self, args: &[&str]) -> Result<Running> {
        process::start(self.runtime().args(args), Stdio::null())
    }

    /// `run` in the foreground, to its end.
    pub(crate) fn run(&self, bundle: &Bundle, id: &str) -> Result<Ended> {
        self.rt(&["run", "--bundle", bundle.path()?, id])
    }

    /// `run`, expected to succeed; gives what the container printed.
    pub(crate) fn output(&self, bundle: &Bundle) -> Result<String> {
        Ok(self.run(bundle, &self.id("c"))?.success()?.out)
    }

    /// The object that `probe show` printed from inside `bundle`.
    pub(crate) fn show(&self, bundle: &Bundle) -> Result<Value> {
        let text = self.output(bundle)?;
        serde_json::from_str(&text).with_context(|| format!("read what the probe showed: {text:?}"))
    }

    /// A detached container that waits for a signal; gives its id once its process says that it waits.
    pub(crate) fn waiting(&self, name: &str) -> Result<String> {
        let bundle = self.bundle_named(name, &["write", "/ready", "", ",", "wait"])?;
        self.detached(&bundle, name)
    }

    /// Starts `bundle` detached, and waits until its process has made `/ready`.
    pub(crate) fn detached(&self, bundle: &Bundle, name: &str) -> Result<String> {
        let id = self.id(name);
        self.rt(&["run", "--detach", "--bundle", bundle.path()?, &id])?.success()?;
        process::until("the container's program has started", BOUND, || {
            Ok(bundle.root().join("ready").exists())
        })?;
        Ok(id)
    }

    /// `state ID` as JSON.
    pub(crate) fn state(&self, id: &str) -> Result<Value> {
        let ended = self.rt(&["state", id])?.success()?;
        serde_json::from_str(&ended.out).with_context(|| format!("read the state {:?}", ended.out))
    }

    /// Waits until `state ID` says `status`.
    pub(crate) fn until_status(&self, id: &str, status: &str) -> Result<()> {
        process::until(&format!("{id} is {status}"), BOUND, || Ok(self.state(id)?["status"] == status))
    }

    /// The process id of a container's init on the host.
    pub(crate) fn pid(&self, id: &str) -> Result<u32> {
        let state = self.state(id)?;
        let pid = state["pid"].as_u64().with_context(|| format!("find a pid in {state}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// A path below the case's own directory.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }
}
