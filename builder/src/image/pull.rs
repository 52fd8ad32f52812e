//! Pulling: from the first source that has the image, several layers at once, each verified on its way in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::manifest::{Document, Manifest};
use super::stored::parse_config;
use super::tag;
use crate::error::{Error, Kind};
use crate::progress::{Sender, Step};
use crate::registry::{Access, Credentials, Fetched, Reference, Repository, Settings};
use crate::store::{Descriptor, Digest, Platform, Store, media};

/// Layers under way at once.
const AT_ONCE: usize = 4;
/// Bytes between two reports of progress.
const REPORT_EVERY: u64 = 256 << 10;

/// Fetches the image for `platform` and names it `reference` in the store. What is in the store already is not fetched
/// again. Returns the descriptor of the platform's manifest.
pub fn pull(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    progress: &Sender,
) -> Result<Descriptor, Error> {
    let step = progress.step(format!("pull {}", reference.familiar()));
    let _in_use = store.share()?;
    match from_sources(store, reference, platform, &step) {
        Ok(descriptor) => {
            step.finished();
            Ok(descriptor)
        }
        Err(error) => {
            let error = error.during(&format!("pull {}", reference.familiar()));
            step.failed(error.to_string());
            Err(error)
        }
    }
}

/// The sources in turn. Only the last one's error is the user's; that of a mirror explains why it came so far.
fn from_sources(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    step: &Step,
) -> Result<Descriptor, Error> {
    let credentials = Credentials::from_environment();
    let mut before: Vec<String> = Vec::new();
    let sources = Settings::from_environment()?.sources(reference)?;
    let last = sources.len().saturating_sub(1);
    for (number, endpoint) in sources.into_iter().enumerate() {
        let result = Repository::new(endpoint, reference, Access::Pull, &credentials)
            .and_then(|repository| Pull { store, repository, step }.run(reference, platform));
        match result {
            Ok(descriptor) => return Ok(descriptor),
            Err(error) if number < last => before.push(error.to_string()),
            Err(error) if before.is_empty() => return Err(error),
            Err(error) => return Err(error.hint(format!("before that: {}", before.join("; ")))),
        }
    }
    Err(Error::new(Kind::Invalid, "no registry to ask"))
}

struct Pull<'a> {
    store: &'a Store,
    repository: Repository,
    step: &'a Step,
}

impl Pull<'_> {
    fn run(&self, reference: &Reference, platform: &Platform) -> Result<Descriptor, Error> {
        let wanted = reference.digest().map(Digest::as_str).or(reference.tag()).unwrap_or("latest");
        let (top, document) = self.document(wanted)?;
        let (descriptor, manifest) = match document {
            Document::Manifest(manifest) => (top.clone(), manifest),
            Document::Index(index) => {
                let selected = index.select(platform).ok_or_else(|| {
                    let text = format!("there is no image for {platform}");
                    Error::new(Kind::Invalid, text).hint(format!("it has {}", index.platforms()))
                })?;
                match self.document(selected.digest.as_str())? {
                    (mut found, Document::Manifest(manifest)) if found.size == selected.size => {
                        found.platform.clone_from(&selected.platform);
                        (found, manifest)
                    }
                    (found, Document::Manifest(_)) => {
                        let text = format!(
                            "manifest {}: expected {} bytes, got {}",
                            found.digest, selected.size, found.size
                        );
                        return Err(Error::new(Kind::Attack, text));
                    }
                    (_, Document::Index(_)) => {
                        return Err(Error::new(Kind::Invalid, "it is an index in an index"));
                    }
                }
            }
        };
        self.image(&manifest, platform)?;
        tag(self.store, reference, &top)?;
        Ok(descriptor)
    }

    /// A manifest or an index, from the store where it was asked for by digest and is there.
    fn document(&self, tag_or_digest: &str) -> Result<(Descriptor, Document), Error> {
        let kept = tag_or_digest.parse().ok().filter(|digest| self.store.has(digest));
        let fetched = match kept {
            Some(digest) => {
                Fetched { media_type: String::new(), bytes: self.store.read_blob(&digest)?, digest }
            }
            None => self.repository.manifest(tag_or_digest)?.ok_or_else(|| {
                let text = format!("{} has no such image", self.repository.endpoint());
                Error::new(Kind::Invalid, text).hint("check the name and the tag")
            })?,
        };
        let document = Document::parse(&fetched.bytes, &fetched.media_type)?;
        Ok((self.store.put_blob(document.media_type(), &fetched.bytes)?, document))
    }

    fn image(&self, manifest: &Manifest, platform: &Platform) -> Result<(), Error> {
        if manifest.config.size > 4 << 20 {
            return Err(Error::new(Kind::Attack, "its config is larger than 4 MiB"));
        }
        self.blob(&manifest.config)?;
        let config = parse_config(&self.store.read_blob(&manifest.config.digest)?, manifest)?;
        if !config.os.is_empty() && !config.platform().suits(platform) {
            let text = format!("there is no image for {platform}");
            return Err(Error::new(Kind::Invalid, text).hint(format!("it has {}", config.platform())));
        }
        self.layers(&manifest.layers)
    }

    /// Workers take the next layer until none is left or one of them failed.
    fn layers(&self, layers: &[Descriptor]) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(layers.len()) {
                scope.spawn(|| {
                    while failed().is_none()
                        && let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if let Err(error) = self.blob(layer) {
                            failed().get_or_insert(error);
                        }
                    }
                });
            }
        });
        let first = failed().take();
        first.map_or(Ok(()), Err)
    }

    fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        let item = format!("{} {}", what(blob), blob.digest.short());
        if self.store.holds(blob) {
            self.step.moved(&item, blob.size, Some(blob.size));
            return Ok(());
        }
        let mut writer = self.store.blob_writer()?;
        let mut reported = 0;
        self.repository.blob(blob, &mut writer, &mut |done| {
            if done - reported >= REPORT_EVERY || done == blob.size {
                reported = done;
                self.step.moved(&item, done, Some(blob.size));
            }
        })?;
        writer.commit_as(blob)
    }
}

fn what(blob: &Descriptor) -> &'static str {
    match blob.media_type.as_str() {
        media::CONFIG | media::DOCKER_CONFIG => "config",
        _ => "layer",
    }
}
