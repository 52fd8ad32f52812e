//! What a graph's result is made of.

use std::collections::BTreeSet;

use super::{From, Graph, MountKind, Node, NodeId, Operation, Source};

impl Graph {
    /// The nodes that the result needs, itself included.
    #[must_use]
    pub fn needed(&self) -> BTreeSet<NodeId> {
        let (mut needed, mut next) = (BTreeSet::new(), vec![self.result]);
        while let Some(id) = next.pop() {
            if needed.insert(id) {
                next.extend(self.nodes.get(id.0).into_iter().flat_map(|node| node.inputs.iter().copied()));
            }
        }
        needed
    }

    /// Those nodes, inputs first.
    pub fn needed_nodes(&self) -> impl Iterator<Item = &Node> {
        let needed = self.needed();
        self.nodes.iter().filter(move |node| needed.contains(&node.id))
    }

    /// The downloads and repositories that the result takes from.
    #[must_use]
    pub fn addresses(&self) -> Vec<&Source> {
        let copies = self.needed_nodes().filter_map(|node| match &node.operation {
            Operation::Copy(copy) => Some(&copy.sources),
            _ => None,
        });
        copies.flatten().filter(|source| matches!(source, Source::Http { .. } | Source::Git(_))).collect()
    }

    /// The named contexts that the result takes from.
    #[must_use]
    pub fn named_contexts(&self) -> BTreeSet<&str> {
        let mut trees: Vec<&From> = Vec::new();
        for node in self.needed_nodes() {
            match &node.operation {
                Operation::Copy(copy) => {
                    trees.extend(copy.sources.iter().filter_map(|source| match source {
                        Source::Files { from, .. } => Some(from),
                        _ => None,
                    }))
                }
                Operation::Run(run) => {
                    trees.extend(run.mounts.iter().filter_map(|mount| match &mount.kind {
                        MountKind::Bind { from, .. } | MountKind::Cache { from: Some(from), .. } => {
                            Some(from)
                        }
                        _ => None,
                    }))
                }
                _ => {}
            }
        }
        trees
            .into_iter()
            .filter_map(|from| match from {
                From::Named(name) => Some(name.as_str()),
                From::Context | From::Node(_) => None,
            })
            .collect()
    }
}
