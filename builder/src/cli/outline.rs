//! `builder build --call outline` and `--call targets`: what a Dockerfile offers, without a build.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::check::without_bases;
use crate::cli::recipe::{Loaded, Recipe};
use crate::cli::{Global, table};
use crate::dockerfile::ast::{Instruction, Kind, Stage};
use crate::dockerfile::lexer::Comment;
use crate::error::Error;
use crate::graph::{Credential, Graph, MountKind, Operation};

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Columns for people.
    Text,
    /// One document for programs.
    Json,
}

/// Lists the stages: name, what each starts from, and the comment that describes it.
pub(crate) fn targets(recipe: &Recipe, format: Format, global: &Global) -> Result<ExitCode, Error> {
    let loaded = recipe.load(global, None)?;
    let last = loaded.file.stages.len().saturating_sub(1);
    let stages = loaded.file.stages.iter().enumerate();
    let name = |stage: &Stage| stage.name.as_ref().map(|name| name.text.to_ascii_lowercase());
    if format == Format::Json {
        let targets = stages.map(|(at, stage)| {
            json!({
                "name": name(stage),
                "base": stage.base.text,
                "description": description(&stage.comments, &name(stage).unwrap_or_default()),
                "default": at == last,
            })
        });
        return print(&json!({ "targets": targets.collect::<Vec<_>>() }));
    }
    let mut rows = vec![["TARGET", "BASE", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(stages.map(|(at, stage)| {
        let shown = name(stage).unwrap_or_else(|| at.to_string());
        let mark = if at == last { " (default)" } else { "" };
        let text = description(&stage.comments, &name(stage).unwrap_or_default()).unwrap_or_default();
        vec![format!("{shown}{mark}"), stage.base.text.clone(), text]
    }));
    write(&rows)
}

/// An ARG of the outline.
struct Argument {
    name: String,
    default: Option<String>,
    description: Option<String>,
}

/// Lists what the target takes: arguments, secrets and agents.
pub(crate) fn outline(recipe: &Recipe, format: Format, global: &Global) -> Result<ExitCode, Error> {
    let loaded = recipe.load(global, None)?;
    let mut inputs = recipe.inputs(&loaded, recipe.platform()?)?;
    let (graph, _, _) = without_bases(&loaded, &mut inputs)?;
    let arguments = arguments(&loaded, &graph);
    let (secrets, agents) = (credentials(&graph, secret), credentials(&graph, agent));
    if format == Format::Json {
        let arguments = arguments.iter().map(|argument| {
            json!({ "name": argument.name, "value": argument.default, "description": argument.description })
        });
        let list = |found: &BTreeSet<(String, bool)>| {
            found
                .iter()
                .map(|(name, required)| json!({ "name": name, "required": required }))
                .collect::<Vec<_>>()
        };
        return print(&json!({
            "args": arguments.collect::<Vec<_>>(),
            "secrets": list(&secrets),
            "ssh": list(&agents),
        }));
    }
    let mut rows = vec![["KIND", "NAME", "DEFAULT", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(arguments.into_iter().map(|argument| {
        let default = argument.default.unwrap_or_default();
        vec!["arg".to_owned(), argument.name, default, argument.description.unwrap_or_default()]
    }));
    for (kind, found) in [("secret", secrets), ("ssh", agents)] {
        rows.extend(found.into_iter().map(|(name, required)| {
            let required = if required { "required" } else { "" };
            vec![kind.to_owned(), name, required.to_owned()]
        }));
    }
    write(&rows)
}

/// The arguments above the first FROM, then those of every stage that the target needs, each name once.
fn arguments(loaded: &Loaded, graph: &Graph) -> Vec<Argument> {
    let needed: BTreeSet<&str> = graph.nodes.iter().map(|node| node.stage.as_str()).collect();
    let label = |at: usize, stage: &Stage| {
        stage.name.as_ref().map_or_else(|| format!("stage-{at}"), |name| name.text.to_ascii_lowercase())
    };
    let stages = loaded.file.stages.iter().enumerate();
    let in_stages = stages.filter(|(at, stage)| needed.contains(label(*at, stage).as_str()));
    let instructions = in_stages.flat_map(|(_, stage)| &stage.instructions);
    let mut found: Vec<Argument> = Vec::new();
    for argument in loaded.file.globals.iter().chain(instructions).flat_map(of_instruction) {
        match found.iter_mut().find(|known| known.name == argument.name) {
            None => found.push(argument),
            Some(known) => {
                known.default = known.default.take().or(argument.default);
                known.description = known.description.take().or(argument.description);
            }
        }
    }
    found
}

fn of_instruction(instruction: &Instruction) -> Vec<Argument> {
    let Kind::Arg(definitions) = &instruction.kind else { return Vec::new() };
    let arguments = definitions.iter().map(|definition| Argument {
        name: definition.name.text.clone(),
        default: definition.value.as_ref().map(|value| value.text.clone()),
        description: description(&instruction.comments, &definition.name.text),
    });
    arguments.collect()
}

/// Names of secrets or of agents, and whether each has to be given.
fn credentials(graph: &Graph, pick: fn(&MountKind) -> Option<&Credential>) -> BTreeSet<(String, bool)> {
    let runs = graph.nodes.iter().filter_map(|node| match &node.operation {
        Operation::Run(run) => Some(run),
        _ => None,
    });
    let found = runs.flat_map(|run| &run.mounts).filter_map(|mount| pick(&mount.kind));
    found.map(|credential| (credential.id.clone(), credential.required)).collect()
}

fn secret(kind: &MountKind) -> Option<&Credential> {
    if let MountKind::Secret(secret) = kind { Some(secret) } else { None }
}

fn agent(kind: &MountKind) -> Option<&Credential> {
    if let MountKind::Ssh(agent) = kind { Some(agent) } else { None }
}

/// `# NAME what it is for`, directly above.
fn description(comments: &[Comment], name: &str) -> Option<String> {
    let (first, rest) = comments.last()?.text.split_once(char::is_whitespace)?;
    (first.eq_ignore_ascii_case(name)).then(|| rest.trim().to_owned())
}

fn print(document: &serde_json::Value) -> Result<ExitCode, Error> {
    writeln!(std::io::stdout(), "{document:#}").map_err(|e| Error::system("write to stdout", e))?;
    Ok(ExitCode::SUCCESS)
}

fn write(rows: &[Vec<String>]) -> Result<ExitCode, Error> {
    table::write(rows).map_err(|e| Error::system("write to stdout", e))?;
    Ok(ExitCode::SUCCESS)
}
