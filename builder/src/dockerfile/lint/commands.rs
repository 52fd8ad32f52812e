//! Rules about commands: their form, and how many of a kind a stage has.

use crate::dockerfile::ast::{Command, File, Instruction, Kind, Stage};
use crate::dockerfile::rule::{Rule, Warning};

pub(super) fn check(file: &File, found: &mut Vec<Warning>) {
    for gap in file.stages.iter().filter_map(|stage| stage.gap) {
        found.push(Warning::new(Rule::NoEmptyContinuation, gap, "empty line inside FROM"));
    }
    for stage in &file.stages {
        several(stage, found);
        for instruction in &stage.instructions {
            form(stage, instruction, found);
        }
    }
    for instruction in file.globals.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions)) {
        if let Some(gap) = instruction.gap {
            let message = format!("empty line inside {}", instruction.keyword.text.to_ascii_uppercase());
            found.push(Warning::new(Rule::NoEmptyContinuation, gap, message));
        }
        if matches!(instruction.kind, Kind::Maintainer(_)) {
            let message = "MAINTAINER is deprecated: use LABEL org.opencontainers.image.authors=";
            found.push(Warning::new(Rule::MaintainerDeprecated, instruction.keyword.place, message));
        }
    }
}

/// Only the last CMD, ENTRYPOINT or HEALTHCHECK counts.
fn several(stage: &Stage, found: &mut Vec<Warning>) {
    let name = |instruction: &Instruction| match instruction.kind {
        Kind::Cmd(_) => Some("CMD"),
        Kind::Entrypoint(_) => Some("ENTRYPOINT"),
        Kind::Healthcheck(_) => Some("HEALTHCHECK"),
        _ => None,
    };
    for kind in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let all: Vec<&Instruction> = stage.instructions.iter().filter(|i| name(i) == Some(kind)).collect();
        let Some((_, overridden)) = all.split_last() else { continue };
        for instruction in overridden {
            let message = format!("{kind} stands here more than once: only the last counts");
            found.push(Warning::new(
                Rule::MultipleInstructionsDisallowed,
                instruction.keyword.place,
                message,
            ));
        }
    }
}

/// A shell in between keeps signals from the program, unless the stage chose that shell.
fn form(stage: &Stage, instruction: &Instruction, found: &mut Vec<Warning>) {
    let chosen = stage.instructions.iter().any(|i| matches!(i.kind, Kind::Shell(_)));
    if let Kind::Cmd(Command::Shell(_)) | Kind::Entrypoint(Command::Shell(_)) = instruction.kind
        && !chosen
    {
        let keyword = instruction.keyword.text.to_ascii_uppercase();
        let message = format!("{keyword} as a JSON array lets signals reach the program");
        found.push(Warning::new(Rule::JSONArgsRecommended, instruction.keyword.place, message));
    }
}
