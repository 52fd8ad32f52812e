//! Rules about names and values: ENV, LABEL, ARG, EXPOSE, and the sources of COPY and ADD.

use crate::dockerfile::ast::{Definition, File, Form, Kind, Transfer, Word};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::rule::{Rule, Warning};

pub(super) fn check(file: &File, ignore: Option<&Ignore>, found: &mut Vec<Warning>) {
    for instruction in file.globals.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions)) {
        match &instruction.kind {
            Kind::Arg(definitions) => secrets("ARG", definitions, found),
            Kind::Env(definitions) => {
                legacy("ENV", definitions, found);
                secrets("ENV", definitions, found);
            }
            Kind::Label(definitions) => legacy("LABEL", definitions, found),
            Kind::Expose(words) => words.iter().for_each(|word| expose(word, found)),
            Kind::Copy(copy) | Kind::Add(copy) => {
                if let Some(ignore) = ignore {
                    ignored(copy, ignore, found);
                }
            }
            _ => {}
        }
    }
}

fn legacy(keyword: &str, definitions: &[Definition], found: &mut Vec<Warning>) {
    for definition in definitions.iter().filter(|definition| definition.form == Form::Space) {
        let name = &definition.name;
        let message = format!("write {keyword} {0}=value instead of {keyword} {0} value", name.text);
        found.push(Warning::new(Rule::LegacyKeyValueFormat, name.place, message));
    }
}

/// Arguments and variables stay readable in the image's config and history.
fn secrets(keyword: &str, definitions: &[Definition], found: &mut Vec<Warning>) {
    const WORDS: [&str; 11] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "secrets",
        "token",
    ];
    for name in definitions.iter().map(|definition| &definition.name) {
        let lower = name.text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('_').collect();
        if parts.iter().any(|part| WORDS.contains(part)) && !parts.contains(&"public") {
            let message =
                format!("{keyword} {} stays readable in the image: use RUN --mount=type=secret", name.text);
            found.push(Warning::new(Rule::SecretsUsedInArgOrEnv, name.place, message));
        }
    }
}

fn expose(word: &Word, found: &mut Vec<Warning>) {
    if word.text.contains('$') {
        return;
    }
    let (ports, protocol) = word.text.split_once('/').unwrap_or((&word.text, ""));
    if protocol != protocol.to_ascii_lowercase() {
        let message = format!("protocol {protocol} should be in lower case");
        found.push(Warning::new(Rule::ExposeProtoCasing, word.place, message));
    }
    if ports.contains([':', '.']) {
        let message = format!("EXPOSE {} should name the container's port only", word.text);
        found.push(Warning::new(Rule::ExposeInvalidFormat, word.place, message));
    }
}

fn ignored(transfer: &Transfer, ignore: &Ignore, found: &mut Vec<Warning>) {
    if transfer.from.is_some() {
        return;
    }
    for source in &transfer.sources {
        let path = source.text.trim_start_matches("./").trim_matches('/');
        let literal = !path.is_empty() && path != "." && !path.contains(['*', '?', '[', '$', ':']);
        if literal && ignore.excludes(path) && !ignore.may_see_below(path) {
            let message = format!("{} is left out by the ignore file", source.text);
            found.push(Warning::new(Rule::CopyIgnoredFile, source.place, message));
        }
    }
}
