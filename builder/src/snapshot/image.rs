//! An image's layers as snapshots, unpacked where they are not yet.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::layer::{Layer, Stack};
use crate::error::{Error, Kind};
use crate::layer::{self, Compression, Unpack, Whiteouts};
use crate::progress::Step;
use crate::store::{Descriptor, Digest, Key, Store};
use crate::sys::overlay::Attributes;
use crate::sys::userns;

/// The layers of an image, lowest first, each unpacked into its snapshot if it is not there yet.
///
/// Layers are independent of each other: they are unpacked on all cores.
///
/// # Errors
/// A blob that is missing or is not what its diff id says; the file system's.
pub fn open(store: &Store, layers: &[(Descriptor, Digest)], step: Option<&Step>) -> Result<Stack, Error> {
    let diff_ids: Vec<Digest> = layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    let keys = Key::chain(&diff_ids);
    let missing: Vec<(&Key, &Descriptor, &Digest)> = keys
        .iter()
        .zip(layers)
        .filter(|(key, _)| !store.has_snapshot(key))
        .map(|(key, (blob, diff_id))| (key, blob, diff_id))
        .collect();
    let next = AtomicUsize::new(0);
    let unpack_some = || -> Result<(), Error> {
        while let Some((key, blob, diff_id)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            unpack(store, key, (blob, diff_id), step)?;
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
    keys.iter().map(|key| Layer::stored(store, key).map(Arc::new)).collect()
}

fn unpack(
    store: &Store,
    key: &Key,
    (blob, diff_id): (&Descriptor, &Digest),
    step: Option<&Step>,
) -> Result<(), Error> {
    let doing = format!("unpack layer {}", blob.digest.short());
    let compression = Compression::of_media_type(&blob.media_type).ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("{doing}: unknown media type {}", blob.media_type))
    })?;
    let workspace = store.workspace()?;
    let files = workspace.path().join("fs");
    std::fs::create_dir(&files).map_err(|error| Error::system(doing.clone(), error))?;
    let into = std::fs::File::open(&files).map_err(|error| Error::system(doing.clone(), error))?;
    let how =
        Unpack { owners: userns::owners(), whiteouts: Whiteouts::Overlay(Attributes::of_this_process()) };
    let unpacked = layer::unpack(store.open_blob(&blob.digest)?, compression, into.as_fd(), &how)?;
    if unpacked.diff_id != *diff_id {
        return Err(Error::new(
            Kind::Attack,
            format!("{doing}: its content is {}, not {diff_id}", unpacked.diff_id),
        ));
    }
    if let Some(step) = step {
        step.moved(&format!("unpack {}", blob.digest.short()), blob.size, Some(blob.size));
    }
    workspace.commit(&files, key)
}
