//! `features`: what this runtime can do, as the specification's JSON (features.md).

use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use super::{Global, print};
use crate::bundle::SPEC_VERSION;
use crate::error::Error;
use crate::plan::{caps, memory, mount_options, seccomp};

/// show the enabled features
#[derive(Parser, Debug)]
pub(super) struct Args {}

pub(super) fn features(_: &Args, _: &Global) -> Result<ExitCode, Error> {
    let all = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mount_options::words(),
        "linux": linux(),
        "annotations": {
            "io.github.coracle.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": ["bundle", "org.systemd.property.", "org.criu.config"],
    });
    let text = serde_json::to_string_pretty(&all)
        .map_err(|source| Error::system("encode the features", std::io::Error::from(source)))?;
    print(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}

fn linux() -> Value {
    json!({
        "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
        "capabilities": caps::names(),
        "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
        "seccomp": {
            "enabled": true,
            "actions": [
                "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
                "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
            ],
            "operators": [
                "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
                "SCMP_CMP_NE",
            ],
            "archs": seccomp::architectures(),
            "knownFlags": seccomp::FLAGS,
            "supportedFlags": seccomp::FLAGS,
        },
        "apparmor": { "enabled": true },
        "selinux": { "enabled": true },
        "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
        "memoryPolicy": { "modes": memory::MODES, "flags": memory::FLAGS },
        "mountExtensions": { "idmap": { "enabled": true } },
        "netDevices": { "enabled": true },
    })
}
