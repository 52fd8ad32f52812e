//! `RUN --device`: what a host's description of a device gives a step.

use std::fs;

use anyhow::{Result, ensure};

use super::place::Place;
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/build-device",
    source: "issue 5: RUN --device",
    needs: &[Need::UserNamespaces],
    run: device,
}];

fn device(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let dockerfile = |flag: &str| {
        format!(
            "FROM scratch\nCOPY probe /probe\nENV FOO=image\nRUN --network=none --device={flag} \
             [\"/probe\", \"read\", \"/dev/nothing\", \",\", \"write\", \"/dev/nothing\", \"gone\", \",\", \
             \"read\", \"/etc/given\", \",\", \"write\", \"/etc/given\", \"x\", \",\", \"show\"]\n"
        )
    };
    let context =
        place.context("context", &[("Dockerfile", &dockerfile("vendor1.com/device=foo,required"))])?;
    let specs = ctx.path("cdi");
    fs::create_dir(&specs)?;
    let given = ctx.path("given");
    fs::write(&given, "of the host")?;
    let text = format!(
        "cdiVersion: 0.6.0\nkind: vendor1.com/device\ncontainerEdits:\n  env: [BAR=of-all]\ndevices:\n- name: foo\n  containerEdits:\n    \
         env: [FOO=injected]\n    deviceNodes:\n    - {{path: /dev/nothing, hostPath: /dev/null, permissions: rw}}\n    mounts:\n    \
         - {{hostPath: {}, containerPath: /etc/given, options: [ro, nosuid, nodev, bind]}}\n",
        given.display()
    );
    fs::write(specs.join("vendor1.yaml"), text)?;
    let specs = specs.to_string_lossy().into_owned();
    let words = ["build", "--progress", "plain", "--cdi-spec-dir", &specs];
    let build = |more: &[&str]| place.run(&[&words[..], more, &[&context]].concat());
    build(&[])?.code(1)?.says(
        "builder: Dockerfile line 4: device vendor1.com/device=foo is not allowed (build with --allow device=vendor1.com/device=foo)\n",
    )?;
    let said = build(&["--allow", "device=vendor1.com/device"])?.success()?.err;
    for expected in [
        "read /dev/nothing: ok",
        "write /dev/nothing gone: ok",
        "read /etc/given: ok",
        "write /etc/given x: EROFS",
        r#""FOO":"injected""#,
        r#""BAR":"of-all""#,
    ] {
        ensure!(said.contains(expected), "{expected:?} is not in {said}");
    }
    ensure!(!said.contains(r#""FOO":"image""#), "the image's variable stands: {said}");
    place.context("context", &[("Dockerfile", &dockerfile("vendor1.com/device=bar,required"))])?;
    build(&["--allow", "device"])?.code(1)?.says(&format!(
        "builder: Dockerfile line 4: device vendor1.com/device=bar is not described in {specs}\n"
    ))?;
    place.context("context", &[("Dockerfile", &dockerfile("vendor1.com/device=bar"))])?;
    let warning = format!("warning: device vendor1.com/device=bar is not described in {specs}\n");
    let said = build(&[])?.success()?.err;
    ensure!(said.contains(&warning), "{warning:?} is not in {said}");
    Ok(())
}
