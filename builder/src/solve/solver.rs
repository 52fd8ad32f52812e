//! One node after the other, each from the store or carried out.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use serde::{Deserialize, Serialize};

use super::cell::{self, Cell, Chain};
use super::explain::Trace;
use super::{Env, queue};
use crate::bundle::Runtime;
use crate::context::{self, Content, Parents, Tree};
use crate::diff::{self, Clamp};
use crate::dockerfile::ignore::Ignore;
use crate::error::{Error, Kind};
use crate::graph::{self, CacheUse, From, Graph, MountKind, Node, NodeId, Operation, Source, Taken};
use crate::image;
use crate::layer::Writer;
use crate::progress::{Step, Stream};
use crate::snapshot::{Draft, View};
use crate::step::{self, Hands, Interrupt};
use crate::store::{Descriptor, Digest, Key, Record, Store, Workspace, media};

/// What a node came to.
#[derive(Debug, Clone)]
pub(super) struct Done {
    key: Key,
    pub(super) chain: Chain,
}

/// What the cache says of a step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    /// It changed nothing.
    Unchanged,
    /// It made this layer.
    Layer(Box<(Descriptor, Digest)>),
}

struct Solver<'a> {
    graph: &'a Graph,
    env: &'a Env,
    session: &'a Workspace,
    runtime: Result<Runtime, Error>,
    interrupt: &'a Interrupt,
    /// Results so far, for those who copy from them.
    done: Mutex<BTreeMap<NodeId, Done>>,
    /// File systems of nodes that are copied from.
    trees: Mutex<BTreeMap<NodeId, Arc<Tree>>>,
    /// The first failure of a layer's writing, which happens beside the steps.
    failed: Mutex<Option<Error>>,
}

/// The chains of all nodes, in their order.
pub(super) fn run(
    graph: &Graph,
    env: &Env,
    (session, runtime): (&Workspace, Result<Runtime, Error>),
    interrupt: &Interrupt,
) -> Result<Vec<Chain>, Error> {
    let solver = Solver {
        graph,
        env,
        session,
        runtime,
        interrupt,
        done: Mutex::default(),
        trees: Mutex::default(),
        failed: Mutex::default(),
    };
    let done = std::thread::scope(|scope| {
        queue::run(graph, |id, inputs| solver.node(id, &inputs, scope), || interrupt.raise())
    });
    match solver.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done?.into_iter().map(|done| done.chain).collect()),
    }
}

impl<'a> Solver<'a> {
    fn node<'s>(&'s self, id: NodeId, inputs: &[Done], scope: &'s Scope<'s, '_>) -> Result<Done, Error> {
        let Some(node) = self.graph.nodes.get(id.0) else {
            return Err(Error::new(Kind::Invalid, format!("the build has no step {}", id.0)));
        };
        if self.interrupt.is_raised() {
            return Err(Interrupt::error());
        }
        let keys: Vec<Key> = inputs.iter().map(|input| input.key.clone()).collect();
        let (taken, contents) = self.taken(node)?;
        let key = graph::key(node, &keys, &taken);
        let base = match (node.base, inputs.first()) {
            (Some(_), Some(base)) => base.chain.clone(),
            _ => Chain::new(),
        };
        let chain = match &node.operation {
            Operation::Scratch => Chain::new(),
            Operation::Image(image) => self.image(image)?,
            _ => {
                let titles = node.inputs.iter().filter_map(|id| self.graph.nodes.get(id.0));
                let inputs: Vec<(&str, &Key)> = titles.map(|node| node.title.as_str()).zip(&keys).collect();
                self.step(((node, &key), &Trace::new(node, &inputs, &contents)), base, scope)?
            }
        };
        let done = Done { key, chain };
        lock(&self.done).insert(id, done.clone());
        Ok(done)
    }

    /// What a step takes from directories of this machine, by content.
    fn taken(&self, node: &Node) -> Result<(Vec<Taken>, Vec<Content>), Error> {
        let mut contents = Vec::new();
        let mut take = |from: &From, source: (&str, Parents), excludes: Option<&Ignore>| {
            Ok::<Taken, Error>(match self.content(from, source, excludes)? {
                Some(content) => {
                    let digest = content.digest.clone();
                    contents.push(content);
                    Taken::Content(digest)
                }
                None => Taken::Node,
            })
        };
        let taken = match &node.operation {
            Operation::Copy(copy) => {
                let excludes = ignore(&copy.excludes)?;
                let take_source = |source: &Source| match source {
                    Source::Files { from, pattern } => {
                        take(from, (pattern, Parents::of(copy.parents)), excludes.as_ref())
                    }
                    _ => Ok(Taken::Node),
                };
                copy.sources.iter().map(take_source).collect::<Result<_, _>>()?
            }
            Operation::Run(run) => {
                let take_mount = |mount: &graph::Mount| match &mount.kind {
                    MountKind::Bind { from, source, .. } => {
                        Some(take(from, (source, Parents::Dropped), None))
                    }
                    _ => None,
                };
                run.mounts.iter().filter_map(take_mount).collect::<Result<_, _>>()?
            }
            Operation::Image(_) | Operation::Scratch | Operation::Workdir(_) => Vec::new(),
        };
        Ok((taken, contents))
    }

    fn content(
        &self,
        from: &From,
        (pattern, parents): (&str, Parents),
        excludes: Option<&Ignore>,
    ) -> Result<Option<Content>, Error> {
        let tree = match from {
            From::Node(_) => return Ok(None),
            From::Context => &self.env.context,
            From::Named(name) => self.named(name)?,
        };
        let found = context::find(tree, pattern, parents)?;
        context::content(tree, (&found, parents), excludes).map(Some)
    }

    fn named(&self, name: &str) -> Result<&Arc<Tree>, Error> {
        self.env.named.get(name).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("there is no build context {name}"))
                .hint(format!("give it by --build-context {name}=DIRECTORY"))
        })
    }

    fn image(&self, base: &graph::Base) -> Result<Chain, Error> {
        let step = self.env.progress.step(format!("FROM {}", base.reference));
        let store = &self.env.store;
        let size = std::fs::metadata(store.blob_path(&base.manifest)).map_or(0, |found| found.len());
        let manifest = Descriptor::new(media::MANIFEST, base.manifest.clone(), size);
        let image = image::open_descriptor(store, &manifest, &base.platform)?.ok_or_else(|| {
            let text = format!("the image {} is not whole in the store", base.reference);
            Error::new(Kind::Invalid, text).hint("pull it again")
        })?;
        step.cached();
        let layers = image.manifest.layers.into_iter().zip(image.config.rootfs.diff_ids);
        Ok(layers.map(|(blob, diff_id)| Cell::stored(blob, diff_id)).collect())
    }

    fn step<'s>(
        &'s self,
        ((node, key), trace): ((&'s Node, &Key), &Trace),
        base: Chain,
        scope: &'s Scope<'s, '_>,
    ) -> Result<Chain, Error> {
        let progress = self.env.progress.step(&node.title);
        if node.cache == CacheUse::Use
            && let Some(kept) = self.kept(key)?
        {
            progress.cached();
            return Ok(extended(base, kept));
        }
        if self.env.explain {
            explain(node, trace, (&self.env.store, &progress));
        }
        match self.carry_out(node, &base, &progress) {
            Ok(draft) => {
                trace.keep(&self.env.store, node);
                let chain = self.conclude((node, key), (draft, base), scope)?;
                progress.finished();
                Ok(chain)
            }
            Err(error) if self.interrupt.is_raised() => {
                drop(progress); // cut short: not this step's failure
                Err(error)
            }
            Err(error) => {
                progress.failed(error.to_string());
                Err(error.during(&format!("Dockerfile line {}", node.line)))
            }
        }
    }

    fn kept(&self, key: &Key) -> Result<Option<Option<Arc<Cell>>>, Error> {
        let Some(record) = self.env.store.record(key)? else { return Ok(None) };
        Ok(match serde_json::from_value::<Kept>(record.body) {
            Ok(Kept::Unchanged) => Some(None),
            Ok(Kept::Layer(stored)) => Some(Some(Cell::stored(stored.0, stored.1))),
            // Written by a version that says it otherwise: the step runs again.
            Err(_) => None,
        })
    }

    fn carry_out(&self, node: &Node, base: &Chain, progress: &Step) -> Result<Draft, Error> {
        let stands_alone = matches!(&node.operation, Operation::Copy(copy) if copy.link);
        let below = if stands_alone { Vec::new() } else { self.files(base, progress)? };
        let draft = Draft::new(&self.env.store, below)?;
        let tree = |from: &From| self.tree(from, progress);
        let hands = Hands {
            store: &self.env.store,
            runtime: &self.runtime,
            tree: &tree,
            credentials: &self.env.credentials,
            interrupt: self.interrupt,
            progress,
        };
        step::carry_out(node, &draft, &hands)?;
        Ok(draft)
    }

    fn files(&self, chain: &Chain, progress: &Step) -> Result<crate::snapshot::Stack, Error> {
        cell::files(&self.env.store, chain, Some(progress))
    }

    fn tree(&self, from: &From, progress: &Step) -> Result<Arc<Tree>, Error> {
        let id = match from {
            From::Context => return Ok(Arc::clone(&self.env.context)),
            From::Named(name) => return self.named(name).cloned(),
            From::Node(id) => *id,
        };
        let mut trees = lock(&self.trees);
        if let Some(tree) = trees.get(&id) {
            return Ok(Arc::clone(tree));
        }
        let chain = lock(&self.done).get(&id).map(|done| done.chain.clone()).unwrap_or_default();
        let mut view = View::read_only(&self.files(&chain, progress)?)?;
        // With a path, parts of it can be mounted elsewhere.
        view.attach(&self.session.path().join(format!("tree-{}", id.0)))?;
        let tree = Arc::new(Tree::view(view));
        trees.insert(id, Arc::clone(&tree));
        Ok(tree)
    }

    /// What the step changed becomes a layer: its files at once, its archive and its record in the background.
    fn conclude<'s>(
        &'s self,
        (node, key): (&'s Node, &Key),
        (draft, base): (Draft, Chain),
        scope: &'s Scope<'s, '_>,
    ) -> Result<Chain, Error> {
        let clamp = node.time.map_or(Clamp::Keep, Clamp::To);
        let below = draft.below()?;
        let lower = below.root().map(|root| root.try_clone_to_owned()).transpose();
        let lower = lower.map_err(|error| Error::system("look at the layers below", error))?;
        if diff::is_empty(draft.files(), lower.as_ref(), clamp)? {
            self.put(key, &Kept::Unchanged, Record::default())?;
            return Ok(base);
        }
        let layer = Arc::new(draft.seal());
        let cell = Cell::made(Arc::clone(&layer));
        let chain = extended(base, Some(Arc::clone(&cell)));
        let (result, key) = (chain.clone(), key.clone());
        scope.spawn(move || {
            let upper = &*layer;
            let stored =
                self.store_layer((upper.directory(), lower.as_ref()), clamp).and_then(|(blob, diff_id)| {
                    cell.settle(Some((blob.clone(), diff_id.clone())));
                    let snapshot = cell::keys(&chain)?.pop();
                    if let Some(snapshot) = &snapshot {
                        upper.keep(&self.env.store, snapshot)?;
                    }
                    let record = Record {
                        blobs: vec![blob.digest.clone()],
                        snapshots: Vec::new(),
                        ..Record::default()
                    };
                    self.put(&key, &Kept::Layer(Box::new((blob, diff_id))), record)
                });
            drop(below);
            if let Err(error) = stored {
                cell.settle(None);
                // One that was cut short follows from another's failure, which is reported.
                if !self.interrupt.is_raised() {
                    lock(&self.failed).get_or_insert(error);
                    self.interrupt.raise();
                }
            }
        });
        Ok(result)
    }

    fn store_layer(
        &self,
        (upper, lower): (&OwnedFd, Option<&OwnedFd>),
        clamp: Clamp,
    ) -> Result<(Descriptor, Digest), Error> {
        let mut writer = Writer::new(&self.env.store, self.env.compression)?;
        let go_on = || if self.interrupt.is_raised() { Err(Interrupt::error()) } else { Ok(()) };
        diff::write(&mut writer, (upper, lower), clamp, &go_on)?;
        let layer = writer.finish()?;
        Ok((layer.descriptor, layer.diff_id))
    }

    fn put(&self, key: &Key, kept: &Kept, record: Record) -> Result<(), Error> {
        let body = serde_json::to_value(kept)
            .map_err(|error| Error::system(format!("write the record of {key}"), io::Error::from(error)))?;
        self.env.store.put_record(key, &Record { body, ..record })
    }
}

/// Says why a kept result does not stand in.
fn explain(node: &Node, trace: &Trace, (store, progress): (&Store, &Step)) {
    let reasons = match node.cache {
        CacheUse::Renew => vec!["it was asked for: --no-cache".to_owned()],
        CacheUse::Use => trace.against_the_last(store, node),
    };
    for reason in reasons {
        progress.log(Stream::Stderr, format!("not cached: {reason}\n").as_bytes());
    }
}

fn extended(mut chain: Chain, cell: Option<Arc<Cell>>) -> Chain {
    chain.extend(cell);
    chain
}

fn ignore(patterns: &[String]) -> Result<Option<Ignore>, Error> {
    if patterns.is_empty() {
        return Ok(None);
    }
    Ignore::from_patterns(patterns.iter().map(String::as_str))
        .map(Some)
        .map_err(|why| Error::new(Kind::Invalid, format!("--exclude: {why}")))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
