//! Calls that go wrong, or come at the wrong moment, and what becomes of the others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::containerd::PATIENCE;
use super::lone::{Lone, NEEDS, of, refusal, says, shim, spec};
use super::ttrpc::number;
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/shim-request-too-long",
        source: "ttrpc: a message over its limit is the error of one call",
        needs: NEEDS,
        run: too_long,
    },
    Case {
        name: "chain/shim-many-descriptors",
        source: "containerd's unit since 2.0: no LimitNOFILE",
        needs: &[Need::Root, Need::Program("prlimit")],
        run: descriptors,
    },
    Case {
        name: "chain/shim-exec-decides-its-terminal",
        source: "containerd's runc shim: exec's spec takes the request's terminal",
        needs: NEEDS,
        run: exec_terminal,
    },
    Case {
        name: "chain/shim-failed-create-leaves-nothing",
        source: "ARCHITECTURE: coracle.json",
        needs: NEEDS,
        run: failed_create,
    },
    Case {
        name: "chain/shim-id-is-free-when-nothing-is-left",
        source: "ARCHITECTURE: what was made in vain",
        needs: NEEDS,
        run: made_in_vain,
    },
    Case {
        name: "chain/shim-waits-for-a-deleted-exec",
        source: "ARCHITECTURE: every call is answered once",
        needs: NEEDS,
        run: waiter,
    },
    Case {
        name: "chain/shim-exec-of-a-paused-container",
        source: "containerd's runc shim: an exec's status is its paused container's",
        needs: &[Need::Root, Need::Controller("freezer")],
        run: paused,
    },
];

/// Every time a client of ttrpc 1.1, which does not look at the length itself, execs with too many arguments.
fn too_long(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    let mut process = of(&["stop"]);
    process["args"] = json!(["/probe", "x".repeat(4_500_000)]);
    let request = shim.process("big").with(7, spec(&process));
    let said = refusal(shim.client.call("Exec", &request))?;
    says(&said, "is longer than 4194304")?;
    let init = shim.init();
    let state = shim.client.call("State", &init)?;
    ensure!(number(&state, 4) == 2, "the container does not run any more");
    shim.end()
}

fn descriptors(ctx: &Ctx) -> Result<()> {
    const SOFT: &str = "64";
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={SOFT}:4096")).arg(shim(ctx));
    let bundle = ctx.bundle(&["stop"])?;
    bundle.edit(|config| crate::bundle::remove(config, "/process/rlimits"))?;
    let mut shim = Lone::start_by(ctx, bundle, command)?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    for exec in (0..40).map(|number| format!("e{number}")) {
        let fifo = shim.fifo(&exec)?;
        let _reader = reader(&fifo)?;
        shim.add(&exec, &["stop"], |request| request.with(5, fifo.to_string_lossy().as_bytes()))?;
        let process = shim.process(&exec);
        shim.client.call("Start", &process)?;
    }
    // What a container gets is what the shim was started with.
    let log = ctx.path("limits");
    shim.add("limits", &["cat", "/proc/self/limits"], |request| request.with(5, uri(&log)))?;
    let process = shim.process("limits");
    shim.client.call("Start", &process)?;
    shim.client.call("Wait", &process)?;
    shim.client.call("Delete", &process)?;
    let limits = std::fs::read_to_string(&log)?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    ensure!(line.split_whitespace().nth(3) == Some(SOFT), "{line:?}");
    shim.end()
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn reader(fifo: &Path) -> Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    Ok(std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifo)?)
}

/// A client may take the process of the container's own specification and say of the terminal apart from it.
fn exec_terminal(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    for (exec, said, meant) in [("plain", true, false), ("shown", false, true)] {
        let mut process = of(&["stop"]);
        process["terminal"] = json!(said);
        let mut request = shim.process(exec).with(7, spec(&process));
        if meant {
            request = request.set(3);
        }
        shim.client.call("Exec", &request)?;
        let key = shim.process(exec);
        shim.client.call("Start", &key)?;
        shim.client.call("Kill", &key.clone().count(3, 9))?;
        shim.client.call("Wait", &key)?;
        shim.client.call("Delete", &key)?;
    }
    let request = shim.process("none").with(7, spec(&json!("no process")));
    says(&refusal(shim.client.call("Exec", &request))?, "exec none: its process is not an object")?;
    shim.end()
}

fn failed_create(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let before = names(shim.bundle.dir())?;
    let creation = shim.creation()?;
    let wrong = creation.clone().with(5, "npipe:///x");
    says(&refusal(shim.client.call("Create", &wrong))?, "the scheme npipe is not known")?;
    ensure!(names(shim.bundle.dir())? == before, "{:?}", names(shim.bundle.dir())?);
    shim.run(&creation)?;
    let before = names(shim.bundle.dir())?;
    shim.add("wrong", &["stop"], |request| request.with(5, "npipe:///x"))?;
    let process = shim.process("wrong");
    says(&refusal(shim.client.call("Start", &process))?, "the scheme npipe is not known")?;
    ensure!(names(shim.bundle.dir())? == before, "{:?}", names(shim.bundle.dir())?);
    shim.end()
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn waiter(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    shim.add("never", &["stop"], |request| request)?;
    let process = shim.process("never");
    let mut other = shim.connect()?;
    other.send("Wait", &process)?;
    // It waits once a later question of the same connection's is answered; the shim takes them in order.
    ensure!(!other.is_answered(Duration::from_millis(200))?, "it waits for nothing");
    shim.client.call("Delete", &process)?;
    ensure!(other.is_answered(PATIENCE)?, "its waiter is not told");
    other.answer()?;
    shim.end()
}

fn paused(ctx: &Ctx) -> Result<()> {
    const PAUSED: u64 = 4;
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    shim.add("e", &["stop"], |request| request)?;
    let (init, exec) = (shim.init(), shim.process("e"));
    shim.client.call("Start", &exec)?;
    shim.client.call("Pause", &init)?;
    let state = number(&shim.client.call("State", &exec)?, 4);
    shim.client.call("Resume", &init)?;
    ensure!(state == PAUSED, "its state is {state}");
    ensure!(number(&shim.client.call("State", &exec)?, 4) == 2, "it does not run again");
    shim.end()
}

/// A runtime that makes something and does not say what: it is removed, and until then nobody else gets the id.
fn made_in_vain(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let (runtime, gate) = (ctx.path("runtime"), shim.fifo("gate")?);
    let text =
        format!("#!/bin/sh\ncase \" $* \" in *\" delete --force \"*) read word <{};; esac\n", gate.display());
    std::fs::write(&runtime, text)?;
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755))?;
    let creation = shim.creation_by(&runtime)?;
    says(&refusal(shim.client.call("Create", &creation))?, "init.pid: No such file")?;
    says(&refusal(shim.client.call("Create", &creation))?, "it exists already")?;
    std::fs::write(&gate, "go\n")?;
    let real = shim.creation()?;
    process::until("the id is free", PATIENCE, || Ok(shim.client.call("Create", &real).is_ok()))?;
    shim.end()
}
