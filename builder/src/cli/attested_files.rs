//! What is said of an output that is files and no image: a file for each thing, about every other file by its digest.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::attest::{self, Attestation, FileSubject};
use crate::error::Error;
use crate::snapshot::View;
use crate::store::{Hashed, Hasher};
use crate::sys::root;

/// Name and content of each.
pub(super) fn made(said: &[Attestation], view: &View) -> Result<Vec<(String, Vec<u8>)>, Error> {
    if said.iter().all(|said| said.filename.is_none()) {
        return Ok(Vec::new());
    }
    let doing = |error| Error::system("read the image's files", error);
    let mut files = Vec::new();
    if let Some(top) = view.root() {
        let top = root::open(top, Path::new("/"), OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(doing)?;
        walk(&top, Path::new(""), &mut files).map_err(doing)?;
    }
    let named = said.iter().filter_map(|said| Some((said.filename.clone()?, attest::written(said, &files))));
    Ok(named.collect())
}

/// Regular files alone: a link has no content of its own.
fn walk(directory: &OwnedFd, path: &Path, files: &mut Vec<FileSubject>) -> io::Result<()> {
    root::check_depth(path)?;
    let mut names = root::names(directory)?;
    names.sort();
    for name in names {
        let at: PathBuf = path.join(&name);
        let found = File::from(root::open_child(directory, &name, OFlag::O_PATH)?);
        let kind = found.metadata()?;
        if kind.is_dir() {
            let inside = root::open_child(directory, &name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            walk(&inside, &at, files)?;
        } else if kind.is_file() {
            let file = File::from(root::open_child(directory, &name, OFlag::O_RDONLY)?);
            let mut hashed = Hashed::new(file);
            io::copy(&mut hashed, &mut io::sink())?;
            let hasher: Hasher = hashed.finish().1;
            files.push(FileSubject { name: at.to_string_lossy().into_owned(), digest: hasher.finish() });
        }
    }
    Ok(())
}
