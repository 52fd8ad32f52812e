//! Users of this host, by /etc/passwd alone: a static binary cannot ask the name service.

use anyhow::{Context, Result};

pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) home: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user who runs this.
pub(crate) fn own() -> Result<Account> {
    let uid = nix::unistd::geteuid().as_raw();
    find(|line| line.get(2).is_some_and(|field| field.parse() == Ok(uid)))?
        .with_context(|| format!("find a name for the user {uid}"))
}

pub(crate) fn named(name: &str) -> Result<Option<Account>> {
    find(|line| line.first() == Some(&name))
}

fn find(wanted: impl Fn(&[&str]) -> bool) -> Result<Option<Account>> {
    let text = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|line| wanted(line));
    Ok(line.and_then(|line| {
        let number = |at: usize| line.get(at)?.parse().ok();
        Some(Account {
            name: (*line.first()?).to_owned(),
            home: (*line.get(5)?).to_owned(),
            uid: number(2)?,
            gid: number(3)?,
        })
    }))
}
