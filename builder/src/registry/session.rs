//! Requests to one repository: authorization, redirects, second attempts.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, WWW_AUTHENTICATE};
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body, SendBody};

use super::address::join;
use super::credentials::Login;
use super::endpoint::Endpoint;
use super::{Credentials, Reference, agent, auth, challenge, failure};
use crate::error::{Error, Kind};

const MOST_REDIRECTS: usize = 5;
const ATTEMPTS: u32 = 4;

/// What is to be done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// What a request carries. It must be possible to send it twice: the first time may end in a challenge.
pub(super) enum Content<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Stream(u64, &'a dyn Fn() -> io::Result<Box<dyn Read + 'a>>),
}

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Absolute, or from the endpoint's root.
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content: Content<'a>,
}

/// An endpoint, a repository on it, and what was learned about getting in.
pub(super) struct Session {
    pub(super) endpoint: Endpoint,
    /// With the endpoint's path in front.
    pub(super) repository: String,
    agent: Agent,
    login: Option<Login>,
    actions: &'static str,
    authorization: Mutex<Option<String>>,
}

impl Session {
    pub(super) fn new(
        endpoint: Endpoint,
        reference: &Reference,
        access: Access,
        credentials: &Credentials,
    ) -> Result<Self, Error> {
        let login = credentials.find(&endpoint.account, reference.repository())?;
        Ok(Self {
            repository: format!("{}{}", endpoint.path, reference.repository()),
            agent: agent::agent(&endpoint)?,
            endpoint,
            login,
            actions: if access == Access::Pull { "pull" } else { "pull,push" },
            authorization: Mutex::new(None),
        })
    }

    /// The address of something in the repository: `manifests/latest`.
    pub(super) fn url(&self, what: &str) -> String {
        format!("/v2/{}/{what}", self.repository)
    }

    /// Sends the request until there is an answer that is not about getting in, moving on, or trouble that passes.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Response<Body>, Error> {
        let may_repeat = matches!(call.method, Method::GET | Method::HEAD);
        let mut attempt = 1;
        loop {
            let passing = match self.follow(call) {
                Ok(response) if passes(response.status()) && may_repeat && attempt < ATTEMPTS => None,
                Err(error)
                    if may_repeat
                        && attempt < ATTEMPTS
                        && error.kind() == Kind::System
                        && error.errno().is_some() =>
                {
                    Some(error)
                }
                settled => return settled,
            };
            // Nobody listens there: waiting will not change it.
            if let Some(error) = passing.filter(|error| error.errno() == Some(libc::ECONNREFUSED)) {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(200) * 2_u32.pow(attempt));
            attempt += 1;
        }
    }

    /// The one check that `login` makes.
    pub(super) fn ping(&self) -> Result<(), Error> {
        let call =
            Call { method: Method::GET, url: "/v2/".to_owned(), headers: vec![], content: Content::Nothing };
        let mut response = self.send(&call)?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(failure::of_status(&self.endpoint, &mut response))
        }
    }

    fn scope(&self) -> String {
        format!("repository:{}:{}", self.repository, self.actions)
    }

    fn follow(&self, call: &Call<'_>) -> Result<Response<Body>, Error> {
        let mut url = self.absolute(&call.url)?;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.authorized(call, &url)?;
            let moved = response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED;
            if !moved || !matches!(call.method, Method::GET | Method::HEAD) {
                return Ok(response);
            }
            url = self.redirected(&url, &response)?;
        }
        Err(Error::new(Kind::System, format!("{}: too many redirects", self.endpoint)))
    }

    /// Where a redirect leads; never from TLS to plain HTTP.
    fn redirected(&self, from: &Uri, response: &Response<Body>) -> Result<Uri, Error> {
        let invalid =
            || Error::new(Kind::System, format!("{}: it redirects to no valid address", self.endpoint));
        let location =
            response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(invalid)?;
        let to = join(from, location).ok_or_else(invalid)?;
        if !keeps_tls(from, &to) {
            let text = format!("{}: it redirects from TLS to plain HTTP", self.endpoint);
            return Err(Error::new(Kind::Attack, text));
        }
        Ok(to)
    }

    /// Sends once, and once more with an answer to the challenge, if there is one.
    fn authorized(&self, call: &Call<'_>, url: &Uri) -> Result<Response<Body>, Error> {
        if !self.is_home(url) {
            return self.once(call, url, None); // credentials stay at home
        }
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = self.once(call, url, known.as_deref())?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let headers =
            response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge::parse(headers) else { return Ok(response) };
        let scopes = if call.url == "/v2/" { vec![] } else { vec![self.scope()] };
        let answer = auth::answer((&self.agent, &self.endpoint), &challenge, self.login.as_ref(), &scopes)?;
        if known.as_deref() == Some(&answer) {
            return Ok(response); // the same again would be refused again
        }
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
        self.once(call, url, Some(&answer))
    }

    fn once(&self, call: &Call<'_>, url: &Uri, authorization: Option<&str>) -> Result<Response<Body>, Error> {
        let mut request = Request::builder().method(&call.method).uri(url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let invalid =
            |error: ureq::http::Error| Error::new(Kind::System, format!("{}: {error}", self.endpoint));
        let sent = match &call.content {
            Content::Nothing if matches!(call.method, Method::GET | Method::HEAD) => {
                self.agent.run(request.body(()).map_err(invalid)?)
            }
            Content::Nothing => self.agent.run(request.body(&[][..]).map_err(invalid)?),
            Content::Bytes(bytes) => self.agent.run(request.body(*bytes).map_err(invalid)?),
            Content::Stream(size, open) => {
                let mut reader = open().map_err(|error| Error::system("read what is to be sent", error))?;
                let request = request.header(CONTENT_LENGTH, *size);
                self.agent.run(request.body(SendBody::from_reader(&mut reader)).map_err(invalid)?)
            }
        };
        sent.map_err(|error| {
            failure::of_transport(url.authority().map_or("", |authority| authority.as_str()), error)
        })
    }

    pub(super) fn absolute(&self, url: &str) -> Result<Uri, Error> {
        let whole =
            if url.starts_with('/') { format!("{}{url}", self.endpoint.origin()) } else { url.to_owned() };
        whole.parse().map_err(|_| Error::new(Kind::System, format!("{}: an invalid address", self.endpoint)))
    }

    fn is_home(&self, url: &Uri) -> bool {
        url.scheme_str() == Some(self.endpoint.scheme())
            && url.authority().is_some_and(|authority| authority.as_str() == self.endpoint.authority)
    }
}

/// Trouble of the registry's own that often passes.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// What began under TLS, a blob that is pushed too, goes nowhere without it.
pub(super) fn keeps_tls(from: &Uri, to: &Uri) -> bool {
    from.scheme_str() != Some("https") || to.scheme_str() == Some("https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_kept() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let (plain, tls) = (uri("http://r.example/a"), uri("https://r.example/a"));
        let kept = [(&tls, &tls), (&plain, &tls), (&plain, &plain), (&tls, &plain)];
        assert_eq!(kept.map(|(from, to)| keeps_tls(from, to)), [true, true, true, false]);
    }
}
