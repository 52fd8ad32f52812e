//! One place that speaks the distribution API.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::settings::Rule;
use crate::error::{Error, Kind};

/// Docker Hub's API is not on the host that its images are named after.
const HUB: &str = "docker.io";
const HUB_API: &str = "registry-1.docker.io";

/// How to reach a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host[:port]`.
    pub(super) authority: String,
    /// Parts before every repository, as `cache/`; empty for none.
    pub(super) path: String,
    pub(super) transport: Transport,
    /// PEM files besides the system's.
    pub(super) ca: Vec<PathBuf>,
    /// Hosts that may get the credentials besides its own domain's.
    pub(super) realms: Vec<String>,
    /// Under which name credentials are kept.
    pub(super) account: String,
}

/// What protects the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Plain,
    Tls,
    /// TLS to whoever answers.
    TlsUnverified,
}

impl Endpoint {
    /// The registry that images are named after.
    pub(super) fn of_registry(registry: &str, rule: Option<&Rule>) -> Self {
        let authority = if registry == HUB { HUB_API } else { registry };
        let transport = match rule.and_then(|rule| rule.insecure) {
            Some(true) => Transport::Plain,
            Some(false) => Transport::Tls,
            None if is_loopback(authority) => Transport::Plain,
            None => Transport::Tls,
        };
        Self::new(authority, "", transport, rule).with_account(registry)
    }

    /// A mirror of a rule.
    pub(super) fn of_mirror(mirror: &str, rule: &Rule) -> Result<Self, Error> {
        let invalid = |why: &str| {
            Error::new(Kind::Invalid, format!("invalid mirror \"{}\": {why}", mirror.escape_debug()))
        };
        let insecure = rule.insecure == Some(true);
        let (transport, rest) = match mirror.split_once("://") {
            Some(("http", rest)) => (Transport::Plain, rest),
            Some(("https", rest)) => (if insecure { Transport::TlsUnverified } else { Transport::Tls }, rest),
            Some(_) => return Err(invalid("expected http:// or https://")),
            None if insecure || is_loopback(mirror.split('/').next().unwrap_or_default()) => {
                (Transport::Plain, mirror)
            }
            None => (Transport::Tls, mirror),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]/".contains(&b));
        if authority.is_empty() || !plain(rest) {
            return Err(invalid("expected host[:port][/path]"));
        }
        let path = path.trim_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Self::new(authority, &path, transport, Some(rule)))
    }

    fn new(authority: &str, path: &str, transport: Transport, rule: Option<&Rule>) -> Self {
        Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
            transport,
            ca: rule.and_then(|rule| rule.ca.clone()).into_iter().collect(),
            realms: rule.map(|rule| rule.realms.clone()).unwrap_or_default(),
            account: authority.to_owned(),
        }
    }

    fn with_account(mut self, account: &str) -> Self {
        account.clone_into(&mut self.account);
        self
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.transport == Transport::Plain { "http" } else { "https" }
    }

    /// `scheme://host[:port]`.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// The host without its port.
    pub(super) fn host(&self) -> &str {
        host_of(&self.authority)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin())?;
        match self.path.strip_suffix('/') {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

/// `host` of `host[:port]`, without the brackets of an IPv6 address.
pub(super) fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = host_of(authority);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
