//! What `build`, `graph` and `check` have in common: the Dockerfile, its context and what decides the graph.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::dockerfile::ast;
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::{self, Source, directive};
use crate::error::{Error, Kind};
use crate::graph::{Entitlement, Inputs, NamedContext, Network, Renew, Timestamps};
use crate::image::Platform;

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
    /// Further contexts for FROM and --from: a directory, or docker-image://NAME
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
    #[arg(long = "allow", value_name = "network.host|security.insecure")]
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
    /// Directory whose files COPY and ADD take; `-` reads a Dockerfile from stdin, without files
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: PathBuf,
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
}

impl Recipe {
    /// Reads and parses the Dockerfile and the ignore file.
    pub(crate) fn load(&self) -> Result<Loaded, Error> {
        let context = (self.context != Path::new("-")).then(|| self.context.clone());
        if let Some(directory) = &context {
            check_context(directory)?;
        }
        let source = self.read(context.as_deref())?;
        let mut file = dockerfile::parse(&source)?;
        if let Some(text) = self.build_args()?.get("BUILDKIT_DOCKERFILE_CHECK") {
            file.directives.check = directive::parse_check(text).map_err(refuse)?;
        }
        let ignore = self.read_ignore(context.as_deref())?;
        Ok(Loaded { source, file, ignore, context })
    }

    fn read(&self, context: Option<&Path>) -> Result<Source, Error> {
        let doing = |path: &Path, error| {
            Error::system(format!("read {}", path.display()), error).hint("name the Dockerfile with -f")
        };
        let (path, bytes) = match (&self.file, context) {
            (Some(path), _) if path == Path::new("-") => return from_stdin(),
            // The user's own choice, which may be a pipe.
            (Some(path), _) => (path.clone(), std::fs::read(path).map_err(|error| doing(path, error))?),
            (None, None) => return from_stdin(),
            (None, Some(context)) => {
                let found = ["Dockerfile", "Containerfile"].map(|name| context.join(name));
                let [first, _] = &found;
                let path = found.iter().find(|path| path.exists()).unwrap_or(first).clone();
                let bytes = read_regular(&path).map_err(|error| doing(&path, error))?;
                (path, bytes)
            }
        };
        Ok(Source { name: path.display().to_string(), text: utf8(bytes, &path.display().to_string())? })
    }

    /// `<Dockerfile>.dockerignore` comes before `.dockerignore`.
    fn read_ignore(&self, context: Option<&Path>) -> Result<Option<Ignore>, Error> {
        let Some(context) = context else { return Ok(None) };
        let own = match &self.file {
            Some(path) if path == Path::new("-") => None,
            Some(path) => Some(path.clone()),
            None => Some(context.join("Dockerfile")),
        };
        let own = own.map(|path| PathBuf::from(format!("{}.dockerignore", path.display())));
        for path in own.into_iter().chain([context.join(".dockerignore")]) {
            let name = path.display().to_string();
            match read_regular(&path) {
                Ok(bytes) => return Ignore::parse(&Source { text: utf8(bytes, &name)?, name }).map(Some),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::system(format!("read {name}"), error)),
            }
        }
        Ok(None)
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
    pub(crate) fn inputs(&self, platform: Platform) -> Result<Inputs, Error> {
        let mut inputs = Inputs::new(platform);
        inputs.build_platform = Platform::host();
        inputs.build_args = self.build_args()?;
        inputs.target.clone_from(&self.target);
        inputs.contexts = self.contexts()?.into_iter().map(|(name, place)| (name, place.kind)).collect();
        inputs.labels = self.labels.iter().map(|text| pair("label", text)).collect::<Result<_, _>>()?;
        inputs.add_hosts = self.add_hosts.iter().map(|text| host_line(text)).collect::<Result<_, _>>()?;
        inputs.allowed = self.allow.iter().map(|text| entitlement(text)).collect::<Result<_, _>>()?;
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

    fn build_args(&self) -> Result<BTreeMap<String, String>, Error> {
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

    /// The named contexts and where they are.
    pub(crate) fn contexts(&self) -> Result<BTreeMap<String, Place>, Error> {
        let mut contexts = BTreeMap::new();
        for text in &self.build_contexts {
            let (name, place) = pair("build context", text)?;
            let place = if let Some(reference) = place.strip_prefix("docker-image://") {
                Place { kind: NamedContext::Image(reference.parse()?), directory: None }
            } else if place.contains("://") {
                return Err(Error::new(Kind::Unsupported, format!("build context {text} is not supported"))
                    .hint("a directory, or docker-image://NAME"));
            } else {
                check_context(Path::new(&place))?;
                Place { kind: NamedContext::Directory, directory: Some(PathBuf::from(place)) }
            };
            contexts.insert(name, place);
        }
        Ok(contexts)
    }
}

/// A named context.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) kind: NamedContext,
    pub(crate) directory: Option<PathBuf>,
}

/// A file of the context, which is a stranger's: one that never ends, or that is too large, is refused.
fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    const LARGEST: u64 = 16 << 20;
    let refuse = |why: &str| Err(std::io::Error::new(ErrorKind::InvalidData, why));
    // O_NONBLOCK: a FIFO would hang, and is refused below.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return refuse("not a regular file");
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { refuse("larger than 16 MiB") } else { Ok(bytes) }
}

fn check_context(directory: &Path) -> Result<(), Error> {
    let shown = directory.display();
    if ["http://", "https://", "git@", "git://", "ssh://"].iter().any(|p| shown.to_string().starts_with(p)) {
        return Err(Error::new(Kind::Unsupported, format!("context {shown} is not supported"))
            .hint("clone or download it, and name the directory"));
    }
    let found =
        std::fs::metadata(directory).map_err(|e| Error::system(format!("open context {shown}"), e))?;
    if found.is_dir() { Ok(()) } else { Err(refuse(format!("context {shown} is not a directory"))) }
}

fn from_stdin() -> Result<Source, Error> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|e| Error::system("read the Dockerfile from stdin", e))?;
    Ok(Source { name: "-".to_owned(), text: utf8(bytes, "stdin")? })
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        refuse(format!("{name} is not UTF-8 text: byte {} is not valid", error.utf8_error().valid_up_to()))
    })
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

fn entitlement(text: &str) -> Result<Entitlement, Error> {
    match text {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::SecurityInsecure),
        other => Err(refuse(format!("entitlement {other} is not network.host or security.insecure"))),
    }
}

fn refuse(message: String) -> Error {
    Error::new(Kind::Invalid, message)
}
