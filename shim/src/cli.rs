//! The command line containerd uses, in the style of Go's `flag` package: `-id ID`, `-id=ID` and `--id ID` are one.

use std::path::PathBuf;

use crate::error::{Error, Kind};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Start,
    Delete,
    Version,
    Info,
}

#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Flags {
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// containerd's own socket: part of the name of ours.
    pub(crate) address: String,
    pub(crate) publish_binary: String,
    pub(crate) bundle: Option<PathBuf>,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) debug: bool,
}

/// What was typed, as what was meant.
pub(crate) fn parse(arguments: &[String]) -> Result<(Flags, Action), Error> {
    let mut flags = Flags::default();
    let mut action = None;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            action = Some(verb(word)?);
            break;
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "debug" => flags.debug = truth(name, inline)?,
            "v" if truth(name, inline.clone())? => action = Some(Action::Version),
            "info" if truth(name, inline.clone())? => action = Some(Action::Info),
            "v" | "info" => {}
            _ => {
                let value = inline.or_else(|| words.next().cloned());
                let value = value
                    .ok_or_else(|| Error::new(Kind::Invalid, format!("flag needs an argument: -{name}")))?;
                set(&mut flags, name, value)?;
            }
        }
        if matches!(action, Some(Action::Version | Action::Info)) {
            break;
        }
    }
    let action = action
        .ok_or_else(|| Error::new(Kind::Invalid, "no action: this is started by containerd; try -v"))?;
    Ok((flags, action))
}

fn verb(word: &str) -> Result<Action, Error> {
    match word {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        _ => Err(Error::new(Kind::Invalid, format!("unknown action {word}: start or delete"))),
    }
}

fn truth(name: &str, value: Option<String>) -> Result<bool, Error> {
    match value.as_deref() {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => {
            Err(Error::new(Kind::Invalid, format!("flag -{name}: {other} is neither true nor false")))
        }
    }
}

fn set(flags: &mut Flags, name: &str, value: String) -> Result<(), Error> {
    match name {
        "namespace" => flags.namespace = value,
        "id" => flags.id = value,
        "address" => flags.address = value,
        "publish-binary" => flags.publish_binary = value,
        "bundle" => flags.bundle = Some(value.into()),
        "socket" => flags.socket = Some(value.into()),
        "debug-socket" => {
            return Err(Error::new(Kind::Unsupported, "flag -debug-socket: there is no debug socket"));
        }
        _ => return Err(Error::new(Kind::Invalid, format!("flag provided but not defined: -{name}"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn containerds_own_call_is_understood() {
        let (flags, action) = parse(&words(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a1 -debug start",
        ))
        .unwrap();
        assert_eq!(action, Action::Start);
        assert_eq!((flags.namespace.as_str(), flags.id.as_str(), flags.debug), ("k8s.io", "a1", true));
        assert_eq!(
            (flags.address.as_str(), flags.publish_binary.as_str()),
            ("/run/c.sock", "/usr/bin/containerd")
        );
    }

    #[test]
    fn two_dashes_and_an_equals_sign_mean_the_same() {
        let (flags, action) = parse(&words("--id=a1 --bundle=/b delete")).unwrap();
        assert_eq!((flags.id.as_str(), flags.bundle, action), ("a1", Some("/b".into()), Action::Delete));
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for (line, text) in [
            ("-x y start", "flag provided but not defined: -x"),
            ("-id", "flag needs an argument: -id"),
            ("-debug-socket /s start", "flag -debug-socket: there is no debug socket"),
            ("stop", "unknown action stop: start or delete"),
            ("-debug=maybe start", "flag -debug: maybe is neither true nor false"),
        ] {
            assert_eq!(parse(&words(line)).unwrap_err().to_string(), text);
        }
    }
}
