//! Network devices of the host that move into a container.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bundle::remove;
use crate::case::{BOUND, Case, Ctx, not_run};
use crate::needs::Need;
use crate::process::{self, Ended};

const NEEDS: &[Need] = &[Need::Root, Need::Program("ip"), Need::Program("nsenter")];
const MAC: &str = "02:00:00:12:34:56";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "net-devices/moved-with-address-mtu-and-mac",
        source: "runtime-spec config-linux.md#network-devices; runc netdev.bats",
        needs: NEEDS,
        run: moved,
    },
    Case {
        name: "net-devices/renamed",
        source: "runtime-spec config-linux.md#network-devices: name",
        needs: NEEDS,
        run: renamed,
    },
    Case {
        name: "net-devices/what-cannot-be-is-refused",
        source: "runc: validateNetDevices; runtime-spec config-linux.md#network-devices",
        needs: NEEDS,
        run: refused,
    },
];

/// A device on the host, gone with the case: its other end is the same device to the kernel.
struct Device(String);

impl Device {
    fn make() -> Result<Self> {
        let name = format!("cd{}", std::process::id());
        // Made with its address: udev gives another one to a device that has a random one, whenever it comes to it.
        let how = ["address", MAC, "mtu", "1357", "type", "veth", "peer", "name", &format!("{name}p")];
        let made = ip(&[&["link", "add", name.as_str()], how.as_slice()].concat())?;
        if made.code != 0 {
            return Err(not_run(format!("no veth device can be made: {}", made.err.trim())));
        }
        let device = Self(name);
        for address in ["198.51.100.7/24", "2001:db8::7/64"] {
            ip(&["address", "add", address, "dev", &device.0])?.success()?;
        }
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // With its container's namespace both ends have gone.
        drop(ip(&["link", "del", &format!("{}p", self.0)]));
    }
}

fn ip(words: &[&str]) -> Result<Ended> {
    process::run(Command::new(process::find("ip").context("find ip")?).args(words), BOUND)
}

/// What `ip` shows of a device in the container.
fn seen(ctx: &Ctx, id: &str, name: &str) -> Result<Value> {
    let pid = ctx.pid(id)?.to_string();
    let mut command = Command::new("nsenter");
    let ip = process::find("ip").context("find ip")?;
    command.args(["--target", &pid, "--net"]).arg(ip).args(["-json", "address", "show", "dev", name]);
    let shown = process::run(&mut command, BOUND)?.success()?.out;
    let mut shown: Value = serde_json::from_str(&shown)?;
    Ok(shown[0].take())
}

fn start(ctx: &Ctx, device: &Device, how: Value) -> Result<String> {
    let bundle = ctx.bundle_named("b", &["write", "/ready", "", ",", "wait"])?;
    bundle.set("/linux/netDevices", json!({&device.0: how}))?;
    ctx.detached(&bundle, "c")
}

fn moved(ctx: &Ctx) -> Result<()> {
    let device = Device::make()?;
    let id = start(ctx, &device, json!({}))?;
    let shown = seen(ctx, &id, &device.0)?;
    ensure!(shown["mtu"] == 1357 && shown["address"] == MAC, "{shown}");
    let up = shown["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP")));
    ensure!(up, "it is down: {shown}");
    let addresses = shown["addr_info"].as_array().into_iter().flatten();
    let addresses: Vec<String> = addresses
        .filter(|one| one["scope"] == "global")
        .map(|one| format!("{}/{}", one["local"], one["prefixlen"]))
        .collect();
    ensure!(addresses == ["\"198.51.100.7\"/24", "\"2001:db8::7\"/64"], "{shown}");
    ip(&["link", "show", "dev", &device.0])?.failure().map(drop)
}

fn renamed(ctx: &Ctx) -> Result<()> {
    let device = Device::make()?;
    let id = start(ctx, &device, json!({"name": "inside0"}))?;
    let shown = seen(ctx, &id, "inside0")?;
    ensure!(shown["address"] == MAC, "{shown}");
    Ok(())
}

fn refused(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    bundle.set("/linux/netDevices", json!({"cd-none": {}}))?;
    ctx.run(&bundle, &id)?.failure()?.says("cd-none")?;
    bundle.set("/linux/netDevices", json!({"eth0": {"name": "a/b"}}))?;
    ctx.run(&bundle, &id)?.failure()?.says("invalid network device name \"a/b\"")?;
    bundle.edit(|config| {
        remove(config, "/linux/netDevices");
        let list = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut);
        if let Some(list) = list {
            list.retain(|entry| entry["type"] != "network");
        }
    })?;
    bundle.set("/linux/netDevices", json!({"eth0": {}}))?;
    ctx.run(&bundle, &id)?.failure()?.says("unable to move network devices without a NET namespace")?;
    ctx.rt(&["state", &id])?.failure().map(drop)
}
