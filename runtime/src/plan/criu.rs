//! What CRIU is asked to do: (configuration, command line) -> the options of its service, but for what only the host can open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::cgroup::{Manager, Place, Version, place};
use super::devices::{self, Node};
use super::facts::Facts;
use super::masks::Masks;
use super::mounts::{self, Bind, CgroupView, Mount, Source, What};
use super::rootfs::{self, Pivot};
use super::{Keyring, Plan, namespaces};
use crate::error::{Error, Kind};

/// What is on or off in CRIU, by its own names (criu(8)); off where it is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    LeaveRunning,
    ExtUnixSk,
    TcpEstablished,
    EvasiveDevices,
    ShellJob,
    FileLocks,
    NotifyScripts,
    TrackMem,
    AutoDedup,
    LinkRemap,
    ManageCgroups,
    RstSibling,
    TcpSkipInFlight,
    LazyPages,
    OrphanPtsMaster,
}

/// `--manage-cgroups-mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupMode {
    Ignore,
    Soft,
    Full,
    Strict,
    #[default]
    Default,
}

impl CgroupMode {
    /// runc's words for it.
    pub fn parse(word: &str) -> Result<Self, Error> {
        match word {
            "" => Ok(Self::Default),
            "soft" => Ok(Self::Soft),
            "full" => Ok(Self::Full),
            "strict" => Ok(Self::Strict),
            "ignore" => Ok(Self::Ignore),
            _ => Err(Error::new(Kind::Invalid, "invalid manage-cgroups-mode value")),
        }
    }
}

/// Where memory pages are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    pub address: String,
    pub port: u16,
}

impl PageServer {
    /// `ADDRESS:PORT`, an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |text: &str| Err(Error::new(Kind::Invalid, text));
        let parts = text.rsplit_once(':').map(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            (bare.unwrap_or(host), bare.is_some(), port)
        });
        match parts {
            Some((host, bracketed, port))
                if !host.is_empty() && !port.is_empty() && (bracketed || !host.contains(':')) =>
            {
                match port.parse() {
                    Ok(port) => Ok(Self { address: host.to_owned(), port }),
                    Err(_) => refuse("Invalid port number"),
                }
            }
            _ => refuse("Use --page-server ADDRESS:PORT to specify page server"),
        }
    }
}

/// A mount whose content is not in the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// In the container, as the configuration names it: also its name in the images.
    pub destination: PathBuf,
    /// On the host.
    pub source: PathBuf,
}

/// The options of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub switches: Vec<Switch>,
    pub cgroups: CgroupMode,
    pub externals: Vec<External>,
    /// A file of CRIU's own options, which win over these.
    pub config: Option<String>,
    /// Relative to the images.
    pub parent: Option<PathBuf>,
    pub page_server: Option<PageServer>,
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

/// Of a container that will be restored.
pub fn of_plan(plan: &Plan) -> Result<Vec<External>, Error> {
    let (rootfs, cgroups) = (&plan.rootfs.path, &plan.cgroup.places);
    externals(&plan.mounts, &View { rootfs, cgroups, devices: &plan.devices.nodes })
}

/// Of a container that exists; only the destinations count.
pub fn of_recorded(spec: &Spec, facts: &Facts, (id, bundle): (&str, &Path)) -> Result<Vec<External>, Error> {
    let options = super::Options {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        pivot: Pivot::PivotRoot,
        keyring: Keyring::Inherit,
        preserve_fds: 0,
        cgroups: Manager::Cgroupfs,
        rootless: None,
    };
    let linux = spec.linux().clone().unwrap_or_default();
    let namespaces = namespaces::plan(&linux, facts)?;
    let rootfs = rootfs::plan(spec, &options, &namespaces)?.path;
    let view = mounts::View { namespaces: &namespaces, facts, rootfs: &rootfs, options: &options };
    let mounts = mounts::plan(spec, &view)?;
    let devices = devices::plan(&linux, &mounts, &namespaces, facts)?.nodes;
    let cgroups = place::plan(None, id, &facts.cgroups)?;
    externals(&mounts, &View { rootfs: &rootfs, cgroups: &cgroups, devices: &devices })
}

/// Every mount that the host gave. An idmapped one would come back with its ids untranslated.
fn externals(mounts: &[Mount], view: &View<'_>) -> Result<Vec<External>, Error> {
    let mut all = Vec::new();
    for mount in mounts {
        let destination = &mount.destination;
        match &mount.what {
            What::Bind(Bind { idmap: Some(_), .. }) => {
                let text =
                    format!("{} is an idmapped mount, which CRIU does not restore", destination.display());
                return Err(Error::new(Kind::Unsupported, text));
            }
            What::Bind(bind) => {
                let source = match &bind.source {
                    Source::Host(path) => path.clone(),
                    Source::Root(inside) => view.rootfs.join(inside.strip_prefix("/").unwrap_or(inside)),
                };
                all.push(External { destination: destination.clone(), source });
            }
            What::Cgroup(CgroupView::Bound) => all.extend(bound_cgroups(destination, view.cgroups)),
            _ => {}
        }
    }
    // Nodes that were made and not bound are in the images; then nothing asks for their names.
    let node = |node: &Node| External { destination: node.path.clone(), source: node.path.clone() };
    all.extend(view.devices.iter().map(node));
    Ok(all)
}

/// What the meaning of a container's mounts depends on.
struct View<'a> {
    rootfs: &'a Path,
    cgroups: &'a [Place],
    devices: &'a [Node],
}

/// As init mounts them: the one directory of v2, or each hierarchy's below a tmpfs.
fn bound_cgroups(destination: &Path, places: &[Place]) -> Vec<External> {
    match places {
        [only] if only.version == Version::V2 => {
            vec![External { destination: destination.to_owned(), source: only.dir() }]
        }
        places => {
            let one = |place: &Place| {
                let name = place.mount.file_name()?;
                Some(External { destination: destination.join(name), source: place.dir() })
            };
            places.iter().filter_map(one).collect()
        }
    }
}

/// Masked files show this one.
pub const NULL: &str = "/dev/null";

/// One name stands for all masked files.
pub fn external_null(masks: &Masks) -> Option<External> {
    let null = || External { destination: NULL.into(), source: NULL.into() };
    (!masks.masked.is_empty()).then(null)
}

/// `org.criu.config` names a file of options, or says with an empty text that there is none.
pub fn config(annotations: Option<&HashMap<String, String>>) -> Option<String> {
    match annotations.and_then(|all| all.get("org.criu.config")) {
        Some(file) => Some(file.clone()).filter(|file| !file.is_empty()),
        None => Some("/etc/criu/runc.conf".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        let good = [("127.0.0.1:27", "127.0.0.1"), ("host:27", "host"), ("[::1]:27", "::1")];
        for (text, address) in good {
            assert_eq!(
                PageServer::parse(text).unwrap(),
                PageServer { address: address.to_owned(), port: 27 }
            );
        }
        for text in ["", "host", ":27", "host:", "::1"] {
            let error = PageServer::parse(text).unwrap_err().to_string();
            assert_eq!(error, "Use --page-server ADDRESS:PORT to specify page server", "{text}");
        }
        assert_eq!(PageServer::parse("h:65536").unwrap_err().to_string(), "Invalid port number");
    }

    #[test]
    fn an_empty_annotation_switches_the_file_of_options_off() {
        let with = |value: &str| HashMap::from([("org.criu.config".to_owned(), value.to_owned())]);
        assert_eq!(config(None).as_deref(), Some("/etc/criu/runc.conf"));
        assert_eq!(config(Some(&with("/x"))).as_deref(), Some("/x"));
        assert_eq!(config(Some(&with(""))), None);
    }
}
