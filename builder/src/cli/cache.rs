//! `--cache-from` and `--cache-to`: build caches in directories, registries and images.

use std::path::PathBuf;

use crate::error::{Error, Kind};
use crate::image::{Cache, CachePlace, write_cache};
use crate::progress::Sender;
use crate::solve::{Exported, Extent};
use crate::store::Store;

/// One `--cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheTo {
    pub(crate) extent: Extent,
    pub(crate) target: Target,
}

/// Where the records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// With their layers.
    Place(CachePlace),
    /// Into the image's config; the layers are the image's.
    Inline,
}

impl CacheTo {
    /// `type=local,dest=DIR`, `type=registry,ref=NAME`, `type=inline`, each with `mode=min|max`; a bare name is a registry's.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let read = read(text, "dest")?;
        let extent = match read.mode.as_deref() {
            None | Some("min") => Extent::Min,
            Some("max") if read.kind == "inline" => {
                return Err(refuse(
                    text,
                    "the image's config holds the steps of its own layers only: mode=min",
                ));
            }
            Some("max") => Extent::Max,
            Some(_) => return Err(refuse(text, "mode is min or max")),
        };
        let target =
            if read.kind == "inline" { Target::Inline } else { Target::Place(read.place(text, "dest")?) };
        Ok(Self { extent, target })
    }
}

/// A `--cache-from`: `type=local,src=DIR` or `type=registry,ref=NAME`; a bare name is a registry's.
pub(crate) fn parse_from(text: &str) -> Result<CachePlace, Error> {
    let read = read(text, "src")?;
    match read.mode {
        None => read.place(text, "src"),
        Some(_) => Err(refuse(text, "mode is for --cache-to")),
    }
}

#[derive(Default)]
struct Read {
    kind: String,
    directory: Option<String>,
    reference: Option<String>,
    mode: Option<String>,
}

fn read(text: &str, directory: &str) -> Result<Read, Error> {
    if !text.contains('=') {
        return Ok(Read { kind: "registry".to_owned(), reference: Some(text.to_owned()), ..Read::default() });
    }
    let mut read = Read::default();
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("type", value)) => value.clone_into(&mut read.kind),
            Some(("ref", value)) => read.reference = Some(value.to_owned()),
            Some(("mode", value)) => read.mode = Some(value.to_owned()),
            Some((key, value)) if key == directory => read.directory = Some(value.to_owned()),
            _ => return Err(refuse(text, &format!("{part} is not supported"))),
        }
    }
    Ok(read)
}

impl Read {
    fn place(&self, text: &str, directory: &str) -> Result<CachePlace, Error> {
        match (self.kind.as_str(), &self.directory, &self.reference) {
            ("local", Some(directory), None) => Ok(CachePlace::Directory(PathBuf::from(directory))),
            ("local", ..) => Err(refuse(text, &format!("it needs {directory}=DIRECTORY"))),
            ("registry", None, Some(reference)) => Ok(CachePlace::Registry(reference.parse()?)),
            ("registry", ..) => Err(refuse(text, "it needs ref=NAME")),
            ("", ..) => Err(refuse(text, "it has no type")),
            (other, ..) => {
                let failed =
                    Error::new(Kind::Unsupported, format!("cache {text}: type {other} is not supported"));
                Err(failed.hint("local, registry or inline"))
            }
        }
    }
}

fn refuse(text: &str, why: &str) -> Error {
    Error::new(Kind::Invalid, format!("cache {text}: {why}"))
}

/// The caches that there are. A build works without them, so one that cannot be read is a warning.
pub(crate) fn open(places: &[CachePlace], progress: &Sender) -> Vec<Cache> {
    let mut caches = Vec::new();
    for place in places {
        match Cache::open(place) {
            Ok(found) => caches.extend(found),
            Err(error) => progress.warn(format!("a cache is left out: {error}")),
        }
    }
    caches
}

/// Writes a cache with its layers.
pub(crate) fn write(
    store: &Store,
    exported: Exported,
    place: &CachePlace,
    progress: &Sender,
) -> Result<(), Error> {
    let step = progress.step("export the cache".to_owned());
    let blobs = exported.blobs.into_values().collect();
    match write_cache(store, (&exported.records, blobs), place) {
        Ok(()) => {
            step.finished();
            Ok(())
        }
        Err(error) => {
            step.failed(error.to_string());
            Err(error.during("export the cache"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_read_as_they_are_written() {
        let local = |extent| CacheTo { extent, target: Target::Place(CachePlace::Directory("d".into())) };
        let registry = CachePlace::Registry("r.example/c:1".parse().unwrap());
        for (text, expected) in [
            ("type=local,dest=d", local(Extent::Min)),
            ("type=local,dest=d,mode=max", local(Extent::Max)),
            ("type=inline", CacheTo { extent: Extent::Min, target: Target::Inline }),
            ("r.example/c:1", CacheTo { extent: Extent::Min, target: Target::Place(registry.clone()) }),
        ] {
            assert_eq!(CacheTo::parse(text).unwrap(), expected, "{text}");
        }
        assert_eq!(parse_from("type=registry,ref=r.example/c:1").unwrap(), registry);
        for (text, expected) in [
            ("type=local", "cache type=local: it needs dest=DIRECTORY"),
            ("type=gha", "cache type=gha: type gha is not supported (local, registry or inline)"),
            (
                "type=inline,mode=max",
                "cache type=inline,mode=max: the image's config holds the steps of its own layers only: mode=min",
            ),
            ("type=local,dest=d,x=y", "cache type=local,dest=d,x=y: x=y is not supported"),
        ] {
            assert_eq!(CacheTo::parse(text).unwrap_err().to_string(), expected);
        }
    }
}
