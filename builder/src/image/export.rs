//! Saving images as one tar: an OCI layout, or the archive that `docker load` has always taken.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;

use super::Found;
use super::manifest::{Document, Manifest};
use super::stored::parse_config;
use super::whole::chosen;
use crate::error::{Error, Kind};
use crate::layer::{Compression, Entry, EntryKind, decoder};
use crate::store::{Descriptor, Digest, NAME, Platform, Store, media};

/// Under which containerd and Docker look for a name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The form of a saved image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// An OCI image layout in a tar.
    OciArchive,
    /// Docker's own, with uncompressed layers.
    DockerArchive,
}

/// Writes the images to `out`. The same images give the same bytes.
pub fn save(
    store: &Store,
    (images, platform): (&[Found], Option<&Platform>),
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut tar = Tar { out };
    let mut chosen_images = Vec::new();
    for image in images {
        chosen_images.push((image, chosen(store, &image.descriptor, platform)?));
    }
    match format {
        Format::OciArchive => oci(store, &chosen_images, &mut tar)?,
        Format::DockerArchive => docker(store, &chosen_images, &mut tar)?,
    }
    tar.put(&[0; 1024])
        .and_then(|()| tar.out.flush())
        .map_err(|error| Error::system("write the archive", error))
}

fn oci(store: &Store, images: &[(&Found, Descriptor)], tar: &mut Tar<'_>) -> Result<(), Error> {
    let mut blobs = BTreeSet::new();
    let mut manifests = Vec::new();
    for (image, descriptor) in images {
        gather(store, descriptor, &mut blobs)?;
        let mut entry = descriptor.clone();
        entry.annotations.remove(NAME);
        if let Some(reference) = &image.reference {
            for key in [NAME, CONTAINERD_NAME] {
                entry.annotations.insert(key.to_owned(), reference.to_string());
            }
        }
        manifests.push(entry);
    }
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests});
    tar.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.bytes("index.json", index.to_string().as_bytes())?;
    tar.directory("blobs")?;
    tar.directory("blobs/sha256")?;
    for digest in blobs {
        let mut blob = store.open_blob(&digest)?;
        let size =
            blob.metadata().map_err(|error| Error::system(format!("read blob {digest}"), error))?.len();
        tar.file(&format!("blobs/sha256/{}", digest.hex()), size, &mut blob)?;
    }
    Ok(())
}

fn gather(store: &Store, descriptor: &Descriptor, blobs: &mut BTreeSet<Digest>) -> Result<(), Error> {
    match Document::parse(&store.read_blob(&descriptor.digest)?, "")? {
        Document::Manifest(manifest) => {
            blobs.extend(manifest.layers.into_iter().chain([manifest.config]).map(|blob| blob.digest));
        }
        Document::Index(index) => {
            for child in &index.manifests {
                gather(store, child, blobs)?;
            }
        }
    }
    blobs.insert(descriptor.digest.clone());
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

fn docker(store: &Store, images: &[(&Found, Descriptor)], tar: &mut Tar<'_>) -> Result<(), Error> {
    let mut written = BTreeSet::new();
    let mut list = Vec::new();
    for (image, descriptor) in images {
        let Document::Manifest(manifest) = Document::parse(&store.read_blob(&descriptor.digest)?, "")? else {
            let text = "save: a docker-archive holds one platform of an image";
            return Err(Error::new(Kind::Unsupported, text).hint("choose one with --platform"));
        };
        let layers = docker_layers(store, &manifest, tar, &mut written)?;
        let config = format!("{}.json", manifest.config.digest.hex());
        if written.insert(config.clone()) {
            tar.bytes(&config, &store.read_blob(&manifest.config.digest)?)?;
        }
        let tagged = image.reference.iter().filter(|reference| reference.digest().is_none());
        list.push(DockerImage {
            config,
            repo_tags: tagged.map(|reference| reference.familiar()).collect(),
            layers,
        });
    }
    let text = serde_json::to_vec(&list)
        .map_err(|error| Error::new(Kind::Invalid, format!("write JSON: {error}")))?;
    tar.bytes("manifest.json", &text)
}

/// A tar tells a file's size before its content: each layer is decompressed once to measure it and once to write it.
fn docker_layers(
    store: &Store,
    manifest: &Manifest,
    tar: &mut Tar<'_>,
    written: &mut BTreeSet<String>,
) -> Result<Vec<String>, Error> {
    let config = parse_config(&store.read_blob(&manifest.config.digest)?, manifest)?;
    let mut names = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let name = format!("{}.tar", diff_id.hex());
        if written.insert(name.clone()) {
            let compression = Compression::of_media_type(&layer.media_type).unwrap_or(Compression::None);
            let open = || {
                let blob = store.open_blob(&layer.digest)?;
                decoder(blob, compression)
                    .map_err(|error| Error::system(format!("read layer {}", layer.digest), error))
            };
            let size = io::copy(&mut open()?, &mut io::sink());
            let size = size.map_err(|error| Error::system(format!("read layer {}", layer.digest), error))?;
            tar.file(&name, size, &mut open()?)?;
        }
        names.push(name);
    }
    Ok(names)
}

struct Tar<'a> {
    out: &'a mut dyn Write,
}

impl Tar<'_> {
    fn directory(&mut self, name: &str) -> Result<(), Error> {
        self.entry(name, EntryKind::Directory, &mut io::empty())
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.file(name, bytes.len() as u64, &mut &*bytes)
    }

    fn file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<(), Error> {
        self.entry(name, EntryKind::File(size), content)
    }

    fn entry(&mut self, name: &str, kind: EntryKind<'_>, content: &mut dyn Read) -> Result<(), Error> {
        let (mode, size) = if let EntryKind::File(size) = kind { (0o644, size) } else { (0o755, 0) };
        let entry = Entry { path: Path::new(name), kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: &[] };
        let mut write = || {
            self.out.write_all(&entry.header()?)?;
            if io::copy(&mut content.take(size), &mut self.out)? != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
            self.put([0; 512].get(..padding).unwrap_or_default())
        };
        write().map_err(|error| Error::system(format!("write {name} to the archive"), error))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }
}
