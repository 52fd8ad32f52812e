//! Where a build context is, as the command line names it; and bringing it here.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::attest;
use crate::cli::Global;
use crate::cli::attested::of_repository;
use crate::context::{NamedBy, Repository, Ssh};
use crate::error::{Error, Kind};
use crate::graph::{self, NamedContext};
use crate::image::{self, Input};
use crate::layer::{self, Compression, Ownership, Unpack, Whiteouts};
use crate::registry::{self, Reference};
use crate::store::{Digest, Hashed, Store, Workspace};
use crate::sys::{root, umask};

/// The name of images that came out of a layout: only their digest says which.
const OF_LAYOUT: &str = "localhost/oci-layout";

/// The digest in such a name.
pub(crate) fn of_layout(reference: &Reference) -> Option<&Digest> {
    let is_one = format!("{}/{}", reference.registry(), reference.repository()) == OF_LAYOUT;
    reference.digest().filter(|_| is_one)
}

/// A context by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A Dockerfile, or a tar, from standard input.
    Stdin,
    /// A tar, or a Dockerfile, from a server.
    Http(String),
    /// A git repository.
    Git(Repository),
    /// `docker-image://NAME`.
    Image(Reference),
    /// `oci-layout://DIRECTORY[:TAG][@DIGEST]`.
    Layout(String),
}

impl Address {
    /// What the text means, before anything is looked at.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text == "-" {
            return Ok(Self::Stdin);
        }
        let refuse = |why: String| Error::new(Kind::Invalid, format!("context {text}: {why}"));
        if let Some(git) = graph::repository(text).map_err(refuse)? {
            return Ok(Self::Git(Repository {
                remote: git.remote,
                reference: git.reference,
                subdir: git.subdir,
                checksum: git.checksum,
                keep_git_dir: git.keep_git_dir.unwrap_or(false),
                submodules: git.submodules,
                ssh: Ssh::Users,
                named_by: NamedBy::User,
            }));
        }
        match text.split_once("://") {
            Some(("http" | "https", _)) => Ok(Self::Http(text.to_owned())),
            Some(("docker-image", name)) => Ok(Self::Image(name.parse()?)),
            Some(("oci-layout", place)) => Ok(Self::Layout(place.to_owned())),
            Some((scheme, _)) => {
                let text = format!("context {text}: {scheme}:// is not known");
                Err(Error::new(Kind::Unsupported, text)
                    .hint("a directory, http(s)://, a git repository, docker-image:// or oci-layout://"))
            }
            None => Ok(Self::Directory(PathBuf::from(text))),
        }
    }
}

/// A context that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Its files.
    Directory(PathBuf),
    /// It was no archive: this text.
    Text(Vec<u8>),
    /// It is an image.
    Image(Reference),
}

impl Arrived {
    /// What the graph calls it as a named context, and where its files are.
    pub(crate) fn named(self, name: &str) -> Result<(NamedContext, Option<PathBuf>), Error> {
        match self {
            Self::Directory(directory) => Ok((NamedContext::Directory, Some(directory))),
            Self::Image(reference) => Ok((NamedContext::Image(reference), None)),
            Self::Text(_) => Err(Error::new(
                Kind::Invalid,
                format!("build context {name} is neither a directory nor a tar"),
            )),
        }
    }
}

/// Brings contexts here, into the store's own temporary directory.
#[derive(Debug)]
pub(crate) struct Courier<'a> {
    global: &'a Global,
    agent: Option<&'a PathBuf>,
    store: Option<Store>,
    /// Kept for as long as the build uses what is in them.
    places: Vec<Workspace>,
    /// What the address that was brought last gave.
    origin: Option<attest::Source>,
    /// The stream that was read last.
    downloaded: Option<Digest>,
}

impl<'a> Courier<'a> {
    /// `agent` is that of `--ssh default`.
    pub(crate) fn new(global: &'a Global, agent: Option<&'a PathBuf>) -> Self {
        Self { global, agent, store: None, places: Vec::new(), origin: None, downloaded: None }
    }

    /// What holds the files that were brought.
    pub(crate) fn into_places(self) -> Vec<Workspace> {
        self.places
    }

    /// What the address that was brought last gave; `None`: it was no address.
    pub(crate) fn take_origin(&mut self) -> Option<attest::Source> {
        self.origin.take()
    }

    /// Fetches what is not here, and unpacks what is an archive.
    pub(crate) fn bring(&mut self, address: &Address) -> Result<Arrived, Error> {
        match address {
            Address::Directory(directory) => {
                check_directory(directory)?;
                Ok(Arrived::Directory(directory.clone()))
            }
            Address::Image(reference) => Ok(Arrived::Image(reference.clone())),
            Address::Stdin => self.file("stdin", &mut |file| {
                io::copy(&mut io::stdin().lock(), file)
                    .map(drop)
                    .map_err(|error| Error::system("read the context from stdin", error))
            }),
            Address::Http(url) => {
                let arrived = self.file(url, &mut |file| registry::download(url, None, file).map(drop))?;
                let sum = self.downloaded.take().map(|digest| attest::Sum::of_digest(digest.as_str()));
                self.origin = sum.map(|sum| attest::Source { uri: url.clone(), sum });
                Ok(arrived)
            }
            Address::Git(repository) => {
                let place = self.place()?.join("files");
                let mut repository = repository.clone();
                if let Some(agent) = self.agent {
                    repository.ssh = Ssh::Agent(agent.clone());
                }
                let commit = repository.resolve()?;
                self.origin = Some(of_repository(&repository.remote, &repository.reference, &commit));
                Ok(Arrived::Directory(repository.check_out(&commit, &place)?))
            }
            Address::Layout(place) => self.layout(place),
        }
    }

    fn store(&mut self) -> Result<&Store, Error> {
        match &mut self.store {
            Some(store) => Ok(store),
            none => Ok(none.insert(Store::open(&self.global.store_root()?)?)),
        }
    }

    fn place(&mut self) -> Result<PathBuf, Error> {
        let place = self.store()?.workspace()?;
        let path = place.path().to_owned();
        self.places.push(place);
        Ok(path)
    }

    /// A stream that is a tar, packed or not, or a text.
    fn file(
        &mut self,
        name: &str,
        fill: &mut dyn FnMut(&mut File) -> Result<(), Error>,
    ) -> Result<Arrived, Error> {
        const LARGEST_TEXT: u64 = 16 << 20;
        let doing = |error| Error::system(format!("read the context from {name}"), error);
        let place = self.place()?;
        let path = place.join("context");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).map_err(doing)?;
        fill(&mut file)?;
        file.flush().and_then(|()| file.rewind()).map_err(doing)?;
        let mut hashed = Hashed::new(&mut file);
        io::copy(&mut hashed, &mut io::sink()).map_err(doing)?;
        self.downloaded = Some(hashed.finish().1.finish());
        file.rewind().map_err(doing)?;
        let layer::Content::Archive(packing) = layer::sniff(&mut file).map_err(doing)? else {
            let mut text = Vec::new();
            file.take(LARGEST_TEXT + 1).read_to_end(&mut text).map_err(doing)?;
            if text.len() as u64 > LARGEST_TEXT {
                let text =
                    format!("read the context from {name}: it is no tar, and too large for a Dockerfile");
                return Err(Error::new(Kind::Invalid, text));
            }
            return Ok(Arrived::Text(text));
        };
        let files = place.join("files");
        fs::create_dir(&files).map_err(doing)?;
        let into = root::open_dir(&files).map_err(doing)?;
        // Whoever owns a file of a context, it is root's in the image; and its directories may be in no member.
        let _modes = umask::Usual::set();
        let options = Unpack { owners: Ownership::Own, whiteouts: Whiteouts::Applied };
        let tar = layer::unpacked(file, packing).map_err(doing)?;
        layer::unpack(tar, Compression::None, into.as_fd(), &options)
            .map_err(|error| error.during(&format!("read the context from {name}")))?;
        fs::remove_file(&path).map_err(doing)?;
        Ok(Arrived::Directory(files))
    }

    /// Reads the layout into the store, without a name.
    fn layout(&mut self, place: &str) -> Result<Arrived, Error> {
        let (place, digest) =
            place.split_once('@').map_or((place, None), |(place, digest)| (place, Some(digest)));
        let (place, tag) = match place.rsplit_once(':') {
            Some((place, tag)) if !tag.contains('/') => (place, Some(tag)),
            _ => (place, None),
        };
        let found = image::import(self.store()?, Input::Path(Path::new(place)))?;
        let fits = |image: &&image::Imported| match (digest, tag) {
            (Some(digest), _) => image.descriptor.digest.as_str() == digest,
            (None, Some(tag)) => image.is_called(tag),
            (None, None) => true,
        };
        let mut fitting = found.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(image), None) => {
                Ok(Arrived::Image(format!("{OF_LAYOUT}@{}", image.descriptor.digest).parse()?))
            }
            (None, _) => Err(Error::new(Kind::Invalid, format!("oci-layout://{place}: no such image in it"))),
            (Some(_), Some(_)) => Err(Error::new(
                Kind::Invalid,
                format!("oci-layout://{place}: there are several images in it"),
            )
            .hint("choose one with :TAG or @DIGEST")),
        }
    }
}

fn check_directory(directory: &Path) -> Result<(), Error> {
    let shown = directory.display();
    let found =
        fs::metadata(directory).map_err(|error| Error::system(format!("open context {shown}"), error))?;
    if found.is_dir() {
        Ok(())
    } else {
        Err(Error::new(Kind::Invalid, format!("context {shown} is not a directory")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_by_their_form() {
        let git = |remote: &str, reference: &str, subdir: &str| {
            Address::Git(Repository {
                remote: remote.to_owned(),
                reference: reference.to_owned(),
                subdir: subdir.to_owned(),
                checksum: None,
                keep_git_dir: false,
                submodules: true,
                ssh: Ssh::Users,
                named_by: NamedBy::User,
            })
        };
        for (text, expected) in [
            (".", Address::Directory(".".into())),
            ("-", Address::Stdin),
            ("http://h/c.tar.gz", Address::Http("http://h/c.tar.gz".to_owned())),
            ("https://h/r.git#v1:sub", git("https://h/r.git", "v1", "sub")),
            ("git@h:r.git", git("git@h:r.git", "", "")),
            ("docker-image://a:1", Address::Image("a:1".parse().unwrap())),
            ("oci-layout://d:v1", Address::Layout("d:v1".to_owned())),
        ] {
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        }
        assert_eq!(
            Address::parse("ftp://h/x").unwrap_err().to_string(),
            "context ftp://h/x: ftp:// is not known (a directory, http(s)://, a git repository, docker-image:// or oci-layout://)"
        );
    }
}
