//! The step that finds out what an image contains: a scanner's image, run on the result's files.
//!
//! What it is told and where it writes is BuildKit's protocol, so that the same scanners serve.

use std::collections::{BTreeMap, BTreeSet};

use super::lower::Walk;
use super::state::State;
use super::{
    Access, BaseRequest, From, Graph, Mount, MountKind, Network, Node, NodeId, Operation, Run, Security,
    Workdir, args, stage,
};
use crate::error::{Error, Kind};
use crate::image::Config;
use crate::registry::Reference;

/// Where a scanner writes what it finds.
pub const SCANNED: &str = "/run/out";
/// What it calls the result's list.
pub const RESULT_SCAN: &str = "sbom";
const SOURCES: &str = "/run/src";
const OF_CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";
const OF_STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";

/// `--sbom`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    /// The image that scans.
    pub image: Reference,
    /// What else it is told, as variables `BUILDKIT_SCAN_NAME`.
    pub parameters: BTreeMap<String, String>,
}

/// Whether the argument only says what is scanned: it is no variable.
pub(super) fn is_argument(name: &str) -> bool {
    matches!(name, OF_CONTEXT | OF_STAGE)
}

/// The scan of stage `target`, whose result is `state`; `None` while an image is not resolved, or where no scan is wanted.
pub(super) fn lower(
    walk: &mut Walk<'_>,
    state: Option<&State>,
    target: usize,
) -> Result<Option<NodeId>, Error> {
    let inputs = walk.inputs;
    let Some(scanner) = &inputs.scanner else { return Ok(None) };
    let request = BaseRequest { reference: scanner.image.clone(), platform: inputs.build_platform.clone() };
    let image = walk.image_node(target, request.clone(), "[sbom 1/3] ")?;
    let (Some(image), Some(state), Some(resolved)) = (image, state, inputs.bases.get(&request.key())) else {
        return Ok(None);
    };
    let (run, taken) = run(walk, (scanner, &resolved.config), (state, target))?;
    let user = run.user.clone();
    let place = Operation::Workdir(Workdir { path: SCANNED.to_owned(), user });
    let title = |step: &str| format!("[sbom {step}/3] {}", scanner.image.familiar());
    let line = walk.file.stages.get(target).map_or(1, |s| walk.source.position(s.place.start).0);
    let (time, cache) = (state.time, walk.cache_use(target));
    let node = |title: String, operation: Operation, inputs: Vec<NodeId>| Node {
        id: image,
        title,
        stage: "sbom".to_owned(),
        operation,
        base: inputs.first().copied(),
        inputs,
        line,
        time,
        cache,
    };
    let place = walk.add(node(title("2"), place, vec![image]));
    let mut seen = BTreeSet::new();
    let all = [place].into_iter().chain(taken).filter(|id| seen.insert(*id)).collect();
    Ok(Some(walk.add(node(title("3"), Operation::Run(Box::new(run)), all))))
}

fn run(
    walk: &Walk<'_>,
    (scanner, image): (&Scanner, &Config),
    (state, target): (&State, usize),
) -> Result<(Run, Vec<NodeId>), Error> {
    let config = &image.config;
    let args: Vec<String> =
        config.entrypoint.iter().chain(&config.cmd).flat_map(|words| words.iter().cloned()).collect();
    if args.is_empty() {
        let text = format!("--sbom: the scanner {} has no command", scanner.image.familiar());
        return Err(Error::new(Kind::Invalid, text));
    }
    let bind = |target: String, from: From| Mount {
        target,
        kind: MountKind::Bind { from, source: "/".to_owned(), access: Access::ReadOnly },
    };
    let core = format!("{SOURCES}/core/{RESULT_SCAN}");
    let extras = extras(walk, target);
    let mut env: Vec<(String, String)> = config
        .env
        .iter()
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    env.push(("BUILDKIT_SCAN_DESTINATION".to_owned(), format!("{SCANNED}/")));
    env.push(("BUILDKIT_SCAN_SOURCE".to_owned(), core.clone()));
    if !extras.is_empty() {
        env.push(("BUILDKIT_SCAN_SOURCE_EXTRAS".to_owned(), format!("{SOURCES}/extras/")));
    }
    let parameters = scanner.parameters.iter();
    env.extend(parameters.map(|(name, value)| (format!("BUILDKIT_SCAN_{name}"), value.clone())));
    let mut mounts = vec![Mount { target: "/tmp".to_owned(), kind: MountKind::Tmpfs { size: None } }];
    mounts.push(bind(core, From::Node(state.node)));
    let mut inputs = vec![state.node];
    for (name, from) in extras {
        if let From::Node(node) = from {
            inputs.push(node);
        }
        mounts.push(bind(format!("{SOURCES}/extras/{RESULT_SCAN}-{name}"), from));
    }
    let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    let run = Run {
        args,
        shell: "/bin/sh".to_owned(),
        env,
        proxy: args::proxies(walk.inputs),
        user: config.user.clone(),
        cwd: cwd.to_owned(),
        mounts,
        devices: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
        scripts: Vec::new(),
        hostname: None,
        add_hosts: Vec::new(),
    };
    Ok((run, inputs))
}

/// What else is scanned: the stages that say so, and the context where the result's stage does.
fn extras(walk: &Walk<'_>, target: usize) -> BTreeMap<String, From> {
    let mut extras = BTreeMap::new();
    for (index, state) in walk.walked() {
        let name = stage::label(walk.file, index);
        if index == target {
            if is_wanted(walk, state, (OF_CONTEXT, &name)) {
                extras.insert("context".to_owned(), From::Context);
            }
        } else if is_wanted(walk, state, (OF_STAGE, &name)) {
            extras.insert(name, From::Node(state.node));
        }
    }
    extras
}

/// The stage's own argument counts before that above the first FROM: true, false, or the names of stages.
fn is_wanted(walk: &Walk<'_>, state: &State, (argument, stage): (&str, &str)) -> bool {
    let of = |args: &[(String, Option<String>)]| {
        let mut found = args.iter().rev().filter(|(name, _)| name == argument);
        found.find_map(|(_, value)| value.clone())
    };
    match of(&state.args).or_else(|| of(&walk.globals)).as_deref() {
        None | Some("false" | "0" | "") => false,
        Some("true" | "1") => true,
        Some(names) => names.split(',').any(|name| name.eq_ignore_ascii_case(stage)),
    }
}

impl Graph {
    /// The nodes that every build of the graph is for: its result, and the scan of it.
    pub fn goals(&self) -> impl Iterator<Item = NodeId> {
        [self.result].into_iter().chain(self.scan)
    }
}
