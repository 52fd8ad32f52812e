//! Addresses among the sources of ADD.

use super::{Git, Source};

/// What an ADD source is if it is no path: a download or a repository.
pub(super) fn remote(text: &str) -> Option<Source> {
    if let Some(git) = repository(text) {
        return Some(Source::Git(git));
    }
    let lower = text.to_ascii_lowercase();
    let is_http = lower.starts_with("http://") || lower.starts_with("https://");
    is_http.then(|| Source::Http { url: text.to_owned(), checksum: None })
}

/// `https://host/path.git#reference:subdir`, `git://`, `ssh://`, `git@host:path`.
#[must_use]
pub fn repository(text: &str) -> Option<Git> {
    let (remote, fragment) = text.split_once('#').unwrap_or((text, ""));
    let is_http = remote.starts_with("http://") || remote.starts_with("https://");
    let known = (is_http && remote.ends_with(".git"))
        || remote.starts_with("git://")
        || remote.starts_with("ssh://")
        || is_scp(remote);
    if !known {
        return None;
    }
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    Some(Git {
        remote: remote.to_owned(),
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        checksum: None,
        keep_git_dir: false,
    })
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, rest)| {
        let plain = |s: &str| !s.is_empty() && !s.contains(['/', ':']);
        plain(user) && rest.split_once(':').is_some_and(|(host, path)| plain(host) && !path.is_empty())
    })
}
