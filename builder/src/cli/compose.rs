//! From the images of a build to the one thing that gets its names: an image, or an index over images and what is said of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::attest::{self, Attestation, Storage};
use crate::cli::annotation::{self, Annotation, Target};
use crate::cli::output::{Output, Reach};
use crate::error::{Error, Kind};
use crate::graph::Graph;
use crate::image::{self, Platform};
use crate::registry::Reference;
use crate::store::{Descriptor, Store};

/// What a build came to.
#[derive(Debug)]
pub(crate) struct Built<'a> {
    pub(crate) store: &'a Store,
    /// One for each platform.
    pub(crate) images: Vec<Descriptor>,
    /// What is said of each.
    pub(crate) said: Vec<Vec<Attestation>>,
    pub(crate) graphs: &'a [Graph],
    /// The names of `--tag`.
    pub(crate) tags: &'a [Reference],
    /// Annotations of the index; `None`: there is no index without need.
    pub(crate) index: Option<BTreeMap<String, String>>,
}

impl Built<'_> {
    /// What the names are given to.
    pub(crate) fn top(&self) -> Result<Descriptor, Error> {
        self.over((&self.images, &self.said), (self.tags, Storage::default()))
    }

    /// The same as an output has it: layers compressed in another way, the base's too where `reach` says so, and what is said in another
    /// form.
    pub(crate) fn top_for(&self, output: &Output) -> Result<Descriptor, Error> {
        let names = if output.names.is_empty() { self.tags } else { output.names.as_slice() };
        let called = (names, output.storage);
        let Some(compression) = output.compression else {
            return self.over((&self.images, &self.said), called);
        };
        let (mut images, mut said) = (Vec::new(), self.said.clone());
        for (at, (image, graph)) in self.images.iter().zip(self.graphs).enumerate() {
            let kept = if output.reach == Reach::All { 0 } else { graph.base_layers() };
            let made = image::recompress(self.store, image, compression, kept)?;
            let moved = image::moved_between(self.store, image, &made)?;
            for one in said.get_mut(at).into_iter().flatten() {
                image::follow(&mut one.predicate, &moved);
            }
            images.push(made);
        }
        self.over((&images, &said), called)
    }

    /// What is said of one of its images.
    pub(crate) fn said_of(&self, image: &Descriptor) -> &[Attestation] {
        let at = self.images.iter().position(|other| other == image);
        at.and_then(|at| self.said.get(at)).map_or(&[], Vec::as_slice)
    }

    fn over(
        &self,
        (images, said): (&[Descriptor], &[Vec<Attestation>]),
        called: (&[Reference], Storage),
    ) -> Result<Descriptor, Error> {
        match (images, &self.index) {
            ([image], None) => Ok(image.clone()),
            (_, annotations) => {
                let said = said.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
                let images: Vec<_> = images.iter().cloned().zip(said).collect();
                let none = BTreeMap::new();
                let annotations = annotations.as_ref().unwrap_or(&none);
                attest::index(self.store, &images, called, annotations)
            }
        }
    }
}

/// The annotations of the index, if there is to be one: several platforms, something to be said, or a wish.
pub(crate) fn index_annotations(
    annotations: &[Annotation],
    is_index: bool,
) -> Result<Option<BTreeMap<String, String>>, Error> {
    let chosen = annotation::chosen(annotations, |target| *target == Target::Index);
    if is_index {
        return Ok(Some(chosen));
    }
    if chosen.is_empty() {
        return Ok(None);
    }
    let text = "annotation index: there is no index over the image of one platform";
    Err(Error::new(Kind::Invalid, text)
        .hint("write it on the manifest, or make an index with --build-arg BUILDKIT_MULTI_PLATFORM=1"))
}

/// Gives an image's descriptor the annotations that are meant for it.
pub(crate) fn annotated(mut image: Descriptor, annotations: &[Annotation]) -> Descriptor {
    let platform = image.platform.clone().unwrap_or_else(Platform::host);
    image.annotations.extend(annotation::chosen(annotations, |target| {
        matches!(target, Target::ManifestDescriptor(wanted) if annotation::suits(wanted.as_ref(), &platform))
    }));
    image
}

/// The files that programs read: the digest alone, and a document about the image.
pub(crate) fn write_files(
    built: &Built<'_>,
    top: &Descriptor,
    (id, metadata): (Option<&Path>, Option<&Path>),
) -> Result<(), Error> {
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|error| Error::system(format!("write {}", path.display()), error))
    };
    if let Some(path) = id {
        write(path, top.digest.as_str())?;
    }
    let Some(path) = metadata else { return Ok(()) };
    let names: Vec<String> = built.tags.iter().map(ToString::to_string).collect();
    let config = match image::Document::parse(&built.store.read_blob(&top.digest)?, "")? {
        image::Document::Manifest(manifest) => Some(manifest.config.digest),
        image::Document::Index(_) => None,
    };
    let mut document = serde_json::json!({
        "containerimage.config.digest": config,
        "containerimage.descriptor": top,
        "containerimage.digest": top.digest,
        "image.name": names.join(","),
    });
    if let Some(fields) = document.as_object_mut() {
        fields.extend(provenance(built));
    }
    write(path, &format!("{document:#}\n"))
}

/// How each image was built, under the names that buildx gives it.
fn provenance<'a>(built: &'a Built<'_>) -> impl Iterator<Item = (String, Value)> + 'a {
    let one = built.images.len() == 1;
    built.images.iter().zip(&built.said).filter_map(move |(image, said)| {
        let found =
            said.iter().find(|said| said.predicate_type.starts_with("https://slsa.dev/provenance/"))?;
        let platform = image.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = "buildx.build.provenance".to_owned();
        Some((if one { name } else { format!("{name}/{platform}") }, found.predicate.clone()))
    })
}
