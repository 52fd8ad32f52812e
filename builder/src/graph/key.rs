//! The one definition of "same": two steps with equal keys have equal results.
//!
//! A key covers what a step is told, what it stands on and the content of what it takes; never modification
//! times, proxies, the values of secrets, titles, or where in the file the instruction stands.

use std::fmt::Display;

use super::{Copy, Credential, From, Mount, MountKind, Node, NodeId, Operation, Run, Source};
use crate::image::Digest;
use crate::store::{Hasher, Key};

/// Changes when a step's result may differ for the same input: kept results of older versions then miss.
const VERSION: &str = "coracle step 4";

/// Content that a step takes: one for each source of a COPY or ADD and each bind mount of a RUN, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Digest of paths, modes, owners and bytes.
    Content(Digest),
    /// Not looked at: the key of the node that it comes from stands for it.
    Node,
}

/// The key of a step, from the keys of `node.inputs`, in their order, and what it takes.
#[must_use]
pub fn key(node: &Node, inputs: &[Key], taken: &[Taken]) -> Key {
    let mut feed = Feed { hasher: Hasher::new() };
    feed.field("version", VERSION);
    let stands_alone = matches!(&node.operation, Operation::Copy(copy) if copy.link);
    let key_of =
        |id: NodeId| node.inputs.iter().zip(inputs).find(|(input, _)| **input == id).map(|(_, key)| key);
    if let Some(base) = node.base.filter(|_| !stands_alone).and_then(key_of) {
        feed.field("base", base);
    }
    if let (Some(time), false) = (node.time, node.base.is_none()) {
        feed.field("time", time);
    }
    match &node.operation {
        Operation::Image(base) => feed.fields("layer", &base.diff_ids),
        Operation::Scratch => feed.field("scratch", ""),
        Operation::Workdir(workdir) => {
            feed.field("workdir", &workdir.path);
            feed.field("user", &workdir.user);
        }
        Operation::Run(run) => feed.run(run),
        Operation::Copy(copy) => feed.copy(copy),
    }
    let sources = sources(&node.operation);
    for (at, from) in sources.into_iter().enumerate() {
        match (taken.get(at), from) {
            (Some(Taken::Content(digest)), _) => feed.field("content", digest),
            (_, Some(From::Node(id))) => feed.maybe("from", key_of(*id)),
            (_, Some(From::Context)) => feed.field("from", "context"),
            (_, Some(From::Named(name))) => feed.field("from named", name),
            (_, None) => {}
        }
    }
    Key::from(&feed.hasher.finish())
}

/// The trees that `taken` speaks of, in its order; `None` for a source that is no tree.
fn sources(operation: &Operation) -> Vec<Option<&From>> {
    match operation {
        Operation::Copy(copy) => copy
            .sources
            .iter()
            .map(|source| match source {
                Source::Files { from, .. } => Some(from),
                Source::Inline(_) | Source::Http { .. } | Source::Git(_) => None,
            })
            .collect(),
        Operation::Run(run) => run
            .mounts
            .iter()
            .filter_map(|mount| match &mount.kind {
                MountKind::Bind { from, .. } => Some(Some(from)),
                _ => None,
            })
            .collect(),
        Operation::Image(_) | Operation::Scratch | Operation::Workdir(_) => Vec::new(),
    }
}

/// Names and values with their lengths, so that no two sequences read the same.
struct Feed {
    hasher: Hasher,
}

impl Feed {
    fn field(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.hasher.update(format!("{}:{name}{}:{value}", name.len(), value.len()).as_bytes());
    }

    fn maybe(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    fn fields<T: Display>(&mut self, name: &str, values: &[T]) {
        self.field(name, values.len());
        for value in values {
            self.field(name, value);
        }
    }

    fn pairs(&mut self, name: &str, pairs: &[(String, String)]) {
        self.field(name, pairs.len());
        for (left, right) in pairs {
            self.field(left, right);
        }
    }

    fn run(&mut self, run: &Run) {
        self.fields("run", &run.args);
        self.pairs("env", &run.env);
        self.field("user", &run.user);
        self.field("cwd", &run.cwd);
        self.field("network", format!("{:?}", run.network));
        self.field("security", format!("{:?}", run.security));
        self.maybe("hostname", run.hostname.as_ref());
        self.pairs("host", &run.add_hosts);
        for script in &run.scripts {
            self.field(&script.name, &script.content);
        }
        for mount in &run.mounts {
            self.mount(mount);
        }
        for device in &run.devices {
            self.field("device", &device.name);
        }
    }

    fn mount(&mut self, mount: &Mount) {
        self.field("mount", &mount.target);
        match &mount.kind {
            MountKind::Bind { source, access, .. } => {
                self.field("bind", source);
                self.field("access", format!("{access:?}"));
            }
            // What a cache holds is no input: it may be empty at any time.
            MountKind::Cache { id, source, access, sharing, mode, uid, gid, .. } => {
                self.field("cache", id);
                self.field("source", source);
                self.field("use", format!("{access:?} {sharing:?} {mode:o} {uid}:{gid}"));
            }
            MountKind::Tmpfs { size } => self.maybe("tmpfs", *size),
            MountKind::Secret(credential) => self.credential("secret", credential),
            MountKind::Ssh(credential) => self.credential("ssh", credential),
        }
    }

    fn credential(&mut self, name: &str, credential: &Credential) {
        let Credential { id, required, mode, uid, gid, env } = credential;
        self.field(name, id);
        self.field("use", format!("{required} {mode:o} {uid}:{gid}"));
        self.maybe("env", env.as_ref());
    }

    fn copy(&mut self, copy: &Copy) {
        self.field("copy", &copy.dest);
        self.field("dest", format!("{:?}", copy.dest_kind));
        self.maybe("chown", copy.chown.as_ref());
        self.maybe("chmod", copy.chmod.as_ref());
        self.field("flags", format!("link={} parents={} unpack={:?}", copy.link, copy.parents, copy.unpack));
        self.fields("exclude", &copy.excludes);
        for source in &copy.sources {
            match source {
                Source::Files { pattern, .. } => self.field("files", pattern),
                Source::Inline(inline) => self.field(&inline.name, &inline.content),
                Source::Http { url, checksum } => {
                    self.field("http", url);
                    self.maybe("checksum", checksum.as_ref());
                }
                Source::Git(git) => {
                    self.field("git", format!("{git:?}"));
                }
            }
        }
    }
}
