//! A stream's address, taken apart. Pure.

use std::path::PathBuf;

use crate::error::{Error, Kind};

/// What a logging program does to say that it is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// It closes its descriptor 5 (`binary://`).
    Closes,
    /// It writes a byte to it first; closing alone means that it failed (`binary-v2://`).
    Writes,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Nothing,
    /// A fifo, or a file that exists.
    Path(PathBuf),
    /// A file to be made and appended to.
    File(PathBuf),
    Program {
        path: PathBuf,
        arguments: Vec<String>,
        readiness: Readiness,
    },
}

pub(crate) fn parse(place: &str) -> Result<Target, Error> {
    let Some((scheme, rest)) = place.split_once("://") else {
        return Ok(if place.is_empty() { Target::Nothing } else { Target::Path(place.into()) });
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = PathBuf::from(unescape(path)?);
    if !path.is_absolute() {
        return Err(Error::new(Kind::Invalid, format!("stream {place}: the path must be absolute")));
    }
    match scheme {
        "fifo" => Ok(Target::Path(path)),
        "file" => Ok(Target::File(path)),
        "binary" | "binary-v2" => {
            let readiness = if scheme == "binary" { Readiness::Closes } else { Readiness::Writes };
            Ok(Target::Program { path, arguments: arguments(query)?, readiness })
        }
        _ => Err(Error::new(Kind::Invalid, format!("stream {place}: the scheme {scheme} is not known"))),
    }
}

/// `a=1&b` is the command line `a 1 b`.
fn arguments(query: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        words.push(unescape(&key.replace('+', " "))?);
        if !value.is_empty() {
            words.push(unescape(&value.replace('+', " "))?);
        }
    }
    Ok(words)
}

fn unescape(text: &str) -> Result<String, Error> {
    let malformed = || Error::new(Kind::Invalid, format!("stream address: {text} has a malformed % escape"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().ok_or_else(malformed)?, rest.next().ok_or_else(malformed)?];
        let digits = std::str::from_utf8(&digits).map_err(|_| malformed())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| malformed())?);
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_say() {
        let program = |readiness, arguments: &[&str]| Target::Program {
            path: "/usr/bin/log".into(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            readiness,
        };
        for (place, target) in [
            ("", Target::Nothing),
            ("/run/a-stdout", Target::Path("/run/a-stdout".into())),
            ("fifo:///run/x", Target::Path("/run/x".into())),
            ("file:///var/log/a%20b.log", Target::File("/var/log/a b.log".into())),
            (
                "binary:///usr/bin/log?id=a+b&v&n=%2f",
                program(Readiness::Closes, &["id", "a b", "v", "n", "/"]),
            ),
            ("binary-v2:///usr/bin/log", program(Readiness::Writes, &[])),
        ] {
            assert_eq!(parse(place).unwrap(), target);
        }
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        for (place, text) in [
            ("file://relative", "stream file://relative: the path must be absolute"),
            ("npipe:///x", "stream npipe:///x: the scheme npipe is not known"),
            ("file:///a%2", "stream address: /a%2 has a malformed % escape"),
        ] {
            assert_eq!(parse(place).unwrap_err().to_string(), text);
        }
    }
}
