//! Reading from a repository: manifests by name or digest, blobs by digest.

use std::io::{self, Read, Write};

use ureq::Body;
use ureq::http::header::{ACCEPT, CONTENT_TYPE, RANGE};
use ureq::http::{Method, Response, StatusCode};

use super::session::{Access, Call, Content, Session};
use super::{Credentials, Endpoint, Reference, failure};
use crate::error::{Error, Kind};
use crate::store::{Descriptor, Digest, media};

const LARGEST_MANIFEST: u64 = 4 << 20;
/// Breaks in the download of one blob.
const MOST_BREAKS: u32 = 5;

/// A repository on one endpoint. Several threads may use it at once.
pub struct Repository {
    pub(super) session: Session,
}

/// A manifest or an index as it came, with the digest that its bytes have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the registry says it is; empty where that is no manifest's type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

impl Repository {
    /// Nothing is asked of the registry yet.
    pub fn new(
        endpoint: Endpoint,
        reference: &Reference,
        access: Access,
        credentials: &Credentials,
    ) -> Result<Self, Error> {
        Ok(Self { session: Session::new(endpoint, reference, access, credentials)? })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.session.endpoint
    }

    /// Whether the registry lets this login in.
    pub fn ping(&self) -> Result<(), Error> {
        self.session.ping()
    }

    /// The manifest or index under a tag or a digest; `None` where the registry has none.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<Option<Fetched>, Error> {
        let accept = [media::INDEX, media::MANIFEST, media::DOCKER_LIST, media::DOCKER_MANIFEST].join(", ");
        let mut response =
            self.get(&format!("manifests/{tag_or_digest}"), vec![(ACCEPT.as_str(), accept)])?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.succeeded(&mut response)?;
        let media_type = media_type(&response);
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::system(format!("read a manifest from {}", self.endpoint()), error))?;
        if bytes.len() as u64 > LARGEST_MANIFEST {
            return Err(Error::new(
                Kind::Attack,
                format!("{}: a manifest larger than 4 MiB", self.endpoint()),
            ));
        }
        let digest = Digest::of(&bytes);
        if tag_or_digest.contains(':') && digest.as_str() != tag_or_digest {
            let text = format!("{}: asked for {tag_or_digest}, got {digest}", self.endpoint());
            return Err(Error::new(Kind::Attack, text));
        }
        Ok(Some(Fetched { media_type, bytes, digest }))
    }

    /// Writes the blob to `to`, going on where a broken connection stopped; `moved` is told the bytes so far. The
    /// content is not verified: that is for the store that it is written to.
    pub fn blob(
        &self,
        blob: &Descriptor,
        to: &mut impl Write,
        moved: &mut impl FnMut(u64),
    ) -> Result<(), Error> {
        let mut done = 0;
        for _ in 0..MOST_BREAKS {
            let mut response = self.blob_from(&blob.digest, done)?;
            let skipped = if response.status() == StatusCode::PARTIAL_CONTENT { done } else { 0 };
            let mut reader = response.body_mut().as_reader();
            match copy((&mut reader, skipped), to, (&mut done, blob.size), moved)? {
                Copied::All => return Ok(()),
                Copied::Broken => {}
            }
        }
        Err(Error::new(
            Kind::System,
            format!("{}: the connection broke {MOST_BREAKS} times", self.endpoint()),
        ))
    }

    fn blob_from(&self, digest: &Digest, offset: u64) -> Result<Response<Body>, Error> {
        let range = (offset > 0).then(|| (RANGE.as_str(), format!("bytes={offset}-")));
        let mut response = self.get(&format!("blobs/{digest}"), range.into_iter().collect())?;
        self.succeeded(&mut response)?;
        Ok(response)
    }

    fn get(&self, what: &str, headers: Vec<(&'static str, String)>) -> Result<Response<Body>, Error> {
        self.session.send(&Call {
            method: Method::GET,
            url: self.session.url(what),
            headers,
            content: Content::Nothing,
        })
    }

    pub(super) fn succeeded(&self, response: &mut Response<Body>) -> Result<(), Error> {
        if response.status().is_success() {
            Ok(())
        } else {
            Err(failure::of_status(self.endpoint(), response))
        }
    }
}

enum Copied {
    All,
    Broken,
}

/// Copies what comes after `done`, from a body that begins at `begins`. Errors are the writer's; the reader's are
/// `Broken`. A body longer than it should be is cut one byte later, for the verification to find.
fn copy(
    (reader, begins): (&mut impl Read, u64),
    to: &mut impl Write,
    (done, size): (&mut u64, u64),
    moved: &mut impl FnMut(u64),
) -> Result<Copied, Error> {
    let again = done.saturating_sub(begins);
    if again > 0 && io::copy(&mut reader.take(again), &mut io::sink()).ok() != Some(again) {
        return Ok(Copied::Broken);
    }
    let mut buffer = vec![0; 128 << 10];
    while *done <= size {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(if *done >= size { Copied::All } else { Copied::Broken }),
            Ok(count) => {
                let part = buffer.get(..count).unwrap_or_default();
                to.write_all(part).map_err(|error| Error::system("write a blob", error))?;
                *done += count as u64;
                moved(*done);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(Copied::Broken),
        }
    }
    Ok(Copied::All)
}

/// The type of the answer, without its parameters, where it is one of a manifest.
fn media_type(response: &Response<Body>) -> String {
    let value =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = value.split(';').next().unwrap_or_default().trim();
    let known = plain.starts_with("application/vnd.oci.image.")
        || plain.starts_with("application/vnd.docker.distribution.");
    if known { plain.to_owned() } else { String::new() }
}
