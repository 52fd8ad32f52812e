//! From a challenge to an `Authorization` header.

use std::io::Read;
use std::net::IpAddr;

use serde::Deserialize;
use ureq::Agent;
use ureq::http::Uri;

use super::challenge::Challenge;
use super::credentials::Login;
use super::endpoint::{Endpoint, Transport};
use super::failure;
use crate::error::{Error, Kind};

const LARGEST_ANSWER: u64 = 1 << 20;

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// Answers the challenge; `scopes` are asked for besides what the challenge names.
pub(super) fn answer(
    (agent, endpoint): (&Agent, &Endpoint),
    challenge: &Challenge,
    login: Option<&Login>,
    scopes: &[String],
) -> Result<String, Error> {
    match challenge {
        Challenge::Basic => login.and_then(Login::basic).ok_or_else(|| {
            Error::new(Kind::System, format!("{endpoint}: it asks for a login"))
                .hint(format!("builder login {}", endpoint.account))
        }),
        Challenge::Bearer { realm, service, scope } => {
            let uri = realm_of(realm, endpoint)?;
            if login.is_some() {
                trust(&uri, endpoint)?;
            }
            let mut wanted: Vec<&str> = scopes.iter().map(String::as_str).collect();
            wanted.extend(
                scope.as_deref().filter(|scope| wanted.is_empty() || !scope.starts_with("repository:")),
            );
            token((agent, endpoint), &uri, service.as_deref(), (login, &wanted))
        }
    }
}

fn realm_of(realm: &str, endpoint: &Endpoint) -> Result<Uri, Error> {
    let uri = realm
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    uri.ok_or_else(|| Error::new(Kind::System, format!("{endpoint}: its token service has no valid address")))
}

/// Refuses to send credentials over plain HTTP that came over TLS, or to somebody else's host.
fn trust(realm: &Uri, endpoint: &Endpoint) -> Result<(), Error> {
    let host = realm.host().unwrap_or_default().trim_matches(['[', ']']);
    let safe = realm.scheme_str() == Some("https") || endpoint.transport == Transport::Plain;
    let known = same_site(host, endpoint.host()) || endpoint.realms.iter().any(|named| named == host);
    if safe && known {
        return Ok(());
    }
    let text = format!(
        "{endpoint}: it wants its credentials sent to {}",
        realm.authority().map_or(host, |a| a.as_str())
    );
    Err(Error::new(Kind::Attack, text)
        .hint("if that is right, add realms = [\"HOST\"] to its entry in registries.toml"))
}

/// The same host, or names under one registered domain. Without the list of public suffixes this errs to the strict
/// side: under a two-letter country with a short second level, three labels must agree.
fn same_site(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    if [a, b].iter().any(|host| host.parse::<IpAddr>().is_ok() || !host.contains('.')) {
        return false;
    }
    let labels = |host: &str| host.rsplit('.').map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (labels(a), labels(b));
    let deep =
        a.first().is_some_and(|top| top.len() == 2) && a.get(1).is_some_and(|second| second.len() <= 3);
    let depth = if deep { 3 } else { 2 };
    a.len() >= depth && b.len() >= depth && a.iter().zip(&b).take(depth).all(|(a, b)| a == b)
}

fn token(
    (agent, endpoint): (&Agent, &Endpoint),
    realm: &Uri,
    service: Option<&str>,
    (login, scopes): (Option<&Login>, &[&str]),
) -> Result<String, Error> {
    let service = service.map(|service| ("service", service));
    let authority = realm.authority().map(ToString::to_string).unwrap_or_default();
    let sent = if let Some(Login::Identity(refresh)) = login {
        let scope = scopes.join(" ");
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_id", "coracle"),
            ("scope", &scope),
        ];
        agent.post(realm).send_form(fields.into_iter().chain(service))
    } else {
        let request =
            agent.get(realm).query_pairs(service).query_pairs(scopes.iter().map(|scope| ("scope", *scope)));
        match login.and_then(Login::basic) {
            Some(basic) => request.header("authorization", basic).call(),
            None => request.call(),
        }
    };
    let mut response = sent.map_err(|error| failure::of_transport(&authority, error))?;
    if !response.status().is_success() {
        return Err(failure::of_status(endpoint, &mut response).during("get a token"));
    }
    let mut bytes = Vec::new();
    let read = response.body_mut().as_reader().take(LARGEST_ANSWER).read_to_end(&mut bytes);
    read.map_err(|error| Error::system(format!("read a token from {authority}"), error))?;
    let invalid = || Error::new(Kind::System, format!("{endpoint}: its token service sent no token"));
    let answer: Token = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(invalid())
    } else {
        Ok(format!("Bearer {token}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_on_the_registrys_own_domain() {
        for (realm, registry, same) in [
            ("auth.docker.io", "registry-1.docker.io", true),
            ("gitlab.com", "registry.gitlab.com", true),
            ("quay.io", "quay.io", true),
            ("localhost", "localhost", true),
            ("evil.example", "registry.gitlab.com", false),
            ("evil.co.uk", "registry.co.uk", false),
            ("auth.firm.co.uk", "registry.firm.co.uk", true),
            ("127.0.0.2", "127.0.0.1", false),
            ("10.0.0.1", "11.0.0.1", false),
            ("com", "registry.com", false),
            ("docker.io.evil.com", "registry-1.docker.io", false),
        ] {
            assert_eq!(same_site(realm, registry), same, "{realm} {registry}");
        }
    }
}
