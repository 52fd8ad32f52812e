//! `conformance suite`: runc's own integration tests on another runtime, judged by `known/runc-suite.toml`.
//!
//! Invariant: the last line is `N passed, N failed, N skipped`. A test that fails as the list says is neither passed nor failed but
//! shown with its reason; one that fails or passes against the list is failed.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::account::{self, Account};
use crate::case::Outcome;
use crate::known;
use crate::needs::Host;
use crate::process;
use crate::report::Totals;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The runtime: a path, a name on PATH, or `ours` for the one beside this program.
    #[arg(long)]
    runtime: String,
    /// A source tree of runc with its test binaries built; without it, the one that CORACLE_RUNC_SUITE names.
    #[arg(long)]
    suite: Option<PathBuf>,
    /// Only the files of tests/integration whose name contains this.
    #[arg(long)]
    filter: Vec<String>,
    /// With the systemd manager of cgroups.
    #[arg(long)]
    systemd: bool,
}

/// How long one file may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How often is looked whether all tests of a file have ended although bats has not.
const LOOK: Duration = Duration::from_secs(10);

/// All files, one after the other: tests of runc share cgroups and a seccomp agent.
pub(crate) fn suite(args: &Args) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let named = args.suite.clone().or_else(|| std::env::var_os("CORACLE_RUNC_SUITE").map(PathBuf::from));
    let (suite, commit) = match absent(named.as_deref()) {
        Ok(found) => found,
        Err(reason) => {
            writeln!(out, "not run: runc's integration tests: {reason}")?;
            writeln!(out, "{}", Totals { skipped: 1, ..Totals::default() })?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let work = tempfile::Builder::new().prefix("conformance.").tempdir_in(crate::work_root())?;
    std::fs::set_permissions(work.path(), std::fs::Permissions::from_mode(0o755))?;
    let bench = Bench { suite, runtime: renamed(&args.runtime, work.path())?, work: work.path(), args };
    let (host, known) = (Host::measure(), known::runc_suite()?);
    writeln!(out, "runc {commit}; {}", host.describe())?;
    let mut totals = Totals::default();
    let (mut differences, mut explained) = (Vec::new(), Vec::new());
    for file in bench.files()? {
        let results = bench.run(&file)?;
        let judged = known.differences(&host, results.iter().map(|(name, outcome)| (name.as_str(), outcome)));
        let sums = judge(&results, &judged);
        writeln!(out, "{file:<28} {sums}")?;
        for line in &judged {
            writeln!(out, "  {line}")?;
        }
        differences.extend(judged);
        for (name, _) in results.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))) {
            explained.extend(known.why(&host, name).map(|why| format!("{name}: {why}")));
        }
        totals.add(sums);
    }
    for line in &explained {
        writeln!(out, "known: {line}")?;
    }
    for difference in &differences {
        writeln!(out, "failed: {difference}")?;
    }
    writeln!(out, "{totals}")?;
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tree and its version, or what is missing.
fn absent(suite: Option<&Path>) -> Result<(&Path, String), String> {
    let suite = suite.ok_or("neither --suite nor CORACLE_RUNC_SUITE names a source tree (README.md)")?;
    for part in ["tests/integration/helpers.bash", "tests/cmd/_bin/recvtty"] {
        if !suite.join(part).exists() {
            return Err(format!("{} has no {part}", suite.display()));
        }
    }
    for program in ["bats", "jq", "script", "gawk"] {
        process::find(program).ok_or(format!("{program} is not installed"))?;
    }
    images(suite)?;
    let version = std::fs::read_to_string(suite.join("VERSION")).unwrap_or_default();
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "-C"]).arg(suite).args(["rev-parse", "--short", "HEAD"]);
    let commit = process::run(&mut git, Duration::from_secs(10)).map(|ended| ended.out).unwrap_or_default();
    Ok((suite, format!("{} {}", version.trim(), commit.trim())))
}

/// Without an image each test would ask for it in vain, or fail to unpack it.
fn images(suite: &Path) -> Result<(), String> {
    const XZ: &[u8] = b"\xfd7zXZ";
    for name in ["busybox", "debian"] {
        let image = suite.join(format!("tests/integration/testdata/{name}-{}.tar.xz", architecture()));
        let mut magic = [0; XZ.len()];
        std::fs::File::open(&image)
            .and_then(|mut file| file.read_exact(&mut magic))
            .map_err(|error| format!("read {}: {error}", image.display()))?;
        if magic == XZ && process::find("xz").is_none() {
            return Err(format!("xz is not installed, and {} needs it", image.display()));
        }
    }
    Ok(())
}

/// In Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A copy by the name that the tests expect in messages.
fn renamed(runtime: &str, work: &Path) -> Result<PathBuf> {
    let found = match runtime {
        "ours" => std::env::current_exe()?.with_file_name("runtime"),
        path if path.contains('/') => PathBuf::from(path),
        name => process::find(name).with_context(|| format!("find the runtime {name}"))?,
    };
    let copy = work.join("runc");
    std::fs::copy(&found, &copy).with_context(|| format!("copy {}", found.display()))?;
    Ok(copy)
}

struct Bench<'a> {
    suite: &'a Path,
    runtime: PathBuf,
    work: &'a Path,
    args: &'a Args,
}

impl Bench<'_> {
    fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.suite.join("tests/integration"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let wanted = &self.args.filter;
            if name.ends_with(".bats") && (wanted.is_empty() || wanted.iter().any(|w| name.contains(w))) {
                files.push(name);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Each test of the file with its outcome, as `file: test`.
    fn run(&self, file: &str) -> Result<Vec<(String, Outcome)>> {
        // The tests need a controlling terminal whose input never ends.
        let input = self.work.join("input");
        if !input.exists() {
            nix::unistd::mkfifo(&input, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
        }
        let input = std::fs::OpenOptions::new().read(true).write(true).open(&input)?;
        let mut command = Command::new("script");
        let tests = format!("bats --tap tests/integration/{file}");
        command.args(["--quiet", "--return", "--command", &tests, "/dev/null"]);
        command.current_dir(self.suite).env("RUNC", &self.runtime).env("PATH", self.path()?);
        command.env("TERM", "dumb");
        if !nix::unistd::geteuid().is_root() {
            command.envs(features(&account::own()?));
        }
        if self.args.systemd {
            command.env("RUNC_USE_SYSTEMD", "1");
        }
        let stem = file.trim_end_matches(".bats");
        let mut running = process::start(&mut command, Stdio::from(input))?;
        Ok(parse(stem, &output(&mut running, LOOK)?))
    }

    /// The tests ask Go for the architecture, and for nothing else once their binaries are built.
    fn path(&self) -> Result<std::ffi::OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if process::find("go").is_some() {
            return Ok(path);
        }
        let arch = architecture();
        let stand_in = self.work.join("go");
        std::fs::write(&stand_in, format!("#!/bin/sh\n[ \"$*\" = 'env GOARCH' ] && echo {arch}\n"))?;
        std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755))?;
        ensure!(!path.is_empty(), "PATH is empty");
        Ok(std::env::join_paths(std::iter::once(self.work.to_owned()).chain(std::env::split_paths(&path)))?)
    }
}

/// What an ordinary user has, in the words of runc's tests/rootless.sh: ids, and cgroups that root gave to him.
fn features(user: &Account) -> Vec<(String, String)> {
    let mut all = subordinate_ids(user).unwrap_or_default();
    let mut features = if all.is_empty() { Vec::new() } else { vec!["idmap"] };
    if is_delegated() {
        features.push("cgroup");
    }
    all.push(("ROOTLESS_FEATURES".to_owned(), features.join("+")));
    all
}

/// Without them the tests map one id.
fn subordinate_ids(user: &Account) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    for (kind, file) in [("UID", "/etc/subuid"), ("GID", "/etc/subgid")] {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(&user.name)?.strip_prefix(':'))?;
        let (start, length) = line.split_once(':')?;
        all.push((format!("ROOTLESS_{kind}MAP_START"), start.to_owned()));
        all.push((format!("ROOTLESS_{kind}MAP_LENGTH"), length.to_owned()));
    }
    Some(all)
}

/// Whether this user may make cgroups below the path that the tests use, on v1 or on v2.
fn is_delegated() -> bool {
    let may = |dir: &str| {
        let dir = Path::new("/sys/fs/cgroup").join(dir).join("runc-cgroups-integration-test");
        nix::unistd::access(&dir, nix::unistd::AccessFlags::W_OK).is_ok()
    };
    may("") || may("memory")
}

/// What bats wrote. A test that fails may leave a program behind that keeps bats' output open, and bats waits for its end: where nothing
/// came after the last test between two looks, the wait is over. Who drops `running` hangs up the terminal, which ends them all.
fn output(running: &mut process::Running, look: Duration) -> Result<String> {
    let start = Instant::now();
    let mut before = String::new();
    loop {
        let has_ended = running.ends_within(look)?.is_some();
        let text = running.so_far()?;
        if has_ended || start.elapsed() > PATIENCE || (text == before && lost(&parse("", &text)).is_none()) {
            return Ok(text);
        }
        before = text;
    }
}

/// The line that stands for the tests that never came.
fn lost(results: &[(String, Outcome)]) -> Option<&str> {
    results.last().map(|(name, _)| name.as_str()).filter(|name| name.ends_with(": all"))
}

/// TAP: a plan, then a line for each test. Tests that the plan promises and that never came have failed.
fn parse(stem: &str, text: &str) -> Vec<(String, Outcome)> {
    let mut results = Vec::new();
    let mut planned = 0;
    for line in text.lines().map(str::trim_end) {
        if let Some(count) = line.strip_prefix("1..") {
            planned = count.parse().unwrap_or(0);
            continue;
        }
        let (passed, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => {
                if let Some((_, Outcome::Failed(reason))) = results.last_mut() {
                    add_reason(reason, line);
                }
                continue;
            }
        };
        let Some((_, name)) = rest.split_once(' ') else { continue };
        let (name, outcome) = match (name.split_once(" # skip"), passed) {
            (Some((name, reason)), _) => (name, Outcome::NotRun(reason.trim().to_owned())),
            (None, true) => (name, Outcome::Passed),
            (None, false) => (name, Outcome::Failed(String::new())),
        };
        results.push((format!("{stem}: {name}"), outcome));
    }
    if results.len() < planned || planned == 0 {
        let text = format!("{} of {planned} tests came to an end", results.len());
        results.push((format!("{stem}: all"), Outcome::Failed(text)));
    }
    results
}

/// Of the lines after a failure: the command that failed, and what the runtime said.
fn add_reason(reason: &mut String, line: &str) {
    const MOST: usize = 500;
    let line = line.trim_start_matches(['#', ' ']);
    let is_command = line.ends_with("' failed") || line.contains("' failed with status ");
    if (is_command || line.contains("level=error")) && reason.len() < MOST {
        let between = if reason.is_empty() { "" } else { "; " };
        reason.push_str(between);
        reason.push_str(line);
    }
}

/// What differs from the list has failed; what fails by the list counts as not run, and its reason is shown.
fn judge(results: &[(String, Outcome)], differences: &[String]) -> Totals {
    let mut sums = Totals { failed: differences.len(), ..Totals::default() };
    for (name, outcome) in results {
        // As `Known::differences` begins its lines.
        let differs = differences.iter().any(|line| {
            line.strip_prefix(name.as_str())
                .is_some_and(|rest| [" fails ", " passes,"].iter().any(|w| rest.starts_with(w)))
        });
        match outcome {
            _ if differs => {}
            Outcome::Passed => sums.passed += 1,
            Outcome::Failed(_) | Outcome::NotRun(_) => sums.skipped += 1,
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_is_read_and_a_lost_test_has_failed() {
        let text = "1..4\r\nok 1 one\r\nnot ok 2 two [x]\r\n# (in x)\r\n#   `[ 1 ]' failed with status 2\r\n# level=error\r\nok 3 three # skip test requires root\r\n";
        let expected = [
            ("f: one".to_owned(), Outcome::Passed),
            (
                "f: two [x]".to_owned(),
                Outcome::Failed("`[ 1 ]' failed with status 2; level=error".to_owned()),
            ),
            ("f: three".to_owned(), Outcome::NotRun("test requires root".to_owned())),
            ("f: all".to_owned(), Outcome::Failed("3 of 4 tests came to an end".to_owned())),
        ];
        assert_eq!(parse("f", text), expected);
    }

    #[test]
    fn a_program_that_a_test_left_behind_does_not_hold_up_the_others() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 1..2; echo ok 1 one; echo not ok 2 two; exec sleep 1000"]);
        let mut running = process::start(&mut command, Stdio::null()).unwrap();
        let text = output(&mut running, Duration::from_millis(50)).unwrap();
        assert_eq!(text, "1..2\nok 1 one\nnot ok 2 two\n");
    }
}
