//! `builder run hello-world` with the image absent: it is pulled from a real registry, and run.

use anyhow::{Result, ensure};
use serde_json::json;

use super::place::Place;
use super::registry::Registry;
use crate::case::{Case, Ctx};
use crate::image;
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/hello-world",
        source: "issue 2: pulls what is absent and runs it",
        needs: &[Need::UserNamespaces],
        run: hello_world,
    },
    Case {
        name: "chain/run-flags",
        source: "issue 2: builder run -e -w -u -v --entrypoint --name, exit code",
        needs: &[Need::UserNamespaces],
        run: flags,
    },
];

/// A registry with `library/hello-world`, and a place that has it as Docker Hub.
pub(super) fn with_hello(ctx: &Ctx) -> Result<(Registry, Place)> {
    let registry = Registry::start(ctx)?;
    let archive = ctx.path("hello.tar");
    let config =
        json!({"Cmd": ["/probe", "print", "Hello from a coracle!"], "Env": ["PATH=/"], "WorkingDir": "/"});
    image::of_probe(&archive, &ctx.binaries.join("probe"), &config, "docker.io/library/hello-world:latest")?;
    registry.publish(ctx, &archive, "library/hello-world:latest")?;
    let place = Place::new(ctx, "home", &registry.url())?;
    Ok((registry, place))
}

fn hello_world(ctx: &Ctx) -> Result<()> {
    let (_registry, place) = with_hello(ctx)?;
    let images = place.run(&["images"])?.success()?.out;
    ensure!(!images.contains("hello-world"), "the image is there before it is pulled: {images}");
    place
        .run(&["run", "--rm", "--network", "none", "hello-world"])?
        .success()?
        .out("Hello from a coracle!\n")?;
    let images = place.run(&["images"])?.success()?.out;
    ensure!(images.contains("hello-world"), "the image is not listed: {images}");
    drop(_registry);
    // Now from the store alone.
    place
        .run(&["run", "--rm", "--network", "none", "hello-world"])?
        .success()?
        .out("Hello from a coracle!\n")?;
    place.verify_blobs()
}

fn flags(ctx: &Ctx) -> Result<()> {
    let (_registry, place) = with_hello(ctx)?;
    let shared = ctx.path("shared");
    std::fs::create_dir(&shared)?;
    std::fs::write(shared.join("file"), "shared\n")?;
    let volume = format!("{}:/mnt:ro", shared.display());
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "-e",
        "A=1",
        "-w",
        "/etc",
        "-v",
        &volume,
        "hello-world",
        "/probe",
        "show",
    ];
    let seen: serde_json::Value = serde_json::from_str(&place.run(&words)?.success()?.out)?;
    ensure!(
        seen["env"]["A"] == "1" && seen["cwd"] == "/etc" && seen["uid"] == json!([0, 0]),
        "{} {} {}",
        seen["env"],
        seen["cwd"],
        seen["uid"]
    );
    let run = |flags: &[&str], words: &[&str]| {
        place.run(&[&["run", "--rm", "--network", "none"], flags, &["hello-world"], words].concat())
    };
    run(&["-v", &volume], &["/probe", "cat", "/mnt/file", ",", "write", "/mnt/x", "1"])?
        .success()?
        .out("shared\nwrite /mnt/x 1: EROFS\n")?;
    run(&["--entrypoint", "/probe"], &["print", "entered"])?.success()?.out("entered\n")?;
    run(&[], &["/probe", "exit", "37"])?.code(37)?;
    let hosts = run(&[], &["/probe", "cat", "/etc/hosts"])?.success()?.out;
    ensure!(hosts.contains("localhost"), "/etc/hosts: {hosts}");
    run(&["-u", "4294967296"], &["/probe", "show"])?.failure()?;
    if ctx.host.root || ctx.host.lacks(Need::SubordinateIds).is_none() {
        let seen: serde_json::Value =
            serde_json::from_str(&run(&["-u", "user"], &["/probe", "show"])?.success()?.out)?;
        ensure!(seen["uid"] == json!([1000, 1000]), "-u user: {}", seen["uid"]);
    }
    Ok(())
}
