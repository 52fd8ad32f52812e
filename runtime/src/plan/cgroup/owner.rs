//! To whom a container's part of the tree is given (config-linux.md, "Cgroup ownership").

use std::path::Path;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Type, Spec};

/// The host's id of the container's root, where the container sees a tree of its own, in a user namespace of its own, and may write to
/// it: systemd inside needs that.
pub(super) fn owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let makes = |kind: Type| {
        let is_new = |one: &LinuxNamespace| one.typ() == kind && one.path().is_none();
        linux.namespaces().iter().flatten().any(is_new)
    };
    let writable = spec.mounts().iter().flatten().any(|mount| {
        let is_tree = matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
        let readonly = mount.options().iter().flatten().any(|word| word == "ro");
        is_tree && mount.destination() == Path::new("/sys/fs/cgroup") && !readonly
    });
    if !(makes(Type::User) && makes(Type::Cgroup) && writable) {
        return None;
    }
    let maps = linux.uid_mappings().iter().flatten();
    maps.filter(|map| map.container_id() == 0 && map.size() > 0).map(|map| map.host_id()).next()
}
