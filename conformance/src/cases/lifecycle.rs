//! create, start, state, kill, delete, list, pause: the life of a container.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::{Case, Ctx};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "lifecycle/run-gives-the-exit-code",
        source: "runc run: exits with the code of the container's process",
        needs: &[],
        run: run_gives_the_exit_code,
    },
    Case {
        name: "lifecycle/run-gives-128-plus-the-signal",
        source: "runc run: 128+n when the process was killed by signal n",
        needs: &[],
        run: run_gives_128_plus_signal,
    },
    Case {
        name: "lifecycle/create-runs-nothing-before-start",
        source: "runtime-spec runtime.md#lifecycle step 6",
        needs: &[],
        run: create_runs_nothing,
    },
    Case {
        name: "lifecycle/states-in-order",
        source: "runtime-spec runtime.md#state",
        needs: &[],
        run: states_in_order,
    },
    Case {
        name: "lifecycle/state-has-the-specified-fields",
        source: "runtime-spec runtime.md#state",
        needs: &[],
        run: state_fields,
    },
    Case {
        name: "lifecycle/start-twice-is-an-error",
        source: "runtime-spec runtime.md#start",
        needs: &[],
        run: start_twice,
    },
    Case {
        name: "lifecycle/delete-of-a-running-container-is-refused",
        source: "runtime-spec runtime.md#delete",
        needs: &[],
        run: delete_running,
    },
    Case {
        name: "lifecycle/delete-force-kills",
        source: "runc delete --force",
        needs: &[],
        run: delete_force,
    },
    Case {
        name: "lifecycle/delete-force-tolerates-a-missing-container",
        source: "runc delete --force; containerd calls it after every delete",
        needs: &[],
        run: delete_force_missing,
    },
    Case {
        name: "lifecycle/delete-of-a-created-container",
        source: "runc delete: a created container is killed",
        needs: &[],
        run: delete_created,
    },
    Case {
        name: "lifecycle/kill-of-a-created-container",
        source: "runc kill: SIGTERM ends the init that waits for start",
        needs: &[],
        run: kill_created,
    },
    Case {
        name: "lifecycle/an-id-in-use-is-refused",
        source: "runtime-spec runtime.md#create: the id is unique",
        needs: &[],
        run: id_in_use,
    },
    Case {
        name: "lifecycle/an-id-is-free-after-delete",
        source: "runtime-spec runtime.md#delete: the id may be used again",
        needs: &[],
        run: id_is_free_again,
    },
    Case { name: "lifecycle/kill-by-name-and-number", source: "runc kill", needs: &[], run: kill_names },
    Case {
        name: "lifecycle/kill-of-a-stopped-container",
        source: "runc kill: container not running",
        needs: &[],
        run: kill_stopped,
    },
    Case { name: "lifecycle/list-shows-table-ids-and-json", source: "runc list", needs: &[], run: list },
    Case { name: "lifecycle/pid-file", source: "runc create --pid-file", needs: &[], run: pid_file },
];

fn run_gives_the_exit_code(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "hello", ",", "exit", "42"])?;
    ctx.run(&bundle, &ctx.id("c"))?.code(42)?.out("hello\n")?;
    Ok(())
}

fn run_gives_128_plus_signal(ctx: &Ctx) -> Result<()> {
    // Process 1 cannot kill itself; a container that shares the host's pid namespace is not process 1.
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "stop"])?;
    let id = ctx.id("c");
    let running = ctx.rt_start(&["run", "--bundle", bundle.path()?, &id])?;
    crate::process::until("the program has started", crate::case::BOUND, || {
        Ok(bundle.root().join("ready").exists())
    })?;
    ctx.rt(&["kill", &id, "KILL"])?.success()?;
    running.end(crate::case::BOUND)?.code(137)?;
    Ok(())
}

fn kill_created(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ran", "x"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    ctx.rt(&["kill", &id, "TERM"])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ensure!(!bundle.root().join("ran").exists(), "the program ran before start");
    ctx.rt(&["delete", &id])?.success()?;
    Ok(())
}

fn create_runs_nothing(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ran", "x"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "created", "not created");
    ensure!(!bundle.root().join("ran").exists(), "the program ran before start");
    ctx.rt(&["start", &id])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ensure!(bundle.root().join("ran").exists(), "the program did not run after start");
    ctx.rt(&["delete", &id])?.success()?;
    Ok(())
}

fn states_in_order(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "created", "after create: {}", ctx.state(&id)?["status"]);
    ctx.rt(&["start", &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "running", "after start: {}", ctx.state(&id)?["status"]);
    crate::process::until("the program waits", crate::case::BOUND, || {
        Ok(bundle.root().join("ready").exists())
    })?;
    ctx.rt(&["kill", &id, "KILL"])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ctx.rt(&["delete", &id])?.success()?;
    ctx.rt(&["state", &id])?.failure()?.says("does not exist")?;
    Ok(())
}

fn state_fields(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    bundle.set("/annotations", json!({"org.example.key": "value"}))?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    let state = ctx.state(&id)?;
    ensure!(
        state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")),
        "ociVersion: {}",
        state["ociVersion"]
    );
    ensure!(state["id"] == id.as_str(), "id: {}", state["id"]);
    ensure!(state["bundle"] == bundle.path()?, "bundle: {}", state["bundle"]);
    ensure!(state["annotations"]["org.example.key"] == "value", "annotations: {}", state["annotations"]);
    let pid = ctx.pid(&id)?;
    ensure!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "pid {pid} is no process");
    ctx.rt(&["delete", "--force", &id])?.success()?;
    Ok(())
}

fn start_twice(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    ctx.rt(&["start", &id])?.failure()?;
    ensure!(ctx.state(&id)?["status"] == "running", "no longer running");
    Ok(())
}

fn delete_running(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    ctx.rt(&["delete", &id])?.failure()?;
    ensure!(ctx.state(&id)?["status"] == "running", "no longer running");
    Ok(())
}

fn delete_force(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let pid = ctx.pid(&id)?;
    ctx.rt(&["delete", "--force", &id])?.success()?;
    ctx.rt(&["state", &id])?.failure()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    ensure!(stat.is_empty() || stat.contains(") Z"), "process {pid} lives on");
    Ok(())
}

fn delete_force_missing(ctx: &Ctx) -> Result<()> {
    ctx.rt(&["delete", "--force", &ctx.id("nobody")])?.success()?;
    ctx.rt(&["delete", &ctx.id("nobody")])?.failure()?.says("does not exist")?;
    Ok(())
}

fn delete_created(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    ctx.rt(&["delete", "--force", &id])?.success()?;
    ctx.rt(&["state", &id])?.failure()?;
    Ok(())
}

fn id_in_use(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let other = ctx.bundle_named("other", &["exit", "0"])?;
    ctx.run(&other, &id)?.failure()?.says("exist")?;
    ensure!(ctx.state(&id)?["status"] == "running", "the first container was harmed");
    Ok(())
}

fn id_is_free_again(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "3"])?;
    for _ in 0..3 {
        ctx.run(&bundle, &ctx.id("c"))?.code(3)?;
    }
    Ok(())
}

fn kill_names(ctx: &Ctx) -> Result<()> {
    for (number, (signal, code)) in
        [("TERM", 0), ("SIGTERM", 0), ("15", 0), ("KILL", 137), ("9", 137)].into_iter().enumerate()
    {
        let name = format!("c{number}");
        let bundle = ctx.bundle_named(&name, &["write", "/ready", "", ",", "wait"])?;
        let id = ctx.id(&name);
        let running = ctx.rt_start(&["run", "--bundle", bundle.path()?, &id])?;
        crate::process::until("the program waits", crate::case::BOUND, || {
            Ok(bundle.root().join("ready").exists())
        })?;
        ctx.until_status(&id, "running")?;
        // `wait` blocks signals just after it has made the file: a signal that comes earlier is dropped by process 1.
        let mut running = Some(running);
        crate::process::until(&format!("{signal} ends the container"), crate::case::BOUND, || {
            let _sent = ctx.rt(&["kill", &id, signal])?;
            let Some(mut now) = running.take() else { return Ok(true) };
            match now.ends_within(std::time::Duration::from_millis(200))? {
                None => running = Some(now),
                Some(got) => ensure!(got == code, "{signal}: exit code {got} instead of {code}"),
            }
            Ok(running.is_none())
        })?;
    }
    let id = ctx.waiting("bad")?;
    ctx.rt(&["kill", &id, "NOSUCH"])?.failure()?;
    Ok(())
}

fn kill_stopped(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    ctx.rt(&["start", &id])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ctx.rt(&["kill", &id, "TERM"])?.failure()?.says("container not running")?;
    ctx.rt(&["delete", &id])?.success()?;
    Ok(())
}

fn list(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let table = ctx.rt(&["list"])?.success()?.out;
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(header == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], "header: {header:?}");
    ensure!(table.lines().any(|l| l.starts_with(&id) && l.contains("running")), "table: {table}");
    ctx.rt(&["list", "-q"])?.success()?.out(&format!("{id}\n"))?;
    let json: serde_json::Value =
        serde_json::from_str(&ctx.rt(&["list", "--format", "json"])?.success()?.out)?;
    ensure!(json[0]["id"] == id.as_str() && json[0]["status"] == "running", "json: {json}");
    Ok(())
}

fn pid_file(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    let id = ctx.id("c");
    let file = ctx.path("pid");
    ctx.rt(&["create", "--bundle", bundle.path()?, "--pid-file", &file.to_string_lossy(), &id])?.success()?;
    let text = std::fs::read_to_string(&file)?;
    ensure!(text == ctx.pid(&id)?.to_string(), "pid file: {text:?}");
    Ok(())
}
