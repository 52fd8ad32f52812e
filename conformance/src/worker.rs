//! One case, or one group of cases that share an engine, in one process of its own: it adopts whatever they leave, ends it, and
//! says what was left.
//!
//! Invariant: when a worker has ended, no process, mount, cgroup or file of its cases is left.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::case::{self, Case, Ctx, Outcome, Shared};
use crate::needs::Host;
use crate::process;
use crate::subject::Subject;

/// What the parent tells a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Carried out in this order; several share a session.
    pub(crate) cases: Vec<String>,
    pub(crate) subject: Subject,
    pub(crate) binaries: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) tag: String,
}

/// How one case of a job ended: what a worker writes, a line each.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    pub(crate) milliseconds: u64,
}

/// Does the job and writes the answers to `out`; runs in the worker process.
pub(crate) fn work(job: Job, out: &mut impl Write) -> Result<()> {
    // The parent blocked these for its own waiting; the runtimes must see a program's usual mask.
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    nix::sys::prctl::set_pdeathsig(Some(Signal::SIGKILL))?;
    nix::sys::prctl::set_child_subreaper(true)?;
    std::thread::Builder::new().name("reaper".to_owned()).spawn(|| process::reap_adopted())?;
    let cases = job
        .cases
        .iter()
        .map(|name| crate::find_case(name).with_context(|| format!("find the case {name}")))
        .collect::<Result<Vec<_>>>()?;
    let (host, shared) = (Host::measure(), Shared::new());
    let Job { subject, dir, binaries, tag, .. } = job;
    let mut ctx = Ctx { subject, host, dir, binaries, tag, shared };
    let (last, others) = cases.split_last().context("a job has a case")?;
    let mut all_well = true;
    for case in others {
        let answer = carry_out(case, &ctx);
        all_well &= !matches!(answer.outcome, Outcome::Failed(_));
        say(out, &answer)?;
    }
    let mut answer = carry_out(last, &ctx);
    let left = clean(&mut ctx);
    // The last one answers for the whole group, whose session ends here. A case that failed has left what it was at.
    if !left.is_empty() && all_well && !matches!(answer.outcome, Outcome::Failed(_)) {
        answer.outcome = Outcome::Failed(format!("left behind: {}", left.join(", ")));
    }
    say(out, &answer)
}

fn say(out: &mut impl Write, answer: &Answer) -> Result<()> {
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

fn carry_out(case: &Case, ctx: &Ctx) -> Answer {
    let began = Instant::now();
    let outcome = match case.needs.iter().find_map(|need| ctx.host.lacks(*need)) {
        Some(reason) => Outcome::NotRun(reason),
        None => case::outcome((case.run)(ctx)),
    };
    Answer { outcome, milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

/// Ends the session, deletes the containers, ends the processes, and lists what is left after that.
fn clean(ctx: &mut Ctx) -> Vec<String> {
    let mut left = Vec::new();
    if let Some(Ok(mut session)) = ctx.shared.take()
        && let Err(error) = session.close()
    {
        left.push(format!("the session: {error:#}"));
    }
    for entry in std::fs::read_dir(ctx.state_root()).into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        // A runtime that cannot delete is found by what is left, below.
        let _ended = ctx.rt(&["delete", "--force", &id]);
    }
    left.extend(descendants(std::process::id()).iter().filter_map(|pid| describe(*pid)));
    kill_descendants(std::process::id());
    left.extend(mounts_below(&ctx.dir));
    left.extend(cgroups_of(&ctx.tag));
    left
}

/// Every process below `pid`, children first come first.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for task in std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    found.split_off(1)
}

/// `process PID (COMMAND LINE)` of everything below this process.
pub(crate) fn described_descendants() -> Vec<String> {
    descendants(std::process::id()).into_iter().filter_map(describe).collect()
}

fn describe(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let words = text.split('\0').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then(|| format!("process {pid} ({words})"))
}

/// Ends everything below `pid`, in rounds, because the killed leave orphans that are adopted.
pub(crate) fn kill_descendants(pid: u32) {
    for _round in 0..20 {
        let found = descendants(pid);
        if found.is_empty() {
            return;
        }
        for child in found {
            // Already ended is fine.
            let _sent = nix::sys::signal::kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL);
        }
        process::pause_briefly();
    }
}

fn mounts_below(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points =
        text.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| Path::new(at).starts_with(dir));
    let found: Vec<String> = points.map(str::to_owned).collect();
    for point in found.iter().rev() {
        let _gone = nix::mount::umount2(point.as_str(), nix::mount::MntFlags::MNT_DETACH);
    }
    found.into_iter().map(|at| format!("mount on {at}")).collect()
}

/// Whether the name holds the tag, and not one that begins as it does: `cc1-3` is none of `cc1-33`.
fn is_named(name: &str, tag: &str) -> bool {
    let mut rests = name.match_indices(tag).filter_map(|(at, _)| name.get(at + tag.len()..));
    rests.any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// cgroups whose name holds `tag`, in every hierarchy, near its top; removes them.
fn cgroups_of(tag: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut search = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = search.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            let path = entry.path();
            // With what is below it: a runtime that was killed has left that too.
            if found.contains(&dir) || is_named(&entry.file_name().to_string_lossy(), tag) {
                found.push(path.clone());
            }
            if depth < 7 {
                search.push((path, depth + 1));
            }
        }
    }
    found.sort();
    for dir in found.iter().rev() {
        let _gone = process::until("the cgroup is empty", Duration::from_secs(1), || {
            Ok(std::fs::remove_dir(dir).is_ok())
        });
    }
    found.into_iter().map(|dir| format!("cgroup {}", dir.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn a_tag_is_no_beginning_of_another() {
        for (name, expected) in [
            ("cc1-3", true),
            ("cc1-3-c", true),
            ("conformance-cc1-3-c.scope", true),
            ("cc1-33-frozen", false),
            ("cc1-33-cc1-3", true),
            ("cc1-4", false),
        ] {
            assert_eq!(is_named(name, "cc1-3"), expected, "{name}");
        }
    }
}
