//! `conformance bench-shim`: our shim with our runtime, and containerd's shim with runc, in turn under one containerd.
//!
//! Invariant: both serve the same containers of the same image under the same daemon, one after the other in changing order.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use crate::case::{Ctx, Shared};
use crate::chain::containerd::{self, Containerd, IMAGE};
use crate::needs::Host;
use crate::subject::Subject;
use crate::{build, process, worker};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Our shim, or another version of it: a path, or `ours`. The runtime is the one beside it.
    #[arg(long, value_name = "PATH", default_value = "ours")]
    shim: String,
    /// How many containers of each are run, one after the other.
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// How many idle containers of each share a machine when memory is read.
    #[arg(long, default_value_t = 10)]
    idle: u32,
}

const PEERS: [(&str, &str, &str); 2] = [
    ("coracle", "io.containerd.coracle.v2", "containerd-shim-coracle-v2"),
    ("runc", "io.containerd.runc.v2", "containerd-shim-runc-v2"),
];

/// A shim gives back what a burst of calls has left after two seconds of rest.
const REST: Duration = Duration::from_secs(4);

/// What the containers of one shim cost.
#[derive(Default)]
struct Costs {
    wall: Vec<Duration>,
    cpu: Duration,
    pss: Vec<u64>,
}

/// Measures, and prints the table.
pub(crate) fn bench(args: &Args) -> Result<ExitCode> {
    nix::sys::prctl::set_child_subreaper(true)?;
    std::thread::Builder::new().name("reaper".to_owned()).spawn(|| process::reap_adopted())?;
    let work = tempfile::Builder::new().prefix("shims.").tempdir_in(crate::work_root())?;
    let ctx = context(args, work.path())?;
    let archive = containerd::archive(&ctx)?;
    let daemon = Containerd::start(&ctx)?;
    daemon.ctr(&["image", "import", &archive.to_string_lossy()])?.success()?;
    let mut costs = [Costs::default(), Costs::default()];
    let measured = run(&daemon, args, &mut costs).and_then(|()| rest(&daemon, args, &mut costs));
    containerd::stop(&ctx, daemon)?;
    measured?;
    print(&costs)?;
    Ok(ExitCode::SUCCESS)
}

/// A folder with the shim, the runtime and the probe, as a case has it.
fn context(args: &Args, work: &Path) -> Result<Ctx> {
    let own = build::beside()?;
    let shim = match args.shim.as_str() {
        "ours" => own.join("containerd-shim-coracle-v2"),
        path => PathBuf::from(path).canonicalize().with_context(|| format!("find {path}"))?,
    };
    let binaries = work.join("bin");
    std::fs::create_dir(&binaries)?;
    let beside = shim.parent().context("the shim is in no folder")?;
    let sources = [shim.clone(), beside.join("runtime"), own.join("probe")];
    for (from, name) in sources.iter().zip(["containerd-shim-coracle-v2", "runtime", "probe"]) {
        std::fs::copy(from, binaries.join(name)).with_context(|| format!("copy {}", from.display()))?;
    }
    let host = Host::measure();
    let subject = Subject::find("ours", &binaries, &host)?;
    let tag = format!("bs{}", std::process::id());
    Ok(Ctx { subject, host, dir: work.to_owned(), binaries, tag, shared: Shared::new() })
}

fn run(daemon: &Containerd, args: &Args, costs: &mut [Costs; 2]) -> Result<()> {
    for round in 0..args.rounds + 1 {
        let mut turns: Vec<_> = PEERS.iter().zip(costs.iter_mut()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for ((name, kind, program), cost) in turns {
            let (cpu, began) = (spent(daemon)?, Instant::now());
            let id = format!("{name}-{round}");
            daemon.ctr(&["run", "--rm", "--runtime", kind, IMAGE, &id, "/probe", "exit", "0"])?.success()?;
            let wall = began.elapsed();
            process::until("the shim has ended", Duration::from_secs(60), || Ok(shims(program).is_empty()))?;
            // The first of each warms the caches up.
            if round > 0 {
                cost.wall.push(wall);
                cost.cpu += spent(daemon)?.saturating_sub(cpu);
            }
        }
    }
    Ok(())
}

/// Processor time of everything that has ended below this process, and of containerd.
fn spent(daemon: &Containerd) -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0))
        .sum();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid()))?;
    let after = stat.rsplit_once(") ").context("read containerd's times")?.1;
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(Duration::from_micros(micros) + Duration::from_millis(10 * ticks))
}

fn rest(daemon: &Containerd, args: &Args, costs: &mut [Costs; 2]) -> Result<()> {
    for ((name, kind, program), cost) in PEERS.iter().zip(costs.iter_mut()) {
        let ids: Vec<String> = (0..args.idle).map(|number| format!("{name}-idle-{number}")).collect();
        for id in &ids {
            daemon.ctr(&["run", "--detach", "--runtime", kind, IMAGE, id, "/probe", "stop"])?.success()?;
        }
        std::thread::sleep(REST);
        let found = shims(program);
        ensure!(found.len() == ids.len(), "{} {program} for {} containers", found.len(), ids.len());
        cost.pss = found.into_iter().map(pss).collect::<Result<_>>()?;
        for id in &ids {
            daemon.ctr(&["task", "delete", "--force", id])?.success()?;
            daemon.ctr(&["container", "delete", id])?.success()?;
        }
    }
    Ok(())
}

fn shims(program: &str) -> Vec<u32> {
    let all = worker::described_descendants();
    let ours = all.iter().filter(|line| line.contains(&format!("{program} ")));
    ours.filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect()
}

/// KiB of a process, with its share of what it shares.
fn pss(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("find Pss")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}

fn print(costs: &[Costs; 2]) -> Result<()> {
    let wall = |cost: &Costs, percent: usize| {
        let mut wall = cost.wall.clone();
        wall.sort();
        wall.get(wall.len() * percent / 100).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let cpu = |cost: &Costs| {
        let runs = u32::try_from(cost.wall.len()).unwrap_or(u32::MAX).max(1);
        (cost.cpu / runs).as_secs_f64() * 1e3
    };
    let pss = |cost: &Costs| {
        let count = u32::try_from(cost.pss.len()).unwrap_or(u32::MAX).max(1);
        f64::from(u32::try_from(cost.pss.iter().sum::<u64>()).unwrap_or(u32::MAX)) / f64::from(count)
    };
    let [ours, theirs] = costs;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:46} {:>9} {:>9} {:>6}", "", "coracle", "runc", "ratio")?;
    let mut line = |what: &str, ours: f64, theirs: f64| {
        writeln!(out, "{what:46} {ours:9.1} {theirs:9.1} {:6.2}", ours / theirs)
    };
    line("ctr run --rm: wall, median, ms", wall(ours, 50), wall(theirs, 50))?;
    line("the same: lowest tenth", wall(ours, 10), wall(theirs, 10))?;
    line("the same: processor time, ctr and containerd too", cpu(ours), cpu(theirs))?;
    line("an idle shim: PSS, mean, KiB", pss(ours), pss(theirs))?;
    Ok(())
}
