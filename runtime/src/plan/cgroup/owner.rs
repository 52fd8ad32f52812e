//! To whom a container's part of the tree is given (config-linux.md, "Cgroup ownership").

use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType as Type, Spec};

/// The host's id of the container's user, where the container sees a tree of its own and may write to it: systemd inside needs that.
/// None where the directory is that user's already, because its maker is.
pub(super) fn owner(spec: &Spec, maker: u32) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let namespace = |kind: Type| linux.namespaces().iter().flatten().find(|one| one.typ() == kind);
    let is_new = |one: &LinuxNamespace| one.path().is_none();
    let writable = spec.mounts().iter().flatten().any(|mount| {
        let is_tree = matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
        let readonly = mount.options().iter().flatten().any(|word| word == "ro");
        is_tree && mount.destination() == Path::new("/sys/fs/cgroup") && !readonly
    });
    if !(namespace(Type::Cgroup).is_some_and(is_new) && writable) {
        return None;
    }
    let user = spec.process().as_ref().map_or(0, |process| process.user().uid());
    let host = match namespace(Type::User) {
        None => user,
        Some(one) if is_new(one) => on_host(user, linux.uid_mappings().iter().flatten())?,
        // What its ids are outside is not in the configuration.
        Some(_) => return None,
    };
    (host != maker).then_some(host)
}

fn on_host<'a>(id: u32, mut maps: impl Iterator<Item = &'a LinuxIdMapping>) -> Option<u32> {
    maps.find_map(|map| {
        let offset = id.checked_sub(map.container_id()).filter(|offset| *offset < map.size())?;
        map.host_id().checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_mapped_as_a_whole() {
        let map = |inside: u32, outside: u32, size: u32| {
            serde_json::from_value::<LinuxIdMapping>(
                serde_json::json!({"containerID": inside, "hostID": outside, "size": size}),
            )
            .unwrap()
        };
        let maps = [map(0, 1000, 1), map(1, 100_000, 65_536), map(70_000, u32::MAX, 2)];
        let known = [
            (0, Some(1000)),
            (1, Some(100_000)),
            (65_536, Some(165_535)),
            (65_537, None),
            (70_000, Some(u32::MAX)),
            (70_001, None),
        ];
        for (inside, outside) in known {
            assert_eq!(on_host(inside, maps.iter()), outside, "{inside}");
        }
    }
}
