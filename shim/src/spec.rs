//! The few fields of the bundle's config.json that concern a shim.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Doing, Error, Kind};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Spec {
    annotations: Option<BTreeMap<String, String>>,
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
    #[serde(rename = "cgroupsPath")]
    cgroups_path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

/// Containers that carry the same value of one of these share a shim; the first that is there counts.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

impl Spec {
    pub(crate) fn read(bundle: &Path) -> Result<Spec, Error> {
        let path = bundle.join("config.json");
        let bytes = std::fs::read(&path).doing(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(Kind::Invalid, format!("parse {}: {e}", path.display())))
    }

    pub(crate) fn group(&self) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        GROUPS.iter().find_map(|name| annotations.get(*name)).map(String::as_str)
    }

    /// Whether the place of its cgroup is `slice:prefix:name`, which only systemd makes something of. Docker on a systemd host says so in
    /// this way alone, where its runtime has a shim's name and no options.
    pub(crate) fn names_a_scope(&self) -> bool {
        let path = self.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref()).unwrap_or_default();
        match path.split(':').collect::<Vec<_>>()[..] {
            [slice, _, name] => slice.ends_with(".slice") && !name.is_empty() && !path.contains('/'),
            _ => false,
        }
    }

    /// Whether the kernel kills every process of the container when its init ends.
    pub(crate) fn has_own_pids(&self) -> bool {
        let namespaces =
            self.linux.as_ref().and_then(|linux| linux.namespaces.as_deref()).unwrap_or_default();
        namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }
}

/// An exec's process as the runtime gets it: whether it has a terminal is said by the call, whatever the client took its process from.
pub(crate) fn process(given: &[u8], terminal: bool) -> Result<Vec<u8>, String> {
    let mut process: serde_json::Value =
        serde_json::from_slice(given).map_err(|e| format!("parse its process: {e}"))?;
    let fields = process.as_object_mut().ok_or("its process is not an object")?;
    fields.insert("terminal".into(), terminal.into());
    serde_json::to_vec(&process).map_err(|e| format!("write its process: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Spec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_first_grouping_annotation_counts() {
        let both =
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"s","io.containerd.runc.v2.group":"g"}}"#;
        assert_eq!(parse(both).group(), Some("g"));
        assert_eq!(parse(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"s"}}"#).group(), Some("s"));
        assert_eq!(parse(r#"{"annotations":null}"#).group(), None);
    }

    #[test]
    fn a_slice_a_prefix_and_a_name_are_a_scope() {
        let names = |path: &str| parse(&format!(r#"{{"linux":{{"cgroupsPath":"{path}"}}}}"#)).names_a_scope();
        for path in ["system.slice:docker:c1", "user.slice:ctr:c1", "a-b.slice::c1"] {
            assert!(names(path), "{path}");
        }
        for path in [
            "",
            "/docker/c1",
            "docker:c1:x",
            "/system.slice:docker:c1",
            "a.slice:docker:",
            "a.slice:docker:c1:x",
        ] {
            assert!(!names(path), "{path}");
        }
        assert!(!parse(r#"{"linux":{"cgroupsPath":null}}"#).names_a_scope());
    }

    #[test]
    fn the_call_decides_whether_there_is_a_terminal() {
        for given in [r#"{"args":["a"],"terminal":true}"#, r#"{"args":["a"]}"#] {
            assert_eq!(process(given.as_bytes(), false).unwrap(), br#"{"args":["a"],"terminal":false}"#);
        }
        assert_eq!(process(b"[]", true).unwrap_err(), "its process is not an object");
        assert_eq!(
            process(b"", true).unwrap_err(),
            "parse its process: EOF while parsing a value at line 1 column 0"
        );
    }

    #[test]
    fn a_joined_pid_namespace_is_not_ones_own() {
        assert!(parse(r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}"#).has_own_pids());
        assert!(
            !parse(r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}"#).has_own_pids()
        );
        assert!(!parse(r#"{"linux":{"namespaces":null}}"#).has_own_pids());
    }
}
