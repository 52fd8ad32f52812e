//! The instructions of one stage, in order, each on the state that the ones before it left.

use super::config;
use super::lower::Walk;
use super::state::State;
use super::{CacheUse, From, Node, NodeId, Operation, Workdir, args, mounts, path, run, transfer};
use crate::dockerfile::ast::{self, Definition, Instruction, Kind, Word};
use crate::dockerfile::diagnose;
use crate::dockerfile::expand::{self, Expanded};
use crate::dockerfile::rule::{Rule, Warning};
use crate::dockerfile::{Source, parse_trigger};
use crate::error::Error;

/// The name by which people know a stage: its own, or `stage-N`.
pub(super) fn label(file: &ast::File, index: usize) -> String {
    let name = file.stages.get(index).and_then(|stage| stage.name.as_ref());
    name.map_or_else(|| format!("stage-{index}"), |name| name.text.to_ascii_lowercase())
}

/// A lone stage without a name needs none in front of its steps.
fn prefix(file: &ast::File, index: usize) -> String {
    let lone = file.stages.len() == 1 && file.stages.iter().all(|stage| stage.name.is_none());
    if lone { String::new() } else { format!("{} ", label(file, index)) }
}

/// What stands before the title of the stage's FROM: `[build 1/5] `.
pub(super) fn first_step(file: &ast::File, index: usize, triggers: &[String]) -> String {
    let own = file.stages.get(index).map_or(0, |s| s.instructions.iter().filter(|i| makes_step(i)).count());
    let parsed = triggers.iter().filter_map(|text| parse_trigger(&format!("{text}\n")).ok());
    let steps = 1 + own + parsed.filter(|(_, instruction)| makes_step(instruction)).count();
    format!("[{}1/{steps}] ", prefix(file, index))
}

/// Asks for every image that the stage copies from, so that all are known after one round.
pub(super) fn name_sources(walk: &mut Walk<'_>, index: usize, stage: &ast::Stage) -> Result<(), Error> {
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Copy(copy) => {
                if let Some(from) = copy.from.as_ref().filter(|from| !from.text.contains('$')) {
                    walk.tree(index, from)?;
                }
            }
            Kind::Run(run) => {
                for from in run.mounts.iter().filter_map(mounts::named_source) {
                    walk.tree(index, &from)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A stage on its way.
pub(super) struct Stage<'w, 'a> {
    pub(super) walk: &'w mut Walk<'a>,
    pub(super) index: usize,
    pub(super) state: State,
    /// Where the instruction at hand stands: the Dockerfile, or a trigger of the base.
    pub(super) source: Source,
    label: String,
    step: usize,
    steps: usize,
    /// An image is not resolved yet: what follows is walked only for the images that it names.
    pub(super) waits: bool,
}

impl<'w, 'a> Stage<'w, 'a> {
    pub(super) fn new(walk: &'w mut Walk<'a>, index: usize, state: State) -> Self {
        let label = label(walk.file, index);
        let source = walk.source.clone();
        Self { walk, index, state, source, label, step: 1, steps: 1, waits: false }
    }

    /// All instructions; `None` while an image is not resolved.
    pub(super) fn walk(mut self, stage: &ast::Stage) -> Result<Option<State>, Error> {
        let mut triggers = Vec::new();
        for text in std::mem::take(&mut self.state.config.config.on_build) {
            // A here-document of a trigger ends with its name, without a line end.
            triggers.push(parse_trigger(&format!("{text}\n"))?);
        }
        let own = stage.instructions.iter();
        self.steps += own.chain(triggers.iter().map(|(_, i)| i)).filter(|i| makes_step(i)).count();
        for (source, trigger) in &triggers {
            self.source = source.clone();
            self.apply(trigger)?;
        }
        self.source = self.walk.source.clone();
        for instruction in &stage.instructions {
            self.apply(instruction)?;
        }
        Ok((!self.waits).then_some(self.state))
    }

    fn apply(&mut self, instruction: &Instruction) -> Result<(), Error> {
        if makes_step(instruction) {
            self.step += 1;
        }
        match &instruction.kind {
            Kind::Run(run) => run::lower(self, instruction, run),
            Kind::Copy(copy) => transfer::lower(self, instruction, copy),
            Kind::Add(add) => transfer::lower(self, instruction, add),
            Kind::Workdir(word) => self.workdir(instruction, word),
            Kind::Arg(definitions) => self.arg(definitions),
            Kind::Env(definitions) => self.env(definitions),
            _ => config::apply(self, instruction),
        }
    }

    fn workdir(&mut self, instruction: &Instruction, word: &Word) -> Result<(), Error> {
        let text = self.text(word)?;
        if text.is_empty() {
            return Err(self.error(word, format!("WORKDIR {} is empty once expanded", word.text)));
        }
        let first = self.state.seen.insert("WORKDIR");
        if first && !text.starts_with('/') {
            let message = format!("relative working directory {text} depends on the base image's");
            self.warn(Rule::WorkdirRelativePath, word, message);
        }
        let dir = path::join(self.state.cwd(), &text);
        self.state.config.config.working_dir.clone_from(&dir);
        let user = self.state.config.config.user.clone();
        let created_by = format!("WORKDIR {dir}");
        // The root directory is always there.
        let node = match dir.as_str() {
            "/" => None,
            _ => Some(self.step(instruction, Operation::Workdir(Workdir { path: dir, user }), Vec::new())),
        };
        self.state.record(created_by, node);
        Ok(())
    }

    fn arg(&mut self, definitions: &[Definition]) -> Result<(), Error> {
        let mut shown = Vec::new();
        for definition in definitions {
            let name = definition.name.text.clone();
            let given = self.walk.inputs.build_args.get(&name).cloned();
            let value = match (given, &definition.value) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.text(default)?),
                (None, None) => {
                    let global = self.walk.globals.iter().rev().find(|(n, _)| *n == name);
                    let global = global.and_then(|(_, value)| value.clone());
                    global.or_else(|| args::platform_arg(self.walk.inputs, &name))
                }
            };
            shown.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            self.state.set_arg(name, value);
        }
        self.state.record(format!("ARG {}", shown.join(" ")), None);
        Ok(())
    }

    /// Every value sees the variables as they were before the instruction.
    fn env(&mut self, definitions: &[Definition]) -> Result<(), Error> {
        let pairs = self.pairs(definitions)?;
        let mut shown = Vec::new();
        for (name, value) in pairs {
            self.state.set_env(&name, &value);
            shown.push(format!("{name}={value}"));
        }
        self.state.record(format!("ENV {}", shown.join(" ")), None);
        Ok(())
    }

    /// Names and values, expanded.
    pub(super) fn pairs(&mut self, definitions: &[Definition]) -> Result<Vec<(String, String)>, Error> {
        let mut pairs = Vec::new();
        for definition in definitions {
            let name = self.text(&definition.name)?;
            if name.is_empty() {
                return Err(self.error(&definition.name, "a name is empty once expanded"));
            }
            let value = definition.value.as_ref().map(|value| self.text(value)).transpose()?;
            pairs.push((name, value.unwrap_or_default()));
        }
        Ok(pairs)
    }

    /// A node on top of the stage's file system, which it becomes.
    pub(super) fn step(
        &mut self,
        instruction: &Instruction,
        operation: Operation,
        others: Vec<NodeId>,
    ) -> NodeId {
        let base = self.state.node;
        let mut inputs = vec![base];
        inputs.extend(others);
        let mut seen = std::collections::BTreeSet::new();
        inputs.retain(|id| seen.insert(*id));
        let node = Node {
            id: base,
            title: self.title(instruction),
            stage: self.label.clone(),
            operation,
            base: Some(base),
            inputs,
            line: self.line(instruction),
            time: self.state.time,
            cache: self.cache_use(),
        };
        self.state.node = self.walk.add(node);
        self.state.node
    }

    /// A trigger of the base image stands where the stage's FROM does.
    fn line(&self, instruction: &Instruction) -> usize {
        let start = match self.source.text == self.walk.source.text {
            true => instruction.place.start,
            false => self.walk.file.stages.get(self.index).map_or(0, |stage| stage.place.start),
        };
        self.walk.source.position(start).0
    }

    fn cache_use(&self) -> CacheUse {
        self.walk.cache_use(self.index)
    }

    fn title(&self, instruction: &Instruction) -> String {
        let words: Vec<&str> = instruction.text.split_whitespace().skip(1).collect();
        let keyword = instruction.keyword.text.to_ascii_uppercase();
        let prefix = prefix(self.walk.file, self.index);
        format!("[{prefix}{}/{}] {keyword} {}", self.step, self.steps, words.join(" "))
    }

    /// Expands a word to one text.
    pub(super) fn text(&mut self, word: &Word) -> Result<String, Error> {
        Ok(self.expand(word)?.text)
    }

    /// Expands a word, which may become several.
    pub(super) fn expand(&mut self, word: &Word) -> Result<Expanded, Error> {
        let state = &self.state;
        let look_up = |name: &str| state.variable(name).or_else(|| declared(state, name));
        let expanded = expand::expand(&word.text, self.walk.escape(), &look_up);
        let expanded = expanded.map_err(|message| self.error(word, message))?;
        self.warn_missing(word, &expanded.missing);
        Ok(expanded)
    }

    fn warn_missing(&mut self, word: &Word, missing: &[String]) {
        for name in missing {
            let known =
                self.state.config.config.env.iter().map(|pair| pair.split('=').next().unwrap_or_default());
            let known = known.chain(self.state.args.iter().map(|(name, _)| name.as_str()));
            let near = diagnose::suggestion(name, known);
            self.warn(Rule::UndefinedVar, word, format!("variable {name} is not defined{near}"));
        }
    }

    /// Notes a broken rule; triggers of a base image are not this file's fault.
    pub(super) fn warn(&mut self, rule: Rule, word: &Word, message: impl Into<String>) {
        if self.source.text == self.walk.source.text {
            self.walk.warnings.push(Warning::new(rule, word.place, message));
        }
    }

    pub(super) fn error(&self, word: &Word, message: impl std::fmt::Display) -> Error {
        diagnose::at(&self.source, word.place, message)
    }

    /// The tree that `--from` names; while it is not known, nothing after it can be made.
    pub(super) fn tree(&mut self, name: &Word) -> Result<Option<From>, Error> {
        let tree = self.walk.tree(self.index, name)?;
        self.waits |= tree.is_none();
        Ok(tree)
    }
}

/// A declared ARG without a value is empty, not unknown.
fn declared(state: &State, name: &str) -> Option<String> {
    state.args.iter().any(|(n, _)| n == name).then(String::new)
}

fn makes_step(instruction: &Instruction) -> bool {
    matches!(instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_))
}
