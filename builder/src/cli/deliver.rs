//! Carrying out `--output`: the image as files, archives, or in a registry.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::attested_files;
use super::compose::Built;
use super::output::{Dest, Form, Output};
use crate::diff::Clamp;
use crate::error::{Error, Kind};
use crate::image::{self, Format, Found};
use crate::layer::{Entry, EntryKind, Sink, TarStream};
use crate::progress::Sender;
use crate::registry::Reference;
use crate::snapshot::{self, View, Wanted};
use crate::step;
use crate::store::{Descriptor, Key};
use crate::sys::{draft, root};

/// Writes one output.
pub(crate) fn deliver(output: &Output, built: &Built<'_>, progress: &Sender) -> Result<(), Error> {
    let store = built.store;
    let top = built.top_for(output)?;
    let names = if output.names.is_empty() { built.tags } else { &output.names };
    let found =
        |reference: Option<&Reference>| Found { descriptor: top.clone(), reference: reference.cloned() };
    let mut all: Vec<Found> = names.iter().map(Some).map(found).collect();
    if all.is_empty() {
        all.push(found(None));
    }
    match &output.form {
        Form::Image => names.iter().try_for_each(|name| image::tag(store, name, &top)),
        Form::Registry if names.is_empty() => {
            Err(Error::new(Kind::Invalid, "push: the image has no name").hint("name it with --tag"))
        }
        Form::Registry => {
            names.iter().try_for_each(|name| image::push_image(store, &top, name, progress).map(drop))
        }
        Form::Oci(dest) => write(dest, |out| image::save(store, (&all, None), Format::OciArchive, out)),
        Form::Docker(dest) => write(dest, |out| image::save(store, (&all, None), Format::DockerArchive, out)),
        Form::OciDirectory(directory) => image::save_directory(store, &all, directory),
        Form::Tar(dest) => match built.images.as_slice() {
            [image] => write(dest, |out| tar(built, image, out)),
            _ => Err(Error::new(Kind::Unsupported, "type=tar is for one platform")
                .hint("choose one with --platform")),
        },
        Form::Local(directory) => local(built, directory),
    }
}

/// A file appears under its name when it is whole.
fn write(dest: &Dest, fill: impl FnOnce(Sink<'_>) -> Result<(), Error>) -> Result<(), Error> {
    match dest {
        Dest::Stdout => {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                let text = "write the output: standard output is a terminal";
                return Err(Error::new(Kind::Invalid, text).hint("name a file with dest=, or redirect it"));
            }
            let mut out = BufWriter::new(stdout.lock());
            fill(Sink::Stream(&mut out))?;
            out.flush().map_err(|error| Error::system("write to stdout", error))
        }
        Dest::File(path) => write_file(path, fill),
    }
}

/// Files that are being written.
static DRAFTS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn drafts() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    DRAFTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the files that are being written: nobody will finish them.
pub(crate) fn forget_drafts() {
    for draft in drafts().iter() {
        drop(fs::remove_file(draft)); // the process ends
    }
}

/// As `write`, into a file.
pub(crate) fn write_file(path: &Path, fill: impl FnOnce(Sink<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let doing = |error| Error::system(format!("write {}", path.display()), error);
    let (draft, file) = draft::create(path).map_err(doing)?;
    let mut file = BufWriter::new(file);
    drafts().insert(draft.clone());
    let written = fill(Sink::File(&mut file))
        .and_then(|()| file.flush().and_then(|()| fs::rename(&draft, path)).map_err(doing));
    if written.is_err() {
        drop(fs::remove_file(&draft)); // the error that is returned matters more
    }
    drafts().remove(&draft);
    written
}

/// The file system of an image.
fn view(built: &Built<'_>, image: &Descriptor) -> Result<(View, Clamp), Error> {
    let at = built.images.iter().position(|other| other == image).unwrap_or(0);
    let graph = built.graphs.get(at);
    let platform = image.platform.clone().unwrap_or_else(image::Platform::host);
    let found = image::open_descriptor(built.store, image, &platform)?
        .ok_or_else(|| Error::new(Kind::System, "the image is not whole in the store"))?;
    let diff_ids = found.config.rootfs.diff_ids;
    let layers = Key::chain(&diff_ids).into_iter().zip(found.manifest.layers).zip(diff_ids);
    let wanted: Vec<Wanted> = layers.map(|((key, blob), diff_id)| Wanted { key, blob, diff_id }).collect();
    let view = View::read_only(built.store, &snapshot::open_layers(built.store, &wanted, None)?)?;
    Ok((view, graph.and_then(|graph| graph.time).map_or(Clamp::Keep, Clamp::To)))
}

fn tar(built: &Built<'_>, image: &Descriptor, out: Sink<'_>) -> Result<(), Error> {
    let (view, clamp) = view(built, image)?;
    let doing = |error| Error::system("write the archive", error);
    let said = attested_files::made(built.said_of(image), &view)?;
    let mut tar = TarStream::new(out);
    if let Some(top) = view.root() {
        let top = top.try_clone_to_owned().map_err(|error| Error::system("read the image's files", error))?;
        crate::diff::pack(&mut tar, &top, clamp)?;
    }
    for (name, bytes) in said {
        let mtime = match clamp {
            Clamp::To(time) => time,
            Clamp::Keep => 0,
        };
        let kind = EntryKind::File(bytes.len() as u64);
        let entry = Entry { path: Path::new(&name), kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: &[] };
        tar.add(&entry, &mut &*bytes).map_err(doing)?;
    }
    tar.finish().map_err(doing)
}

/// Into what is there already; images of several platforms get a directory each.
fn local(built: &Built<'_>, directory: &Path) -> Result<(), Error> {
    for image in &built.images {
        let place = match (built.images.as_slice(), &image.platform) {
            ([_, _, ..], Some(platform)) => directory.join(platform.to_string().replace('/', "_")),
            _ => directory.to_owned(),
        };
        let doing = |error| Error::system(format!("write to {}", place.display()), error);
        fs::create_dir_all(&place).map_err(doing)?;
        let into = root::open_dir(&place).map_err(doing)?;
        let view = view(built, image)?.0;
        let said = attested_files::made(built.said_of(image), &view)?;
        step::lay_out(view, &into).map_err(doing)?;
        for (name, bytes) in said {
            draft::replace(&place.join(&name), |file| file.write_all(&bytes)).map_err(doing)?;
        }
    }
    Ok(())
}
