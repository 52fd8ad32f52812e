//! Pushing: what the registry lacks, then the manifest that names it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::manifest::{Document, Manifest};
use super::recompress::recompress;
use super::resolve;
use super::whole::chosen;
use crate::error::{Error, Kind};
use crate::layer::Compression;
use crate::progress::{Sender, Step};
use crate::registry::{Access, Credentials, Reference, Repository, Settings, Uploaded};
use crate::store::{Descriptor, Digest, Platform, Store};

/// Layers under way at once.
const AT_ONCE: usize = 4;

/// Sends the image that the first name has here to the registry under the second one: with a `platform` the image for
/// it alone, else every platform that is here; with a `compression` all its layers in that one. Returns the digest that it has
/// there.
pub fn push(
    store: &Store,
    (from, to): (&Reference, &Reference),
    (platform, compression): (Option<&Platform>, Option<Compression>),
    progress: &Sender,
) -> Result<Digest, Error> {
    let sent = |step: &Step| {
        let chosen = chosen(store, &top(store, from)?, platform)?;
        let packed = match compression {
            Some(compression) => recompress(store, &chosen, compression, 0)?,
            None => chosen,
        };
        send(store, (from, to), &packed, step)
    };
    told((store, to), progress, sent)
}

/// Sends an image of the store, whether it has a name here or not.
pub fn push_image(
    store: &Store,
    image: &Descriptor,
    to: &Reference,
    progress: &Sender,
) -> Result<Digest, Error> {
    told((store, to), progress, |step| send(store, (to, to), image, step))
}

fn told(
    (store, to): (&Store, &Reference),
    progress: &Sender,
    send: impl FnOnce(&Step) -> Result<Digest, Error>,
) -> Result<Digest, Error> {
    let step = progress.step(format!("push {}", to.familiar()));
    let _in_use = store.share()?;
    match send(&step) {
        Ok(digest) => {
            step.finished();
            Ok(digest)
        }
        Err(error) => {
            let error = error.during(&format!("push {}", to.familiar()));
            step.failed(error.to_string());
            Err(error)
        }
    }
}

fn top(store: &Store, from: &Reference) -> Result<Descriptor, Error> {
    resolve(store, from)?.ok_or_else(|| {
        Error::new(Kind::Invalid, format!("{} is not in the store", from.familiar()))
            .hint("builder images shows what is there")
    })
}

fn send(
    store: &Store,
    (from, to): (&Reference, &Reference),
    chosen: &Descriptor,
    step: &Step,
) -> Result<Digest, Error> {
    let bytes = store.read_blob(&chosen.digest)?;
    let document = Document::parse(&bytes, "")?;
    let repository = Repository::new(
        Settings::from_environment()?.home(to),
        to,
        Access::Push,
        &Credentials::from_environment(),
    )?;
    // The registry may have the layers under the name by which the image came.
    let other =
        (from.registry() == to.registry() && from.repository() != to.repository()).then(|| from.repository());
    let push = Push { store, repository, other, step };
    match &document {
        Document::Manifest(manifest) => push.image(manifest)?,
        Document::Index(index) => {
            for child in &index.manifests {
                push.child(child)?;
            }
        }
    }
    let name = to.tag().unwrap_or(chosen.digest.as_str());
    push.repository.put_manifest(name, document.media_type(), &bytes)?;
    Ok(chosen.digest.clone())
}

struct Push<'a> {
    store: &'a Store,
    repository: Repository,
    other: Option<&'a str>,
    step: &'a Step,
}

impl Push<'_> {
    fn child(&self, child: &Descriptor) -> Result<(), Error> {
        let bytes = self.store.read_blob(&child.digest)?;
        match Document::parse_any(&bytes, "")? {
            Document::Manifest(manifest) => self.image(&manifest)?,
            Document::Index(_) => return Err(Error::new(Kind::Invalid, "it is an index in an index")),
        }
        self.repository.put_manifest(child.digest.as_str(), &child.media_type, &bytes)
    }

    /// The layers at once, the config after them.
    fn image(&self, manifest: &Manifest) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(manifest.layers.len()) {
                scope.spawn(|| {
                    while failed().is_none()
                        && let Some(layer) = manifest.layers.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if let Err(error) = self.blob("layer", layer) {
                            failed().get_or_insert(error);
                        }
                    }
                });
            }
        });
        let first = failed().take();
        first.map_or(Ok(()), Err)?;
        self.blob("config", &manifest.config)
    }

    fn blob(&self, what: &str, blob: &Descriptor) -> Result<(), Error> {
        let item = format!("{what} {}", blob.digest.short());
        let moved = |done: u64| self.step.moved(&item, done, Some(blob.size));
        let uploaded = self.repository.upload((self.store, blob), self.other, &moved)?;
        if uploaded != Uploaded::Sent {
            moved(blob.size);
        }
        Ok(())
    }
}
