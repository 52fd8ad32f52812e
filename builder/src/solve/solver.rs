//! One node after the other, each from the store or carried out.

mod attend;
mod kept;
mod known;
mod survey;
mod taken;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

pub(super) use self::kept::Kept;
pub use self::known::Known;
pub(super) use self::known::look;
use self::survey::{Survey, Verdict};
use self::taken::{Found, Look};
use super::cell::{self, Cell, Chain};
use super::explain::Trace;
use super::fetched::Fetched;
use super::import::Imports;
use super::{Env, queue, thread};
use crate::bundle::Runtime;
use crate::context::Tree;
use crate::diff::{self, Clamp};
use crate::error::{Error, Kind};
use crate::graph::{self, CacheUse, From, Graph, Node, NodeId, Operation, Source};
use crate::image;
use crate::layer::Writer;
use crate::progress::{Step, Stream};
use crate::snapshot::Draft;
use crate::step::{self, Hands, Interrupt, OpenShell};
use crate::store::{Descriptor, Digest, Key, Store, media};

/// Said once.
const COPIES: &str = "warning: overlays cannot be mounted here: each step works on a copy of the files below it, which takes time and room\n";

/// What a node came to.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// What follows from the definition alone.
    pub(super) defined: Key,
    /// What its result is kept under.
    pub(super) key: Key,
    pub(super) chain: Chain,
    /// Whether it was carried out just now: what was kept of others that took from it is of an earlier time.
    is_fresh: bool,
}

/// What the cache has of a step.
enum Lookup {
    /// Its result: a layer, or that it changed nothing.
    Kept { defined: Key, key: Key, result: Option<Arc<Cell>> },
    /// Nothing that may stand in.
    Absent { defined: Key, key: Key, taken: Arc<Found> },
}

struct Solver<'a> {
    graph: &'a Graph,
    env: &'a Env,
    /// For files of this build; nothing is written there where nothing is carried out.
    session: &'a Path,
    runtime: Result<Runtime, Error>,
    interrupt: &'a Interrupt,
    imports: &'a Imports<'a>,
    /// Results so far, for those who copy from them.
    done: Mutex<BTreeMap<NodeId, Done>>,
    /// File systems of nodes that are copied from.
    trees: Mutex<BTreeMap<NodeId, Arc<Tree>>>,
    fetched: &'a Fetched,
    /// What steps take from outside, as far as it was looked at before.
    surveyed: Mutex<BTreeMap<NodeId, Arc<Found>>>,
    survey: Survey,
    /// Whether all that is needed was kept a moment ago: nothing is to be carried out, and this process may have no namespaces for it.
    is_complete: bool,
    /// The first failure of a layer's writing, which happens beside the steps.
    failed: Mutex<Option<Error>>,
    /// Whether some step had its shell.
    attended: AtomicBool,
    /// Whether the user knows that there are no overlays.
    warned: AtomicBool,
}

/// What all nodes came to, in their order. What `known` has found is not looked for again.
pub(super) fn run(
    (graph, env): (&Graph, &Env),
    (session, runtime, fetched): (&Path, Result<Runtime, Error>, &Fetched),
    (imports, known): (&Imports<'_>, Known),
) -> Result<Vec<Done>, Error> {
    let solver = Solver::new((graph, env), (session, runtime, fetched), (imports, known));
    let done = std::thread::scope(|scope| {
        if !solver.is_complete {
            thread::begin(scope, || solver.look_at_all())?;
        }
        queue::run(graph, |id, inputs| solver.node(id, &inputs, scope), || env.interrupt.raise())
    });
    match solver.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => done,
    }
}

impl<'a> Solver<'a> {
    fn new(
        (graph, env): (&'a Graph, &'a Env),
        (session, runtime, fetched): (&'a Path, Result<Runtime, Error>, &'a Fetched),
        (imports, known): (&'a Imports<'a>, Known),
    ) -> Self {
        Self {
            graph,
            env,
            session,
            runtime,
            interrupt: &env.interrupt,
            imports,
            done: Mutex::default(),
            trees: Mutex::default(),
            fetched,
            surveyed: Mutex::new(known.found),
            is_complete: known.seen.is_some(),
            survey: known.seen.map(Survey::over).unwrap_or_default(),
            failed: Mutex::default(),
            attended: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        }
    }

    fn node<'s>(&'s self, id: NodeId, inputs: &[Done], scope: &'s Scope<'s, '_>) -> Result<Done, Error> {
        let Some(node) = self.graph.nodes.get(id.0) else {
            return Err(Error::new(Kind::Invalid, format!("the build has no step {}", id.0)));
        };
        if self.interrupt.is_raised() {
            return Err(Interrupt::error());
        }
        if let Verdict::LeaveOut(key) = self.survey.verdict(self.graph, id) {
            return Ok(Done { defined: key.clone(), key, chain: Chain::new(), is_fresh: false });
        }
        let base = match (node.base, inputs.first()) {
            (Some(_), Some(base)) => base.chain.clone(),
            _ => Chain::new(),
        };
        let done = match &node.operation {
            Operation::Scratch => self.source(node, Chain::new()),
            Operation::Image(image) => self.source(node, self.image(image)?),
            _ => self.step((node, inputs), base, scope)?,
        };
        lock(&self.done).insert(id, done.clone());
        Ok(done)
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

    /// The result of a node that stands on nothing.
    fn source(&self, node: &Node, chain: Chain) -> Done {
        let key = graph::key(node, &[], &[]);
        Done { defined: key.clone(), key, chain, is_fresh: false }
    }

    fn step<'s>(
        &'s self,
        (node, inputs): (&'s Node, &[Done]),
        base: Chain,
        scope: &'s Scope<'s, '_>,
    ) -> Result<Done, Error> {
        let progress = self.env.progress.step(&node.title);
        let keys: Vec<Key> = inputs.iter().map(|input| input.key.clone()).collect();
        let (defined, key, taken) = match self.look_up(node, (inputs, &keys), &progress)? {
            Lookup::Kept { defined, key, result } => {
                progress.cached();
                return Ok(Done { defined, key, chain: extended(base, result), is_fresh: false });
            }
            Lookup::Absent { .. } if self.is_complete => return Err(changed()),
            Lookup::Absent { defined, key, taken } => (defined, key, taken),
        };
        let titles = node.inputs.iter().filter_map(|id| self.graph.nodes.get(id.0));
        let inputs: Vec<(&str, &Key)> = titles.map(|node| node.title.as_str()).zip(&keys).collect();
        let trace = Trace::new(node, &inputs, &taken.contents);
        let chain = self.carried_out(((node, &key), &trace), (base, progress), scope)?;
        Ok(Done { defined, key, chain, is_fresh: true })
    }

    /// A step has two keys. One follows from its definition, and is found without looking at any file of another step. The other
    /// has the content that the step takes in place of where it comes from: a stage that ran again and came to the same
    /// files changes nothing after it.
    fn look_up(
        &self,
        node: &Node,
        (inputs, keys): (&[Done], &[Key]),
        progress: &Step,
    ) -> Result<Lookup, Error> {
        let surveyed = lock(&self.surveyed).remove(&node.id);
        let outside = match surveyed {
            Some(found) => found,
            None => Arc::new(self.taken(node, Look::Outside)?),
        };
        let defined = graph::key(node, keys, &outside.taken);
        let on_fresh = node.base.is_some() && inputs.first().is_some_and(|base| base.is_fresh);
        let use_kept = node.cache == CacheUse::Use && !on_fresh;
        if outside.is_whole {
            let kept = if use_kept { self.kept(&defined)? } else { None };
            let key = defined.clone();
            return Ok(match kept {
                Some(result) => Lookup::Kept { defined, key, result },
                None => Lookup::Absent { defined, key, taken: outside },
            });
        }
        // What another step made just now need not be what it made when this definition was last seen.
        if use_kept
            && !inputs.iter().any(|input| input.is_fresh)
            && let Some(key) = self.alias(&defined)?
            && let Some(result) = self.kept(&key)?
        {
            return Ok(Lookup::Kept { defined, key, result });
        }
        if self.is_complete {
            return Err(changed());
        }
        let taken = Arc::new(self.taken(node, Look::Everywhere(progress))?);
        let key = graph::key(node, keys, &taken.taken);
        self.put_alias(&defined, &key)?;
        Ok(match if use_kept { self.kept(&key)? } else { None } {
            Some(result) => Lookup::Kept { defined, key, result },
            None => Lookup::Absent { defined, key, taken },
        })
    }

    fn carried_out<'s>(
        &'s self,
        ((node, key), trace): ((&'s Node, &Key), &Trace),
        (base, progress): (Chain, Step),
        scope: &'s Scope<'s, '_>,
    ) -> Result<Chain, Error> {
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

    fn carry_out(&self, node: &Node, base: &Chain, progress: &Step) -> Result<Draft, Error> {
        let stands_alone = matches!(&node.operation, Operation::Copy(copy) if copy.link);
        let below = if stands_alone { Vec::new() } else { self.files(base, progress)? };
        let draft = Draft::new(&self.env.store, below)?;
        let tree = |from: &From| self.tree(from, progress);
        let hands = Hands {
            store: &self.env.store,
            runtime: &self.runtime,
            tree: &tree,
            fetch: &|source: &Source| self.fetched.tree(source, self.around()),
            credentials: &self.env.credentials,
            devices: &self.env.devices,
            limits: &self.env.limits,
            interrupt: self.interrupt,
            attend: &|error, open: &OpenShell<'_>| self.attend(node, progress, (error, open)),
            progress,
        };
        step::carry_out(node, &draft, &hands)?;
        draft.settle()?;
        if crate::snapshot::works_on_copies() && !self.warned.swap(true, Ordering::Relaxed) {
            progress.log(Stream::Stderr, COPIES.as_bytes());
        }
        Ok(draft)
    }

    fn files(&self, chain: &Chain, progress: &Step) -> Result<crate::snapshot::Stack, Error> {
        cell::files(&self.env.store, chain, Some(progress))
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
            Kept::Unchanged.write(&self.env.store, key)?;
            return Ok(base);
        }
        let layer = Arc::new(draft.seal());
        let cell = Cell::made(Arc::clone(&layer));
        let chain = extended(base, Some(Arc::clone(&cell)));
        let (result, key) = (chain.clone(), key.clone());
        thread::begin(scope, move || {
            let upper = &*layer;
            let stored =
                self.store_layer((upper.directory(), lower.as_ref()), clamp).and_then(|(blob, diff_id)| {
                    cell.settle(Some((blob.clone(), diff_id.clone())));
                    let snapshot = cell::keys(&chain)?.pop();
                    if let Some(snapshot) = &snapshot {
                        upper.keep(&self.env.store, snapshot)?;
                    }
                    Kept::Layer(Box::new((blob, diff_id))).write(&self.env.store, &key)
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
        })?;
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

/// What was kept a moment ago is not.
fn changed() -> Error {
    Error::new(Kind::System, "the build cache changed during the build").hint("build again")
}

fn extended(mut chain: Chain, cell: Option<Arc<Cell>>) -> Chain {
    chain.extend(cell);
    chain
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
