//! JSON as Go reads it: members in any case, the last of several, one value and no look at what follows.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

const SOURCE: &str =
    "encoding/json: keys match \"preferring exact matches but also accepting case-insensitive ones\"";

pub(crate) const CASES: &[Case] = &[
    Case { name: "json/protections-in-another-case", source: SOURCE, needs: &[], run: protections },
    Case { name: "json/the-last-of-several-counts", source: SOURCE, needs: &[], run: twice },
    Case { name: "json/keys-of-maps-stay", source: SOURCE, needs: &[], run: maps },
    Case { name: "json/update-in-another-case", source: SOURCE, needs: &[Need::V1("memory")], run: update },
    Case {
        name: "json/text-after-the-value",
        source: "encoding/json: a Decoder reads one value",
        needs: &[Need::V1("memory")],
        run: rest,
    },
    Case {
        name: "json/update-with-the-usual-name-of-a-page-size",
        source: "containerd's CRI sends back on update what create was given: pagesize",
        needs: &[Need::V2("hugetlb")],
        run: page_size,
    },
    Case {
        name: "json/a-list-is-no-resources",
        source: "runc update: cannot unmarshal array into Go value of type specs.LinuxResources",
        needs: &[Need::Root],
        run: list,
    },
];

/// Moves a member to another name.
fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(members) = object.as_object_mut()
        && let Some(value) = members.remove(from)
    {
        members.insert(to.to_owned(), value);
    }
}

fn protections(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show", ",", "list", "/masked"])?;
    std::fs::create_dir(bundle.root().join("masked"))?;
    std::fs::write(bundle.root().join("masked/secret"), "")?;
    bundle.edit(|config| {
        config["linux"]["MASKEDPATHS"] = json!(["/masked"]);
        let process = &mut config["process"];
        rename(process, "noNewPrivileges", "");
        process["NoNewPrivileges"] = json!(true);
        rename(config, "process", "Process");
        rename(config, "linux", "LINUX");
    })?;
    let out = ctx.output(&bundle)?;
    ensure!(!out.contains("secret"), "the mask is not there: {out}");
    let seen: Value = serde_json::from_str(out.lines().next().unwrap_or_default())?;
    ensure!(seen["status"]["NoNewPrivs"] == "1", "NoNewPrivs: {}", seen["status"]["NoNewPrivs"]);
    Ok(())
}

fn twice(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    let mut config = bundle.config()?;
    rename(&mut config, "hostname", "");
    let text = serde_json::to_string(&config)?;
    let inside = text.trim_start_matches('{');
    let text = format!(
        "{{\"hostname\": \"first\", \"process\": {{\"cwd\": \"/tmp\"}}, {inside}, \"hostname\": \"last\"}}",
        inside = inside.strip_suffix('}').unwrap_or_default()
    );
    std::fs::write(bundle.dir().join("config.json"), text)?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["hostname"] == "last", "hostname: {}", seen["hostname"]);
    Ok(())
}

fn maps(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle_named("c", &["write", "/ready", "", ",", "wait"])?;
    let annotations = json!({"Linux": "a", "linux": "b", "NoNewPrivileges": "c"});
    bundle.set("/annotations", annotations.clone())?;
    bundle.edit(|config| rename(config, "annotations", "Annotations"))?;
    let id = ctx.detached(&bundle, "c")?;
    let seen = ctx.state(&id)?;
    ensure!(seen["annotations"] == annotations, "{}", seen["annotations"]);
    Ok(())
}

/// The container's limit on memory in bytes, on v1.
fn limit(ctx: &Ctx, id: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", ctx.pid(id)?))?;
    let path = text.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path));
    let file = format!("/sys/fs/cgroup/memory{}/memory.limit_in_bytes", path.unwrap_or_default());
    Ok(std::fs::read_to_string(file)?.trim().to_owned())
}

fn update_with(ctx: &Ctx, id: &str, text: &str) -> Result<process::Ended> {
    process::run_with_input(ctx.runtime().args(["update", "--resources", "-", id]), text, BOUND)
}

fn update(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    update_with(ctx, &id, r#"{"Memory": {"Limit": 314572800}}"#)?.success()?;
    ensure!(limit(ctx, &id)? == "314572800", "{}", limit(ctx, &id)?);
    update_with(ctx, &id, r#"{"memory": {"limit": 104857600, "Limit": 209715200}}"#)?.success()?;
    ensure!(limit(ctx, &id)? == "209715200", "{}", limit(ctx, &id)?);
    Ok(())
}

fn page_size(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    update_with(ctx, &id, r#"{"hugepageLimits": [{"pagesize": "2MB", "limit": 4194304}]}"#)?.success()?;
    Ok(())
}

fn rest(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle_named("c", &["write", "/ready", "", ",", "wait"])?;
    let text = format!("{}\nand so on", bundle.config()?);
    std::fs::write(bundle.dir().join("config.json"), text)?;
    let id = ctx.detached(&bundle, "c")?;
    update_with(ctx, &id, "{\"memory\": {\"limit\": 314572800}}\n]")?.success()?;
    ensure!(limit(ctx, &id)? == "314572800", "{}", limit(ctx, &id)?);
    ctx.rt(&["exec", &id, "/probe", "print", "x"])?.success()?;
    Ok(())
}

fn list(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    for text in ["[]", " \n[{}]"] {
        update_with(ctx, &id, text)?.failure()?;
    }
    Ok(())
}
