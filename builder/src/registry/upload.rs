//! Writing to a repository: blobs that it does not have, then the manifest that names them.

use std::fs::File;
use std::io::{self, Read};

use ureq::Body;
use ureq::http::header::{CONTENT_TYPE, LOCATION};
use ureq::http::{Method, Response, StatusCode};

use super::address::join;
use super::repository::Repository;
use super::session::{Call, Content, keeps_tls};
use crate::error::{Error, Kind};
use crate::store::{Descriptor, Digest, Store};

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

impl Repository {
    /// Brings the blob into the repository: looks for it, asks for a copy from `other` (a repository of the same
    /// registry), sends it.
    pub fn upload(
        &self,
        (store, blob): (&Store, &Descriptor),
        other: Option<&str>,
        moved: &(dyn Fn(u64) + Sync),
    ) -> Result<Uploaded, Error> {
        if self.exists(&format!("blobs/{}", blob.digest))? {
            return Ok(Uploaded::Present);
        }
        let session = self.begin(&blob.digest, other)?;
        if session.status() == StatusCode::CREATED {
            return Ok(Uploaded::Mounted);
        }
        let location = self.location(&session)?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let open = || {
            let file = File::open(store.blob_path(&blob.digest))?;
            Ok(Box::new(Counted { file, done: 0, moved }) as Box<dyn Read>)
        };
        let mut response = self.session.send(&Call {
            method: Method::PUT,
            url: format!("{location}{separator}digest={}", blob.digest),
            headers: vec![(CONTENT_TYPE.as_str(), "application/octet-stream".to_owned())],
            content: Content::Stream(blob.size, &open),
        })?;
        self.succeeded(&mut response)?;
        Ok(Uploaded::Sent)
    }

    /// Stores a manifest or an index under a tag or its digest.
    pub fn put_manifest(&self, tag_or_digest: &str, media_type: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut response = self.session.send(&Call {
            method: Method::PUT,
            url: self.session.url(&format!("manifests/{tag_or_digest}")),
            headers: vec![(CONTENT_TYPE.as_str(), media_type.to_owned())],
            content: Content::Bytes(bytes),
        })?;
        self.succeeded(&mut response)
    }

    fn exists(&self, what: &str) -> Result<bool, Error> {
        let call = Call {
            method: Method::HEAD,
            url: self.session.url(what),
            headers: vec![],
            content: Content::Nothing,
        };
        let mut response = self.session.send(&call)?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            _ => self.succeeded(&mut response).map(|()| true),
        }
    }

    /// Opens an upload, or has the blob mounted, which is 201 Created.
    fn begin(&self, digest: &Digest, other: Option<&str>) -> Result<Response<Body>, Error> {
        let mount = other.map(|other| format!("?mount={digest}&from={other}")).unwrap_or_default();
        let mut response = self.session.send(&Call {
            method: Method::POST,
            url: self.session.url(&format!("blobs/uploads/{mount}")),
            headers: vec![],
            content: Content::Nothing,
        })?;
        self.succeeded(&mut response)?;
        Ok(response)
    }

    /// The place that the registry names for the content. Another host gets no credentials.
    fn location(&self, session: &Response<Body>) -> Result<String, Error> {
        let invalid =
            || Error::new(Kind::System, format!("{}: it names no place for an upload", self.endpoint()));
        let location =
            session.headers().get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(invalid)?;
        let root = self.session.absolute(&self.session.url("blobs/uploads/"))?;
        let to = join(&root, location).ok_or_else(invalid)?;
        if !keeps_tls(&root, &to) {
            let text = format!("{}: it wants the upload sent without TLS", self.endpoint());
            return Err(Error::new(Kind::Attack, text));
        }
        Ok(to.to_string())
    }
}

/// A file that tells how much of it was read.
struct Counted<'a> {
    file: File,
    done: u64,
    moved: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        (self.moved)(self.done);
        Ok(count)
    }
}
