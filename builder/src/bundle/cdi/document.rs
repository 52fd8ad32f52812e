//! One file of device descriptions: JSON, or the YAML that it is a part of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The newest version whose members are all known here.
const NEWEST: (u32, u32) = (1, 1);

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    cdi_version: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<Device>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// One device of a kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) container_edits: Edits,
}

/// What a container gets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Edits {
    #[serde(default)]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) device_nodes: Vec<DeviceNode>,
    #[serde(default)]
    pub(super) mounts: Vec<Mount>,
    #[serde(default)]
    pub(super) hooks: Vec<Hook>,
    #[serde(default, rename = "additionalGids", alias = "additionalGIDs")]
    pub(super) groups: Vec<u32>,
    /// Known, and refused where they are asked for.
    #[serde(default)]
    pub(super) intel_rdt: Option<serde_json::Value>,
    #[serde(default)]
    pub(super) net_devices: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) major: Option<i64>,
    pub(super) minor: Option<i64>,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: PathBuf,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

impl Document {
    /// Reads a file's text; an error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let document: Self = serde_saphyr::from_str(text).map_err(|error| first_line(&error.to_string()))?;
        let mut numbers = document.cdi_version.split('.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) <= NEWEST => {}
            _ => return Err(format!("its version {} is not known", document.cdi_version)),
        }
        if !is_kind(&document.kind) {
            return Err(format!("its kind {} is not VENDOR/CLASS", document.kind));
        }
        Ok(document)
    }
}

/// `vendor.com/class`, each beginning with a letter.
pub(super) fn is_kind(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && name.ends_with(|letter: char| letter.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    text.split_once('/').is_some_and(|(vendor, class)| is_name(vendor) && is_name(class))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Document;

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "cdiVersion: 0.6.0\nkind: \"vendor1.com/device\"\ndevices:\n- name: foo\n  containerEdits:\n    env:\n    - FOO=injected\n\
                    \x20   deviceNodes:\n    - {path: /dev/foo, hostPath: /dev/null, fileMode: 438}\n";
        let json = r#"{"cdiVersion": "0.6.0", "kind": "vendor1.com/device", "devices": [{"name": "foo", "containerEdits":
            {"env": ["FOO=injected"], "deviceNodes": [{"path": "/dev/foo", "hostPath": "/dev/null", "fileMode": 438}]}}]}"#;
        let [one, other] = [yaml, json].map(|text| format!("{:?}", Document::parse(text).unwrap()));
        assert_eq!(one, other);
        assert!(one.contains("file_mode: Some(438)"), "{one}");
    }

    #[test]
    fn what_is_not_understood_gives_no_device() {
        for (text, expected) in [
            ("cdiVersion: 9.0.0\nkind: v/c\ndevices: []", "its version 9.0.0 is not known"),
            ("cdiVersion: 0.6.0\nkind: v\ndevices: []", "its kind v is not VENDOR/CLASS"),
            ("cdiVersion: 0.6.0\nkind: 1/c\ndevices: []", "its kind 1/c is not VENDOR/CLASS"),
        ] {
            assert_eq!(Document::parse(text).unwrap_err(), expected);
        }
        let unknown = "cdiVersion: 0.6.0\nkind: v/c\ndevices: []\ncontainerEdits: {later: 1}";
        let said = Document::parse(unknown).unwrap_err();
        assert!(said.contains("later"), "{said}");
    }
}
