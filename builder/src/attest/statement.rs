//! In-toto statements, and how an image's index carries them: a manifest for each image, whose layers are the statements.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Sum;
use super::package::{self, Place};
use crate::error::Error;
use crate::image::{Descriptor, Platform};
use crate::registry::Reference;
use crate::store::{Digest, Store, media};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const STATEMENT_MEDIA: &str = "application/vnd.in-toto+json";
const EMPTY_MEDIA: &str = "application/vnd.oci.empty.v1+json";
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// In which form an index carries what is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// As an artifact about the image.
    #[default]
    Artifact,
    /// As an image that is none, for registries that know no artifacts.
    Image,
}

/// One thing that is said.
#[derive(Debug, Clone, PartialEq)]
pub struct Attestation {
    /// What kind of thing: the address of its description.
    pub predicate_type: String,
    /// What is said.
    pub predicate: Value,
    /// Of what, as whoever made it wrote; empty: of the image.
    pub subjects: Vec<Value>,
    /// Name of the file that a directory of files gets; `None`: only images carry it.
    pub filename: Option<String>,
}

impl Attestation {
    fn statement(&self, subjects: Vec<Value>) -> Vec<u8> {
        let subjects = if self.subjects.is_empty() { subjects } else { self.subjects.clone() };
        let statement = json!({
            "_type": STATEMENT,
            "predicateType": self.predicate_type,
            "subject": subjects,
            "predicate": self.predicate,
        });
        statement.to_string().into_bytes()
    }
}

/// A file of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSubject {
    /// Its path, relative.
    pub name: String,
    /// Its content.
    pub digest: Digest,
}

/// The statement about an output's files, as people read it.
#[must_use]
pub fn written(attestation: &Attestation, files: &[FileSubject]) -> Vec<u8> {
    let of_file = |file: &FileSubject| json!({"name": file.name, "digest": Sum::of_digest(file.digest.as_str()).json()});
    let statement = attestation.statement(files.iter().map(of_file).collect());
    let pretty = serde_json::from_slice::<Value>(&statement).map(|value| format!("{value:#}\n").into_bytes());
    pretty.unwrap_or(statement)
}

/// Stores the index over images and, after all of them, a manifest for each one that something is said of.
///
/// # Errors
/// The store's.
pub fn index(
    store: &Store,
    images: &[(Descriptor, &[Attestation])],
    (names, storage): (&[Reference], Storage),
    annotations: &BTreeMap<String, String>,
) -> Result<Descriptor, Error> {
    let mut manifests: Vec<Descriptor> = images.iter().map(|(image, _)| image.clone()).collect();
    for (image, attestations) in images.iter().filter(|(_, attestations)| !attestations.is_empty()) {
        manifests.push(manifest((store, storage), image, attestations, names)?);
    }
    let mut index = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests});
    if let (false, Value::Object(fields)) = (annotations.is_empty(), &mut index) {
        fields.insert("annotations".to_owned(), json!(annotations));
    }
    store.put_blob(media::INDEX, index.to_string().as_bytes())
}

/// The manifest that holds what is said of one image; no program takes it for an image.
fn manifest(
    (store, storage): (&Store, Storage),
    image: &Descriptor,
    attestations: &[Attestation],
    names: &[Reference],
) -> Result<Descriptor, Error> {
    let mut layers = Vec::new();
    for attestation in attestations {
        let statement = attestation.statement(subjects(image, names));
        let mut layer = store.put_blob(STATEMENT_MEDIA, &statement)?;
        layer.annotations =
            BTreeMap::from([("in-toto.io/predicate-type".to_owned(), attestation.predicate_type.clone())]);
        layers.push(layer);
    }
    let manifest = match storage {
        Storage::Artifact => {
            let config = store.put_blob(EMPTY_MEDIA, b"{}")?;
            json!({
                "schemaVersion": 2,
                "mediaType": media::MANIFEST,
                "artifactType": ARTIFACT,
                "config": {"mediaType": config.media_type, "digest": config.digest, "size": config.size, "data": "e30="},
                "layers": layers,
                "subject": Descriptor::new(image.media_type.clone(), image.digest.clone(), image.size),
            })
        }
        Storage::Image => {
            let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
            let config = json!({
                "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            });
            let config = store.put_blob(media::CONFIG, config.to_string().as_bytes())?;
            json!({"schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": layers})
        }
    };
    let mut made = store.put_blob(media::MANIFEST, manifest.to_string().as_bytes())?;
    made.platform = Some(Platform::new("unknown", "unknown", ""));
    made.annotations = BTreeMap::from([
        (media::REFERENCE_DIGEST.to_owned(), image.digest.to_string()),
        (media::REFERENCE_TYPE.to_owned(), media::ATTESTATION.to_owned()),
    ]);
    Ok(made)
}

/// The image under each of its names.
fn subjects(image: &Descriptor, names: &[Reference]) -> Vec<Value> {
    let platform = image.platform.clone().unwrap_or_else(Platform::host);
    let mut all: Vec<String> =
        names.iter().map(|name| package::url(Place::Docker, name, &platform)).collect();
    if all.is_empty() {
        all.push("_".to_owned());
    }
    let digest = Sum::of_digest(image.digest.as_str()).json();
    all.into_iter().map(|name| json!({"name": name, "digest": digest})).collect()
}
