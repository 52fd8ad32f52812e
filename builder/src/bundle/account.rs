//! `USER`: from what is written to numbers, by the image's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::{Error, Kind};
use crate::sys::root;

/// Larger account files are refused: they come from the image.
const LARGEST: u64 = 8 << 20;

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory by `/etc/passwd`, `/` without an entry.
    pub home: String,
}

/// Resolves `user[:group]`, each a name or a number; empty is root.
///
/// A number needs no entry; a name does. Without a group it is the entry's, with the groups that list the user; for
/// a number without an entry it is 0 (as Docker has it).
///
/// # Errors
/// A name without an entry, a number that is no id, an account file that is no ordinary file or too large.
pub fn resolve(root: impl AsFd, user: &str) -> Result<Account, Error> {
    let passwd = read(&root, "/etc/passwd")?;
    let group = read(&root, "/etc/group")?;
    look_up(user, &passwd, &group)
}

/// Resolves the owner that `--chown` names: a missing group is the group of the same name or number.
///
/// # Errors
/// As `resolve`.
pub fn resolve_owner(root: impl AsFd, owner: &str) -> Result<(u32, u32), Error> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let passwd = read(&root, "/etc/passwd")?;
    let groups = read(&root, "/etc/group")?;
    let uid = match number(user)? {
        Some(uid) => uid,
        None => entry(user, &passwd).ok_or_else(|| no_user(user))?.0,
    };
    let gid = match group {
        "" => match number(user)? {
            Some(id) => id,
            None => entry(user, &passwd).ok_or_else(|| no_user(user))?.1,
        },
        named => group_id(named, &groups)?,
    };
    Ok((uid, gid))
}

fn read(at: impl AsFd, path: &str) -> Result<String, Error> {
    let doing = |error: io::Error| Error::system(format!("read {path} of the image"), error);
    // O_NONBLOCK: a FIFO would hang, and is then refused below.
    let file = match root::open(at, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(String::new());
        }
        other => File::from(other.map_err(doing)?),
    };
    if !file.metadata().map_err(doing)?.is_file() {
        return Err(Error::new(Kind::Attack, format!("read {path} of the image: not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(doing)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::new(Kind::Attack, format!("read {path} of the image: larger than 8 MiB")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn look_up(user: &str, passwd: &str, groups: &str) -> Result<Account, Error> {
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    let name = if name.is_empty() { "0" } else { name };
    let found = match number(name)? {
        Some(uid) => by_id(uid, passwd).unwrap_or((String::new(), uid, 0, "/".to_owned())),
        None => {
            let (uid, gid, home) = entry(name, passwd).ok_or_else(|| no_user(name))?;
            (name.to_owned(), uid, gid, home)
        }
    };
    let (name, uid, gid, home) = found;
    if group.is_empty() {
        return Ok(Account { uid, gid, groups: groups_of(&name, groups), home });
    }
    Ok(Account { uid, gid: group_id(group, groups)?, groups: Vec::new(), home })
}

/// An id, strictly: digits only, and 2^32-1 is none. `None` for a name.
fn number(text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(Error::new(Kind::Invalid, format!("id {text} is out of range"))
            .hint("ids go from 0 to 4294967294")),
    }
}

fn group_id(group: &str, groups: &str) -> Result<u32, Error> {
    if let Some(gid) = number(group)? {
        return Ok(gid);
    }
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1).and_then(id))?
    });
    found.ok_or_else(|| {
        Error::new(Kind::Invalid, format!("no group \"{}\" in the image's /etc/group", group.escape_debug()))
            .hint("write its number, or add it in an earlier RUN")
    })
}

fn no_user(name: &str) -> Error {
    Error::new(Kind::Invalid, format!("no user \"{}\" in the image's /etc/passwd", name.escape_debug()))
        .hint("write its number, or add it in an earlier RUN")
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// uid, gid, home of a name.
fn entry(name: &str, passwd: &str) -> Option<(u32, u32, String)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [found, _, uid, gid, rest @ ..] if *found == name => Some((id(uid)?, id(gid)?, home(rest))),
            _ => None,
        }
    })
}

fn by_id(wanted: u32, passwd: &str) -> Option<(String, u32, u32, String)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, uid, gid, rest @ ..] if id(uid) == Some(wanted) => {
                Some(((*name).to_owned(), wanted, id(gid)?, home(rest)))
            }
            _ => None,
        }
    })
}

fn home(rest: &[&str]) -> String {
    rest.get(1).filter(|home| home.starts_with('/')).map_or_else(|| "/".to_owned(), |home| (*home).to_owned())
}

fn groups_of(name: &str, groups: &str) -> Vec<u32> {
    if name.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<u32> = groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2).and_then(id)?;
            fields.next()?.split(',').any(|member| member == name).then_some(gid)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nodd:x:4294967296:0::/:\n";
    const GROUP: &str = "root:x:0:\napp:x:1000:\nvideo:x:44:app,other\nwheel:x:10:root,app\n";

    fn account(uid: u32, gid: u32, groups: &[u32], home: &str) -> Account {
        Account { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn names_and_numbers_resolve_as_docker_resolves_them() {
        for (user, expected) in [
            ("", account(0, 0, &[10], "/root")),
            ("app", account(1000, 1000, &[10, 44], "/home/app")),
            ("1000", account(1000, 1000, &[10, 44], "/home/app")),
            ("app:video", account(1000, 44, &[], "/home/app")),
            ("app:7", account(1000, 7, &[], "/home/app")),
            ("5", account(5, 0, &[], "/")),
            ("5:6", account(5, 6, &[], "/")),
        ] {
            assert_eq!(look_up(user, PASSWD, GROUP).unwrap(), expected, "{user}");
        }
    }

    #[test]
    fn what_is_no_account_is_an_error_that_says_so() {
        for (user, expected) in [
            (
                "nobody",
                "no user \"nobody\" in the image's /etc/passwd (write its number, or add it in an earlier RUN)",
            ),
            (
                "app:nope",
                "no group \"nope\" in the image's /etc/group (write its number, or add it in an earlier RUN)",
            ),
            ("4294967295", "id 4294967295 is out of range (ids go from 0 to 4294967294)"),
            ("4294967296", "id 4294967296 is out of range (ids go from 0 to 4294967294)"),
            (
                "odd",
                "no user \"odd\" in the image's /etc/passwd (write its number, or add it in an earlier RUN)",
            ),
        ] {
            assert_eq!(look_up(user, PASSWD, GROUP).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_fifo_for_passwd_neither_hangs_nor_passes() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        nix::unistd::mkfifo(&directory.path().join("etc/passwd"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let root = root::open_dir(directory.path()).unwrap();
        assert_eq!(
            resolve(&root, "app").unwrap_err().to_string(),
            "read /etc/passwd of the image: not a regular file"
        );
    }
}
