//! One statement to one instruction.

use super::ast::{Command, Definition, Form, Instruction, Kind, Run, Transfer, Volumes, Word};
use super::diagnose;
use super::expand::words_raw;
use super::health;
use super::heredoc;
use super::parse::{KEYWORDS, Reader, parse_trigger};
use crate::error::Error;

/// Parses everything but FROM.
pub(super) fn parse(reader: &Reader<'_>) -> Result<Instruction, Error> {
    let keyword = reader.keyword.text.to_ascii_uppercase();
    let kind = match keyword.as_str() {
        "RUN" => Kind::Run(run(reader)?),
        "COPY" => Kind::Copy(transfer(reader, &keyword)?),
        "ADD" => Kind::Add(transfer(reader, &keyword)?),
        "HEALTHCHECK" => Kind::Healthcheck(health::parse(reader)?),
        _ => {
            reader.flags().end(&keyword)?;
            without_flags(reader, &keyword)?
        }
    };
    Ok(Instruction {
        keyword: reader.keyword.clone(),
        place: reader.statement.place,
        text: reader.statement.text.clone(),
        comments: reader.statement.comments.clone(),
        gap: reader.statement.gap,
        kind,
    })
}

fn without_flags(reader: &Reader<'_>, keyword: &str) -> Result<Kind, Error> {
    Ok(match keyword {
        "ARG" => Kind::Arg(arg(reader)?),
        "ENV" => Kind::Env(definitions(reader, keyword)?),
        "LABEL" => Kind::Label(definitions(reader, keyword)?),
        "CMD" => Kind::Cmd(command(reader)?),
        "ENTRYPOINT" => Kind::Entrypoint(command(reader)?),
        "EXPOSE" => Kind::Expose(some(reader, keyword, reader.plain_words())?),
        "VOLUME" => Kind::Volume(volumes(reader)?),
        "SHELL" => Kind::Shell(shell(reader)?),
        "MAINTAINER" => Kind::Maintainer(one(reader, keyword)?.text),
        "STOPSIGNAL" => Kind::Stopsignal(one(reader, keyword)?),
        "USER" => Kind::User(one(reader, keyword)?),
        "WORKDIR" => Kind::Workdir(one(reader, keyword)?),
        "ONBUILD" => Kind::Onbuild(onbuild(reader)?),
        _ => {
            let near = diagnose::suggestion(keyword, KEYWORDS);
            let message = format!("unknown instruction {}{near}", reader.keyword.text);
            return Err(diagnose::at(reader.source, reader.keyword.place, message));
        }
    })
}

fn some<T>(reader: &Reader<'_>, keyword: &str, words: Vec<T>) -> Result<Vec<T>, Error> {
    if words.is_empty() {
        Err(reader.error(format!("{keyword} needs at least one argument")))
    } else {
        Ok(words)
    }
}

/// The whole rest of the line as one argument.
fn one(reader: &Reader<'_>, keyword: &str) -> Result<Word, Error> {
    match reader.arguments() {
        "" => Err(reader.error(format!("{keyword} needs an argument"))),
        text => Ok(reader.word(reader.start, text)),
    }
}

/// A JSON array of strings, or a line for the shell.
fn command(reader: &Reader<'_>) -> Result<Command, Error> {
    command_in(reader, reader.arguments())
}

/// As `command`, for a part of the arguments.
pub(super) fn command_in(reader: &Reader<'_>, text: &str) -> Result<Command, Error> {
    Ok(match json(reader, text)? {
        Some(words) => Command::Exec(words),
        None => Command::Shell(text.to_owned()),
    })
}

/// The strings of a JSON array; `None` where the text is something else.
fn json(reader: &Reader<'_>, text: &str) -> Result<Option<Vec<String>>, Error> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings: Option<Vec<String>> = values.iter().map(|v| v.as_str().map(str::to_owned)).collect();
    match strings {
        Some(strings) => Ok(Some(strings)),
        None => Err(reader.error("only strings may stand in the JSON array")),
    }
}

fn shell(reader: &Reader<'_>) -> Result<Vec<String>, Error> {
    match json(reader, reader.arguments())? {
        Some(words) if !words.is_empty() => Ok(words),
        _ => Err(reader.error("SHELL needs a JSON array").hint(r#"SHELL ["/bin/bash", "-c"]"#)),
    }
}

fn volumes(reader: &Reader<'_>) -> Result<Volumes, Error> {
    let place = reader.arguments_place();
    let paths = match json(reader, reader.arguments())? {
        Some(paths) => paths.into_iter().map(|text| Word { text, place }).collect(),
        None => reader.plain_words(),
    };
    if let Some(empty) = paths.iter().find(|path| path.text.is_empty()) {
        return Err(diagnose::at(reader.source, empty.place, "VOLUME needs a path that is not empty"));
    }
    Ok(Volumes { paths: some(reader, "VOLUME", paths)? })
}

fn run(reader: &Reader<'_>) -> Result<Run, Error> {
    let mut flags = reader.flags();
    let (mounts, devices) = (flags.all("mount")?, flags.all("device")?);
    let (network, security) = (flags.one("network")?, flags.one("security")?);
    flags.end("RUN")?;
    let command = command(reader)?;
    if matches!(&command, Command::Shell(line) if line.is_empty()) {
        return Err(reader.error("RUN needs a command"));
    }
    let heredocs = reader.statement.heredocs.clone();
    Ok(Run { command, heredocs, mounts, network, security, devices })
}

fn transfer(reader: &Reader<'_>, keyword: &str) -> Result<Transfer, Error> {
    let mut flags = reader.flags();
    let (chown, chmod, excludes) = (flags.one("chown")?, flags.one("chmod")?, flags.all("exclude")?);
    let mut switches = Vec::from_iter(flags.switch("link")?);
    let (mut from, mut checksum) = (None, None);
    if keyword == "COPY" {
        from = flags.one("from")?;
        switches.extend(flags.switch("parents")?);
    } else {
        checksum = flags.one("checksum")?;
        switches.extend(flags.switch("keep-git-dir")?);
        switches.extend(flags.switch("unpack")?);
    }
    flags.end(keyword)?;
    let place = reader.arguments_place();
    let mut words = match json(reader, reader.arguments())? {
        Some(paths) => paths.into_iter().map(|text| Word { text, place }).collect(),
        None => reader.plain_words(),
    };
    let dest = words
        .pop()
        .filter(|_| !words.is_empty())
        .ok_or_else(|| reader.error(format!("{keyword} needs at least a source and a destination")))?;
    if heredoc::marker(&dest.text).is_some() && !reader.statement.heredocs.is_empty() {
        return Err(diagnose::at(
            reader.source,
            dest.place,
            format!("{keyword} cannot have a here-document as its destination"),
        ));
    }
    let heredocs = reader.statement.heredocs.clone();
    let is_document =
        |word: &Word| heredoc::marker(&word.text).is_some_and(|m| heredocs.iter().any(|h| h.name == m.name));
    let sources = words.into_iter().filter(|word| !is_document(word)).collect();
    Ok(Transfer { sources, heredocs, dest, from, chown, chmod, switches, excludes, checksum })
}

fn onbuild(reader: &Reader<'_>) -> Result<String, Error> {
    let text = one(reader, "ONBUILD")?;
    let keyword = text.text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if matches!(keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
        return Err(diagnose::at(
            reader.source,
            text.place,
            format!("{keyword} is not allowed as a trigger"),
        ));
    }
    let mut trigger = text.text.clone();
    for document in &reader.statement.heredocs {
        trigger.push('\n');
        trigger.push_str(&document.content);
        trigger.push_str(&document.name);
    }
    let ends_on_name = !reader.statement.heredocs.is_empty();
    match parse_trigger(&format!("{trigger}{}", if ends_on_name { "\n" } else { "" })) {
        Ok(_) => Ok(trigger),
        Err(error) => {
            // The place in the trigger's own text means nothing to the reader of this file.
            let message = error.to_string();
            let message = message.split_once(": ").map_or(message.as_str(), |(_, rest)| rest);
            Err(diagnose::at(reader.source, text.place, message))
        }
    }
}

fn arg(reader: &Reader<'_>) -> Result<Vec<Definition>, Error> {
    let words = words_raw(reader.arguments(), reader.escape);
    let mut found = Vec::new();
    for (at, text) in some(reader, "ARG", words)? {
        found.push(definition(reader, reader.start + at, text)?);
    }
    Ok(found)
}

/// `a=b c=d`, or the older `a b c`.
fn definitions(reader: &Reader<'_>, keyword: &str) -> Result<Vec<Definition>, Error> {
    let text = reader.arguments();
    let words = some(reader, keyword, words_raw(text, reader.escape))?;
    let first = words.first().map_or("", |(_, word)| *word);
    if !first.contains('=') {
        let rest = text.get(first.len()..).unwrap_or_default();
        let value = rest.trim_start();
        if value.is_empty() {
            return Err(reader
                .error(format!("{keyword} needs a value for {first}"))
                .hint(format!("{keyword} {first}=value")));
        }
        let start = reader.start + first.len() + (rest.len() - value.len());
        let (name, value) = (reader.word(reader.start, first), Some(reader.word(start, value)));
        return Ok(vec![Definition { name, value, form: Form::Space }]);
    }
    let mut found = Vec::new();
    for (at, text) in words {
        let parsed = definition(reader, reader.start + at, text)?;
        if parsed.value.is_none() {
            let message = format!("{keyword} needs {text} to be {text}=value");
            return Err(diagnose::at(reader.source, parsed.name.place, message)
                .hint("a value with spaces needs quotes"));
        }
        found.push(parsed);
    }
    Ok(found)
}

fn definition(reader: &Reader<'_>, start: usize, text: &str) -> Result<Definition, Error> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() {
        let place = reader.statement.locate(start, start + text.len());
        return Err(diagnose::at(reader.source, place, "a name is missing before ="));
    }
    let value = value.map(|value| reader.word(start + name.len() + 1, value));
    Ok(Definition { name: reader.word(start, name), value, form: Form::Equals })
}
