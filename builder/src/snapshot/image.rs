//! An image's layers as snapshots, unpacked where they are not yet.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::layer::{Layer, Stack};
use crate::error::{Error, Kind};
use crate::layer::{self, Compression, Ownership, Unpack, Whiteouts};
use crate::progress::{Step, Stream};
use crate::store::{Descriptor, Digest, Key, Store};
use crate::sys::overlay::Attributes;
use crate::sys::umask;
use crate::sys::userns::{self, Owners};

/// A layer that is needed as files.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The name of its snapshot.
    pub key: Key,
    /// The archive that it can be unpacked from.
    pub blob: Descriptor,
    /// What the archive must contain.
    pub diff_id: Digest,
}

/// Layers as files, each unpacked into its snapshot if it is not there yet.
///
/// Layers are independent of each other: they are unpacked on all cores.
///
/// # Errors
/// A blob that is missing or is not what its diff id says; the file system's.
pub fn open(store: &Store, wanted: &[Wanted], step: Option<&Step>) -> Result<Stack, Error> {
    let _modes = umask::Usual::set();
    let missing: Vec<&Wanted> = wanted.iter().filter(|layer| !store.has_snapshot(&layer.key)).collect();
    if let (Some(step), false, Owners::Squashed) = (step, missing.is_empty(), userns::owners()) {
        let warning = "warning: this user has one id only: files of every owner become its own\n";
        step.log(Stream::Stderr, warning.as_bytes());
    }
    let next = AtomicUsize::new(0);
    let unpack_some = || -> Result<(), Error> {
        while let Some(layer) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            unpack(store, layer, step)?;
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(unpack_some)).collect();
        running.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(Error::new(Kind::System, "an unpacking thread ended early")))
        })
    })?;
    wanted.iter().map(|layer| Layer::stored(store, &layer.key).map(Arc::new)).collect()
}

fn unpack(store: &Store, wanted: &Wanted, step: Option<&Step>) -> Result<(), Error> {
    let Wanted { key, blob, diff_id } = wanted;
    let doing = format!("unpack layer {}", blob.digest.short());
    let compression = Compression::of_media_type(&blob.media_type).ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("{doing}: unknown media type {}", blob.media_type))
    })?;
    let workspace = store.workspace()?;
    let files = workspace.path().join("fs");
    std::fs::create_dir(&files)
        .and_then(|()| std::fs::set_permissions(&files, std::fs::Permissions::from_mode(0o755)))
        .map_err(|error| Error::system(doing.clone(), error))?;
    let into = std::fs::File::open(&files).map_err(|error| Error::system(doing.clone(), error))?;
    let how = Unpack {
        owners: Ownership::of_archive(userns::owners()),
        whiteouts: Whiteouts::Overlay(Attributes::of_this_process()),
    };
    let unpacked = layer::unpack(store.open_blob(&blob.digest)?, compression, into.as_fd(), &how)?;
    if unpacked.diff_id != *diff_id {
        return Err(Error::new(
            Kind::Attack,
            format!("{doing}: its content is {}, not {diff_id}", unpacked.diff_id),
        ));
    }
    if let Some(step) = step {
        for note in &unpacked.notes {
            step.log(Stream::Stderr, format!("{note}\n").as_bytes());
        }
        step.moved(&format!("unpack {}", blob.digest.short()), blob.size, Some(blob.size));
    }
    workspace.commit(&files, key)
}
