//! Overlays with so many layers that their options do not fit into the one page mount(2) takes.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::{Doing, Error, Kind};
use crate::sys::fd;

/// mount(2) reads one page of options, a NUL included.
const PAGE: usize = 4096;

/// The options joined. If they are too long, the directory all layers share is named by a descriptor, which must stay open
/// until the mount is made; not by changing the working directory, which is the whole process's.
pub(super) fn shorten(kind: &str, data: Vec<String>) -> Result<(String, Option<File>), Error> {
    let joined = data.join(",");
    if joined.len() < PAGE {
        return Ok((joined, None));
    }
    let too_long = || Error::new(Kind::Invalid, format!("mount {kind}: the options are longer than a page"));
    let layers = data.iter().find_map(|option| option.strip_prefix("lowerdir=")).ok_or_else(too_long)?;
    let shared = common_dir(layers).ok_or_else(too_long)?;
    let dir = fd::open_path(Path::new(&shared), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .doing(|| format!("open {shared}"))
        .map(File::from)?;
    let short = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let replaced: Vec<String> = data.iter().map(|option| replace(option, &shared, &short)).collect();
    let joined = replaced.join(",");
    if joined.len() < PAGE { Ok((joined, Some(dir))) } else { Err(too_long()) }
}

pub(super) fn replace(option: &str, shared: &str, short: &str) -> String {
    match option.strip_prefix("lowerdir=") {
        None => option.to_owned(),
        Some(layers) => {
            let layers: Vec<String> = layers
                .split(':')
                .map(|layer| format!("{short}{}", layer.strip_prefix(shared).unwrap_or(layer)))
                .collect();
            format!("lowerdir={}", layers.join(":"))
        }
    }
}

/// The longest directory that all of `layers` lie in.
pub(super) fn common_dir(layers: &str) -> Option<String> {
    let mut layers = layers.split(':');
    let mut shared = Path::new(layers.next()?).parent()?;
    for layer in layers {
        while !Path::new(layer).starts_with(shared) {
            shared = shared.parent()?;
        }
    }
    (shared != Path::new("/")).then(|| shared.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_options_stay_as_they_are() {
        let (text, dir) = shorten("overlay", vec!["lowerdir=/a:/b".into(), "index=off".into()]).unwrap();
        assert_eq!((text.as_str(), dir.is_none()), ("lowerdir=/a:/b,index=off", true));
    }

    #[test]
    fn the_shared_directory_of_many_layers_becomes_a_descriptor() {
        let top = tempfile::tempdir().unwrap();
        let base = top.path().join("x".repeat(60));
        std::fs::create_dir(&base).unwrap();
        let layers: Vec<String> = (0..120).map(|n| format!("{}/{n}/fs", base.display())).collect();
        let (text, dir) = shorten("overlay", vec![format!("lowerdir={}", layers.join(":"))]).unwrap();
        let short = format!("/proc/self/fd/{}", dir.unwrap().as_raw_fd());
        assert!(text.starts_with(&format!("lowerdir={short}/0/fs:{short}/1/fs:")));
        assert!(text.ends_with(&format!(":{short}/119/fs")));
    }

    #[test]
    fn layers_that_share_nothing_are_an_error_not_a_cut() {
        let layers: Vec<String> = (0..600).map(|n| format!("/{n}/fs")).collect();
        assert_eq!(
            shorten("overlay", vec![format!("lowerdir={}", layers.join(":"))]).unwrap_err().to_string(),
            "mount overlay: the options are longer than a page"
        );
    }
}
