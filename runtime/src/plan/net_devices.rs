//! Network devices of the host that move into the container.

use oci_spec::runtime::Linux;

use super::facts::Facts;
use super::namespaces::Namespaces;
use super::{caps, text};
use crate::error::{Error, Kind};

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// On the host.
    pub name: String,
    /// In the container.
    pub inside: String,
}

/// By name; the configuration has no order.
pub fn plan(linux: &Linux, namespaces: &Namespaces, facts: &Facts) -> Result<Vec<NetDevice>, Error> {
    let mut devices = Vec::new();
    for (name, device) in linux.net_devices().iter().flatten() {
        let inside = device.name().as_ref().filter(|inside| !inside.is_empty()).unwrap_or(name);
        for name in [name, inside] {
            if !is_name(name) {
                let what = format!("invalid network device name {name:?}");
                return Err(text::invalid("linux.netDevices", what));
            }
        }
        devices.push(NetDevice { name: name.clone(), inside: inside.clone() });
    }
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    let refuse = |what: &str| Err(Error::new(Kind::Unsupported, what));
    match devices.is_empty() {
        true => Ok(devices),
        false if !namespaces.has(libc::CLONE_NEWNET) => {
            refuse("unable to move network devices without a NET namespace")
        }
        false if !facts.caller.may_on_host(caps::SYS_ADMIN) => {
            refuse("network devices are not supported for rootless containers")
        }
        false => Ok(devices),
    }
}

/// The kernel's rule (dev_valid_name).
fn is_name(name: &str) -> bool {
    let is_odd = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
    !name.is_empty() && name.len() < libc::IFNAMSIZ && name != "." && name != ".." && !name.contains(is_odd)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_is_what_the_kernel_takes() {
        for good in ["eth0", "a.b", "x23456789012345"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\0", "x234567890123456"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
