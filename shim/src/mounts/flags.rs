//! fstab-style options, as mount(2) wants them. Pure.

use nix::mount::MsFlags;

use crate::error::{Error, Kind};

#[derive(PartialEq, Debug)]
pub(super) struct Parsed {
    pub(super) flags: MsFlags,
    /// What the filesystem itself understands.
    pub(super) data: Vec<String>,
    /// The source is a file that a block device has to be made of.
    pub(super) looped: Option<Looped>,
    /// The container's ids of the files' owners.
    pub(super) owners: Option<Owners>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Looped {
    Cached,
    /// Past the page cache of the file system that the file is in.
    Direct,
}

/// Lines of `uid_map` and `gid_map` in proc.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Owners {
    pub(super) uids: String,
    pub(super) gids: String,
}

pub(super) fn parse(options: &[String]) -> Result<Parsed, Error> {
    let mut parsed = Parsed { flags: MsFlags::empty(), data: Vec::new(), looped: None, owners: None };
    let (mut uids, mut gids) = (None, None);
    for option in options {
        if let Some(flag) = set(option) {
            parsed.flags.insert(flag);
        } else if let Some(flag) = clear(option) {
            parsed.flags.remove(flag);
        } else if option == "loop" {
            parsed.looped = Some(Looped::Cached);
        } else if let Some(map) = option.strip_prefix("uidmap=") {
            uids = Some(id_map(map)?);
        } else if let Some(map) = option.strip_prefix("gidmap=") {
            gids = Some(id_map(map)?);
        } else if !matches!(option.as_str(), "" | "defaults" | "auto" | "noauto" | "nofail") {
            parsed.data.push(option.clone());
        }
    }
    if parsed.looped.is_some() {
        let length = parsed.data.len();
        parsed.data.retain(|option| option != "direct-io");
        parsed.looped = Some(if parsed.data.len() < length { Looped::Direct } else { Looped::Cached });
    }
    parsed.owners = match (uids, gids) {
        (None, None) => None,
        (Some(uids), Some(gids)) => Some(Owners { uids, gids }),
        _ => {
            return Err(Error::new(
                Kind::Invalid,
                "mount options uidmap and gidmap: there is but one of them",
            ));
        }
    };
    Ok(parsed)
}

/// `0:100000:65536,65536:0:1` as lines.
fn id_map(text: &str) -> Result<String, Error> {
    let mut lines = String::new();
    for triple in text.split(',') {
        let numbers: Vec<u32> = triple.split(':').filter_map(|number| number.parse().ok()).collect();
        let [inside, outside, size] = numbers[..] else {
            let text = format!("mount option with the map {text}: {triple} is not INSIDE:OUTSIDE:SIZE");
            return Err(Error::new(Kind::Invalid, text));
        };
        lines.push_str(&format!("{inside} {outside} {size}\n"));
    }
    Ok(lines)
}

fn set(option: &str) -> Option<MsFlags> {
    Some(match option {
        "bind" => MsFlags::MS_BIND,
        "rbind" => MsFlags::MS_BIND | MsFlags::MS_REC,
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        "strictatime" => MsFlags::MS_STRICTATIME,
        "sync" => MsFlags::MS_SYNCHRONOUS,
        "dirsync" => MsFlags::MS_DIRSYNC,
        "mand" => MsFlags::MS_MANDLOCK,
        "remount" => MsFlags::MS_REMOUNT,
        "private" => MsFlags::MS_PRIVATE,
        "rprivate" => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "shared" => MsFlags::MS_SHARED,
        "rshared" => MsFlags::MS_SHARED | MsFlags::MS_REC,
        "slave" => MsFlags::MS_SLAVE,
        "rslave" => MsFlags::MS_SLAVE | MsFlags::MS_REC,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        "runbindable" => MsFlags::MS_UNBINDABLE | MsFlags::MS_REC,
        _ => return None,
    })
}

fn clear(option: &str) -> Option<MsFlags> {
    Some(match option {
        "rw" => MsFlags::MS_RDONLY,
        "suid" => MsFlags::MS_NOSUID,
        "dev" => MsFlags::MS_NODEV,
        "exec" => MsFlags::MS_NOEXEC,
        "atime" => MsFlags::MS_NOATIME,
        "diratime" => MsFlags::MS_NODIRATIME,
        "norelatime" => MsFlags::MS_RELATIME,
        "nostrictatime" => MsFlags::MS_STRICTATIME,
        "async" => MsFlags::MS_SYNCHRONOUS,
        "nomand" => MsFlags::MS_MANDLOCK,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn flags_are_flags_and_the_rest_is_the_filesystems() {
        let parsed =
            parse(&strings(&["ro", "rbind", "nosuid", "rw", "upperdir=/u", "defaults", "index=off"]))
                .unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_NOSUID;
        let data = strings(&["upperdir=/u", "index=off"]);
        assert_eq!(parsed, Parsed { flags, data, looped: None, owners: None });
    }

    #[test]
    fn what_is_done_beside_the_mount_is_taken_out_of_the_options() {
        let parsed =
            parse(&strings(&["direct-io", "loop", "uidmap=0:1000:5,5:0:1", "gidmap=0:9:1", "x"])).unwrap();
        assert_eq!((parsed.looped, parsed.data), (Some(Looped::Direct), strings(&["x"])));
        let owners = Owners { uids: "0 1000 5\n5 0 1\n".into(), gids: "0 9 1\n".into() };
        assert_eq!(parsed.owners, Some(owners));
        assert_eq!(parse(&strings(&["direct-io"])).unwrap().data, strings(&["direct-io"]));
    }

    #[test]
    fn maps_that_are_none_are_refused() {
        for (options, text) in [
            (vec!["uidmap=0:1:2"], "mount options uidmap and gidmap: there is but one of them"),
            (
                vec!["uidmap=0:1:2", "gidmap=0:1"],
                "mount option with the map 0:1: 0:1 is not INSIDE:OUTSIDE:SIZE",
            ),
        ] {
            assert_eq!(parse(&strings(&options)).unwrap_err().to_string(), text);
        }
    }
}
