//! Saving images as one tar: an OCI layout, or the archive that `docker load` has always taken.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;

use super::Found;
use super::manifest::{Document, Manifest};
use super::stored::parse_config;
use super::whole::chosen;
use crate::error::{Error, Kind};
use crate::layer::{Compression, Entry, EntryKind, Sink, TarStream, decoder};
use crate::store::{Descriptor, Digest, NAME, Platform, Store, media};
use crate::sys::{draft, reflink};

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
    out: Sink<'_>,
) -> Result<(), Error> {
    let mut tar = Target::Tar(TarStream::new(out));
    let mut chosen_images = Vec::new();
    for image in images {
        chosen_images.push((image, chosen(store, &image.descriptor, platform)?));
    }
    match format {
        Format::OciArchive => oci(store, &chosen_images, &mut tar)?,
        Format::DockerArchive => docker(store, &chosen_images, &mut tar)?,
    }
    tar.finish()
}

/// Writes the images as an OCI layout into a directory, which is made where it is absent. The index names these images alone.
pub fn save_directory(store: &Store, images: &[Found], directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory)
        .map_err(|error| Error::system(format!("make {}", directory.display()), error))?;
    let mut all = Vec::new();
    for image in images {
        all.push((image, chosen(store, &image.descriptor, None)?));
    }
    oci(store, &all, &mut Target::Directory(directory))
}

fn oci(store: &Store, images: &[(&Found, Descriptor)], tar: &mut Target<'_>) -> Result<(), Error> {
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
        tar.blob(&format!("blobs/sha256/{}", digest.hex()), &store.open_blob(&digest)?)?;
    }
    Ok(())
}

fn gather(store: &Store, descriptor: &Descriptor, blobs: &mut BTreeSet<Digest>) -> Result<(), Error> {
    match Document::parse_any(&store.read_blob(&descriptor.digest)?, "")? {
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

fn docker(store: &Store, images: &[(&Found, Descriptor)], tar: &mut Target<'_>) -> Result<(), Error> {
    let mut written = BTreeSet::new();
    let mut list = Vec::new();
    for (image, descriptor) in images {
        let manifest = only(store, descriptor)?;
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

/// The image, or the one image of an index; what is said of it has no place in a docker-archive.
fn only(store: &Store, descriptor: &Descriptor) -> Result<Manifest, Error> {
    let index = match Document::parse(&store.read_blob(&descriptor.digest)?, "")? {
        Document::Manifest(manifest) => return Ok(manifest),
        Document::Index(index) => index,
    };
    let mut images = index.images();
    if let (Some(image), None) = (images.next(), images.next())
        && !image.is_index()
    {
        return only(store, image);
    }
    let text = "save: a docker-archive holds one platform of an image";
    Err(Error::new(Kind::Unsupported, text).hint("choose one with --platform"))
}

/// A tar tells a file's size before its content: each layer is decompressed once to measure it and once to write it.
fn docker_layers(
    store: &Store,
    manifest: &Manifest,
    tar: &mut Target<'_>,
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

/// Where files of an export go.
enum Target<'a> {
    Tar(TarStream<'a>),
    Directory(&'a Path),
}

impl Target<'_> {
    fn directory(&mut self, name: &str) -> Result<(), Error> {
        match self {
            Self::Tar(_) => self.entry(name, EntryKind::Directory, &mut io::empty()),
            Self::Directory(top) => fs::create_dir_all(top.join(name))
                .map_err(|error| Error::system(format!("make {}", top.join(name).display()), error)),
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.file(name, bytes.len() as u64, &mut &*bytes)
    }

    fn file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<(), Error> {
        let Self::Directory(top) = self else {
            return self.entry(name, EntryKind::File(size), content);
        };
        let path = top.join(name);
        draft::replace(&path, |file| io::copy(content, file).map(drop))
            .map_err(|error| Error::system(format!("write {}", path.display()), error))
    }

    /// A file with all of another one in it.
    fn blob(&mut self, name: &str, blob: &File) -> Result<(), Error> {
        let size = blob.metadata().map_err(|error| Error::system(format!("read {name}"), error))?.len();
        match self {
            Self::Tar(tar) => {
                tar.add_file(&described(name, EntryKind::File(size)), blob).map_err(unwritten(name))
            }
            Self::Directory(top) => {
                let path = top.join(name);
                draft::replace(&path, |file| reflink::copy(blob, file, size))
                    .map_err(|error| Error::system(format!("write {}", path.display()), error))
            }
        }
    }

    fn entry(&mut self, name: &str, kind: EntryKind<'_>, content: &mut dyn Read) -> Result<(), Error> {
        let Self::Tar(tar) = self else { return Ok(()) };
        tar.add(&described(name, kind), content).map_err(unwritten(name))
    }

    fn finish(self) -> Result<(), Error> {
        match self {
            Self::Tar(tar) => tar.finish().map_err(|error| Error::system("write the archive", error)),
            Self::Directory(_) => Ok(()),
        }
    }
}

fn described<'a>(name: &'a str, kind: EntryKind<'a>) -> Entry<'a> {
    let mode = if let EntryKind::File(_) = kind { 0o644 } else { 0o755 };
    Entry { path: Path::new(name), kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: &[] }
}

fn unwritten(name: &str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::system(format!("write {name} to the archive"), error)
}
