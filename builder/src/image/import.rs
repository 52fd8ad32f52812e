//! Loading images: an OCI layout in a directory or a tar, or Docker's archive, compressed or not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::manifest::{Document, Index, Manifest};
use super::stored::{parse_config, put_raw};
use super::{Found, tag};
use crate::error::{Error, Kind};
use crate::layer::{Archive, Compression, Encoder, MemberKind, decoder};
use crate::registry::Reference;
use crate::store::{Descriptor, Digest, Hashed, Hasher, NAME, Store, Workspace, media, nullable};
use crate::sys::root;

const CONTAINERD_NAME: &str = "io.containerd.image.name";
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// Links in an archive that lead to other links.
const MOST_LINKS: usize = 8;

/// Where the images come from.
enum Source {
    Directory(OwnedFd),
    /// An archive's files, spread out in the store's own temporary directory, by their names in it.
    Archive {
        files: BTreeMap<String, PathBuf>,
        links: BTreeMap<String, String>,
        _place: Workspace,
    },
}

/// An image that came, before it has a name here.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// The whole name that it came with.
    pub reference: Option<Reference>,
    /// The name that it came with, also where it is a tag alone.
    annotated: Option<String>,
}

impl Imported {
    /// Whether it came under this tag.
    #[must_use]
    pub fn is_called(&self, tag: &str) -> bool {
        self.annotated.as_deref() == Some(tag)
            || self.reference.as_ref().is_some_and(|reference| reference.tag() == Some(tag))
    }
}

/// Brings the images from `input` (a directory, a file, or a stream) into the store, and gives an image without a
/// name the name `fallback`. Every blob is verified.
pub fn load(store: &Store, input: Input<'_>, fallback: Option<&Reference>) -> Result<Vec<Found>, Error> {
    let _in_use = store.share()?;
    let imported = import(store, input)?;
    for image in &imported {
        match image.reference.as_ref().or(fallback) {
            Some(reference) => tag(store, reference, &image.descriptor)?,
            None => store.keep(&image.descriptor)?,
        }
    }
    let found = |image: Imported| Found { descriptor: image.descriptor, reference: image.reference };
    Ok(imported.into_iter().map(found).collect())
}

/// As `load`, but the images get no name here, and nothing keeps them but `share`.
pub fn import(store: &Store, input: Input<'_>) -> Result<Vec<Imported>, Error> {
    let source = match input {
        Input::Path(path) if path.is_dir() => Source::Directory(
            root::open_dir(path).map_err(|e| Error::system(format!("open {}", path.display()), e))?,
        ),
        Input::Path(path) => {
            let file = File::open(path).map_err(|e| Error::system(format!("open {}", path.display()), e))?;
            spread(store, &mut BufReader::new(file))?
        }
        Input::Stream(stream) => spread(store, &mut BufReader::new(stream))?,
    };
    if source.has("index.json") {
        layout(store, &source)
    } else if source.has("manifest.json") {
        docker(store, &source)
    } else {
        let text = "load: it holds neither an OCI image layout nor a docker archive";
        Err(Error::new(Kind::Invalid, text))
    }
}

/// What is loaded.
pub enum Input<'a> {
    /// A directory or a file.
    Path(&'a Path),
    /// A tar as it comes.
    Stream(&'a mut (dyn Read + Send)),
}

impl Source {
    fn has(&self, name: &str) -> bool {
        self.open(name).is_ok()
    }

    fn open(&self, name: &str) -> Result<File, Error> {
        let opened = match self {
            Self::Directory(directory) => root::open_file(directory, Path::new(name)),
            Self::Archive { files, links, .. } => {
                let mut name = name.to_owned();
                for _ in 0..MOST_LINKS {
                    let Some(target) = links.get(&name) else { break };
                    name.clone_from(target);
                }
                files.get(&name).map_or_else(|| Err(io::ErrorKind::NotFound.into()), File::open)
            }
        };
        opened.map_err(|error| Error::system(format!("read {} of the image", name.escape_debug()), error))
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = self.open(name)?.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::system(format!("read {} of the image", name.escape_debug()), error))?;
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            return Err(Error::new(
                Kind::Attack,
                format!("read {} of the image: larger than 4 MiB", name.escape_debug()),
            ));
        }
        Ok(bytes)
    }
}

/// Writes the archive's files under numbers, so that its names never become paths.
fn spread(store: &Store, stream: &mut (impl io::BufRead + Send)) -> Result<Source, Error> {
    let doing = |error| Error::system("read the archive", error);
    let compression = Compression::of_magic(stream.fill_buf().map_err(doing)?);
    let mut archive = Archive::new(decoder(stream, compression).map_err(doing)?);
    let place = store.workspace()?;
    let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
    while let Some(member) = archive.next().map_err(doing)? {
        let name = normal(&String::from_utf8_lossy(&member.path), "");
        match member.kind {
            MemberKind::File { size, .. } => {
                let path = place.path().join(files.len().to_string());
                let mut file = File::create_new(&path).map_err(doing)?;
                let content = Content(&mut archive);
                io::copy(&mut content.take(size), &mut file).map_err(doing)?;
                files.insert(name, path);
            }
            MemberKind::Symlink(target) | MemberKind::HardLink(target) => {
                let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                let target = String::from_utf8_lossy(&target).into_owned();
                links.insert(name.clone(), normal(&target, directory));
            }
            _ => {}
        }
    }
    Ok(Source::Archive { files, links, _place: place })
}

/// A name without `.` and `..`, as it is looked up; one that leads nowhere finds nothing.
fn normal(name: &str, directory: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

struct Content<'a, R>(&'a mut Archive<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_content(buffer)
    }
}

fn layout(store: &Store, source: &Source) -> Result<Vec<Imported>, Error> {
    let index: Index = serde_json::from_slice(&source.document("index.json")?)
        .map_err(|error| Error::new(Kind::Invalid, format!("read index.json of the image: {error}")))?;
    let mut found = Vec::new();
    for mut descriptor in index.manifests {
        let named = [CONTAINERD_NAME, NAME].iter().find_map(|key| descriptor.annotations.remove(*key));
        // A bare tag, as skopeo writes it, is no name.
        let whole = named.as_ref().filter(|name| name.contains(['/', ':']));
        let reference = whole.and_then(|name| name.parse::<Reference>().ok());
        document(store, source, &descriptor)?;
        found.push(Imported { descriptor, reference, annotated: named });
    }
    Ok(found)
}

/// The manifest or index, and all that it points at; images of an index that are not there are left out.
fn document(store: &Store, source: &Source, descriptor: &Descriptor) -> Result<(), Error> {
    blob(store, source, descriptor)?;
    match Document::parse(&store.read_blob(&descriptor.digest)?, &descriptor.media_type)? {
        Document::Manifest(found) => manifest(store, source, &found),
        Document::Index(index) => index
            .manifests
            .iter()
            .filter(|child| source.has(&blob_name(&child.digest)))
            .try_for_each(|child| image(store, source, child)),
    }
}

/// One of an index. A few indexes in each other, each twice in the next, would be as many images as there are atoms.
fn image(store: &Store, source: &Source, descriptor: &Descriptor) -> Result<(), Error> {
    blob(store, source, descriptor)?;
    let parse = if descriptor.is_attestation() { Document::parse_any } else { Document::parse };
    match parse(&store.read_blob(&descriptor.digest)?, &descriptor.media_type)? {
        Document::Manifest(found) => manifest(store, source, &found),
        Document::Index(_) => Err(Error::new(Kind::Invalid, "load: it is an index in an index")),
    }
}

fn manifest(store: &Store, source: &Source, manifest: &Manifest) -> Result<(), Error> {
    for part in manifest.layers.iter().chain([&manifest.config]) {
        blob(store, source, part)?;
    }
    if !manifest.is_image() {
        return Ok(());
    }
    parse_config(&store.read_blob(&manifest.config.digest)?, manifest).map(drop)
}

/// No more is read than it may have: a file with holes has no end to speak of.
fn blob(store: &Store, source: &Source, descriptor: &Descriptor) -> Result<(), Error> {
    if store.holds(descriptor) {
        return Ok(());
    }
    let mut writer = store.blob_writer()?;
    let mut from = source.open(&blob_name(&descriptor.digest))?.take(descriptor.size.saturating_add(1));
    io::copy(&mut from, &mut writer)
        .map_err(|e| Error::system(format!("copy blob {}", descriptor.digest), e))?;
    writer.commit_as(descriptor)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default, deserialize_with = "nullable")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    layers: Vec<String>,
}

fn docker(store: &Store, source: &Source) -> Result<Vec<Imported>, Error> {
    let list: Vec<DockerImage> = serde_json::from_slice(&source.document("manifest.json")?)
        .map_err(|error| Error::new(Kind::Invalid, format!("read manifest.json of the image: {error}")))?;
    let mut found = Vec::new();
    for image in list {
        let config = store.put_blob(media::CONFIG, &source.document(&normal(&image.config, ""))?)?;
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for name in &image.layers {
            let (layer, diff_id) = docker_layer(store, source, &normal(name, ""))?;
            layers.push(layer);
            diff_ids.push(diff_id);
        }
        let manifest = Manifest::new(config, layers, BTreeMap::new());
        let config = parse_config(&store.read_blob(&manifest.config.digest)?, &manifest)?;
        if config.rootfs.diff_ids != diff_ids {
            return Err(Error::new(
                Kind::Attack,
                "load: the layers are not those that the image config names",
            ));
        }
        let descriptor = put_raw(store, &manifest, &config)?;
        let mut names = image.repo_tags.iter().filter_map(|name| name.parse::<Reference>().ok()).peekable();
        if names.peek().is_none() {
            found.push(Imported { descriptor: descriptor.clone(), reference: None, annotated: None });
        }
        found.extend(names.map(|name| Imported {
            descriptor: descriptor.clone(),
            reference: Some(name),
            annotated: None,
        }));
    }
    Ok(found)
}

/// Compressed layers are stored as they are, plain ones with our own compression. The diff id is of what was read.
fn docker_layer(store: &Store, source: &Source, name: &str) -> Result<(Descriptor, Digest), Error> {
    let doing = |error| Error::system(format!("load layer {}", name.escape_debug()), error);
    let mut start = Vec::new();
    source.open(name)?.take(4).read_to_end(&mut start).map_err(doing)?;
    let compression = Compression::of_magic(&start);
    let mut writer = store.blob_writer()?;
    if compression == Compression::None {
        let mut tar = Hashed::new(source.open(name)?);
        let mut encoder = Encoder::new(writer, Compression::default()).map_err(doing)?;
        io::copy(&mut tar, &mut encoder).map_err(doing)?;
        let diff_id = tar.finish().1.finish();
        return Ok((encoder.finish().map_err(doing)?.commit(Compression::default().media_type())?, diff_id));
    }
    let mut hasher = Digester(Hasher::new());
    io::copy(&mut decoder(source.open(name)?, compression).map_err(doing)?, &mut hasher).map_err(doing)?;
    io::copy(&mut source.open(name)?, &mut writer).map_err(doing)?;
    Ok((writer.commit(compression.media_type())?, hasher.0.finish()))
}

struct Digester(Hasher);

impl Write for Digester {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.update(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
