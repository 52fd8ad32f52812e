//! The instructions that change nothing but the image's config.

use super::stage::Stage;
use super::{expose, history};
use crate::dockerfile::ast::{Command, Healthcheck, Instruction, Kind, Word};
use crate::error::Error;
use crate::image;

pub(super) fn apply(stage: &mut Stage<'_, '_>, instruction: &Instruction) -> Result<(), Error> {
    let line = match &instruction.kind {
        Kind::Cmd(command) => cmd(stage, command),
        Kind::Entrypoint(command) => entrypoint(stage, command),
        Kind::Healthcheck(check) => healthcheck(stage, check),
        Kind::Label(definitions) => {
            let pairs = stage.pairs(definitions)?;
            let shown: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            stage.state.config.config.labels.extend(pairs);
            format!("LABEL {}", shown.join(" "))
        }
        Kind::Expose(words) => expose(stage, words)?,
        Kind::Volume(volumes) => volume(stage, &volumes.paths)?,
        Kind::User(word) => {
            let user = stage.text(word)?;
            if user.is_empty() {
                return Err(stage.error(word, format!("USER {} is empty once expanded", word.text)));
            }
            stage.state.config.config.user.clone_from(&user);
            format!("USER {user}")
        }
        Kind::Stopsignal(word) => stop_signal(stage, word)?,
        Kind::Shell(words) => {
            stage.state.config.config.shell.clone_from(words);
            format!("SHELL [{}]", words.join(" "))
        }
        Kind::Maintainer(name) => {
            stage.state.config.author = Some(name.clone());
            format!("MAINTAINER {name}")
        }
        Kind::Onbuild(trigger) => {
            stage.state.config.config.on_build.push(trigger.clone());
            // It does nothing to this image.
            return Ok(());
        }
        // These make nodes or variables and are carried out by the stage itself.
        Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_) | Kind::Arg(_) | Kind::Env(_) => {
            return Ok(());
        }
    };
    stage.state.record(line, None);
    Ok(())
}

fn cmd(stage: &mut Stage<'_, '_>, command: &Command) -> String {
    let words = words(stage, command);
    let line = format!("CMD {}", history::quoted(&words));
    stage.state.config.config.cmd = Some(words);
    // Long obsolete, and set by every BuildKit.
    stage.state.config.config.args_escaped = true;
    stage.state.seen.insert("CMD");
    line
}

/// A new entrypoint makes the base's arguments meaningless; those of this stage stay.
fn entrypoint(stage: &mut Stage<'_, '_>, command: &Command) -> String {
    let words = words(stage, command);
    let line = format!("ENTRYPOINT {}", history::quoted(&words));
    stage.state.config.config.entrypoint = Some(words);
    if !stage.state.seen.contains("CMD") {
        stage.state.config.config.cmd = None;
    }
    line
}

fn words(stage: &Stage<'_, '_>, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(line) => stage.state.in_shell(line),
    }
}

fn healthcheck(stage: &mut Stage<'_, '_>, check: &Healthcheck) -> String {
    let healthcheck = match check {
        Healthcheck::None => image::Healthcheck { test: vec!["NONE".to_owned()], ..Default::default() },
        Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } => {
            let test: Vec<String> = match command {
                Command::Exec(words) => ["CMD".to_owned()].into_iter().chain(words.iter().cloned()).collect(),
                Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
            };
            image::Healthcheck {
                test,
                interval: *interval,
                timeout: *timeout,
                start_period: *start_period,
                start_interval: *start_interval,
                retries: *retries,
            }
        }
    };
    let line = history::healthcheck(&healthcheck);
    stage.state.config.config.healthcheck = Some(healthcheck);
    line
}

fn expose(stage: &mut Stage<'_, '_>, words: &[Word]) -> Result<String, Error> {
    let mut shown = Vec::new();
    for word in words {
        for text in stage.expand(word)?.words {
            let ports = expose::ports(&text).map_err(|message| stage.error(word, message))?;
            shown.extend(ports.iter().cloned());
            stage.state.config.config.exposed_ports.extend(ports);
        }
    }
    shown.sort();
    Ok(format!("EXPOSE [{}]", shown.join(" ")))
}

fn volume(stage: &mut Stage<'_, '_>, words: &[Word]) -> Result<String, Error> {
    let mut shown = Vec::new();
    for word in words {
        // A path with spaces is one path, in either form.
        let path = stage.text(word)?;
        if !path.is_empty() {
            shown.push(path.clone());
            stage.state.config.config.volumes.insert(path);
        }
    }
    if shown.is_empty() {
        let word = words.first().cloned().unwrap_or_default();
        return Err(stage.error(&word, "VOLUME is empty once expanded"));
    }
    Ok(format!("VOLUME [{}]", shown.join(" ")))
}

fn stop_signal(stage: &mut Stage<'_, '_>, word: &Word) -> Result<String, Error> {
    let signal = stage.text(word)?;
    if !is_signal(&signal) {
        return Err(stage
            .error(word, format!("signal {signal} is not known"))
            .hint("a name such as SIGTERM, or a number"));
    }
    stage.state.config.config.stop_signal.clone_from(&signal);
    Ok(format!("STOPSIGNAL {signal}"))
}

/// A Linux signal's number or name, `SIG` or not; real-time signals as `RTMIN+3`.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 35] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
    ];
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = |rest: &str, most: u8| rest.parse::<u8>().is_ok_and(|n| n <= most);
    NAMES.contains(&name)
        || name == "RTMAX"
        || name.strip_prefix("RTMIN+").is_some_and(|n| number(n, 15))
        || name.strip_prefix("RTMAX-").is_some_and(|n| number(n, 14))
}
