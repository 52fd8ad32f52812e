//! The runtime's options: runc v2's message, or the generic one that CRI and Docker send to shims they do not know.
//!
//! Invariant: an option is either understood or an error; none is dropped.

mod toml;

use std::path::Path;

use containerd_shim_protos::shim::oci;
use protobuf::well_known_types::any::Any;
use protobuf::{CodedInputStream, Message};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Kind};

const RUNC: &str = "containerd.runc.v1.Options";
const GENERIC: &str = "runtimeoptions.v1.Options";

#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    pub(crate) binary_name: String,
    /// The directory under which the runtime's state of each namespace lies.
    pub(crate) root: String,
    pub(crate) systemd_cgroup: bool,
    pub(crate) no_pivot_root: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) shim_cgroup: String,
    pub(crate) io_uid: u32,
    pub(crate) io_gid: u32,
    pub(crate) criu_image_path: String,
    pub(crate) criu_work_path: String,
}

impl Options {
    /// The options in `any`; an empty one means the defaults.
    pub(crate) fn parse(any: &Any) -> Result<Options, Error> {
        match any.type_url.rsplit('/').next().unwrap_or_default() {
            "" => Ok(Options::default()),
            RUNC => runc(&any.value),
            GENERIC => generic(&any.value),
            other => Err(Error::new(Kind::Invalid, format!("runtime options of type {other} are not known"))),
        }
    }
}

/// Where a bundle keeps the options for `delete`, which runs in another process after ours has died.
const RECORD: &str = "coracle.json";

pub(crate) fn save(bundle: &Path, options: &Options) -> Result<(), Error> {
    let bytes =
        serde_json::to_vec(options).map_err(|e| Error::new(Kind::System, format!("write options: {e}")))?;
    let path = bundle.join(RECORD);
    let draft = bundle.join(".coracle.json.new");
    std::fs::write(&draft, bytes).doing(|| format!("write {}", draft.display()))?;
    std::fs::rename(&draft, &path).doing(|| format!("write {}", path.display()))
}

/// What `save` wrote; nothing if no runtime was ever called for this bundle, or the container is deleted.
pub(crate) fn load(bundle: &Path) -> Result<Option<Options>, Error> {
    let path = bundle.join(RECORD);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Error::new(Kind::Invalid, format!("read {}: {e}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::system(format!("read {}", path.display()), error)),
    }
}

/// To be called when nothing is left that a runtime made.
pub(crate) fn forget(bundle: &Path) -> Result<(), Error> {
    let path = bundle.join(RECORD);
    std::fs::remove_file(&path).doing(|| format!("remove {}", path.display()))
}

fn runc(bytes: &[u8]) -> Result<Options, Error> {
    let message = oci::Options::parse_from_bytes(bytes).map_err(|e| malformed(RUNC, &e))?;
    if !message.task_api_address.is_empty() {
        return Err(Error::new(
            Kind::Unsupported,
            "option task_api_address: this shim serves its own socket only",
        ));
    }
    Ok(Options {
        binary_name: message.binary_name,
        root: message.root,
        systemd_cgroup: message.systemd_cgroup,
        no_pivot_root: message.no_pivot_root,
        no_new_keyring: message.no_new_keyring,
        shim_cgroup: message.shim_cgroup,
        io_uid: message.io_uid,
        io_gid: message.io_gid,
        criu_image_path: message.criu_image_path,
        criu_work_path: message.criu_work_path,
    })
}

/// `{1 type_url, 2 config_path, 3 config_body}`: the options are TOML, in a file or in the message itself.
fn generic(bytes: &[u8]) -> Result<Options, Error> {
    let mut path = String::new();
    let mut body = Vec::new();
    let mut stream = CodedInputStream::from_bytes(bytes);
    let mut fields = || -> protobuf::Result<()> {
        while let Some(tag) = stream.read_raw_tag_or_eof()? {
            match tag >> 3 {
                1 => drop(stream.read_string()?),
                2 => path = stream.read_string()?,
                3 => body = stream.read_bytes()?,
                field => return Err(std::io::Error::other(format!("unknown field {field}")).into()),
            }
        }
        Ok(())
    };
    fields().map_err(|e| malformed(GENERIC, &e))?;
    if !path.is_empty() {
        body = std::fs::read(&path).doing(|| format!("read runtime options {path}"))?;
    }
    let text = String::from_utf8(body)
        .map_err(|e| Error::new(Kind::Invalid, format!("read runtime options: {e}")))?;
    toml::parse(&text)
}

fn malformed(what: &str, error: &protobuf::Error) -> Error {
    Error::new(Kind::Invalid, format!("parse {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.into(), value, ..Any::default() }
    }

    #[test]
    fn runcs_options_are_taken_over() {
        let message = oci::Options {
            binary_name: "crun".into(),
            io_uid: 7,
            systemd_cgroup: true,
            ..Default::default()
        };
        let options = Options::parse(&any(RUNC, message.write_to_bytes().unwrap())).unwrap();
        assert_eq!(
            options,
            Options { binary_name: "crun".into(), io_uid: 7, systemd_cgroup: true, ..Options::default() }
        );
    }

    #[test]
    fn the_generic_options_carry_toml() {
        let body = b"BinaryName = \"/usr/bin/crun\"\nSystemdCgroup = true\n";
        let mut bytes = vec![0x1a, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        let options = Options::parse(&any("types.containerd.io/runtimeoptions.v1.Options", bytes)).unwrap();
        assert_eq!(
            options,
            Options { binary_name: "/usr/bin/crun".into(), systemd_cgroup: true, ..Options::default() }
        );
    }

    #[test]
    fn no_options_are_the_defaults_and_foreign_ones_an_error() {
        assert_eq!(Options::parse(&Any::default()).unwrap(), Options::default());
        assert_eq!(
            Options::parse(&any("x.y/Z", Vec::new())).unwrap_err().to_string(),
            "runtime options of type Z are not known"
        );
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(load(bundle.path()).unwrap(), None);
        let options = Options { root: "/r".into(), ..Options::default() };
        save(bundle.path(), &options).unwrap();
        assert_eq!(load(bundle.path()).unwrap(), Some(options));
        forget(bundle.path()).unwrap();
        assert_eq!(load(bundle.path()).unwrap(), None);
    }
}
