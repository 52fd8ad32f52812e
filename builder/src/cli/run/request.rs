//! What the user asks for, checked before anything is fetched or started.

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::bundle::{self, Choice, Port, Volume};
use crate::error::{Error, Kind};
use crate::registry::Reference;

/// Runs a container of an image, which is pulled if it is not here.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the container a terminal of its own
    #[arg(short, long)]
    tty: bool,
    /// Leave it running in the background and print its id
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    /// Forget it when it ends: no record and no log stay
    #[arg(long)]
    rm: bool,
    /// Its name, for `stop`, `logs` and `rm`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Variable of its environment; without `=VALUE` it is taken from yours
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Files of the host, or a volume of this name
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET[:ro]")]
    volumes: Vec<String>,
    /// Where it starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Who it is, by names or numbers of the image
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Program that runs in place of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Port of the host that leads into it
    #[arg(short, long = "publish", value_name = "[ADDRESS:]HOST:CONTAINER[/udp]")]
    publish: Vec<String>,
    /// Its network: a namespace of its own with or without a way out, or the host's
    #[arg(long, value_name = "default|none|host", default_value = "default")]
    network: String,
    /// Further line of its /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    add_hosts: Vec<String>,
    /// Name of its host [default: its id]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// OCI runtime [default: `runtime` beside builder or on the path, crun, runc]
    #[arg(long, value_name = "PATH", env = "CORACLE_RUNTIME")]
    runtime: Option<PathBuf>,
    /// Name of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What it runs instead of the image's own
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// The checked request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: Reference,
    pub(super) streams: Streams,
    pub(super) detached: bool,
    pub(super) remove: bool,
    pub(super) env: Vec<(String, String)>,
    pub(super) volumes: Vec<Volume>,
    pub(super) workdir: Option<String>,
    pub(super) user: Option<String>,
    pub(super) entrypoint: Option<String>,
    pub(super) command: Vec<String>,
    pub(super) ports: Vec<Port>,
    pub(super) network: Choice,
    pub(super) hosts: Vec<(String, String)>,
    pub(super) hostname: Option<String>,
    pub(super) runtime: Option<PathBuf>,
}

/// What the container's standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// Nothing to read.
    OutputOnly,
    /// The builder's own.
    Interactive,
    /// A terminal of its own, relayed to the builder's.
    Terminal,
}

impl Request {
    pub(super) fn new(args: &Args) -> Result<Self, Error> {
        let id = bundle::new_id()?;
        let here =
            std::env::current_dir().map_err(|error| Error::system("find the working directory", error))?;
        let volumes = args.volumes.iter().map(|volume| bundle::parse_volume(volume, &here));
        let mut ports = Vec::new();
        for port in &args.publish {
            ports.extend(bundle::parse_port(port)?);
        }
        let network = network(&args.network)?;
        bundle::check_ports(network, &ports)?;
        Ok(Self {
            name: match &args.name {
                Some(name) => checked_name(name)?,
                None => id.clone(),
            },
            id,
            image: args.image.parse()?,
            streams: streams(args)?,
            detached: args.detach,
            remove: args.rm,
            env: args.env.iter().filter_map(|variable| variable_of(variable)).collect(),
            volumes: volumes.collect::<Result<_, _>>()?,
            workdir: args.workdir.clone(),
            user: args.user.clone(),
            entrypoint: args.entrypoint.clone(),
            command: args.command.clone(),
            ports,
            network,
            hosts: args.add_hosts.iter().map(|host| host_of(host)).collect::<Result<_, _>>()?,
            hostname: args.hostname.clone(),
            runtime: args.runtime.clone(),
        })
    }
}

fn streams(args: &Args) -> Result<Streams, Error> {
    match (args.tty, args.interactive) {
        (false, false) => Ok(Streams::OutputOnly),
        (false, true) => Ok(Streams::Interactive),
        (true, _) if std::io::stdin().is_terminal() => Ok(Streams::Terminal),
        (true, _) => Err(Error::new(Kind::Invalid, "give the container a terminal: standard input is none")
            .hint("leave out -t")),
    }
}

fn network(text: &str) -> Result<Choice, Error> {
    match text {
        "default" => Ok(Choice::Own),
        "none" => Ok(Choice::None),
        "host" => Ok(Choice::Host),
        other => Err(Error::new(Kind::Invalid, format!("invalid network \"{}\"", other.escape_debug()))
            .hint("it is default, none or host")),
    }
}

/// A name is a directory's, too.
fn checked_name(name: &str) -> Result<String, Error> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && name.len() <= 128 && name.bytes().all(letters) {
        return Ok(name.to_owned());
    }
    Err(Error::new(Kind::Invalid, format!("invalid name \"{}\"", name.escape_debug()))
        .hint("names have letters, digits, dots, dashes and underscores, and begin with a letter or digit"))
}

/// Without a value it is the caller's, and absent where the caller has none.
fn variable_of(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(text).ok().map(|value| (text.to_owned(), value)),
    }
}

fn host_of(text: &str) -> Result<(String, String), Error> {
    match text.split_once([':', '=']) {
        Some((name, address)) if !name.is_empty() && address.parse::<std::net::IpAddr>().is_ok() => {
            Ok((name.to_owned(), address.to_owned()))
        }
        _ => Err(Error::new(Kind::Invalid, format!("invalid host \"{}\"", text.escape_debug()))
            .hint("write NAME:ADDRESS")),
    }
}
