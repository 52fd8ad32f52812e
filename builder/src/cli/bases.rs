//! From a Dockerfile to its graph: the images that it names are looked up, or pulled, until none is missing.

use crate::cli::address::of_layout;
use crate::cli::recipe::Loaded;
use crate::dockerfile::rule::Warning;
use crate::error::{Error, Kind};
use crate::graph::{self, BaseRequest, Graph, Inputs, Lowered, Resolved};
use crate::image::{self, Digest, Platform};
use crate::progress::Sender;
use crate::store::{Descriptor, Store, media};

const NO_SCANNER: &str = "name a scanner that can be had with --sbom generator=IMAGE";

/// When a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    /// For images that are not in the store.
    Missing,
    /// For every image.
    Always,
}

/// Where images come from.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) store: &'a Store,
    pub(crate) pull: Pull,
    pub(crate) sender: &'a Sender,
}

/// The graph, and the rules that were seen broken on the way to it.
pub(crate) fn lower(
    loaded: &Loaded,
    mut inputs: Inputs,
    from: &Source<'_>,
) -> Result<(Graph, Vec<Warning>), Error> {
    loop {
        let lowering = graph::lower(&loaded.file, &loaded.source, &inputs)?;
        match lowering.lowered {
            Lowered::Graph(graph) => {
                for name in &lowering.unused_args {
                    from.sender.warn(format!("build argument {name} is not declared by any ARG"));
                }
                return Ok((*graph, lowering.warnings));
            }
            Lowered::Needs(requests) => {
                for request in requests {
                    let is_scanner =
                        inputs.scanner.as_ref().is_some_and(|scanner| scanner.image == request.reference);
                    let resolved = resolve(&request, from).map_err(|error| match is_scanner {
                        true => error.during("--sbom").hint(NO_SCANNER),
                        false => error,
                    })?;
                    inputs.bases.insert(request.key(), resolved);
                }
            }
        }
    }
}

fn resolve(request: &BaseRequest, from: &Source<'_>) -> Result<Resolved, Error> {
    let BaseRequest { reference, platform } = request;
    if let Some(digest) = of_layout(reference) {
        return in_layout(from.store, digest, platform);
    }
    if from.pull == Pull::Missing
        && let Some(image) = image::open(from.store, reference, platform)?
    {
        return Ok(Resolved { manifest: image.descriptor.digest, config: image.config });
    }
    image::pull(from.store, reference, platform, from.sender)?;
    match image::open(from.store, reference, platform)? {
        Some(image) => Ok(Resolved { manifest: image.descriptor.digest, config: image.config }),
        None => Err(Error::new(
            Kind::Invalid,
            format!("image {} has no variant for {platform}", reference.familiar()),
        )),
    }
}

/// An image that a layout brought into the store.
fn in_layout(store: &Store, digest: &Digest, platform: &Platform) -> Result<Resolved, Error> {
    let size = std::fs::metadata(store.blob_path(digest)).map_or(0, |found| found.len());
    let top = Descriptor::new(media::INDEX, digest.clone(), size);
    match image::open_descriptor(store, &top, platform)? {
        Some(image) => Ok(Resolved { manifest: image.descriptor.digest, config: image.config }),
        None => Err(Error::new(
            Kind::Invalid,
            format!("the image {} of the layout has no variant for {platform}", top.digest.short()),
        )),
    }
}
