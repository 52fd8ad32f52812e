//! The three ways in which containerd tells a shim what to start, as one value.

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, LogLevel};
use protobuf::well_known_types::any::Any;
use protobuf::{EnumOrUnknown, Message};

use crate::cli::Flags;
use crate::error::{Error, Kind};
use crate::options::Options;

/// What the environment says; read once, in `main`.
#[derive(Default)]
pub(crate) struct Environment {
    pub(crate) ttrpc_address: Option<String>,
    pub(crate) max_shim_version: Option<String>,
    pub(crate) sched_core: bool,
}

/// How the address is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// containerd up to 1.6: the bare address.
    Plain,
    /// containerd 1.7 to 2.2: JSON with the version of the task service, which is at most what it can do.
    Json { version: u32 },
    /// From 2.3: a `BootstrapResult`.
    Protobuf,
}

#[derive(PartialEq, Debug)]
pub(crate) struct Params {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) debug: bool,
    /// Where containerd takes events.
    pub(crate) events: String,
    /// containerd's main socket: it tells two daemons on one machine apart.
    pub(crate) containerd: String,
    pub(crate) socket_dir: Option<String>,
    pub(crate) options: Options,
    pub(crate) answer: Answer,
}

/// The newest version of the task service that the shim serves; it serves all older ones too.
const TASK_VERSION: u32 = 3;

/// Puts flags, environment and standard input together.
pub(crate) fn read(flags: &Flags, environment: &Environment, stdin: &[u8]) -> Result<Params, Error> {
    let mut params = Params {
        id: flags.id.clone(),
        namespace: flags.namespace.clone(),
        debug: flags.debug,
        events: environment.ttrpc_address.clone().unwrap_or_default(),
        containerd: flags.address.clone(),
        socket_dir: None,
        options: Options::default(),
        answer: legacy_answer(environment)?,
    };
    match bootstrap_message(stdin) {
        Some(message) => overlay(&mut params, message)?,
        None if stdin.is_empty() => {}
        None => params.options = Options::parse(&parse_any(stdin)?)?,
    }
    if params.id.is_empty() || params.namespace.is_empty() {
        let what = if params.id.is_empty() { "id" } else { "namespace" };
        return Err(Error::new(Kind::Invalid, format!("shim {what} cannot be empty")));
    }
    if params.events.is_empty() && !params.containerd.is_empty() {
        params.events = format!("{}.ttrpc", params.containerd); // containerd's own convention
    }
    Ok(params)
}

fn legacy_answer(environment: &Environment) -> Result<Answer, Error> {
    let Some(text) = environment.max_shim_version.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(Answer::Plain);
    };
    let newest: u32 = text
        .parse()
        .map_err(|_| Error::new(Kind::Invalid, format!("MAX_SHIM_VERSION={text}: not a number")))?;
    Ok(if newest < 2 { Answer::Plain } else { Answer::Json { version: newest.min(TASK_VERSION) } })
}

/// The message of containerd 2.3, or nothing if the bytes are something else.
///
/// An `Any` parses as a `BootstrapParams` too: both begin with two strings. But only the latter says where containerd is.
fn bootstrap_message(stdin: &[u8]) -> Option<BootstrapParams> {
    let message = BootstrapParams::parse_from_bytes(stdin).ok()?;
    let says_where = !message.containerd_version.is_empty()
        || !message.containerd_ttrpc_address.is_empty()
        || !message.containerd_grpc_address.is_empty();
    says_where.then_some(message)
}

fn parse_any(bytes: &[u8]) -> Result<Any, Error> {
    Any::parse_from_bytes(bytes).map_err(|e| Error::new(Kind::Invalid, format!("parse standard input: {e}")))
}

fn overlay(params: &mut Params, message: BootstrapParams) -> Result<(), Error> {
    params.answer = Answer::Protobuf;
    params.debug |= verbose(message.log_level);
    params.socket_dir = message.socket_dir.filter(|dir| !dir.is_empty());
    for (ours, theirs) in [
        (&mut params.id, message.instance_id),
        (&mut params.namespace, message.namespace),
        (&mut params.events, message.containerd_ttrpc_address),
        (&mut params.containerd, message.containerd_grpc_address),
    ] {
        if !theirs.is_empty() {
            *ours = theirs;
        }
    }
    // Extensions are meant for whoever knows them (NRI, CRI, sandboxes): only the runtime's options are for us.
    for extension in message.extensions.iter().filter_map(|extension| extension.value.as_ref()) {
        if extension.type_url.ends_with(".Options") {
            params.options = Options::parse(extension)?;
        }
    }
    Ok(())
}

fn verbose(level: EnumOrUnknown<LogLevel>) -> bool {
    level.value() < 0
}

/// The bytes that go to standard output, and nothing else may.
pub(crate) fn answer(kind: Answer, address: &str) -> Result<Vec<u8>, Error> {
    match kind {
        Answer::Plain => Ok(address.as_bytes().to_vec()),
        Answer::Json { version } => {
            Ok(format!("{{\"version\":{version},\"address\":\"{address}\",\"protocol\":\"ttrpc\"}}")
                .into_bytes())
        }
        Answer::Protobuf => {
            let result = BootstrapResult {
                version: TASK_VERSION.cast_signed(),
                address: address.to_owned(),
                protocol: "ttrpc".into(),
                ..BootstrapResult::default()
            };
            result.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode the answer: {e}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::bootstrap_api::Extension;
    use containerd_shim_protos::shim::oci;

    fn flags() -> Flags {
        Flags {
            id: "a1".into(),
            namespace: "k8s.io".into(),
            address: "/run/c.sock".into(),
            ..Flags::default()
        }
    }

    fn environment(version: Option<&str>) -> Environment {
        Environment {
            ttrpc_address: Some("/run/c.sock.ttrpc".into()),
            max_shim_version: version.map(str::to_owned),
            sched_core: false,
        }
    }

    fn options_any() -> Any {
        let value =
            oci::Options { binary_name: "crun".into(), ..Default::default() }.write_to_bytes().unwrap();
        Any { type_url: "containerd.runc.v1.Options".into(), value, ..Any::default() }
    }

    #[test]
    fn an_empty_standard_input_leaves_the_flags() {
        let params = read(&flags(), &environment(None), b"").unwrap();
        assert_eq!(
            (params.id.as_str(), params.namespace.as_str(), params.answer),
            ("a1", "k8s.io", Answer::Plain)
        );
        assert_eq!(
            (params.events.as_str(), params.containerd.as_str()),
            ("/run/c.sock.ttrpc", "/run/c.sock")
        );
        assert_eq!(params.options, Options::default());
    }

    #[test]
    fn an_any_is_the_runtimes_options_with_either_old_answer() {
        for (version, answer) in [
            (None, Answer::Plain),
            (Some("2"), Answer::Json { version: 2 }),
            (Some("3"), Answer::Json { version: 3 }),
            (Some("9"), Answer::Json { version: 3 }),
        ] {
            let params =
                read(&flags(), &environment(version), &options_any().write_to_bytes().unwrap()).unwrap();
            assert_eq!((params.options.binary_name.as_str(), params.answer), ("crun", answer));
        }
    }

    #[test]
    fn bootstrap_params_win_over_flags_and_environment() {
        let message = BootstrapParams {
            instance_id: "b2".into(),
            namespace: "moby".into(),
            log_level: LogLevel::LOG_LEVEL_DEBUG.into(),
            containerd_version: "v2.3.0".into(),
            containerd_ttrpc_address: "unix:///x.ttrpc".into(),
            containerd_grpc_address: "unix:///x".into(),
            socket_dir: Some("/run/s".into()),
            extensions: vec![Extension { value: Some(options_any()).into(), ..Extension::default() }],
            ..BootstrapParams::default()
        };
        let params = read(&flags(), &environment(Some("3")), &message.write_to_bytes().unwrap()).unwrap();
        let expected = Params {
            id: "b2".into(),
            namespace: "moby".into(),
            debug: true,
            events: "unix:///x.ttrpc".into(),
            containerd: "unix:///x".into(),
            socket_dir: Some("/run/s".into()),
            options: Options { binary_name: "crun".into(), ..Options::default() },
            answer: Answer::Protobuf,
        };
        assert_eq!(params, expected);
    }

    #[test]
    fn the_answers_are_these_bytes() {
        let address = "unix:///run/containerd/s/ab";
        assert_eq!(answer(Answer::Plain, address).unwrap(), b"unix:///run/containerd/s/ab");
        assert_eq!(
            answer(Answer::Json { version: 2 }, address).unwrap(),
            br#"{"version":2,"address":"unix:///run/containerd/s/ab","protocol":"ttrpc"}"#
        );
        assert_eq!(
            answer(Answer::Protobuf, address).unwrap(),
            b"\x08\x03\x12\x1bunix:///run/containerd/s/ab\x1a\x05ttrpc"
        );
    }

    #[test]
    fn missing_and_malformed_parameters_are_named() {
        let nameless = Flags { namespace: "x".into(), ..Flags::default() };
        let spaceless = Flags { id: "x".into(), ..Flags::default() };
        let none = Environment::default();
        assert_eq!(read(&nameless, &none, b"").unwrap_err().to_string(), "shim id cannot be empty");
        assert_eq!(read(&spaceless, &none, b"").unwrap_err().to_string(), "shim namespace cannot be empty");
        assert_eq!(
            read(&flags(), &environment(Some("x")), b"").unwrap_err().to_string(),
            "MAX_SHIM_VERSION=x: not a number"
        );
        assert!(
            read(&flags(), &none, b"\xff\xff").unwrap_err().to_string().starts_with("parse standard input: ")
        );
    }
}
