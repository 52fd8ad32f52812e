//! Every cgroup below one, however deep: a container that may make some can nest them deeper than any path is long.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Tells each directory below `top` by its parent and its name, the innermost first. Two descriptors do, whatever the depth.
pub(super) fn innermost_first(
    top: &Path,
    visit: &mut dyn FnMut(&OwnedFd, &CStr) -> io::Result<()>,
) -> io::Result<()> {
    let mut here = open(top, DIRECTORY, Mode::empty())?;
    let mut rest = vec![children(&here)?];
    let mut way: Vec<CString> = Vec::new();
    while let Some(level) = rest.last_mut() {
        if let Some(name) = level.pop() {
            match openat(&here, name.as_c_str(), DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
                // Removed meanwhile.
                Err(Errno::ENOENT) => {}
                opened => {
                    here = opened?;
                    rest.push(children(&here)?);
                    way.push(name);
                }
            }
            continue;
        }
        rest.pop();
        if let Some(name) = way.pop() {
            here = openat(&here, "..", DIRECTORY, Mode::empty())?;
            visit(&here, &name)?;
        }
    }
    Ok(())
}

fn children(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::openat(dir, ".", DIRECTORY, Mode::empty())?.iter() {
        let entry = match entry {
            // Removed meanwhile.
            Err(Errno::ENOENT) => break,
            entry => entry?,
        };
        let is_own = matches!(entry.file_name().to_bytes(), b"." | b"..");
        if entry.file_type() == Some(Type::Directory) && !is_own {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_a_path_is_long_is_told_and_taken_away() {
        let top = std::env::temp_dir().join(format!("coracle-tree-{}", std::process::id()));
        std::fs::create_dir_all(top.join("beside")).unwrap();
        let mut here = open(&top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..1000 {
            nix::sys::stat::mkdirat(&here, "nested", Mode::S_IRWXU).unwrap();
            here = openat(&here, "nested", DIRECTORY, Mode::empty()).unwrap();
        }
        let mut told = 0;
        innermost_first(&top, &mut |parent, name| {
            told += 1;
            Ok(nix::unistd::unlinkat(parent, name, nix::unistd::UnlinkatFlags::RemoveDir)?)
        })
        .unwrap();
        assert_eq!(told, 1001);
        std::fs::remove_dir(&top).unwrap();
    }
}
