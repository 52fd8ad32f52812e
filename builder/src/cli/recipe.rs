//! What `build`, `graph` and `check` have in common: the Dockerfile, its context and what decides the graph.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::attest;
use crate::cli::Global;
use crate::cli::address::{Address, Arrived, Courier};
use crate::cli::recipe_file::{self, Files, Whose};
use crate::dockerfile::ast;
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::{self, Source, directive};
use crate::error::{Error, Kind};
use crate::graph::{Entitlement, Inputs, NamedContext, Network, Renew, Timestamps};
use crate::image::Platform;
use crate::store::Workspace;

/// The common flags.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Recipe {
    /// Dockerfile; `-` reads it from stdin [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Stage to build, by name or number [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Value of an ARG; without `=VALUE` it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// What the image is for; several make an index of images [default: this machine]
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platforms: Vec<Platform>,
    /// Further contexts for FROM and --from: a directory, http(s)://, git, docker-image://, oci-layout://
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    pub(crate) build_contexts: Vec<String>,
    /// Label of the image, over the Dockerfile's
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Network of every RUN that does not say otherwise
    #[arg(long, value_name = "default|none|host", default_value = "default")]
    pub(crate) network: String,
    /// Further line of every RUN's /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub(crate) add_hosts: Vec<String>,
    /// What RUN instructions may ask for
    #[arg(long = "allow", value_name = "network.host|security.insecure|device[=NAME]")]
    pub(crate) allow: Vec<String>,
    /// Run every step, whatever is kept
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Run every step of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Times of the image and its files: `clamp` to the base's or SOURCE_DATE_EPOCH, or `keep`
    #[arg(long, value_name = "clamp|keep", default_value = "clamp")]
    pub(crate) timestamps: String,
    /// Whose files COPY and ADD take: a directory, http(s)://, a git repository, or `-` for a tar or a Dockerfile on stdin
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: String,
}

/// A Dockerfile that was read and parsed.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) file: ast::File,
    /// The patterns of the ignore file, if there is one.
    pub(crate) ignore: Option<Ignore>,
    /// The context's directory; `None`: there is none.
    pub(crate) context: Option<PathBuf>,
    /// The named contexts and where they are.
    pub(crate) contexts: BTreeMap<String, (NamedContext, Option<PathBuf>)>,
    /// When the build began.
    pub(crate) began: SystemTime,
    /// Where the context came from, if that is an address.
    pub(crate) origin: Option<attest::Source>,
    /// Where named contexts that are addresses came from.
    pub(crate) origins: BTreeMap<String, attest::Source>,
    /// What was brought here for this build.
    _places: Vec<Workspace>,
}

impl Recipe {
    /// Brings the contexts here, over ssh with the keys of `agent` too, and reads and parses the Dockerfile and the ignore file.
    pub(crate) fn load(&self, global: &Global, agent: Option<&PathBuf>) -> Result<Loaded, Error> {
        let began = SystemTime::now();
        let mut courier = Courier::new(global, agent);
        let address = Address::parse(&self.context)?;
        let whose = if matches!(address, Address::Directory(_)) { Whose::Users } else { Whose::Strangers };
        let (context, text) = match self.arrived(&address, &mut courier)? {
            Arrived::Directory(directory) => (Some(directory), None),
            Arrived::Text(text) => (None, Some(text)),
            Arrived::Image(reference) => {
                let text = format!("context {reference} is an image");
                return Err(refuse(text).hint("name it with --build-context, and take from it with --from"));
            }
        };
        let origin = courier.take_origin();
        let found = Files { file: self.file.as_deref(), context: context.as_deref(), whose };
        let source = match text {
            Some(bytes) => {
                Source { name: self.context.clone(), text: recipe_file::utf8(bytes, &self.context)? }
            }
            None => found.dockerfile()?,
        };
        let mut file = dockerfile::parse(&source)?;
        if let Some(text) = self.build_args()?.get("BUILDKIT_DOCKERFILE_CHECK") {
            file.directives.check = directive::parse_check(text).map_err(refuse)?;
        }
        let ignore = found.ignore()?;
        let (mut contexts, mut origins) = (BTreeMap::new(), BTreeMap::new());
        for text in &self.build_contexts {
            let (name, place) = pair("build context", text)?;
            let arrived = courier.bring(&Address::parse(&place)?)?.named(&name)?;
            origins.extend(courier.take_origin().map(|origin| (name.clone(), origin)));
            contexts.insert(name, arrived);
        }
        let _places = courier.into_places();
        Ok(Loaded { source, file, ignore, context, contexts, began, origin, origins, _places })
    }

    /// With `-f`, standard input is a context's files or nothing at all.
    fn arrived(&self, address: &Address, courier: &mut Courier<'_>) -> Result<Arrived, Error> {
        match (address, &self.file) {
            (Address::Stdin, Some(file)) if file == Path::new("-") => {
                Err(refuse("the Dockerfile and the context cannot both be stdin".to_owned()))
            }
            (Address::Stdin, Some(file)) => match courier.bring(address)? {
                Arrived::Text(text) if text.is_empty() => Ok(Arrived::Text(
                    std::fs::read(file)
                        .map_err(|error| Error::system(format!("read {}", file.display()), error))?,
                )),
                Arrived::Text(_) => Err(refuse("the context on stdin is no tar".to_owned())),
                arrived => Ok(arrived),
            },
            _ => courier.bring(address),
        }
    }

    /// What the images are for: at least one.
    pub(crate) fn platforms(&self) -> Vec<Platform> {
        if self.platforms.is_empty() { vec![Platform::host()] } else { self.platforms.clone() }
    }

    /// The one platform, for verbs that are about one graph.
    pub(crate) fn platform(&self) -> Result<Platform, Error> {
        match self.platforms.as_slice() {
            [] => Ok(Platform::host()),
            [platform] => Ok(platform.clone()),
            _ => Err(refuse("several platforms are for build only".to_owned())),
        }
    }

    /// What decides the graph for a platform, with no image resolved yet.
    pub(crate) fn inputs(&self, loaded: &Loaded, platform: Platform) -> Result<Inputs, Error> {
        let mut inputs = Inputs::new(platform);
        inputs.build_platform = Platform::host();
        inputs.build_args = self.build_args()?;
        inputs.target.clone_from(&self.target);
        let kind = |(name, (kind, _)): (&String, &(NamedContext, _))| (name.clone(), kind.clone());
        inputs.contexts = loaded.contexts.iter().map(kind).collect();
        inputs.labels = self.labels.iter().map(|text| pair("label", text)).collect::<Result<_, _>>()?;
        inputs.add_hosts = self.add_hosts.iter().map(|text| host_line(text)).collect::<Result<_, _>>()?;
        inputs.allowed =
            self.allow.iter().filter_map(|text| entitlement(text).transpose()).collect::<Result<_, _>>()?;
        inputs.network = match self.network.as_str() {
            "default" => Network::Default,
            "none" => Network::None,
            "host" => Network::Host,
            other => return Err(refuse(format!("network {other} is not default, none or host"))),
        };
        inputs.timestamps = match self.timestamps.as_str() {
            "clamp" => Timestamps::Clamped,
            "keep" => Timestamps::Keep,
            other => return Err(refuse(format!("timestamps {other} are not clamp or keep"))),
        };
        inputs.renew = match (self.no_cache, self.no_cache_filter.as_slice()) {
            (true, _) => Renew::All,
            (false, []) => Renew::None,
            (false, stages) => Renew::Stages(stages.to_vec()),
        };
        Ok(inputs)
    }

    /// Whether times are as they are: what says when it was made is another thing each time.
    pub(crate) fn says_times(&self) -> bool {
        self.timestamps == "keep"
    }

    /// The names of `--allow device`, an empty one for all.
    pub(crate) fn allowed_devices(&self) -> Vec<String> {
        self.allow.iter().filter_map(|text| device(text)).map(str::to_owned).collect()
    }

    pub(crate) fn build_args(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut args = BTreeMap::new();
        // As every builder does: the caller's epoch counts unless an argument says otherwise.
        if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
            args.insert("SOURCE_DATE_EPOCH".to_owned(), epoch);
        }
        for text in &self.build_args {
            match text.split_once('=') {
                Some(("", _)) => return Err(refuse(format!("build argument {text} has no name"))),
                Some((name, value)) => drop(args.insert(name.to_owned(), value.to_owned())),
                None => {
                    if let Ok(value) = std::env::var(text) {
                        args.insert(text.clone(), value);
                    }
                }
            }
        }
        match args.get("SOURCE_DATE_EPOCH") {
            Some(text) if text.parse::<i64>().is_err() => {
                Err(refuse(format!("SOURCE_DATE_EPOCH {text} is not a number of seconds")))
            }
            _ => Ok(args),
        }
    }
}

pub(crate) fn pair(what: &str, text: &str) -> Result<(String, String), Error> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(refuse(format!("{what} {text} is not NAME=VALUE"))),
    }
}

/// `name:address` or `name=address`; the address may be of either family, in brackets or not.
fn host_line(text: &str) -> Result<(String, String), Error> {
    let (name, address) = text.split_once(['=', ':']).unwrap_or((text, ""));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || address.parse::<std::net::IpAddr>().is_err() {
        return Err(refuse(format!("host {text} is not NAME:ADDRESS")));
    }
    Ok((name.to_owned(), address.to_owned()))
}

/// `device`, `device=NAME`.
fn device(text: &str) -> Option<&str> {
    text.strip_prefix("device")
        .and_then(|rest| if rest.is_empty() { Some("") } else { rest.strip_prefix('=') })
}

/// Devices are no matter of the graph: which of them a name means is seen when the step runs.
fn entitlement(text: &str) -> Result<Option<Entitlement>, Error> {
    match text {
        "network.host" => Ok(Some(Entitlement::NetworkHost)),
        "security.insecure" => Ok(Some(Entitlement::SecurityInsecure)),
        text if device(text).is_some_and(|name| !name.contains(',')) => Ok(None),
        other => Err(refuse(format!(
            "entitlement {other} is not network.host, security.insecure or device[=NAME]"
        ))),
    }
}

fn refuse(message: String) -> Error {
    Error::new(Kind::Invalid, message)
}
