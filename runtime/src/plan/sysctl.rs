//! Kernel parameters: only those that belong to a namespace of the container.

use std::path::PathBuf;

use oci_spec::runtime::Linux;

use super::namespaces::Namespaces;
use super::text;
use crate::error::Error;

/// One parameter, with its file below /proc/sys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    pub file: PathBuf,
    pub value: String,
}

/// These System V IPC parameters belong to the ipc namespace, and so does everything below fs.mqueue.
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// Refuses whatever would change the host.
pub fn plan(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<Sysctl>, Error> {
    let mut all = Vec::new();
    for (key, value) in linux.sysctl().iter().flatten() {
        let file = file(key);
        let owner = owner(&file).ok_or_else(|| {
            text::invalid(format!("linux.sysctl.{key}"), "is not separate for each container")
        })?;
        if !namespaces.has(owner) {
            let reason = "belongs to a namespace that the container shares with the host";
            return Err(text::invalid(format!("linux.sysctl.{key}"), reason));
        }
        all.push(Sysctl { file: PathBuf::from(file), value: value.clone() });
    }
    all.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(all)
}

/// Both spellings: dots between words, or slashes so that words (interface names) may hold dots (sysctl(8)).
fn file(key: &str) -> String {
    let separator = key.find(['.', '/']).and_then(|at| key.get(at..=at));
    match separator {
        Some(".") => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

fn owner(file: &str) -> Option<i32> {
    if file.split('/').any(|word| word.is_empty() || word == "." || word == "..") {
        return None;
    }
    match file.split_once('/')? {
        ("net", _) => Some(libc::CLONE_NEWNET),
        ("fs", rest) if rest.starts_with("mqueue/") => Some(libc::CLONE_NEWIPC),
        ("kernel", name) if IPC.contains(&name) => Some(libc::CLONE_NEWIPC),
        ("kernel", "domainname" | "hostname") => Some(libc::CLONE_NEWUTS),
        ("user", _) => Some(libc::CLONE_NEWUSER),
        _ => None,
    }
}
