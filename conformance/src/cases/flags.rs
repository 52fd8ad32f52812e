//! The syntax of flags: Go's, in which scripts and engines write them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::{Case, Ctx};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "flags/switches-with-a-value",
        source: "Go's flag package: -flag=x for a boolean, 1 0 t f T F true false TRUE FALSE True False",
        needs: &[],
        run: switches,
    },
    Case {
        name: "flags/an-explicit-false",
        source: "runc exec --no-new-privs=false: changes the container's true",
        needs: &[],
        run: explicit_false,
    },
    Case {
        name: "flags/empty-is-not-given",
        source: "runc: every text is \"\" by default, scripts write --pid-file \"$FILE\"",
        needs: &[],
        run: empty,
    },
    Case {
        name: "flags/a-value-that-begins-with-a-dash",
        source: "Go's flag package: the next word is the value",
        needs: &[],
        run: dashes,
    },
    Case {
        name: "flags/an-unknown-capability",
        source: "runc exec --cap: ignoring unknown or unavailable capabilities",
        needs: &[],
        run: unknown_cap,
    },
    Case {
        name: "flags/exec-that-cannot-tell-leaves-nothing",
        source: "runc exec: terminates the process when the pid file or the pidfd socket fails",
        needs: &[],
        run: nothing_left,
    },
];

fn switches(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    for words in [
        &["--debug=false", "state", &id][..],
        &["--systemd-cgroup=False", "state", &id],
        &["list", "--quiet=t"],
        &["list", "-q=1"],
        &["exec", "--tty=0", "--detach=F", &id, "/probe", "print", "x"],
        &["exec", "--tty", "--tty=false", &id, "/probe", "print", "x"],
    ] {
        ctx.rt(words)?.success()?;
    }
    ensure!(ctx.rt(&["list", "--quiet=true"])?.success()?.out.trim() == id, "not quiet");
    let wrong = ctx.rt(&["exec", "--tty=perhaps", &id, "/probe", "print", "x"])?.failure()?;
    wrong.says("invalid")?.says("\"perhaps\"").map(drop)
}

fn explicit_false(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle_named("c", &["write", "/ready", "", ",", "wait"])?;
    bundle.set("/process/noNewPrivileges", json!(true))?;
    let id = ctx.detached(&bundle, "c")?;
    for (flag, expected) in [("--tty=false", "1"), ("--no-new-privs=false", "0"), ("--no-new-privs", "1")] {
        let seen: Value =
            serde_json::from_str(&ctx.rt(&["exec", flag, &id, "/probe", "show"])?.success()?.out)?;
        let value = &seen["status"]["NoNewPrivs"];
        ensure!(value == expected, "{flag}: {value}");
    }
    Ok(())
}

fn empty(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "it runs"])?;
    let flags = ["--pid-file", "", "--console-socket="];
    let id = ctx.id("r");
    let words = [&["run"][..], &flags, &["--bundle", bundle.path()?, &id]].concat();
    ctx.rt(&words)?.success()?.out("it runs\n")?;
    let id = ctx.waiting("c")?;
    for flag in ["--process", "--cwd", "--user", "--apparmor", "--process-label", "--pid-file"] {
        ctx.rt(&["exec", flag, "", &id, "/probe", "print", "x"])?.success()?.out("x\n")?;
    }
    // The last one counts.
    ctx.rt(&["exec", "--pid-file", "/no/such/file", "--pid-file", "", &id, "/probe", "print", "x"])?
        .success()?;
    for flag in ["--log", "--log-format", "--rootless"] {
        ctx.rt(&[flag, "", "state", &id])?.success()?;
    }
    ctx.rt(&["kill", &id, ""])?.success()?;
    ctx.until_status(&id, "stopped")
}

fn dashes(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let ended = ctx.rt(&["exec", "--env", "-X=1", &id, "/probe", "env"])?.success()?;
    ensure!(ended.out.contains("-X"), "{}", ended.unexpected("the variable is not there"));
    ctx.rt(&["exec", "-u", "-1", &id, "/probe", "env"])?.failure()?.says("-1")?;
    let ended = ctx.rt(&["events", "--interval", "-1s", &id])?.failure()?;
    ended.says("interval").map(drop)
}

fn unknown_cap(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let ended = ctx.rt(&["exec", "--cap", "CAP_FOO", &id, "/probe", "print", "x"])?.success()?;
    ended.out("x\n")?.says("ignoring unknown or unavailable capabilities: [CAP_FOO]").map(drop)
}

/// The processes of a container, as `ps` lists them.
fn processes(ctx: &Ctx, id: &str) -> Result<usize> {
    let text = ctx.rt(&["ps", "--format", "json", id])?.success()?.out;
    Ok(serde_json::from_str::<Vec<u32>>(&text)?.len())
}

fn nothing_left(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    for flag in ["--pid-file", "--pidfd-socket"] {
        for mode in ["--detach=true", "--detach=false"] {
            ctx.rt(&["exec", mode, flag, "/no/such/dir/file", &id, "/probe", "wait"])?.code(255)?;
        }
    }
    // Init alone. It ends in the cgroup a moment after it was waited for.
    crate::process::until("init is alone", crate::case::BOUND, || Ok(processes(ctx, &id)? == 1))
}
