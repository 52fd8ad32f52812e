//! Splits a command line into global options, verb and the verb's words; turns the parser's complaints into runc's.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches, Parser};

use super::global::{Global, Typed};
use super::{End, verbs};
use crate::error::{Error, Kind};

/// One command.
pub(super) struct Asked {
    pub(super) global: Global,
    /// The verb itself first.
    pub(super) words: Vec<OsString>,
}

/// A verb's help in runc's layout.
fn template(full: &str) -> String {
    format!("NAME:\n   {full} - {{about}}\n\nUSAGE:\n   {{usage}}\n\nOPTIONS:\n{{options}}{{after-help}}\n")
}

/// Global options end at the first word that is none.
pub(super) fn split(mut words: Vec<OsString>) -> Result<Asked, End> {
    let program = program(&words);
    let flags = leading_flags(&Typed::command(), words.get(1..).unwrap_or_default());
    let after = words.split_off(words.len().min(1 + flags.len()));
    let mut line = vec![OsString::from(&program)];
    line.extend(flags);
    let wants_help = line.iter().any(|word| word == "-h" || word == "--help");
    if wants_help {
        return Err(End::Print(verbs::help(&program)));
    }
    let typed = match Typed::try_parse_from(line) {
        Ok(typed) => typed,
        Err(error) => return Err(complaint(&error, &program, "")),
    };
    if typed.version {
        return Err(End::Print(verbs::version(&program)));
    }
    let global = Global::new(program, &typed)?;
    match after.first() {
        None => Err(End::Print(verbs::help(&global.program))),
        Some(_) => Ok(Asked { global, words: after }),
    }
}

fn program(words: &[OsString]) -> String {
    let path = words.first().map(std::path::Path::new);
    let name = path.and_then(|path| path.file_name());
    name.map_or_else(|| "runtime".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The flags with their values up to the first word that is neither, long ones with two dashes: Go's parser takes
/// `-root` for `--root`, and engines use that.
fn leading_flags(command: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut flags = Vec::new();
    let mut value_follows = false;
    for word in words {
        let text = word.to_string_lossy();
        if std::mem::take(&mut value_follows) {
            flags.push(word.clone());
            continue;
        }
        if !text.starts_with('-') || text == "-" || text == "--" {
            break;
        }
        let (spelled, takes_value) = spelling(command, word);
        value_follows = takes_value && !text.contains('=');
        flags.push(spelled);
    }
    flags
}

/// The word as clap wants it, and whether the flag takes a value.
fn spelling(command: &Command, word: &OsStr) -> (OsString, bool) {
    let text = word.to_string_lossy();
    let body = text.trim_start_matches('-');
    let name = body.split('=').next().unwrap_or_default();
    let found = command.get_arguments().find(|arg| {
        arg.get_long() == Some(name)
            || arg.get_short().is_some_and(|short| name == short.to_string().as_str())
    });
    let takes_value = found.is_some_and(|arg| arg.get_action().takes_values());
    let is_long = found.is_some_and(|arg| arg.get_long() == Some(name));
    match is_long && !text.starts_with("--") {
        true => (OsString::from(format!("-{text}")), takes_value),
        false => (word.to_owned(), takes_value),
    }
}

/// The words of one verb. Flags end at the first word that is none; what follows is left alone.
pub(super) fn verb<A: CommandFactory + FromArgMatches>(asked: &Asked) -> Result<A, End> {
    let name = asked.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let full = format!("{} {name}", asked.global.program);
    let mut command = A::command().bin_name(&full).help_template(template(&full));
    // Of a flag that is there twice the last counts, as with Go's parser: podman repeats --leave-running.
    command = command.disable_version_flag(true).max_term_width(1000).args_override_self(true);
    let rest = asked.words.get(1..).unwrap_or_default();
    let flags = leading_flags(&command, rest);
    let after = rest.get(flags.len()..).unwrap_or_default();
    let mut line = vec![OsString::from(&full)];
    line.extend(flags);
    // runc takes flags after the id too, but only for verbs whose own words end there.
    match verbs::has_free_words(&name) || after.first().is_some_and(|word| word == "--") {
        true => line.extend(after.iter().cloned()),
        false => line.extend(after.iter().map(|word| spelling(&command, word).0)),
    }
    let parsed =
        command.try_get_matches_from_mut(line).and_then(|mut found| A::from_arg_matches_mut(&mut found));
    parsed.map_err(|error| complaint(&error, &asked.global.program, &name))
}

/// runc's words for what clap found wrong.
fn complaint(error: &clap::Error, program: &str, verb: &str) -> End {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.clone(),
        Some(ContextValue::Strings(words)) => words.join(" "),
        _ => String::new(),
    };
    let usage = |text: String| {
        let shown = format!("Incorrect Usage: {text}\n\n");
        End::Usage(shown, Error::new(Kind::Invalid, text))
    };
    match error.kind() {
        ErrorKind::DisplayHelp => End::Print(error.to_string()),
        ErrorKind::UnknownArgument if word.starts_with('-') => {
            let name = word.trim_start_matches('-');
            usage(format!("flag provided but not defined: -{name}"))
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues | ErrorKind::MissingRequiredArgument => {
            let count = verbs::arguments(verb);
            let text = format!("{program}: {verb:?} requires {count} argument(s)");
            End::Usage(String::new(), Error::new(Kind::Invalid, text))
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            usage(first.trim_start_matches("error: ").to_owned())
        }
    }
}
