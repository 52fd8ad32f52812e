//! The HTTP client of one endpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use super::endpoint::{Endpoint, Transport};
use super::resolver::HostNames;
use crate::error::{Error, Kind};

/// The bundles of the usual distributions.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Directories with one subdirectory of certificates per registry, as Docker and podman have them.
const PER_REGISTRY: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// Redirects are ours to follow, so that credentials stay behind; every status is an answer.
pub(super) fn agent(endpoint: &Endpoint) -> Result<Agent, Error> {
    let config = Agent::config_builder()
        .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_mins(2)))
        .timeout_per_read(Some(Duration::from_mins(1)))
        .timeout_per_write(Some(Duration::from_mins(1)))
        .tls_config(tls(endpoint)?)
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::default(), HostNames))
}

fn tls(endpoint: &Endpoint) -> Result<TlsConfig, Error> {
    let builder = TlsConfig::builder();
    // A plain registry may still name a token service with TLS.
    let roots = match endpoint.transport {
        Transport::TlsUnverified => return Ok(builder.disable_verification(true).build()),
        Transport::Plain | Transport::Tls => roots(endpoint)?,
    };
    Ok(builder.root_certs(roots).build())
}

/// The system's certificates, or those built in where it has none; then the registry's own.
fn roots(endpoint: &Endpoint) -> Result<RootCerts, Error> {
    let own = own_certificates(endpoint)?;
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundles = named.into_iter().chain(BUNDLES.map(PathBuf::from));
    let system = bundles
        .filter_map(|path| fs::read(path).ok())
        .map(|pem| certificates(&pem))
        .find(|all| !all.is_empty());
    match system {
        None if own.is_empty() => Ok(RootCerts::WebPki),
        system => Ok(system.unwrap_or_default().into_iter().chain(own).collect::<Vec<_>>().into()),
    }
}

fn own_certificates(endpoint: &Endpoint) -> Result<Vec<Certificate<'static>>, Error> {
    let mut found = Vec::new();
    for path in &endpoint.ca {
        let pem = fs::read(path).map_err(|error| Error::system(format!("read {}", path.display()), error))?;
        let all = certificates(&pem);
        if all.is_empty() {
            return Err(Error::new(Kind::Invalid, format!("read {}: no certificate in it", path.display())));
        }
        found.extend(all);
    }
    for place in PER_REGISTRY {
        let Ok(entries) = fs::read_dir(Path::new(place).join(&endpoint.authority)) else { continue };
        let files = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "crt"));
        found.extend(files.filter_map(|path| fs::read(path).ok()).flat_map(|pem| certificates(&pem)));
    }
    Ok(found)
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None };
    parse_pem(pem).filter_map(certificate).collect()
}
