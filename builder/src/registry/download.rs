//! Downloads that are no image's: what ADD and a build context name by an address.

use std::io::{self, Read, Write};

use ureq::Body;
use ureq::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use ureq::http::{Request, Response, StatusCode, Uri};

use super::endpoint::Endpoint;
use super::{address, agent, failure, session};
use crate::error::{Error, Kind};

const MOST_REDIRECTS: usize = 10;

/// What came with the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// The server's word for this version of it.
    pub version: Option<String>,
}

/// Writes what is at `url` to `to`; `None` where it is still the `known` version. No credentials are sent.
///
/// # Errors
/// The way there; a status that is no success; the writer's.
pub fn download(url: &str, known: Option<&str>, to: &mut dyn Write) -> Result<Option<Downloaded>, Error> {
    let mut at: Uri =
        url.parse().map_err(|_| Error::new(Kind::Invalid, format!("download {url}: no valid address")))?;
    for _ in 0..=MOST_REDIRECTS {
        let mut response = ask(&at, known)?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        if status.is_redirection() {
            at = redirected(url, &at, &response)?;
            continue;
        }
        if !status.is_success() {
            let text = format!("download {url}: HTTP status {}", status.as_u16());
            return Err(Error::new(Kind::System, text));
        }
        let version = response.headers().get(ETAG).and_then(|value| value.to_str().ok());
        let downloaded = Downloaded { version: version.map(str::to_owned) };
        copy(&mut response.body_mut().as_reader(), to)
            .map_err(|error| Error::system(format!("download {url}"), error))?;
        return Ok(Some(downloaded));
    }
    Err(Error::new(Kind::System, format!("download {url}: too many redirects")))
}

fn ask(at: &Uri, known: Option<&str>) -> Result<Response<Body>, Error> {
    let authority = at.authority().map_or("", |authority| authority.as_str());
    let client = agent::agent(&Endpoint::of_registry(authority, None))?;
    let mut request = Request::get(at);
    if let Some(version) = known {
        request = request.header(IF_NONE_MATCH, version);
    }
    let request =
        request.body(()).map_err(|error| Error::new(Kind::Invalid, format!("download {at}: {error}")))?;
    client.run(request).map_err(|error| failure::of_transport(authority, error))
}

/// Never from TLS to plain HTTP.
fn redirected(url: &str, from: &Uri, response: &Response<Body>) -> Result<Uri, Error> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location.and_then(|location| address::join(from, location)).ok_or_else(|| {
        Error::new(Kind::System, format!("download {url}: it redirects to no valid address"))
    })?;
    if !session::keeps_tls(from, &to) {
        let text = format!("download {url}: it redirects from TLS to plain HTTP");
        return Err(Error::new(Kind::Attack, text));
    }
    Ok(to)
}

/// An end that comes too early is an error of the reader's: the length was announced, or the last chunk is missing.
fn copy(from: &mut impl Read, to: &mut dyn Write) -> io::Result<u64> {
    io::copy(from, to)
}
