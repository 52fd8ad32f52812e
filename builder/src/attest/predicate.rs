//! SLSA provenance, version 1 and version 0.2: the same facts under other names.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::facts::{Facts, Mode, Provenance, Request, Version};
use super::package::{self, Place};
use super::{Attestation, Sum, put, redacted, steps};
use crate::error::{Error, Kind};
use crate::graph::{Base, Graph, MountKind, Network, Operation, Run};
use crate::image::Platform;
use crate::registry::Reference;

const BUILD_TYPE_1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";

impl Provenance {
    /// What there is to say.
    ///
    /// # Errors
    /// Something is not known by content, and the caller wants all to be.
    pub fn attest(&self, facts: &Facts<'_>) -> Result<Attestation, Error> {
        let said = Said::new(self, facts);
        if self.complete_materials && !said.is_complete {
            let local: Vec<&str> = facts.request.locals.iter().map(String::as_str).collect();
            let text =
                format!("attest the build: directories of this machine have no digest: {}", local.join(", "));
            return Err(Error::new(Kind::Invalid, text)
                .hint("build from a repository or an archive, or leave complete-materials out"));
        }
        let (predicate_type, predicate) = match self.version {
            Version::V1 => ("https://slsa.dev/provenance/v1", said.version_1()),
            Version::V02 => ("https://slsa.dev/provenance/v0.2", said.version_02()),
        };
        Ok(Attestation {
            predicate_type: predicate_type.to_owned(),
            predicate,
            subjects: Vec::new(),
            filename: self.filename.clone(),
        })
    }
}

/// The parts that both versions have.
struct Said<'a> {
    wanted: &'a Provenance,
    request: &'a Request,
    materials: Vec<Value>,
    parameters: Value,
    build: Option<Value>,
    metadata: Map<String, Value>,
    is_whole_request: bool,
    is_complete: bool,
    is_hermetic: bool,
}

impl<'a> Said<'a> {
    fn new(wanted: &'a Provenance, facts: &Facts<'a>) -> Self {
        let request = facts.request;
        let is_confided = |name: &String| name.starts_with("build-arg:") || name.starts_with("label:");
        let is_complete = request.locals.is_empty();
        let (mut build, mut metadata) = (None, Map::new());
        if !request.vcs.is_empty() {
            let said = request.vcs.iter().map(|(name, value)| (name.clone(), json!(redacted(value))));
            metadata.insert("vcs".to_owned(), Value::Object(said.collect()));
        }
        if wanted.mode == Mode::Max {
            let steps = steps::steps(facts.graph);
            metadata.insert("source".to_owned(), sources(facts, &steps));
            metadata.insert("layers".to_owned(), layers(facts, &steps));
            build = Some(json!({"llbDefinition": steps.list}));
        }
        Self {
            wanted,
            request,
            materials: materials(facts),
            parameters: parameters(wanted.mode, facts, is_confided),
            build,
            metadata,
            is_whole_request: wanted.mode == Mode::Max || !request.args.keys().any(is_confided),
            is_complete,
            is_hermetic: is_complete && !uses_network(facts.graph),
        }
    }

    fn version_1(self) -> Value {
        let mut internal = Map::new();
        internal.extend(self.build.clone().map(|build| ("buildConfig".to_owned(), build)));
        internal.insert("builderPlatform".to_owned(), json!(Platform::host().to_string()));
        let mut metadata = Map::new();
        if let Some(times) = &self.request.times {
            metadata.insert("invocationId".to_owned(), json!(times.id));
            metadata.insert("startedOn".to_owned(), json!(times.started));
            metadata.insert("finishedOn".to_owned(), json!(times.finished));
        }
        metadata.insert("buildkit_metadata".to_owned(), Value::Object(self.metadata.clone()));
        if self.is_hermetic {
            metadata.insert("buildkit_hermetic".to_owned(), json!(true));
        }
        metadata.insert(
            "buildkit_completeness".to_owned(),
            json!({"request": self.is_whole_request, "resolvedDependencies": self.is_complete}),
        );
        metadata.insert("buildkit_reproducible".to_owned(), json!(self.wanted.is_reproducible));
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE_1,
                "externalParameters": {"configSource": self.config_source("path"), "request": self.parameters},
                "internalParameters": internal,
                "resolvedDependencies": self.materials,
            },
            "runDetails": {
                "builder": {
                    "id": self.wanted.builder_id,
                    "version": {env!("CARGO_PKG_NAME"): env!("CARGO_PKG_VERSION")},
                },
                "metadata": metadata,
            },
        })
    }

    fn version_02(self) -> Value {
        let mut metadata = Map::new();
        if let Some(times) = &self.request.times {
            metadata.insert("buildInvocationID".to_owned(), json!(times.id));
            metadata.insert("buildStartedOn".to_owned(), json!(times.started));
            metadata.insert("buildFinishedOn".to_owned(), json!(times.finished));
        }
        metadata.insert(
            "completeness".to_owned(),
            json!({"parameters": self.is_whole_request, "environment": true, "materials": self.is_complete}),
        );
        metadata.insert("reproducible".to_owned(), json!(self.wanted.is_reproducible));
        metadata.insert(format!("{BUILD_TYPE_02}#metadata"), Value::Object(self.metadata.clone()));
        if self.is_hermetic {
            metadata.insert(format!("{BUILD_TYPE_02}#hermetic"), json!(true));
        }
        let mut predicate = json!({
            "builder": {"id": self.wanted.builder_id},
            "buildType": BUILD_TYPE_02,
            "materials": self.materials,
            "invocation": {
                "configSource": self.config_source("entryPoint"),
                "parameters": self.parameters,
                "environment": {"platform": Platform::host().to_string()},
            },
        });
        if let Some(build) = &self.build {
            put(&mut predicate, "buildConfig", build.clone());
        }
        put(&mut predicate, "metadata", Value::Object(metadata));
        predicate
    }

    /// Where the Dockerfile is from: in the context's address, or a file of this machine.
    fn config_source(&self, path: &str) -> Value {
        let mut source = Map::new();
        if let Some(context) = &self.request.context {
            source.insert("uri".to_owned(), json!(redacted(&context.uri)));
            source.insert("digest".to_owned(), context.sum.json());
        }
        source.insert(path.to_owned(), json!(self.request.dockerfile.0));
        Value::Object(source)
    }
}

/// Images, repositories and downloads, each kind in the order of its names and each once.
fn materials(facts: &Facts<'_>) -> Vec<Value> {
    let mut images = BTreeMap::new();
    for node in facts.graph.needed_nodes() {
        if let Operation::Image(base) = &node.operation {
            images.insert(image(base), Sum::of_digest(base.manifest.as_str()));
        }
    }
    let mut others = BTreeMap::new();
    let request = facts.request;
    for source in facts.sources.iter().chain(&request.contexts).chain(&request.context) {
        others.insert((source.sum.algorithm != "sha1", redacted(&source.uri)), source.sum.clone());
    }
    let all = images.into_iter().chain(others.into_iter().map(|((_, uri), sum)| (uri, sum)));
    all.map(|(uri, sum)| json!({"uri": uri, "digest": sum.json()})).collect()
}

fn image(base: &Base) -> String {
    match base.reference.parse::<Reference>() {
        Ok(reference) => {
            let is_local = reference.registry() == "localhost" && reference.tag().is_none();
            package::url(if is_local { Place::Oci } else { Place::Docker }, &reference, &base.platform)
        }
        // It was one when the graph was made.
        Err(_) => base.reference.clone(),
    }
}

fn parameters(mode: Mode, facts: &Facts<'_>, is_confided: impl Fn(&String) -> bool) -> Value {
    let request = facts.request;
    let mut said = Map::new();
    said.insert("frontend".to_owned(), json!("dockerfile.v0"));
    let args = request.args.iter().filter(|(name, _)| mode == Mode::Max || !is_confided(name));
    let args: Map<String, Value> = args.map(|(name, value)| (name.clone(), json!(redacted(value)))).collect();
    if !args.is_empty() {
        said.insert("args".to_owned(), Value::Object(args));
    }
    if mode == Mode::Max {
        let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
        for mount in runs(facts.graph).flat_map(|run| &run.mounts) {
            let (list, credential) = match &mount.kind {
                MountKind::Secret(credential) => (&mut secrets, credential),
                MountKind::Ssh(credential) => (&mut agents, credential),
                _ => continue,
            };
            *list.entry(credential.id.clone()).or_insert(false) |= credential.required;
        }
        let list = |all: BTreeMap<String, bool>| -> Value {
            let one = |(id, required): (String, bool)| match required {
                true => json!({"id": id}),
                false => json!({"id": id, "optional": true}),
            };
            all.into_iter().map(one).collect()
        };
        for (name, all) in [("secrets", secrets), ("ssh", agents)] {
            if !all.is_empty() {
                said.insert(name.to_owned(), list(all));
            }
        }
    }
    if !request.locals.is_empty() {
        let locals = request.locals.iter().map(|name| json!({"name": name}));
        said.insert("locals".to_owned(), locals.collect());
    }
    Value::Object(said)
}

fn runs(graph: &Graph) -> impl Iterator<Item = &Run> {
    graph.needed_nodes().filter_map(|node| match &node.operation {
        Operation::Run(run) => Some(&**run),
        _ => None,
    })
}

fn uses_network(graph: &Graph) -> bool {
    runs(graph).any(|run| run.network != Network::None)
}

/// The Dockerfile, and which lines each step is of.
fn sources(facts: &Facts<'_>, steps: &steps::Steps) -> Value {
    let (name, text) = &facts.request.dockerfile;
    let mut locations = Map::new();
    for node in &facts.graph.nodes {
        if let Some(step) = steps.of_node.get(&node.id) {
            let line = json!({"line": node.line});
            let range = json!({"locations": [{"ranges": [{"start": line, "end": line}]}]});
            locations.insert(format!("step{step}"), range);
        }
    }
    json!({
        "locations": locations,
        "infos": [{"filename": name, "language": "Dockerfile", "data": STANDARD.encode(text)}],
    })
}

/// The layers that the image has after each step that it stands on.
fn layers(facts: &Facts<'_>, steps: &steps::Steps) -> Value {
    let mut said = Map::new();
    for (node, height) in facts.heights {
        if let Some(step) = steps.of_node.get(node).filter(|_| *height > 0) {
            let layers = facts.layers.iter().take(*height);
            let plain = layers.map(
                |layer| json!({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}),
            );
            said.insert(format!("step{step}:0"), json!([plain.collect::<Vec<_>>()]));
        }
    }
    Value::Object(said)
}
