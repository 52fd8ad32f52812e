//! What comes before the verb, and what every verb needs of it.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::log::{Level, Log};
use super::parse::boolean;
use crate::error::{Error, Kind};
use crate::host::facts;
use crate::plan::Need;
use crate::plan::cgroup::Manager;
use crate::state::Root;

/// Global options, as they are typed.
#[derive(Parser, Debug)]
#[command(name = "runtime", about = "Open Container Initiative runtime", disable_version_flag = true)]
#[command(disable_help_subcommand = true, args_override_self = true)]
pub(super) struct Typed {
    /// enable debug logging
    #[arg(long)]
    pub(super) debug: bool,
    /// set the log file to write logs to (default is '/dev/stderr')
    #[arg(long, value_name = "string")]
    pub(super) log: Option<PathBuf>,
    /// set the log format ('text' (default), or 'json')
    #[arg(long, value_name = "string", default_value = "text")]
    pub(super) log_format: String,
    /// root directory for storage of container state (this should be located in tmpfs)
    #[arg(long, value_name = "string")]
    pub(super) root: Option<PathBuf>,
    /// enable systemd cgroup support, expects cgroupsPath to be of form "slice:prefix:name"
    #[arg(long)]
    pub(super) systemd_cgroup: bool,
    /// who makes cgroups ('cgroupfs', 'systemd' or 'disabled')
    #[arg(long, value_name = "string")]
    pub(super) cgroup_manager: Option<String>,
    /// ignore cgroup permission errors ('true', 'false', or 'auto')
    #[arg(long, value_name = "string", default_value = "auto")]
    pub(super) rootless: String,
    /// print the version
    #[arg(short, long)]
    pub(super) version: bool,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(super) rest: Vec<std::ffi::OsString>,
}

/// Global options, understood.
#[derive(Debug, Clone)]
pub struct Global {
    /// The name by which the program was called: it stands in messages, as runc's does.
    pub program: String,
    pub log: Log,
    pub cgroups: Manager,
    /// `--rootless`: whether a refusal to make cgroups is put up with; None leaves it to who calls.
    pub rootless: Option<Need>,
    root: Option<PathBuf>,
}

impl Global {
    pub(super) fn new(program: String, typed: &Typed) -> Result<Self, Error> {
        let log = Log {
            file: typed
                .log
                .clone()
                .filter(|file| file != Path::new("/dev/stderr") && !file.as_os_str().is_empty()),
            format: Log::format(&typed.log_format)?,
            level: if typed.debug { Level::Debug } else { Level::Info },
        };
        log.open()?;
        Ok(Self {
            program,
            log,
            cgroups: manager(typed)?,
            rootless: rootless(&typed.rootless)?,
            root: typed.root.clone().filter(|root| !root.as_os_str().is_empty()),
        })
    }

    /// Where containers are recorded: `--root`, else /run/coracle for root, else below XDG_RUNTIME_DIR, else in /tmp.
    pub fn root(&self) -> Result<Root, Error> {
        match &self.root {
            Some(root) => Root::new(root),
            None => match facts::default_root() {
                path if path.starts_with("/tmp") => Root::claimed(&path),
                path => Root::new(&path),
            },
        }
    }

    /// `--root` was given.
    pub fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// Writes a plan's warnings.
    pub fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            self.log.warn(warning);
        }
    }
}

fn manager(typed: &Typed) -> Result<Manager, Error> {
    match (typed.cgroup_manager.as_deref(), typed.systemd_cgroup) {
        (Some("cgroupfs"), false) | (None, false) => Ok(Manager::Cgroupfs),
        (Some("systemd"), _) | (None, true) => Ok(Manager::Systemd),
        (Some("disabled"), false) => Ok(Manager::Disabled),
        (Some(word), false) => {
            let text = format!("invalid cgroup manager {word:?}: must be cgroupfs, systemd or disabled");
            Err(Error::new(Kind::Invalid, text))
        }
        (Some(word), true) => {
            let text = format!("--systemd-cgroup and --cgroup-manager {word} exclude each other");
            Err(Error::new(Kind::Invalid, text))
        }
    }
}

/// A boolean, or `auto`.
fn rootless(word: &str) -> Result<Option<Need>, Error> {
    match (word, boolean(word)) {
        ("auto", _) => Ok(None),
        (_, Some(true)) => Ok(Some(Need::BestEffort)),
        (_, Some(false)) => Ok(Some(Need::Required)),
        (_, None) => {
            Err(Error::new(Kind::Invalid, format!("parse --rootless: invalid boolean value {word:?}")))
        }
    }
}
