//! Rules about stages, their names and their platforms, and about the casing of keywords.

use crate::dockerfile::ast::{File, Kind, Stage, Word};
use crate::dockerfile::lexer::Comment;
use crate::dockerfile::rule::{Rule, Warning};

pub(super) fn check(file: &File, found: &mut Vec<Warning>) {
    for (at, stage) in file.stages.iter().enumerate() {
        if let Some(name) = &stage.name {
            stage_name(file, at, name, found);
        }
        as_casing(stage, found);
        platform(stage, found);
    }
    keyword_casing(file, found);
    descriptions(file, found);
}

fn stage_name(file: &File, at: usize, name: &Word, found: &mut Vec<Warning>) {
    let text = &name.text;
    let mut warn = |rule, message: String| found.push(Warning::new(rule, name.place, message));
    if *text != text.to_ascii_lowercase() {
        warn(Rule::StageNameCasing, format!("stage name {text} should be in lower case"));
    }
    let earlier = file.stages.iter().take(at).filter_map(|stage| stage.name.as_ref());
    if earlier.into_iter().any(|other| other.text.eq_ignore_ascii_case(text)) {
        warn(Rule::DuplicateStageName, format!("stage name {text} is used before"));
    }
    if ["scratch", "context"].contains(&text.to_ascii_lowercase().as_str()) {
        warn(Rule::ReservedStageName, format!("stage name {text} is reserved"));
    }
}

fn as_casing(stage: &Stage, found: &mut Vec<Warning>) {
    let Some(word) = &stage.as_word else { return };
    let upper = |text: &str| text.chars().all(|c| c.is_ascii_uppercase());
    if upper(&word.text) != upper(&stage.keyword.text) {
        let message = format!("{} and {} should have the same casing", stage.keyword.text, word.text);
        found.push(Warning::new(Rule::FromAsCasing, word.place, message));
    }
}

fn platform(stage: &Stage, found: &mut Vec<Warning>) {
    let Some(word) = &stage.platform else { return };
    if ["$TARGETPLATFORM", "${TARGETPLATFORM}"].contains(&word.text.as_str()) {
        let message = format!("platform {} is what a stage is for anyway", word.text);
        found.push(Warning::new(Rule::RedundantTargetPlatform, word.place, message));
    }
    // A stage that is named after its platform is meant to be for that one.
    let architecture = word.text.split('/').nth(1).unwrap_or(&word.text);
    let named = stage.name.as_ref().is_some_and(|name| name.text.contains(architecture));
    if !word.text.contains('$') && !named {
        let message = format!("platform {} is constant", word.text);
        found.push(Warning::new(Rule::FromPlatformFlagConstDisallowed, word.place, message));
    }
}

/// All keywords in the case that most of them have.
fn keyword_casing(file: &File, found: &mut Vec<Warning>) {
    let of_stages = file.stages.iter().flat_map(|stage| {
        std::iter::once(&stage.keyword)
            .chain(stage.instructions.iter().map(|instruction| &instruction.keyword))
    });
    let keywords: Vec<&Word> = file.globals.iter().map(|i| &i.keyword).chain(of_stages).collect();
    let is_upper = |word: &Word| word.text == word.text.to_ascii_uppercase();
    let is_lower = |word: &Word| word.text == word.text.to_ascii_lowercase();
    let upper = keywords.iter().filter(|word| is_upper(word)).count();
    let lower = keywords.iter().filter(|word| is_lower(word)).count();
    let (fits, casing): (&dyn Fn(&Word) -> bool, &str) =
        if lower > upper { (&is_lower, "lower case") } else { (&is_upper, "upper case") };
    for word in keywords.into_iter().filter(|word| !fits(word)) {
        let message = format!("{} should be in {casing} like the rest", word.text);
        found.push(Warning::new(Rule::ConsistentInstructionCasing, word.place, message));
    }
}

/// A comment directly above a named stage or an ARG describes it, and begins with its name.
fn descriptions(file: &File, found: &mut Vec<Warning>) {
    let mut one = |comments: &[Comment], name: &str| {
        let Some(comment) = comments.last() else { return };
        if comment.text.split_whitespace().next() != Some(name) && !comment.text.is_empty() {
            let message = format!("the comment above {name} should begin with {name}");
            found.push(Warning::new(Rule::InvalidDefinitionDescription, comment.place, message));
        }
    };
    for stage in &file.stages {
        if let Some(name) = &stage.name {
            one(&stage.comments, &name.text);
        }
    }
    let instructions = file.globals.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    for instruction in instructions {
        if let Kind::Arg(definitions) = &instruction.kind
            && let Some(definition) = definitions.first()
        {
            one(&instruction.comments, &definition.name.text);
        }
    }
}
