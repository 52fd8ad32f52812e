//! The list of verbs: names, help, dispatch.

use std::process::ExitCode;

use super::log::Level;
use super::parse::{Asked, verb};
use super::{
    End, checkpoint, create, delete, doctor, events, exec, features, kill, list, mounts, pause, plan, ps,
    restore, run, spec, start, state, update,
};
use crate::error::{Error, Kind};

/// Verb and what it does, in runc's order.
const VERBS: [(&str, &str); 21] = [
    ("checkpoint", "checkpoint a running container"),
    ("create", "create a container"),
    ("delete", "delete any resources held by the container often used with detached container"),
    ("doctor", "tell what this host and this user can and cannot do, and how to mend it"),
    ("events", "display container events such as OOM notifications, cpu, memory, and IO usage statistics"),
    ("exec", "execute new process inside the container"),
    ("features", "show the enabled features"),
    ("kill", "kill sends the specified signal (default: SIGTERM) to the container's init process"),
    ("list", "lists containers started by this runtime with the given root"),
    ("mounts", "add or remove mounts while the container is running"),
    ("pause", "pause suspends all processes inside the container"),
    ("plan", "print what create would do with a bundle, and do nothing"),
    ("ps", "ps displays the processes running inside a container"),
    ("restore", "restore a container from a previous checkpoint"),
    ("resume", "resumes all processes that have been previously paused"),
    ("run", "create and run a container"),
    ("spec", "create a new specification file"),
    ("start", "executes the user defined process in a created container"),
    ("state", "output the state of a container"),
    ("update", "update container resource constraints"),
    ("help, h", "Shows a list of commands or help for one command"),
];

/// Carries out one command.
pub(super) fn run(mut asked: Asked) -> Result<ExitCode, End> {
    let mut name = asked.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if name == "help" || name == "h" {
        asked.words.remove(0);
        match asked.words.first() {
            None => return Err(End::Print(help(&asked.global.program))),
            Some(of) => name = of.to_string_lossy().into_owned(),
        }
        asked.words.truncate(1);
        asked.words.push("--help".into());
    }
    let global = &asked.global;
    if global.log.level == Level::Debug {
        global.log.debug(&format!("{name}: begin, process {}", std::process::id()));
    }
    match name.as_str() {
        "checkpoint" => checkpoint::checkpoint(&verb(&asked)?, global).map_err(End::from),
        "create" => create::create(&verb(&asked)?, global).map_err(End::from),
        "delete" => delete::delete(&verb(&asked)?, global).map_err(End::from),
        "exec" => exec::exec(&verb(&asked)?, global),
        "doctor" => doctor::doctor(&verb(&asked)?, global).map_err(End::from),
        "events" => events::events(&verb(&asked)?, global).map_err(End::from),
        "features" => features::features(&verb(&asked)?, global).map_err(End::from),
        "update" => update::update(&verb(&asked)?, global).map_err(End::from),
        "kill" => kill::kill(&verb(&asked)?, global).map_err(End::from),
        "list" => list::list(&verb(&asked)?, global).map_err(End::from),
        "mounts" => mounts::mounts(&verb(&asked)?, global).map_err(End::from),
        "pause" => pause::pause(&verb(&asked)?, global).map_err(End::from),
        "plan" => plan::plan(&verb(&asked)?, global).map_err(End::from),
        "ps" => ps::ps(&verb(&asked)?, global).map_err(End::from),
        "restore" => restore::restore(&verb(&asked)?, global).map_err(End::from),
        "resume" => pause::resume(&verb(&asked)?, global).map_err(End::from),
        "run" => run::run(&verb(&asked)?, global).map_err(End::from),
        "spec" => spec::spec(&verb(&asked)?, global).map_err(End::from),
        "start" => start::start(&verb(&asked)?, global).map_err(End::from),
        "state" => state::state(&verb(&asked)?, global).map_err(End::from),
        name => Err(End::NoTopic(Error::new(Kind::Invalid, format!("No help topic for '{name}'")))),
    }
}

/// Verbs after whose first word everything belongs to another program.
pub(super) fn has_free_words(name: &str) -> bool {
    matches!(name, "exec" | "ps")
}

/// How many words a verb takes, in runc's words.
pub(super) fn arguments(name: &str) -> &'static str {
    match name {
        "exec" | "kill" | "ps" => "a minimum of 1",
        "mounts" => "exactly 3",
        "list" | "spec" | "features" | "doctor" => "exactly 0",
        _ => "exactly 1",
    }
}

/// The overall help, in runc's layout.
pub(super) fn help(program: &str) -> String {
    let verbs: String = VERBS.iter().map(|(name, about)| format!("   {name:<11} {about}\n")).collect();
    format!(
        "NAME:
   {program} - Open Container Initiative runtime

{program} runs applications packaged as OCI bundles: a directory with a specification file
named \"config.json\" and a root file system. It needs neither a daemon nor root.

To start a new instance of a container:

    # {program} run [ -b bundle ] <container-id>

USAGE:
   {program} [global options] command [command options] [arguments...]

VERSION:
   {}

COMMANDS:
{verbs}
GLOBAL OPTIONS:
   --debug                 enable debug logging
   --log value             set the log file to write logs to (default is '/dev/stderr')
   --log-format value      set the log format ('text' (default), or 'json') (default: \"text\")
   --root value            root directory for storage of container state (this should be located in tmpfs) (default: \"{}\")
   --systemd-cgroup        enable systemd cgroup support, expects cgroupsPath to be of form \"slice:prefix:name\" for e.g. \"system.slice:{program}:434234\"
   --cgroup-manager value  who makes cgroups ('cgroupfs', 'systemd' or 'disabled') (default: \"cgroupfs\")
   --rootless value        ignore cgroup permission errors ('true', 'false', or 'auto') (default: \"auto\")
   --help, -h              show help
   --version, -v           print the version
",
        env!("CARGO_PKG_VERSION"),
        crate::host::facts::default_root().display(),
    )
}

/// The lines that engines read: the first names the program and a version, the others follow runc's.
pub(super) fn version(program: &str) -> String {
    format!(
        "{program} version {}\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("CORACLE_COMMIT").unwrap_or("unknown"),
        crate::bundle::SPEC_VERSION,
    )
}
