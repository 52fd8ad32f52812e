//! The graph as text: what `builder graph` prints, and what its goldens compare.

use std::fmt::Write;

use super::{Copy, From, Graph, MountKind, Node, Operation, Run, Source};

/// One node a paragraph, then the config.
#[must_use]
pub fn show(graph: &Graph) -> String {
    let mut out = String::new();
    for node in &graph.nodes {
        out.push_str(&node_text(node));
    }
    let config = serde_json::to_string_pretty(&graph.config).unwrap_or_default();
    // Writing into a String cannot fail.
    let _ = writeln!(out, "result #{} for {}", graph.result.0, graph.platform);
    if let Some(scan) = graph.scan {
        let _ = writeln!(out, "scan #{}", scan.0);
    }
    let _ = writeln!(out, "time {}", graph.time.map_or_else(|| "kept".to_owned(), |t| t.to_string()));
    for entry in &graph.history {
        let node = entry.node.map_or_else(|| "no layer".to_owned(), |node| format!("#{}", node.0));
        let _ = writeln!(out, "history {} ({node})", escaped(&entry.created_by));
    }
    let _ = writeln!(out, "config {config}");
    out
}

fn node_text(node: &Node) -> String {
    let mut lines = vec![format!("#{} {} (line {})", node.id.0, node.title, node.line)];
    let inputs: Vec<String> = node.inputs.iter().map(|input| format!("#{}", input.0)).collect();
    if !inputs.is_empty() {
        lines.push(format!("on {}", inputs.join(" ")));
    }
    match &node.operation {
        Operation::Image(base) => {
            lines.push(format!("image {} {} {}", base.reference, base.platform, base.manifest));
        }
        Operation::Scratch => {}
        Operation::Run(run) => lines.extend(run_lines(run)),
        Operation::Copy(copy) => lines.extend(copy_lines(copy)),
        Operation::Workdir(workdir) => {
            lines.push(format!("workdir {} user {:?}", workdir.path, workdir.user))
        }
    }
    if node.cache == super::CacheUse::Renew {
        lines.push("without cache".to_owned());
    }
    lines.join("\n    ") + "\n"
}

fn run_lines(run: &Run) -> Vec<String> {
    let mut lines = vec![format!("run {:?}", run.args)];
    lines.push(format!(
        "in {} as {:?} network {:?} security {:?}",
        run.cwd, run.user, run.network, run.security
    ));
    lines.extend(run.env.iter().map(|(name, value)| format!("env {name}={}", escaped(value))));
    lines.extend(run.scripts.iter().map(|script| format!("script {} {:?}", script.name, script.content)));
    lines.extend(run.add_hosts.iter().map(|(name, address)| format!("host {name} {address}")));
    for mount in &run.mounts {
        let kind = match &mount.kind {
            MountKind::Bind { from, source, access } => format!("bind {} {source} {access:?}", tree(from)),
            MountKind::Cache { id, from, source, access, sharing, mode, uid, gid } => {
                let from = from.as_ref().map_or_else(|| "nothing".to_owned(), tree);
                format!("cache {id} from {from} {source} {access:?} {sharing:?} {mode:o} {uid}:{gid}")
            }
            MountKind::Tmpfs { size } => format!("tmpfs {size:?}"),
            MountKind::Secret(secret) => format!("secret {secret:?}"),
            MountKind::Ssh(ssh) => format!("ssh {ssh:?}"),
        };
        lines.push(format!("mount {:?} {kind}", mount.target));
    }
    for device in &run.devices {
        lines.push(format!("device {} required {}", device.name, device.required));
    }
    lines
}

fn copy_lines(copy: &Copy) -> Vec<String> {
    let mut lines: Vec<String> = copy.sources.iter().map(source).collect();
    lines.push(format!("to {} {:?}", copy.dest, copy.dest_kind));
    lines.extend(copy.chown.iter().map(|owner| format!("chown {owner}")));
    lines.extend(copy.chmod.iter().map(|mode| format!("chmod {mode}")));
    lines.extend(copy.excludes.iter().map(|pattern| format!("exclude {pattern}")));
    let flags = [(copy.link, "link"), (copy.parents, "parents")];
    lines.extend(flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()));
    if copy.unpack != super::Unpack::Never {
        lines.push(format!("unpack {:?}", copy.unpack));
    }
    lines
}

fn source(source: &Source) -> String {
    match source {
        Source::Files { from, pattern } => format!("take {} {pattern:?}", tree(from)),
        Source::Inline(inline) => format!("take text {} {:?}", inline.name, inline.content),
        Source::Http { url, checksum } => format!("take {url} {checksum:?}"),
        Source::Git(git) => format!("take {git:?}"),
    }
}

fn tree(from: &From) -> String {
    match from {
        From::Context => "context".to_owned(),
        From::Named(name) => format!("context:{name}"),
        From::Node(node) => format!("#{}", node.0),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\n', "\\n")
}
