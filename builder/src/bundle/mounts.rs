//! What is mounted in a container: the usual file systems, and what the user asks for.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::spec::Extra;
use crate::error::{Error, Kind};

/// What the usual mounts depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// In the machine's own user namespace.
    pub(super) initial: bool,
    /// There are ids beside 0.
    pub(super) many_ids: bool,
    /// The network namespace is the host's.
    pub(super) host_network: bool,
}

/// The file systems that every Linux program expects (runtime-spec, config-linux.md), and the control groups.
pub(super) fn usual(around: Surroundings, shm: Option<u64>) -> Result<Vec<Mount>, Error> {
    let shm = shm.map_or_else(|| "size=65536k".to_owned(), |bytes| format!("size={bytes}"));
    let mut devpts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if around.many_ids {
        // The group tty; with a single id there is no such group.
        devpts.push("gid=5");
    }
    let guarded = ["nosuid", "noexec", "nodev"];
    let sys = if around.host_network && !around.initial {
        // sysfs belongs to the network namespace's owner: it can only be shown as the host has it.
        made("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"])?
    } else {
        made("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])?
    };
    Ok(vec![
        made("/proc", "proc", "proc", &guarded)?,
        made("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        made("/dev/pts", "devpts", "devpts", &devpts)?,
        made("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm])?,
        made("/dev/mqueue", "mqueue", "mqueue", &guarded)?,
        sys,
        made("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"])?,
    ])
}

pub(super) fn extra(extra: &Extra) -> Result<Mount, Error> {
    match extra {
        Extra::Bind { source, target, writable } => {
            let access = if *writable { "rw" } else { "ro" };
            made(target, "bind", &source.to_string_lossy(), &["rbind", "rprivate", access])
        }
        Extra::Described { source, target, kind, options } => {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            made(target, kind, &source.to_string_lossy(), &options)
        }
        Extra::Tmpfs { target, size } => {
            let size = size.map(|bytes| format!("size={bytes}"));
            let mut options = vec!["nosuid", "nodev", "mode=1777"];
            options.extend(size.as_deref());
            made(target, "tmpfs", "tmpfs", &options)
        }
    }
}

fn made(target: &str, kind: &str, source: &str, options: &[&str]) -> Result<Mount, Error> {
    MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
        .build()
        .map_err(|error| Error::new(Kind::Invalid, format!("describe the mount on {target}: {error}")))
}

/// `-v SOURCE:TARGET[:OPTIONS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// A path of the host, or the name of a volume.
    pub source: Source,
    /// Where in the container.
    pub target: String,
    /// May it be written?
    pub writable: bool,
}

/// Where a volume's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path of the host.
    Path(PathBuf),
    /// A volume that the store keeps under this name.
    Name(String),
}

/// Parses a `-v`.
///
/// # Errors
/// What is not of this form.
pub fn parse_volume(text: &str, working_directory: &Path) -> Result<Volume, Error> {
    let invalid = |why: &str| {
        Error::new(Kind::Invalid, format!("invalid volume \"{}\": {why}", text.escape_debug()))
            .hint("write SOURCE:TARGET[:ro], as in /srv/files:/data:ro")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(invalid("there must be a source and a target")),
    };
    if !target.starts_with('/') || target == "/" {
        return Err(invalid("the target is an absolute path, and not / itself"));
    }
    let mut writable = true;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => writable = false,
            "rw" => {}
            _ => return Err(invalid("the options are ro and rw")),
        }
    }
    let is_path = source.starts_with('/') || source.starts_with('.');
    let source = match source {
        "" => return Err(invalid("the source is empty")),
        path if is_path => Source::Path(working_directory.join(path)),
        name if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) => {
            Source::Name(name.to_owned())
        }
        _ => return Err(invalid("a volume's name has letters, digits, dots and dashes")),
    };
    Ok(Volume { source, target: target.to_owned(), writable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_paths_or_names() {
        let parse = |text| parse_volume(text, Path::new("/here"));
        assert_eq!(
            parse("./a:/b:ro").unwrap(),
            Volume { source: Source::Path("/here/./a".into()), target: "/b".to_owned(), writable: false }
        );
        assert_eq!(parse("cache:/b").unwrap().source, Source::Name("cache".to_owned()));
        for (text, why) in [
            ("/a", "there must be a source and a target"),
            ("/a:b", "the target is an absolute path, and not / itself"),
            ("/a:/b:exec", "the options are ro and rw"),
            ("a b:/b", "a volume's name has letters, digits, dots and dashes"),
        ] {
            let expected = format!(
                "invalid volume \"{text}\": {why} (write SOURCE:TARGET[:ro], as in /srv/files:/data:ro)"
            );
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
