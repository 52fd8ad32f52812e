//! What a registry or the way to it answered, as one line for people.

use std::io::Read;

use serde::Deserialize;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::endpoint::Endpoint;
use crate::error::{Error, Kind};

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Complaint>,
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The request did not reach its host, or the answer broke off.
pub(super) fn of_transport(authority: &str, error: ureq::Error) -> Error {
    let doing = format!("reach {authority}");
    match error {
        ureq::Error::HostNotFound => Error::new(Kind::System, format!("{doing}: no such host"))
            .hint("check the name and the network; mirrors are set in registries.toml"),
        ureq::Error::Timeout(_) => Error::new(Kind::System, format!("{doing}: no answer in time")),
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Error::system(doing, error).hint("is the registry running?")
        }
        ureq::Error::Io(error) => {
            let text = error.to_string();
            let certificate = text.contains("certificate");
            let error = Error::system(doing, error);
            let hint = "name its authority with ca = \"FILE\" in registries.toml, or set insecure = true";
            if certificate { error.hint(hint) } else { error }
        }
        other => {
            let text = other.to_string();
            let plain = text.contains("InvalidContentType") || text.contains("corrupt message");
            let error = Error::new(Kind::System, format!("{doing}: {text}"));
            if plain {
                error.hint("it speaks no TLS: insecure = true in registries.toml allows that")
            } else {
                error
            }
        }
    }
}

/// A status that is no success.
pub(super) fn of_status(endpoint: &Endpoint, response: &mut Response<Body>) -> Error {
    let status = response.status();
    let account = &endpoint.account;
    let said = said(response);
    let told = |text: &str| Error::new(Kind::System, format!("{endpoint}: {text}{said}"));
    match status {
        StatusCode::UNAUTHORIZED => told("it asks for a login").hint(format!(
            "builder login {account}; a registry may say this of a repository that it does not have"
        )),
        StatusCode::FORBIDDEN => {
            told("this login may not").hint(format!("builder login {account} as another user"))
        }
        StatusCode::NOT_FOUND => told("no such image or repository"),
        StatusCode::TOO_MANY_REQUESTS => told("too many requests").hint("log in, or try again later"),
        other => told(&format!("HTTP status {}", other.as_u16())),
    }
}

/// The registry's own words: the first error, cut to a line.
fn said(response: &mut Response<Body>) -> String {
    let mut bytes = Vec::new();
    // An answer that cannot be read adds nothing to its status.
    drop(response.body_mut().as_reader().take(16 << 10).read_to_end(&mut bytes));
    let Ok(answer) = serde_json::from_slice::<Answer>(&bytes) else { return String::new() };
    let words = match answer.errors.into_iter().next() {
        Some(complaint) if complaint.message.is_empty() => complaint.code,
        Some(complaint) => complaint.message,
        None => answer.details.unwrap_or_default(),
    };
    let line: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}
