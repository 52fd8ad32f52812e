//! Names of hosts: our own look-up, since a static binary has no getaddrinfo that works everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// ureq's array has room for 16.
const MOST: usize = 8;

/// Literal addresses, `localhost`, /etc/hosts, then the servers of /etc/resolv.conf.
#[derive(Debug)]
pub(super) struct HostNames;

impl Resolver for HostNames {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let mut found = self.empty();
        for address in addresses(host.trim_matches(['[', ']']))?.into_iter().take(MOST) {
            found.push(SocketAddr::new(address, port));
        }
        if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
    }
}

fn addresses(host: &str) -> Result<Vec<IpAddr>, ureq::Error> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        let resolver = resolver.map_err(|error| std::io::Error::other(error.to_string()))?;
        match tokio::time::timeout(PATIENCE, resolver.lookup_ip(host)).await {
            Ok(Ok(found)) => Ok(found.iter().collect()),
            // A host that is not there and a server that does not answer look the same to the user.
            Ok(Err(_)) | Err(_) => Err(ureq::Error::HostNotFound),
        }
    })
}
