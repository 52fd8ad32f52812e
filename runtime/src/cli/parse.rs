//! Splits a command line into global options, verb and the verb's words; turns the parser's complaints into runc's.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, Parser};

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
    let mut flags = Vec::new();
    let count = leading_flags(&Typed::command(), words.get(1..).unwrap_or_default(), &mut flags)?;
    let after = words.split_off(words.len().min(1 + count));
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

/// Takes the flags with their values up to the first word that is neither, and tells how many words they are.
fn leading_flags(command: &Command, words: &[OsString], flags: &mut Vec<OsString>) -> Result<usize, End> {
    let mut count = 0;
    while let Some(word) = words.get(count).filter(|word| is_flag(word)) {
        count += match take(command, word, words.get(count + 1), flags)? {
            Taken::Word => 1,
            Taken::WordAndNext => 2,
        };
    }
    Ok(count)
}

/// Go's rule: a minus before anything but a letter begins a value, `-9` or `-`.
fn is_flag(word: &OsStr) -> bool {
    let mut bytes = word.as_bytes().iter();
    match (bytes.next(), bytes.next()) {
        (Some(b'-'), Some(b'-')) => bytes.next().is_some(),
        (Some(b'-'), Some(letter)) => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

enum Taken {
    Word,
    WordAndNext,
}

/// Adds one flag in a word that means the same to clap as the words do to Go: `-root` is `--root`, a value is whatever comes next,
/// an empty text is as good as none, and switches have values.
fn take(
    command: &Command,
    word: &OsStr,
    next: Option<&OsString>,
    flags: &mut Vec<OsString>,
) -> Result<Taken, End> {
    let text = word.to_string_lossy();
    let (name, given) = match word.as_bytes().iter().position(|byte| *byte == b'=') {
        Some(at) => (at, word.as_bytes().get(at + 1..).map(OsStr::from_bytes)),
        None => (word.len(), None),
    };
    let name = text.get(..name).unwrap_or(&text).trim_start_matches('-').to_owned();
    let found = command.get_arguments().find(|arg| {
        arg.get_long() == Some(name.as_str())
            || arg.get_short().is_some_and(|short| name == short.to_string())
    });
    // Unknown ones are clap's to complain of.
    let Some((arg, long)) = found.and_then(|arg| Some((arg, arg.get_long()?))) else {
        flags.push(word.to_owned());
        return Ok(Taken::Word);
    };
    if is_switch(arg) {
        switch((arg, long), &given.unwrap_or_default().to_string_lossy(), flags)?;
        return Ok(Taken::Word);
    }
    let (value, taken) = match (given, next) {
        (Some(value), _) => (value, Taken::Word),
        (None, Some(value)) => (value.as_os_str(), Taken::WordAndNext),
        (None, None) => return Err(usage(format!("flag needs an argument: {text}"))),
    };
    match value.is_empty() && is_text(arg) {
        true => forget(long, flags),
        false => {
            let mut whole = OsString::from(format!("--{long}="));
            whole.push(value);
            flags.push(whole);
        }
    }
    Ok(taken)
}

fn is_switch(arg: &Arg) -> bool {
    !arg.get_action().takes_values() || arg.get_num_args().is_some_and(|range| range.min_values() == 0)
}

/// A switch that tells an explicit false from none takes the word; for the others false is to be as if it had never been there.
fn switch((arg, long): (&Arg, &str), value: &str, flags: &mut Vec<OsString>) -> Result<(), End> {
    let is_on = match value {
        "" => true,
        word => boolean(word).ok_or_else(|| usage(format!("invalid boolean value {word:?} for -{long}")))?,
    };
    match (arg.get_action().takes_values(), is_on) {
        (true, _) => flags.push(format!("--{long}={is_on}").into()),
        (false, true) => flags.push(format!("--{long}").into()),
        (false, false) => forget(long, flags),
    }
    Ok(())
}

/// Of several the last counts.
fn forget(long: &str, flags: &mut Vec<OsString>) {
    let (switch, value) = (format!("--{long}"), format!("--{long}="));
    flags.retain(|flag| flag != switch.as_str() && !flag.as_bytes().starts_with(value.as_bytes()));
}

/// One text, of which nothing is as good as none at all; what is a number or a list must say something.
fn is_text(arg: &Arg) -> bool {
    let kind = arg.get_value_parser().type_id();
    let is_number =
        arg.get_value_names().into_iter().flatten().any(|name| matches!(name.as_str(), "int" | "duration"));
    matches!(arg.get_action(), ArgAction::Set)
        && !is_number
        && (kind == TypeId::of::<String>() || kind == TypeId::of::<PathBuf>())
}

/// Go's spellings of a boolean.
pub(super) fn boolean(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
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
    let (flags, own) = sorted(&command, rest, verbs::has_free_words(&name))?;
    let mut line = vec![OsString::from(&full)];
    line.extend(flags);
    line.extend(own);
    let parsed =
        command.try_get_matches_from_mut(line).and_then(|mut found| A::from_arg_matches_mut(&mut found));
    parsed.map_err(|error| complaint(&error, &asked.global.program, &name))
}

/// The flags, and the words that are none. runc takes flags after the id too, but only for verbs whose own words end there.
fn sorted(
    command: &Command,
    words: &[OsString],
    has_free_words: bool,
) -> Result<(Vec<OsString>, Vec<OsString>), End> {
    let (mut flags, mut own) = (Vec::new(), Vec::new());
    let mut left = words;
    loop {
        left = left.get(leading_flags(command, left, &mut flags)?..).unwrap_or_default();
        match left.split_first() {
            None => return Ok((flags, own)),
            Some((word, rest)) if !has_free_words && word != "--" => {
                own.push(word.clone());
                left = rest;
            }
            Some(_) => {
                own.extend(left.iter().cloned());
                return Ok((flags, own));
            }
        }
    }
}

/// A mistake in the command line, told as runc does: twice.
fn usage(text: String) -> End {
    let shown = format!("Incorrect Usage: {text}\n\n");
    End::Usage(shown, Error::new(Kind::Invalid, text))
}

/// runc's words for what clap found wrong.
fn complaint(error: &clap::Error, program: &str, verb: &str) -> End {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.clone(),
        Some(ContextValue::Strings(words)) => words.join(" "),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::DisplayHelp => End::Print(error.to_string()),
        ErrorKind::UnknownArgument if word.starts_with('-') => {
            let name = word.trim_start_matches('-');
            usage(format!("flag provided but not defined: -{name}"))
        }
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => {
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
