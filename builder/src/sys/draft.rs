//! A new file beside the one that it is to replace: readers see the old one or the whole new one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Makes `PATH.1`, or the first `PATH.N` that nobody has. A process id would not do: every builder is the first process of a
/// namespace of its own.
///
/// # Errors
/// The file system's.
pub fn create(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut number = 1_u64;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        let draft = path.with_file_name(name);
        match File::create_new(&draft) {
            Ok(file) => return Ok((draft, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Makes the file at `path` hold what `fill` writes, or leaves what was there.
///
/// # Errors
/// Those of `fill`; the file system's.
pub fn replace(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let (draft, mut file) = create(path)?;
    let written = fill(&mut file).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        drop(fs::remove_file(&draft)); // the error that is returned matters more
    }
    written
}
