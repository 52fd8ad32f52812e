//! One layer of a result: as files, as an archive, or on the way from one to the other.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use crate::error::{Error, Kind};
use crate::progress::Step;
use crate::snapshot::{self, Layer, Stack, Wanted};
use crate::store::{Descriptor, Digest, Key, Store};

/// The layers of a node's file system, lowest first.
pub(super) type Chain = Vec<Arc<Cell>>;

/// A layer that several nodes may stand on.
#[derive(Debug, Default)]
pub(super) struct Cell {
    files: OnceLock<Arc<Layer>>,
    archive: Mutex<Archive>,
    settled: Condvar,
}

#[derive(Debug, Default)]
enum Archive {
    /// Being written.
    #[default]
    Pending,
    Stored(Box<(Descriptor, Digest)>),
    /// The thread that wrote it has reported why.
    Failed,
}

impl Cell {
    /// A layer that is in the store.
    pub(super) fn stored(blob: Descriptor, diff_id: Digest) -> Arc<Self> {
        let cell = Self::default();
        cell.settle(Some((blob, diff_id)));
        Arc::new(cell)
    }

    /// A layer that a step has just made; its archive follows.
    pub(super) fn made(files: Arc<Layer>) -> Arc<Self> {
        let cell = Self::default();
        // A new cell has none yet.
        drop(cell.files.set(files));
        Arc::new(cell)
    }

    /// Ends the waiting for the archive; `None` when there will be none.
    pub(super) fn settle(&self, archive: Option<(Descriptor, Digest)>) {
        let settled = archive.map_or(Archive::Failed, |stored| Archive::Stored(Box::new(stored)));
        *self.archive.lock().unwrap_or_else(PoisonError::into_inner) = settled;
        self.settled.notify_all();
    }

    /// The archive, once it is there.
    pub(super) fn archive(&self) -> Result<(Descriptor, Digest), Error> {
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*archive {
                Archive::Pending => {
                    archive = self.settled.wait(archive).unwrap_or_else(PoisonError::into_inner);
                }
                Archive::Stored(stored) => return Ok((**stored).clone()),
                Archive::Failed => return Err(Error::new(Kind::System, "a layer below could not be stored")),
            }
        }
    }
}

/// The archives of a chain, in order.
pub(super) fn archives(chain: &Chain) -> Result<Vec<(Descriptor, Digest)>, Error> {
    chain.iter().map(|cell| cell.archive()).collect()
}

/// The names of a chain's snapshots.
pub(super) fn keys(chain: &Chain) -> Result<Vec<Key>, Error> {
    let diff_ids: Vec<Digest> = archives(chain)?.into_iter().map(|(_, diff_id)| diff_id).collect();
    Ok(Key::chain(&diff_ids))
}

/// The chain as directories, unpacked where they are not there.
pub(super) fn files(store: &Store, chain: &Chain, step: Option<&Step>) -> Result<Stack, Error> {
    let absent = |cell: &Arc<Cell>| cell.files.get().is_none();
    if let Some(last) = chain.iter().rposition(absent) {
        // A name depends on every layer below it, so all those must have been written.
        let prefix: Chain = chain.iter().take(last + 1).cloned().collect();
        let (mut wanted, mut cells) = (Vec::new(), Vec::new());
        for ((key, cell), (blob, diff_id)) in keys(&prefix)?.into_iter().zip(&prefix).zip(archives(&prefix)?)
        {
            if absent(cell) {
                wanted.push(Wanted { key, blob, diff_id });
                cells.push(cell);
            }
        }
        for (cell, layer) in cells.into_iter().zip(snapshot::open_layers(store, &wanted, step)?) {
            // Another node may have been faster; its directory is as good.
            drop(cell.files.set(layer));
        }
    }
    let stack: Option<Stack> = chain.iter().map(|cell| cell.files.get().cloned()).collect();
    stack.ok_or_else(|| Error::new(Kind::System, "a layer has no files"))
}
