//! The graph as steps in the form of BuildKit's operations, which is what readers of its provenance know.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{put, redacted};
use crate::graph::{
    Access, Copy, Credential, From, Git, Graph, Mount, MountKind, Network, Node, NodeId, Operation, Run,
    Security, Sharing, Source,
};

/// BuildKit's number for "from nowhere".
const NOTHING: i64 = -1;

/// The steps, and which of them each node is; a node that starts from nothing is none.
pub(super) struct Steps {
    pub(super) list: Vec<Value>,
    pub(super) of_node: BTreeMap<NodeId, usize>,
    sources: BTreeMap<String, usize>,
    platform: Value,
}

/// All that the result is made of, inputs first; the last one stands for the result.
pub(super) fn steps(graph: &Graph) -> Steps {
    let platform = &graph.platform;
    let mut platform = json!({"Architecture": platform.architecture, "OS": platform.os});
    if !graph.platform.variant.is_empty() {
        put(&mut platform, "Variant", json!(graph.platform.variant));
    }
    let mut steps = Steps { list: Vec::new(), of_node: BTreeMap::new(), sources: BTreeMap::new(), platform };
    for node in graph.needed_nodes() {
        steps.node(node);
    }
    if let Some(last) = steps.of_node.get(&graph.result) {
        let id = steps.list.len();
        steps.list.push(json!({"id": format!("step{id}"), "inputs": [format!("step{last}:0")]}));
    }
    steps
}

/// The inputs of one step, each once.
#[derive(Default)]
struct Inputs(Vec<usize>);

impl Inputs {
    fn number(&mut self, step: Option<usize>) -> i64 {
        let Some(step) = step else { return NOTHING };
        let at = self.0.iter().position(|known| *known == step).unwrap_or_else(|| {
            self.0.push(step);
            self.0.len() - 1
        });
        i64::try_from(at).unwrap_or(NOTHING)
    }
}

impl Steps {
    fn node(&mut self, node: &Node) {
        let mut inputs = Inputs::default();
        let base = inputs.number(node.base.and_then(|base| self.of_node.get(&base).copied()));
        let operation = match &node.operation {
            Operation::Scratch => return,
            Operation::Image(base) => {
                json!({"source": {"identifier": format!("docker-image://{}@{}", base.reference, base.manifest)}})
            }
            Operation::Workdir(workdir) => json!({"file": {"actions": [{
                "input": base, "secondaryInput": NOTHING, "output": 0,
                "Action": {"mkdir": {"path": workdir.path, "mode": 0o755, "makeParents": true}},
            }]}}),
            Operation::Run(run) => self.exec(run, base, &mut inputs),
            Operation::Copy(copy) => self.file(copy, base, &mut inputs),
        };
        let step = self.push(&operation, &inputs);
        self.of_node.insert(node.id, step);
    }

    fn push(&mut self, operation: &Value, inputs: &Inputs) -> usize {
        let number = self.list.len();
        let mut step = json!({
            "id": format!("step{number}"),
            "op": {"Op": operation, "platform": self.platform, "constraints": {}},
        });
        if !inputs.0.is_empty() {
            put(&mut step, "inputs", inputs.0.iter().map(|input| format!("step{input}:0")).collect());
        }
        self.list.push(step);
        number
    }

    /// A place outside the build, each once.
    fn source(&mut self, identifier: String, attributes: Value) -> usize {
        let known = format!("{identifier} {attributes}");
        if let Some(step) = self.sources.get(&known) {
            return *step;
        }
        let mut source = json!({"identifier": identifier});
        if attributes.as_object().is_some_and(|fields| !fields.is_empty()) {
            put(&mut source, "attrs", attributes);
        }
        let step = self.push(&json!({"source": source}), &Inputs::default());
        self.sources.insert(known, step);
        step
    }

    fn tree(&mut self, from: &From) -> Option<usize> {
        match from {
            From::Context => Some(self.source("local://context".to_owned(), json!({}))),
            From::Named(name) => Some(self.source(format!("local://{name}"), json!({}))),
            From::Node(node) => self.of_node.get(node).copied(),
        }
    }

    fn exec(&mut self, run: &Run, base: i64, inputs: &mut Inputs) -> Value {
        let mut meta = json!({
            "args": run.args,
            "env": run.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "cwd": run.cwd,
        });
        if !run.user.is_empty() {
            put(&mut meta, "user", json!(run.user));
        }
        if let Some(hostname) = &run.hostname {
            put(&mut meta, "hostname", json!(hostname));
        }
        if !run.add_hosts.is_empty() {
            let hosts = run.add_hosts.iter().map(|(name, address)| json!({"Host": name, "IP": address}));
            put(&mut meta, "extraHosts", hosts.collect());
        }
        let mut mounts = vec![json!({"input": base, "dest": "/", "output": 0})];
        let mut variables = Vec::new();
        for mount in &run.mounts {
            match &mount.kind {
                MountKind::Secret(Credential { id, env: Some(name), required, .. }) => {
                    variables.push(json!({"ID": id, "name": name, "optional": !required}));
                }
                _ => mounts.push(self.mount(mount, inputs)),
            }
        }
        let mut exec = json!({"meta": meta, "mounts": mounts});
        match run.network {
            Network::Default => {}
            Network::Host => put(&mut exec, "network", json!(1)),
            Network::None => put(&mut exec, "network", json!(2)),
        }
        if run.security == Security::Insecure {
            put(&mut exec, "security", json!(1));
        }
        if !variables.is_empty() {
            put(&mut exec, "secretenv", json!(variables));
        }
        json!({ "exec": exec })
    }

    fn mount(&mut self, mount: &Mount, inputs: &mut Inputs) -> Value {
        let of = |credential: &Credential| {
            json!({
                "ID": credential.id, "uid": credential.uid, "gid": credential.gid, "mode": credential.mode,
                "optional": !credential.required,
            })
        };
        let mut said = json!({"input": NOTHING, "dest": mount.target, "output": NOTHING});
        match &mount.kind {
            MountKind::Bind { from, source, access } => {
                let step = self.tree(from);
                put(&mut said, "input", json!(inputs.number(step)));
                put(&mut said, "selector", json!(source));
                put(&mut said, "readonly", json!(*access == Access::ReadOnly));
            }
            MountKind::Cache { id, from, source, access, sharing, .. } => {
                let step = from.as_ref().and_then(|from| self.tree(from));
                put(&mut said, "input", json!(inputs.number(step)));
                put(&mut said, "selector", json!(source));
                put(&mut said, "readonly", json!(*access == Access::ReadOnly));
                put(&mut said, "mountType", json!(3));
                let sharing = match sharing {
                    Sharing::Shared => 0,
                    Sharing::Private => 1,
                    Sharing::Locked => 2,
                };
                put(&mut said, "cacheOpt", json!({"ID": id, "sharing": sharing}));
            }
            MountKind::Tmpfs { size } => {
                put(&mut said, "mountType", json!(4));
                put(&mut said, "TmpfsOpt", json!({"size": size.unwrap_or(0)}));
            }
            MountKind::Secret(credential) => {
                put(&mut said, "mountType", json!(1));
                put(&mut said, "secretOpt", of(credential));
            }
            MountKind::Ssh(credential) => {
                put(&mut said, "mountType", json!(2));
                put(&mut said, "SSHOpt", of(credential));
            }
        }
        said
    }

    /// One action a source, each on what the one before it left.
    fn file(&mut self, copy: &Copy, base: i64, inputs: &mut Inputs) -> Value {
        let mut actions: Vec<Value> = Vec::new();
        for source in &copy.sources {
            let (from, path) = match source {
                Source::Files { from, pattern } => (self.tree(from), format!("/{pattern}")),
                Source::Inline(inline) => {
                    let data = STANDARD.encode(&inline.content);
                    actions.push(
                        json!({"Action": {"mkfile": {"path": copy.dest, "mode": 0o644, "data": data}}}),
                    );
                    continue;
                }
                Source::Http { url, checksum } => {
                    let attributes =
                        checksum.as_ref().map_or(json!({}), |checksum| json!({"http.checksum": checksum}));
                    (Some(self.source(redacted(url), attributes)), "/".to_owned())
                }
                Source::Git(git) => (Some(self.source(identifier(git), json!({}))), "/".to_owned()),
            };
            let mut action = json!({"src": path, "dest": copy.dest, "mode": NOTHING, "createDestPath": true, "allowWildcard": true});
            if let Some(owner) = &copy.chown {
                put(&mut action, "owner", json!(owner));
            }
            if let Some(mode) = &copy.chmod {
                put(&mut action, "modeStr", json!(mode));
            }
            if !copy.excludes.is_empty() {
                put(&mut action, "excludePatterns", json!(copy.excludes));
            }
            let from = inputs.number(from);
            actions.push(json!({"secondaryInput": from, "Action": {"copy": action}}));
        }
        let (count, last) = (inputs.0.len(), actions.len().saturating_sub(1));
        for (at, action) in actions.iter_mut().enumerate() {
            // Results of the actions are numbered after the step's own inputs.
            put(action, "input", if at == 0 { json!(base) } else { json!(count + at - 1) });
            put(action, "output", if at == last { json!(0) } else { json!(NOTHING) });
        }
        json!({"file": {"actions": actions}})
    }
}

fn identifier(git: &Git) -> String {
    let remote = redacted(&git.remote);
    let path = remote.split_once("://").map_or(remote.as_str(), |(_, path)| path);
    let directory = if git.subdir.is_empty() { String::new() } else { format!(":{}", git.subdir) };
    match (git.reference.as_str(), directory.as_str()) {
        ("", "") => format!("git://{path}"),
        (reference, directory) => format!("git://{path}#{reference}{directory}"),
    }
}
