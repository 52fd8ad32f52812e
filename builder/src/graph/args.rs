//! Arguments: those above the first FROM, those of stages, and those that are always there.

use super::inputs::Inputs;
use crate::dockerfile::ast::{File, Kind};
use crate::image::Platform;

/// Proxy settings: known in every stage, and no part of a step's identity.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Build arguments that steer the builder instead of naming an ARG.
const RESERVED: [&str; 9] = [
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
];

/// Names of the arguments that describe the two platforms and the target.
pub const PLATFORM_ARGS: [&str; 9] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// The value of an argument that describes a platform.
pub(super) fn platform_arg(inputs: &Inputs, name: &str) -> Option<String> {
    if name == "TARGETSTAGE" {
        return Some(inputs.target.clone().unwrap_or_else(|| "default".to_owned()));
    }
    let of = |platform: &Platform, part: &str| match part {
        "PLATFORM" => Some(platform.to_string()),
        "OS" => Some(platform.os.clone()),
        "ARCH" => Some(platform.architecture.clone()),
        "VARIANT" => Some(platform.variant.clone()),
        _ => None,
    };
    match name.strip_prefix("BUILD") {
        Some(part) => of(&inputs.build_platform, part),
        None => of(&inputs.platform, name.strip_prefix("TARGET")?),
    }
}

/// The proxy settings among the build arguments.
pub(super) fn proxies(inputs: &Inputs) -> Vec<(String, String)> {
    let given = PROXIES.iter().filter_map(|&name| inputs.build_args.get_key_value(name));
    given.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Build arguments that nothing in the file declares and the builder does not know either.
pub(super) fn unused(file: &File, inputs: &Inputs) -> Vec<String> {
    let instructions = file.stages.iter().flat_map(|stage| &stage.instructions).chain(&file.globals);
    let declared: Vec<&str> = instructions
        .filter_map(|instruction| match &instruction.kind {
            Kind::Arg(definitions) => Some(definitions.iter().map(|d| d.name.text.as_str())),
            _ => None,
        })
        .flatten()
        .chain(PROXIES)
        .chain(RESERVED)
        .chain(PLATFORM_ARGS)
        .collect();
    inputs.build_args.keys().filter(|name| !declared.contains(&name.as_str())).cloned().collect()
}
