//! One measurement: commands of one runtime, timed from start to end, with what the whole tree used.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::workloads::{Deed, Workload};
use crate::subject::Subject;
use crate::sys::{trace, usage};

/// What one round cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) faults: u64,
}

impl Sample {
    fn add(&mut self, used: usage::Usage) {
        self.cpu += used.cpu;
        self.faults += used.faults;
    }
}

/// Where a workload runs with one runtime.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) subject: &'a Subject,
    /// The runtime's `--root`.
    pub(super) state: &'a Path,
    pub(super) bundle: PathBuf,
    pub(super) id: String,
    /// Where everything is written.
    out: PathBuf,
}

/// What the container's program writes.
const WORD: &str = "ran";
/// The program of every bundle that ends.
pub(super) const PROGRAM: [&str; 2] = ["/bin/echo", WORD];
/// The program of one that waits.
pub(super) const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];

impl<'a> Place<'a> {
    pub(super) fn new(subject: &'a Subject, state: &'a Path, bundle: PathBuf, id: String) -> Self {
        let out = state.join(format!("{id}.out"));
        Self { subject, state, bundle, id, out }
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let out = File::options().create(true).append(true).open(&self.out)?;
        let mut command = self.subject.command();
        command.arg("--root").arg(self.state.join(&self.subject.name)).args(words);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Ok(command)
    }

    /// The words of each command of a deed, in their order.
    fn lines(&self, deed: Deed) -> Result<Vec<Vec<&str>>> {
        let bundle = self.bundle.to_str().context("a bundle's path is text")?;
        let id = self.id.as_str();
        Ok(match deed {
            Deed::Run => vec![vec!["run", "--bundle", bundle, id]],
            Deed::Create => {
                vec![vec!["create", "--bundle", bundle, id], vec!["start", id], vec!["delete", id]]
            }
            Deed::Exec => vec![vec!["exec", id, "/bin/echo", WORD]],
            Deed::State => vec![vec!["state", id]],
            Deed::List => vec![vec!["list"]],
            Deed::Kill => vec![vec!["kill", id, "CONT"]],
            Deed::Version => vec![vec!["--version"]],
        })
    }

    /// A container that waits, for the deeds that need one.
    pub(super) fn begin(&self) -> Result<()> {
        let bundle = self.bundle.to_str().context("a bundle's path is text")?;
        let status = self.command(&["run", "--detach", "--bundle", bundle, &self.id])?.status()?;
        ensure!(status.success(), "start a container: {}", self.said());
        std::fs::write(&self.out, "")?;
        Ok(())
    }

    /// A container that waits for `start`.
    pub(super) fn created(&self) -> Result<()> {
        let bundle = self.bundle.to_str().context("a bundle's path is text")?;
        let status = self.command(&["create", "--bundle", bundle, &self.id])?.status()?;
        ensure!(status.success(), "create a container: {}", self.said());
        Ok(())
    }

    /// Nothing is left of it.
    pub(super) fn end(&self) -> Result<()> {
        self.command(&["delete", "--force", &self.id])?.status()?;
        reap_rest()
    }

    /// What was written since the last look.
    fn said(&self) -> String {
        let said = std::fs::read_to_string(&self.out).unwrap_or_default();
        drop(File::options().write(true).truncate(true).open(&self.out));
        said
    }

    /// One round, checked: the container has really run, the answer is about it.
    pub(super) fn once(&self, workload: Workload) -> Result<Sample> {
        let mut sample = Sample::default();
        for words in self.lines(workload.deed)? {
            if workload.deed == Deed::Create && words.first() == Some(&"delete") {
                // Its program ends by itself; as the subreaper of all we are the one who hears of it.
                let ended = usage::wait(-1).context("wait for the container")?;
                ensure!(ended.code == 0, "the container ended with {}: {}", ended.code, self.said());
                sample.add(ended.usage);
            }
            let mut command = self.command(&words)?;
            let begin = Instant::now();
            let child = command.spawn().with_context(|| format!("start {}", self.subject.path.display()))?;
            let ended = usage::wait(i32::try_from(child.id())?)?;
            sample.wall += begin.elapsed();
            ensure!(ended.code == 0, "`{}` gave {}: {}", words.join(" "), ended.code, self.said());
            sample.add(ended.usage);
        }
        self.check(workload.deed)?;
        Ok(sample)
    }

    fn check(&self, deed: Deed) -> Result<()> {
        let said = self.said();
        let is_right = match deed {
            Deed::Run | Deed::Create | Deed::Exec => said == format!("{WORD}\n"),
            Deed::State | Deed::List => said.contains(&self.id),
            Deed::Kill => said.is_empty(),
            Deed::Version => said.contains("spec"),
        };
        if !is_right {
            bail!("the container did not run, or something else was said: {said:?}");
        }
        Ok(())
    }

    /// The same under ptrace, for the counts.
    pub(super) fn count(&self, deed: Deed) -> Result<trace::Counts> {
        let mut sum = trace::Counts::default();
        for words in self.lines(deed)? {
            let counts = trace::run(&mut self.command(&words)?).context("trace the runtime")?;
            ensure!(
                counts.code == 0,
                "`{}` gave {} when traced: {}",
                words.join(" "),
                counts.code,
                self.said()
            );
            sum.calls += counts.calls;
            sum.own += counts.own;
            sum.clones += counts.clones;
            sum.peak = sum.peak.max(counts.peak);
        }
        self.check(deed)?;
        Ok(sum)
    }
}

/// Takes the exits of whatever was left to us.
pub(super) fn reap_rest() -> Result<()> {
    use nix::errno::Errno;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(errno).context("wait for what was left"),
        }
    }
}
