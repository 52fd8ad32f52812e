//! fstab-style options, as mount(2) wants them. Pure.

use nix::mount::MsFlags;

use crate::error::{Error, Kind};

#[derive(PartialEq, Debug)]
pub(super) struct Parsed {
    pub(super) flags: MsFlags,
    /// What the filesystem itself understands.
    pub(super) data: Vec<String>,
}

pub(super) fn parse(options: &[String]) -> Result<Parsed, Error> {
    let mut parsed = Parsed { flags: MsFlags::empty(), data: Vec::new() };
    for option in options {
        if let Some(flag) = set(option) {
            parsed.flags.insert(flag);
        } else if let Some(flag) = clear(option) {
            parsed.flags.remove(flag);
        } else if option == "loop" {
            return Err(Error::new(Kind::Unsupported, "mount option loop: attach the loop device first"));
        } else if !matches!(option.as_str(), "" | "defaults" | "auto" | "noauto" | "nofail") {
            parsed.data.push(option.clone());
        }
    }
    Ok(parsed)
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
        assert_eq!(parsed, Parsed { flags, data: strings(&["upperdir=/u", "index=off"]) });
    }

    #[test]
    fn a_loop_device_is_not_made() {
        assert_eq!(
            parse(&strings(&["loop"])).unwrap_err().to_string(),
            "mount option loop: attach the loop device first"
        );
    }
}
