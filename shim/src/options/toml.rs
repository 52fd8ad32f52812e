//! The part of TOML that an `[options]` table of runtime options uses: `Key = "text" | 'text' | number | true | false`.

use super::Options;
use crate::error::{Error, Kind};

pub(super) fn parse(text: &str) -> Result<Options, Error> {
    let mut options = Options::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(Error::new(
                Kind::Invalid,
                format!("runtime options, line {number}: no \"key = value\""),
            ));
        };
        set(&mut options, key.trim(), value.trim())
            .map_err(|what| Error::new(Kind::Invalid, format!("runtime options, line {number}: {what}")))?;
    }
    Ok(options)
}

fn set(options: &mut Options, key: &str, value: &str) -> Result<(), String> {
    match key {
        "BinaryName" => options.binary_name = text(value)?,
        "Root" => options.root = text(value)?,
        "ShimCgroup" => options.shim_cgroup = text(value)?,
        "CriuImagePath" => options.criu_image_path = text(value)?,
        "CriuWorkPath" => options.criu_work_path = text(value)?,
        "SystemdCgroup" => options.systemd_cgroup = truth(value)?,
        "NoPivotRoot" => options.no_pivot_root = truth(value)?,
        "NoNewKeyring" => options.no_new_keyring = truth(value)?,
        "IoUid" => options.io_uid = number(value)?,
        "IoGid" => options.io_gid = number(value)?,
        _ => return Err(format!("unknown option {key}")),
    }
    Ok(())
}

fn text(value: &str) -> Result<String, String> {
    if let Some((inside, rest)) = value.strip_prefix('\'').and_then(|v| v.split_once('\'')) {
        return end(rest).map(|()| inside.to_owned());
    }
    let mut characters = value.strip_prefix('"').ok_or_else(|| format!("{value} is not a string"))?.chars();
    let mut inside = String::new();
    while let Some(character) = characters.next() {
        match character {
            '"' => return end(characters.as_str()).map(|()| inside),
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => inside.push(escaped),
                _ => return Err(format!("an escape in {value} is not supported")),
            },
            other => inside.push(other),
        }
    }
    Err(format!("{value} has no closing quote"))
}

fn truth(value: &str) -> Result<bool, String> {
    match word(value)? {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("{other} is neither true nor false")),
    }
}

fn number(value: &str) -> Result<u32, String> {
    let word = word(value)?;
    word.parse().map_err(|_| format!("{word} is not a user or group id"))
}

fn word(value: &str) -> Result<&str, String> {
    let (word, rest) = value.split_at(value.find([' ', '\t', '#']).unwrap_or(value.len()));
    end(rest).map(|()| word)
}

/// Only a comment may follow a value.
fn end(rest: &str) -> Result<(), String> {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err(format!("{rest} after the value")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_its_place() {
        let text = "# ours\nBinaryName = \"/opt/a \\\"b\\\"\" # x\nRoot = '/run/r'\nShimCgroup = \"/s\"\nIoUid = 1\nIoGid = 2 # y\n\
                    SystemdCgroup = true\nNoPivotRoot = true\nNoNewKeyring = false\nCriuImagePath = \"/i\"\nCriuWorkPath = \"/w\"\n";
        let expected = Options {
            binary_name: "/opt/a \"b\"".into(),
            root: "/run/r".into(),
            systemd_cgroup: true,
            no_pivot_root: true,
            no_new_keyring: false,
            shim_cgroup: "/s".into(),
            io_uid: 1,
            io_gid: 2,
            criu_image_path: "/i".into(),
            criu_work_path: "/w".into(),
        };
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, message) in [
            ("\nBinary = 'x'", "runtime options, line 2: unknown option Binary"),
            ("Root = /x", "runtime options, line 1: /x is not a string"),
            ("Root = \"/x", "runtime options, line 1: \"/x has no closing quote"),
            ("Root = 'a' b", "runtime options, line 1: b after the value"),
            ("[x]", "runtime options, line 1: no \"key = value\""),
            ("IoUid = -1", "runtime options, line 1: -1 is not a user or group id"),
            ("SystemdCgroup = yes", "runtime options, line 1: yes is neither true nor false"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }
}
