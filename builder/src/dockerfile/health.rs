//! HEALTHCHECK and its durations.

use super::ast::{Command, Healthcheck, Word};
use super::diagnose;
use super::instruction::command_in;
use super::parse::Reader;
use crate::error::Error;

pub(super) fn parse(reader: &Reader<'_>) -> Result<Healthcheck, Error> {
    let mut flags = reader.flags();
    let interval = flags.one("interval")?;
    let timeout = flags.one("timeout")?;
    let start_period = flags.one("start-period")?;
    let start_interval = flags.one("start-interval")?;
    let retries = flags.one("retries")?;
    let any =
        [&interval, &timeout, &start_period, &start_interval, &retries].into_iter().any(Option::is_some);
    flags.end("HEALTHCHECK")?;
    let text = reader.arguments();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    match word.to_ascii_uppercase().as_str() {
        "NONE" if !rest.is_empty() => Err(reader.error("HEALTHCHECK NONE takes no arguments")),
        "NONE" if any => Err(reader.error("HEALTHCHECK NONE takes no flags")),
        "NONE" => Ok(Healthcheck::None),
        "CMD" => {
            let command = command_in(reader, rest)?;
            if matches!(&command, Command::Shell(line) if line.is_empty()) {
                return Err(reader.error("HEALTHCHECK CMD needs a command"));
            }
            Ok(Healthcheck::Check {
                command,
                interval: nanoseconds(reader, interval)?,
                timeout: nanoseconds(reader, timeout)?,
                start_period: nanoseconds(reader, start_period)?,
                start_interval: nanoseconds(reader, start_interval)?,
                retries: count(reader, retries)?,
            })
        }
        "" => Err(reader.error("HEALTHCHECK needs CMD or NONE")),
        _ => {
            Err(reader.error(format!("HEALTHCHECK {word} is not known")).hint("HEALTHCHECK CMD ..., or NONE"))
        }
    }
}

fn count(reader: &Reader<'_>, word: Option<Word>) -> Result<i64, Error> {
    let Some(word) = word else { return Ok(0) };
    word.text.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| {
        diagnose::at(reader.source, word.place, format!("{} is not a number of retries", word.text))
    })
}

fn nanoseconds(reader: &Reader<'_>, word: Option<Word>) -> Result<i64, Error> {
    let Some(word) = word else { return Ok(0) };
    let refuse = |why: &str| {
        diagnose::at(reader.source, word.place, format!("duration {} {why}", word.text))
            .hint("such as 30s or 1m30s")
    };
    match duration(&word.text) {
        None => Err(refuse("is not valid")),
        Some(n) if n != 0 && n < 1_000_000 => Err(refuse("is less than a millisecond")),
        Some(n) => Ok(n),
    }
}

/// `1h2m3.5s` in nanoseconds, as Go reads durations.
fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut sum: f64 = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    whole(sum)
}

/// Exact up to a hundred days, which is further than any health check waits.
fn whole(value: f64) -> Option<i64> {
    format!("{value:.0}").parse().ok()
}
