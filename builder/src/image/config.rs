//! The image config: the OCI fields, Docker's extensions, and whatever else was there.
//!
//! Not oci-spec's type: that one drops Healthcheck, OnBuild, Shell and every field it does not know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Digest, Platform, nullable};

/// What a manifest's `config` points at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// RFC 3339 time of the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Processor, in Go's names.
    #[serde(default)]
    pub architecture: String,
    /// Operating system, in Go's names.
    #[serde(default)]
    pub os: String,
    /// Processor variant; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub variant: String,
    /// How to run it.
    #[serde(default, deserialize_with = "nullable")]
    pub config: Execution,
    /// Its layers, by the digests of their uncompressed tars.
    #[serde(default, deserialize_with = "nullable")]
    pub rootfs: RootFs,
    /// How it came about, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub history: Vec<History>,
    /// Everything that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Config {
    /// An empty image for `platform`, as `FROM scratch` starts with.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..Self::default()
        }
    }

    /// For what it was made.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }
}

/// How a container of the image runs, as the Dockerfile's metadata instructions set it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Execution {
    /// `name[:group]` or numbers; empty is root.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub user: String,
    /// `port[/protocol]`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// Absent is not the same as empty: an empty one clears the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Arguments to the entrypoint, or the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// `Cmd` is a Windows command line already escaped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "nullable")]
    pub args_escaped: bool,
    /// Paths of anonymous volumes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "set")]
    pub volumes: BTreeSet<String>,
    /// Where the command starts; empty is `/`.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub working_dir: String,
    /// Free text by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to stop.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub stop_signal: String,
    /// Seconds from that signal to SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// How to tell that it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds on top of this image.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub on_build: Vec<String>,
    /// What runs the shell form of instructions.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub shell: Vec<String>,
    /// Everything that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Docker's `HEALTHCHECK`. Durations are nanoseconds; zero is the default of who runs it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", line]`; empty inherits.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Until a check counts as failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// After the start, while failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The layers of the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed tars, lowest layer first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step that made the image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339 time of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who ran it.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub author: String,
    /// The instruction.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub created_by: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub comment: String,
    /// The step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "nullable")]
    pub empty_layer: bool,
    /// Everything that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Go writes a set as an object with empty objects for values.
mod set {
    use super::{BTreeMap, BTreeSet, Value, nullable};
    use serde::{Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Empty {}

    pub(super) fn serialize<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        set.iter().map(|name| (name, Empty {})).collect::<BTreeMap<_, _>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map: BTreeMap<String, Value> = nullable(deserializer)?;
        Ok(map.into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_of_go_are_empty_and_unknown_fields_stay() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"User":"","ExposedPorts":{"5000/tcp":{}},"Env":null,
            "Entrypoint":null,"Cmd":[],"Volumes":null,"Labels":null,"OnBuild":null,"Memory":7},
            "rootfs":{"type":"layers","diff_ids":null},"history":null,"os.version":"10","docker_version":"1"}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(
            serde_json::to_string(&config).unwrap(),
            r#"{"architecture":"amd64","os":"linux","config":{"ExposedPorts":{"5000/tcp":{}},"Cmd":[],"Memory":7},"#.to_owned()
                + r#""rootfs":{"type":"layers","diff_ids":[]},"docker_version":"1","os.version":"10"}"#
        );
    }

    #[test]
    fn docker_extensions_survive() {
        let text = concat!(
            r#"{"architecture":"amd64","os":"linux","config":{"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000},"#,
            r#""OnBuild":["RUN a"],"Shell":["/bin/bash","-c"]},"rootfs":{"type":"layers","diff_ids":[]}}"#
        );
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
    }
}
