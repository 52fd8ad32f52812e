//! Stages to nodes: which stage starts from what, and which are needed at all.

use std::collections::BTreeMap;

use super::args;
use super::inputs::{BaseRequest, Inputs, NamedContext, Renew};
use super::scan;
use super::stage::{self, Stage};
use super::state::{PATH, State};
use super::time;
use super::{Base, CacheUse, From, Graph, Node, NodeId, Operation, Timestamps};
use crate::dockerfile::Source;
use crate::dockerfile::ast::{self, Kind, Word};
use crate::dockerfile::diagnose;
use crate::dockerfile::expand::expand;
use crate::dockerfile::rule::{Rule, Warning};
use crate::error::Error;
use crate::image::{Config, Platform};
use crate::registry::Reference;

/// The graph, or what it cannot be made without.
#[derive(Debug, Clone, PartialEq)]
pub enum Lowered {
    /// Everything is known.
    Graph(Box<Graph>),
    /// These images have to be resolved first; put them into `Inputs::bases` and lower again.
    Needs(Vec<BaseRequest>),
}

/// What lowering found.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowering {
    /// The result.
    pub lowered: Lowered,
    /// Rules that were seen broken on the way.
    pub warnings: Vec<Warning>,
    /// Build arguments that no ARG declares.
    pub unused_args: Vec<String>,
}

/// Turns a syntax tree into a graph.
///
/// # Errors
/// The first thing that the Dockerfile asks for and cannot have, at its place.
pub fn lower(file: &ast::File, source: &Source, inputs: &Inputs) -> Result<Lowering, Error> {
    let mut walk = Walk {
        file,
        source,
        inputs,
        nodes: Vec::new(),
        needs: Vec::new(),
        warnings: Vec::new(),
        globals: Vec::new(),
        defaults: Vec::new(),
        done: BTreeMap::new(),
        images: BTreeMap::new(),
    };
    walk.read_globals()?;
    let target = walk.target()?;
    let state = walk.stage(target)?;
    let scan = scan::lower(&mut walk, state.as_ref(), target)?;
    let lowered = match state {
        Some(state) if walk.needs.is_empty() => {
            Lowered::Graph(Box::new(finish((walk.nodes, scan), state, inputs)))
        }
        _ => Lowered::Needs(walk.needs),
    };
    Ok(Lowering { lowered, warnings: walk.warnings, unused_args: args::unused(file, inputs) })
}

fn finish((nodes, scan): (Vec<Node>, Option<NodeId>), mut state: State, inputs: &Inputs) -> Graph {
    let labels = inputs.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    state.config.config.labels.extend(labels);
    Graph {
        nodes,
        result: state.node,
        scan,
        config: state.config,
        history: state.history,
        platform: state.platform,
        time: state.time,
    }
}

/// An argument above the first FROM; declared without a value it is known, and empty.
fn value_in(declared: &[(String, Option<String>)], inputs: &Inputs, name: &str) -> Option<String> {
    match declared.iter().rev().find(|(n, _)| n == name) {
        Some((_, value)) => Some(value.clone().unwrap_or_default()),
        None => args::platform_arg(inputs, name),
    }
}

/// One pass over the file.
pub(super) struct Walk<'a> {
    pub(super) file: &'a ast::File,
    pub(super) source: &'a Source,
    pub(super) inputs: &'a Inputs,
    nodes: Vec<Node>,
    needs: Vec<BaseRequest>,
    pub(super) warnings: Vec<Warning>,
    pub(super) globals: Vec<(String, Option<String>)>,
    /// As `globals`, but without `--build-arg`.
    defaults: Vec<(String, Option<String>)>,
    /// Stages that were walked; `None`: waits for an image.
    done: BTreeMap<usize, Option<State>>,
    images: BTreeMap<(String, String), NodeId>,
}

/// What a name after FROM or `--from` means.
enum Origin {
    Stage(usize),
    Scratch,
    Image(Reference),
    Directory(String),
}

impl<'a> Walk<'a> {
    pub(super) fn escape(&self) -> char {
        self.file.directives.escape
    }

    fn read_globals(&mut self) -> Result<(), Error> {
        for instruction in &self.file.globals {
            let Kind::Arg(definitions) = &instruction.kind else { continue };
            for definition in definitions {
                let name = definition.name.text.clone();
                let value = match (self.inputs.build_args.get(&name), &definition.value) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(self.global(default, Rule::UndefinedVar)?),
                    (None, None) => args::platform_arg(self.inputs, &name),
                };
                let default = match &definition.value {
                    None => args::platform_arg(self.inputs, &name),
                    Some(word) => expand(&word.text, self.escape(), &|name: &str| {
                        value_in(&self.defaults, self.inputs, name)
                    })
                    .ok()
                    .map(|expanded| expanded.text),
                };
                self.defaults.push((name.clone(), default));
                self.globals.push((name, value));
            }
        }
        Ok(())
    }

    /// Without any `--build-arg`, a base should have a name that can exist.
    fn warn_of_default(&mut self, stage: &ast::Stage) {
        let look_up = |name: &str| value_in(&self.defaults, self.inputs, name);
        let Ok(expanded) = expand(&stage.base.text, self.escape(), &look_up) else { return };
        let name = expanded.text;
        // An undeclared argument has a rule of its own.
        if expanded.missing.is_empty() && name.parse::<Reference>().is_err() {
            let message = format!("base {} has no valid name unless --build-arg is given", stage.base.text);
            self.warnings.push(Warning::new(Rule::InvalidDefaultArgInFrom, stage.base.place, message));
        }
    }

    /// Expands a word with the arguments above the first FROM.
    fn global(&mut self, word: &Word, rule: Rule) -> Result<String, Error> {
        let look_up = |name: &str| value_in(&self.globals, self.inputs, name);
        let expanded = expand(&word.text, self.escape(), &look_up)
            .map_err(|message| diagnose::at(self.source, word.place, message))?;
        let known: Vec<String> = self.globals.iter().map(|(name, _)| name.clone()).collect();
        for name in expanded.missing {
            let candidates = known.iter().map(String::as_str).chain(args::PLATFORM_ARGS);
            let near = diagnose::suggestion(&name, candidates);
            let message = match rule {
                Rule::UndefinedArgInFrom => format!("FROM argument {name} is not declared{near}"),
                _ => format!("variable {name} is not defined{near}"),
            };
            self.warnings.push(Warning::new(rule, word.place, message));
        }
        Ok(expanded.text)
    }

    /// The stage that the result is.
    fn target(&self) -> Result<usize, Error> {
        let last = self.file.stages.len().saturating_sub(1);
        let Some(target) = &self.inputs.target else { return Ok(last) };
        let by_number = target.parse::<usize>().ok().filter(|&n| n <= last);
        self.find_stage(target, self.file.stages.len()).or(by_number).ok_or_else(|| {
            let names = self.file.stages.iter().filter_map(|stage| stage.name.as_ref());
            let near = diagnose::suggestion(target, names.map(|name| name.text.as_str()));
            Error::new(
                crate::error::Kind::Invalid,
                format!("target stage {target} is not in {}{near}", self.source.name),
            )
        })
    }

    /// The latest stage of that name before `before`.
    fn find_stage(&self, name: &str, before: usize) -> Option<usize> {
        let named =
            |stage: &ast::Stage| stage.name.as_ref().is_some_and(|n| n.text.eq_ignore_ascii_case(name));
        let stages = self.file.stages.iter().enumerate().take(before);
        stages.filter(|(_, stage)| named(stage)).map(|(at, _)| at).next_back()
    }

    /// Walks a stage once; `None` while an image that it needs is not resolved.
    pub(super) fn stage(&mut self, index: usize) -> Result<Option<State>, Error> {
        if let Some(done) = self.done.get(&index) {
            return Ok(done.clone());
        }
        let Some(stage) = self.file.stages.get(index) else { return Ok(None) };
        let state = match self.start(index, stage)? {
            Some(state) => Stage::new(self, index, state).walk(stage)?,
            None => {
                stage::name_sources(self, index, stage)?;
                None
            }
        };
        self.done.insert(index, state.clone());
        Ok(state)
    }

    /// The stages that are needed, each as its last instruction left it.
    pub(super) fn walked(&self) -> impl Iterator<Item = (usize, &State)> {
        self.done.iter().filter_map(|(index, state)| Some((*index, state.as_ref()?)))
    }

    fn start(&mut self, index: usize, stage: &ast::Stage) -> Result<Option<State>, Error> {
        let name = self.global(&stage.base, Rule::UndefinedArgInFrom)?;
        if stage.base.text.contains('$') {
            self.warn_of_default(stage);
        }
        let platform = match &stage.platform {
            None => self.inputs.platform.clone(),
            Some(word) => self.platform(word)?,
        };
        if name.is_empty() {
            let message = format!("base name {} is empty once expanded", stage.base.text);
            return Err(diagnose::at(self.source, stage.base.place, message)
                .hint("give the ARG a default, or pass --build-arg"));
        }
        let origin = self.origin(&name, index, &stage.base);
        let origin = origin.map_err(|error| match self.warnings.last() {
            // That explains it better than the name that came of it.
            Some(w) if w.place == stage.base.place => diagnose::at(self.source, w.place, &w.message),
            _ => error,
        });
        match origin? {
            Origin::Stage(from) => {
                let state = self.stage(from)?;
                Ok(state.map(|state| State { seen: std::collections::BTreeSet::new(), ..state }))
            }
            Origin::Scratch => Ok(Some(self.scratch(index, platform))),
            Origin::Image(reference) => self.image_state(index, reference, platform),
            Origin::Directory(name) => Ok(Some(self.directory_state(index, name, platform))),
        }
    }

    fn platform(&mut self, word: &Word) -> Result<Platform, Error> {
        let text = self.global(word, Rule::UndefinedArgInFrom)?;
        text.parse().map_err(|error: Error| diagnose::at(self.source, word.place, error))
    }

    fn origin(&self, name: &str, before: usize, word: &Word) -> Result<Origin, Error> {
        let context = self.inputs.contexts.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        if let Some((name, context)) = context {
            return Ok(match context {
                NamedContext::Directory => Origin::Directory(name.clone()),
                NamedContext::Image(reference) => Origin::Image(reference.clone()),
            });
        }
        if let Some(stage) = self.find_stage(name, before) {
            return Ok(Origin::Stage(stage));
        }
        if name == "scratch" {
            return Ok(Origin::Scratch);
        }
        if self.find_stage(name, self.file.stages.len()).is_some() {
            let message = format!("stage {name} is not complete before this place");
            return Err(diagnose::at(self.source, word.place, message).hint("move it further up"));
        }
        let parsed = name.parse().map(Origin::Image);
        parsed.map_err(|error: Error| diagnose::at(self.source, word.place, error))
    }

    /// The tree that `--from` or a mount's `from` names; `None` while an image is not resolved.
    pub(super) fn tree(&mut self, before: usize, name: &Word) -> Result<Option<From>, Error> {
        let by_number = name.text.parse::<usize>().ok().filter(|&n| n < before);
        let origin = match by_number {
            Some(number) => Origin::Stage(number),
            None => self.origin(&name.text, before, name)?,
        };
        Ok(match origin {
            Origin::Stage(stage) => self.stage(stage)?.map(|state| From::Node(state.node)),
            Origin::Directory(name) => Some(From::Named(name)),
            Origin::Scratch => Some(From::Node(self.scratch(before, self.inputs.platform.clone()).node)),
            Origin::Image(reference) => {
                let request = BaseRequest { reference, platform: self.inputs.platform.clone() };
                self.image_node(before, request, "")?.map(From::Node)
            }
        })
    }

    pub(super) fn scratch(&mut self, index: usize, platform: Platform) -> State {
        let title = format!("{}FROM scratch", stage::first_step(self.file, index, &[]));
        let node = self.add_source(index, title, Operation::Scratch);
        let mut config = Config::scratch(&platform);
        config.config.env.push(format!("PATH={PATH}"));
        "/".clone_into(&mut config.config.working_dir);
        self.state(node, config, platform)
    }

    fn image_state(
        &mut self,
        index: usize,
        name: Reference,
        platform: Platform,
    ) -> Result<Option<State>, Error> {
        let request = BaseRequest { reference: name, platform: platform.clone() };
        let resolved = self.inputs.bases.get(&request.key());
        let triggers = resolved.map_or(&[][..], |resolved| &resolved.config.config.on_build);
        let first = stage::first_step(self.file, index, triggers);
        let node = self.image_node(index, request.clone(), &first)?;
        let (Some(node), Some(resolved)) = (node, resolved) else { return Ok(None) };
        let found = resolved.config.platform();
        if !found.suits(&platform) {
            let place = self.file.stages.get(index).map(|stage| stage.base.place).unwrap_or_default();
            let message = format!("base {} is for {found}, not for {platform}", request.reference.familiar());
            self.warnings.push(Warning::new(Rule::InvalidBaseImagePlatform, place, message));
        }
        Ok(Some(self.state(node, resolved.config.clone(), platform)))
    }

    pub(super) fn image_node(
        &mut self,
        index: usize,
        request: BaseRequest,
        prefix: &str,
    ) -> Result<Option<NodeId>, Error> {
        if let Some(node) = self.images.get(&request.key()) {
            return Ok(Some(*node));
        }
        let Some(resolved) = self.inputs.bases.get(&request.key()) else {
            if !self.needs.contains(&request) {
                self.needs.push(request);
            }
            return Ok(None);
        };
        let key = request.key();
        let title = format!("{prefix}FROM {}@{}", request.reference, resolved.manifest);
        let base = Base {
            reference: request.reference.to_string(),
            platform: request.platform,
            manifest: resolved.manifest.clone(),
            diff_ids: resolved.config.rootfs.diff_ids.clone(),
        };
        let node = self.add_source(index, title, Operation::Image(base));
        self.images.insert(key, node);
        Ok(Some(node))
    }

    fn add_source(&mut self, index: usize, title: String, operation: Operation) -> NodeId {
        let stage = stage::label(self.file, index);
        let line = self.file.stages.get(index).map_or(1, |s| self.source.position(s.place.start).0);
        self.add(Node {
            id: NodeId(0),
            title,
            stage,
            operation,
            base: None,
            inputs: Vec::new(),
            line,
            time: None,
            cache: CacheUse::Use,
        })
    }

    /// Adds a node under the next number.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { id, ..node });
        id
    }

    fn state(&self, node: NodeId, config: Config, platform: Platform) -> State {
        let given = self.inputs.build_args.get("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
        let base = config.created.as_deref().and_then(time::seconds).unwrap_or(0).max(0);
        let time = match self.inputs.timestamps {
            Timestamps::Keep => given,
            Timestamps::Clamped => Some(given.unwrap_or(base)),
        };
        State::new((node, time), config, platform)
    }

    /// Whether the stage does without kept results.
    pub(super) fn cache_use(&self, index: usize) -> CacheUse {
        let label = stage::label(self.file, index);
        match &self.inputs.renew {
            Renew::None => CacheUse::Use,
            Renew::All => CacheUse::Renew,
            Renew::Stages(names) if names.iter().any(|n| n.eq_ignore_ascii_case(&label)) => CacheUse::Renew,
            Renew::Stages(_) => CacheUse::Use,
        }
    }
}
