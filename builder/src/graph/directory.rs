//! FROM of a named context that is a directory: its files, as root's, on nothing.

use super::lower::Walk;
use super::state::State;
use super::{Copy, DestKind, From, Node, NodeId, Operation, Source, Unpack, history, stage};
use crate::image::Platform;

impl Walk<'_> {
    /// An image's file system without a config, as BuildKit takes such a context.
    pub(super) fn directory_state(&mut self, index: usize, name: String, platform: Platform) -> State {
        let line = format!("FROM {name}");
        let title = format!("{}{line}", stage::first_step(self.file, index, &[]));
        let mut state = self.scratch(index, platform);
        let copy = Copy {
            sources: vec![Source::Files { from: From::Named(name), pattern: ".".to_owned() }],
            dest: "/".to_owned(),
            dest_kind: DestKind::Directory,
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            excludes: Vec::new(),
            unpack: Unpack::Never,
        };
        let node = Node {
            id: NodeId(0),
            title,
            stage: stage::label(self.file, index),
            operation: Operation::Copy(Box::new(copy)),
            base: Some(state.node),
            inputs: vec![state.node],
            line: self.file.stages.get(index).map_or(1, |s| self.source.position(s.place.start).0),
            time: state.time,
            cache: self.cache_use(index),
        };
        state.node = self.add(node);
        state.record(history::of_step(&line), Some(state.node));
        state
    }
}
