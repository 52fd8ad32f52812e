//! What ADD takes from addresses, fetched once a build: before it has namespaces, where all else that it needs is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::context::{self, Content, NamedBy, Repository, Ssh, Tree};
use crate::error::{Error, Kind};
use crate::graph::{self, Git, Graph, Source};
use crate::store::{Digest, Store};

/// A download that its step gives a name.
const UNNAMED: &str = "download";

/// By what each source says.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    known: Mutex<BTreeMap<String, Arc<Entry>>>,
}

/// One source; its lock is held while it is fetched, so that two steps do not fetch it twice.
#[derive(Debug, Default)]
struct Entry {
    number: usize,
    turn: Mutex<()>,
    found: OnceLock<Content>,
    /// Its files, once some step takes them.
    tree: OnceLock<Arc<Tree>>,
}

/// Where files of this build may be put, and what else fetching needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) store: &'a Store,
    pub(super) session: &'a Path,
    pub(super) agent: Option<&'a PathBuf>,
}

impl Fetched {
    /// What the source is by content; `None` where it is no address. A repository is only asked for its commit.
    pub(super) fn content(&self, source: &Source, around: Around<'_>) -> Result<Option<Content>, Error> {
        match source {
            Source::Files { .. } | Source::Inline(_) => Ok(None),
            Source::Http { .. } | Source::Git(_) => {
                self.found(source, around).map(|entry| entry.found.get().cloned())
            }
        }
    }

    /// What each address of a graph gave: the digest of a file, the commit of a repository.
    pub(super) fn identities(
        &self,
        graph: &Graph,
        around: Around<'_>,
    ) -> Result<Vec<(Source, String)>, Error> {
        let mut all = Vec::new();
        for source in graph.addresses() {
            let object = self.content(source, around)?.and_then(|content| content.objects.into_iter().next());
            let said = object.map(|(name, digest)| match source {
                Source::Git(_) => name.to_string_lossy().into_owned(),
                _ => digest.to_string(),
            });
            all.extend(said.map(|said| (source.clone(), said)));
        }
        Ok(all)
    }

    /// Its files, and the pattern that finds them.
    pub(super) fn tree(&self, source: &Source, around: Around<'_>) -> Result<(Arc<Tree>, String), Error> {
        let entry = self.found(source, around)?;
        let missing = || Error::new(Kind::Invalid, "the source is no address");
        let content = entry.found.get().ok_or_else(missing)?;
        let (name, object) = content.objects.first().ok_or_else(missing)?;
        let name = name.to_string_lossy();
        let pattern = || if let Source::Http { .. } = source { escaped(&name) } else { String::new() };
        let _turn = entry.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = entry.tree.get() {
            return Ok((Arc::clone(tree), pattern()));
        }
        let place = around.session.join(format!("fetched-{}", entry.number));
        let tree = match source {
            Source::Http { .. } => context::lay_out(around.store, (&name, object), &place)?,
            Source::Git(git) => {
                // The name of a repository's one object is its commit.
                debug_assert_eq!(*object, Digest::of(name.as_bytes()));
                Tree::directory(&repository(git, around.agent).check_out(&name, &place)?, None)?
            }
            _ => return Err(missing()),
        };
        Ok((Arc::clone(entry.tree.get_or_init(|| Arc::new(tree))), pattern()))
    }

    fn found(&self, source: &Source, around: Around<'_>) -> Result<Arc<Entry>, Error> {
        let entry = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let number = known.len();
            Arc::clone(
                known
                    .entry(format!("{source:?}"))
                    .or_insert_with(|| Arc::new(Entry { number, ..Entry::default() })),
            )
        };
        let turn = entry.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if entry.found.get().is_none() {
            let found = match source {
                Source::Http { url, checksum } => {
                    let digest = context::download(around.store, url, checksum.as_deref())?;
                    let name = graph::file_name(url).unwrap_or_else(|| UNNAMED.to_owned());
                    let named = format!("{} {name} {digest}", name.len());
                    let objects = vec![(PathBuf::from(name), digest)];
                    Content { digest: Digest::of(named.as_bytes()), objects }
                }
                Source::Git(git) => commit(git, around.agent)?,
                _ => return Err(Error::new(Kind::Invalid, "the source is no address")),
            };
            // The lock is ours: nobody else has set it.
            drop(entry.found.set(found));
        }
        drop(turn);
        Ok(entry)
    }
}

fn commit(git: &Git, agent: Option<&PathBuf>) -> Result<Content, Error> {
    let commit = repository(git, agent).resolve()?;
    let digest = Digest::of(commit.as_bytes());
    Ok(Content { digest: digest.clone(), objects: vec![(PathBuf::from(commit), digest)] })
}

fn repository(git: &Git, agent: Option<&PathBuf>) -> Repository {
    Repository {
        remote: git.remote.clone(),
        reference: git.reference.clone(),
        subdir: git.subdir.clone(),
        checksum: git.checksum.clone(),
        keep_git_dir: git.keep_git_dir,
        submodules: git.submodules,
        ssh: agent.cloned().map_or(Ssh::Refused, Ssh::Agent),
        named_by: NamedBy::Dockerfile,
    }
}

/// The pattern that means just this name.
fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for letter in name.chars() {
        if matches!(letter, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
