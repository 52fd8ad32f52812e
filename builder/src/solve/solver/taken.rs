//! What a step takes from elsewhere, by content.

use std::sync::Arc;

use super::super::fetched::Around;
use super::{Solver, changed, lock};
use crate::context::{self, Content, Parents, Tree};
use crate::dockerfile::ignore::Ignore;
use crate::error::{Error, Kind};
use crate::graph::{From, MountKind, Node, Operation, Source, Taken};
use crate::progress::Step;
use crate::snapshot::View;

/// Where files are looked at.
#[derive(Clone, Copy)]
pub(super) enum Look<'a> {
    /// On this machine.
    Here,
    /// On this machine and at addresses.
    Outside,
    /// In the results of other steps too, which may have to be unpacked for it.
    Everywhere(&'a Step),
}

/// What was found.
pub(super) struct Found {
    /// For the key.
    pub(super) taken: Vec<Taken>,
    /// File by file, for those who ask why.
    pub(super) contents: Vec<Content>,
    /// Whether nothing was left out because it is another step's.
    pub(super) is_whole: bool,
}

impl Solver<'_> {
    pub(super) fn taken(&self, node: &Node, look: Look<'_>) -> Result<Found, Error> {
        let mut found = Found { taken: Vec::new(), contents: Vec::new(), is_whole: true };
        match &node.operation {
            Operation::Copy(copy) => {
                let excludes = ignore(&copy.excludes)?;
                for source in &copy.sources {
                    match source {
                        Source::Files { from, pattern } => {
                            let content = self.content(
                                (from, (pattern, Parents::of(copy.parents))),
                                (node, excludes.as_ref()),
                                look,
                            )?;
                            found.put(content, from);
                        }
                        Source::Http { .. } | Source::Git(_) if matches!(look, Look::Here) => {
                            return Err(Error::new(Kind::Invalid, "it is somewhere else"));
                        }
                        other => match self.fetched.content(other, self.around())? {
                            Some(content) => found.put(Some(content), &From::Context),
                            None => found.taken.push(Taken::Node),
                        },
                    }
                }
            }
            Operation::Run(run) => {
                for mount in &run.mounts {
                    if let MountKind::Bind { from, source, .. } = &mount.kind {
                        // All of another step is what its key says, and much to read.
                        let look = if source == "/" { Look::Here } else { look };
                        let content = self.content((from, (source, Parents::Dropped)), (node, None), look)?;
                        match (content, from, source.as_str()) {
                            (None, From::Node(_), "/") => found.taken.push(Taken::Node),
                            (content, ..) => found.put(content, from),
                        }
                    }
                }
            }
            Operation::Image(_) | Operation::Scratch | Operation::Workdir(_) => {}
        }
        Ok(found)
    }

    fn content(
        &self,
        (from, (pattern, parents)): (&From, (&str, Parents)),
        (node, excludes): (&Node, Option<&Ignore>),
        look: Look<'_>,
    ) -> Result<Option<Content>, Error> {
        let of_node;
        let tree = match (from, look) {
            (From::Node(_), Look::Here | Look::Outside) => return Ok(None),
            (From::Node(_), Look::Everywhere(progress)) => {
                of_node = self.tree(from, progress)?;
                &of_node
            }
            (From::Context, _) => &self.env.context,
            (From::Named(name), _) => self.named(name)?,
        };
        let found = context::find(tree, pattern, parents)?;
        // Only a user's own files are the same objects from one build to the next.
        let kept = match from {
            From::Node(_) => None,
            From::Context | From::Named(_) => Some((&self.env.store, pattern)),
        };
        context::content(tree, (&found, parents), (excludes, node.time), kept).map(Some)
    }

    pub(super) fn around(&self) -> Around<'_> {
        Around {
            store: &self.env.store,
            session: self.session,
            agent: self.env.credentials.ssh.get("default"),
        }
    }

    fn named(&self, name: &str) -> Result<&Arc<Tree>, Error> {
        self.env.named.get(name).ok_or_else(|| {
            Error::new(Kind::Invalid, format!("there is no build context {name}"))
                .hint(format!("give it by --build-context {name}=DIRECTORY"))
        })
    }

    pub(super) fn tree(&self, from: &From, progress: &Step) -> Result<Arc<Tree>, Error> {
        let id = match from {
            From::Context => return Ok(Arc::clone(&self.env.context)),
            From::Named(name) => return self.named(name).cloned(),
            From::Node(id) => *id,
        };
        let chain = lock(&self.done).get(&id).map(|done| done.chain.clone());
        let Some(chain) = chain else {
            return Err(changed()); // it was left out: its users were all kept
        };
        let mut trees = lock(&self.trees);
        if let Some(tree) = trees.get(&id) {
            return Ok(Arc::clone(tree));
        }
        let mut view = View::read_only(&self.env.store, &self.files(&chain, progress)?)?;
        // With a path, parts of it can be mounted elsewhere.
        view.attach(&self.session.join(format!("tree-{}", id.0)))?;
        let tree = Arc::new(Tree::view(view));
        trees.insert(id, Arc::clone(&tree));
        Ok(tree)
    }
}

impl Found {
    fn put(&mut self, content: Option<Content>, from: &From) {
        match content {
            Some(content) => {
                self.taken.push(Taken::Content(content.digest.clone()));
                self.contents.push(content);
            }
            None => {
                self.is_whole &= !matches!(from, From::Node(_));
                self.taken.push(Taken::Node);
            }
        }
    }
}

fn ignore(patterns: &[String]) -> Result<Option<Ignore>, Error> {
    if patterns.is_empty() {
        return Ok(None);
    }
    Ignore::from_patterns(patterns.iter().map(String::as_str))
        .map(Some)
        .map_err(|why| Error::new(Kind::Invalid, format!("--exclude: {why}")))
}
