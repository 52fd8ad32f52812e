//! `exec`: a further process in a running container.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use oci_spec::runtime::{LinuxCapabilities, Process, Spec, User};

use super::create::{Mode, check_preserved, check_terminal, keep_from_children};
use super::{End, Global};
use crate::bundle;
use crate::error::{Error, Kind};
use crate::host::create::write_pid;
use crate::host::exec::{Order, Place, start, target};
use crate::host::spawn::Spawned;
use crate::host::{cgroup, console, facts, foreground, seal, undo};
use crate::plan::facts::Interest;
use crate::plan::{Keyring, caps, join};
use crate::state::{self, Clocks, ContainerId, Record};

/// execute new process inside the container
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal
    #[arg(long, value_name = "value")]
    console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the exec process
    #[arg(long, value_name = "value")]
    pidfd_socket: Option<PathBuf>,
    /// current working directory in the container
    #[arg(long, value_name = "value")]
    cwd: Option<PathBuf>,
    /// set environment variables
    #[arg(short, long, value_name = "value")]
    env: Vec<String>,
    /// allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// UID (format: <uid>[:<gid>])
    #[arg(short, long, value_name = "value")]
    user: Option<String>,
    /// additional gids
    #[arg(short = 'g', long, value_name = "value")]
    additional_gids: Vec<String>,
    /// path to the process.json
    #[arg(short, long, value_name = "value")]
    process: Option<PathBuf>,
    /// detach from the container's process
    #[arg(short, long)]
    detach: bool,
    /// specify the file to write the process id to
    #[arg(long, value_name = "value")]
    pid_file: Option<PathBuf>,
    /// set the asm process label for the process commonly used with selinux
    #[arg(long, value_name = "value")]
    process_label: Option<String>,
    /// set the apparmor profile for the process
    #[arg(long, value_name = "value")]
    apparmor: Option<String>,
    /// set the no new privileges value for the process
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_new_privs: Option<bool>,
    /// add a capability to the bounding set for the process
    #[arg(short, long, value_name = "value")]
    cap: Vec<String>,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, value_name = "value", default_value_t = 0)]
    preserve_fds: u32,
    /// run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>.
    #[arg(long, value_name = "value")]
    cgroup: Vec<String>,
    /// allow exec in a paused container
    #[arg(long)]
    ignore_paused: bool,
    #[arg(value_name = "container-id")]
    id: String,
    #[arg(value_name = "command", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// What cannot be started is 255, as in runc, for a caller to tell it from the program's own codes.
pub(super) fn exec(args: &Args, global: &Global) -> Result<ExitCode, End> {
    carry_out(args, global).map_err(|error| End::FailedWith(255, error))
}

fn carry_out(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    seal::protect()?;
    keep_from_children()?;
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let (record, config) = root.load_all(&id)?;
    let target = target(&record)?;
    let place = place(&record.cgroup, &args.cgroup)?;
    check_paused(args, &record, &place)?;
    let spec = bundle::recorded(&config)?;
    let process = process(args, &spec, global)?;
    let mode = if args.detach { Mode::Detached } else { Mode::Foreground };
    check_terminal(process.terminal().unwrap_or(false), args.console_socket.as_deref(), mode)?;
    check_preserved(args.preserve_fds)?;
    let facts = facts::measure(Interest::of_joining(&spec, &process))?;
    let mut planned = join::plan(&spec, &process, &facts, args.preserve_fds)?;
    if record.clocks == Clocks::Restored {
        planned.inside |= libc::CLONE_NEWTIME;
    }
    global.warn(&planned.warnings);
    let blocked = match mode {
        Mode::Foreground => Some(foreground::block()?),
        Mode::Detached => None,
    };
    global.log.debug(&format!("exec: joining container {id} by its process {}", record.init.pid));
    let order = Order {
        plan: &planned,
        record: &record,
        place: &place,
        ignored_signals: facts.caller.ignored_signals,
        keyring: Keyring::Own(format!("_ses.{id}")),
        console: args.console_socket.as_deref(),
        warn: &|text| global.log.warn(text),
    };
    let (child, terminal) = start(&order, target)?;
    if let Err(error) = tell(args, &child) {
        // The caller hears that nothing runs, and has no way to find what does.
        undo::end(&child);
        return Err(error);
    }
    match blocked {
        None => Ok(ExitCode::SUCCESS),
        Some(blocked) => {
            let exit = foreground::wait(&child, &foreground::Attended { terminal, relay: None }, &blocked)?;
            Ok(ExitCode::from(u8::try_from(exit.code()).unwrap_or(u8::MAX)))
        }
    }
}

/// Says which process it is, where that was asked for.
fn tell(args: &Args, child: &Spawned) -> Result<(), Error> {
    if let Some(socket) = &args.pidfd_socket {
        console::send(socket, "pidfd", &child.pidfd)?;
    }
    args.pid_file.as_ref().map_or(Ok(()), |file| write_pid(file, child.pid))
}

/// Whoever enters a frozen cgroup, or one below it, stops there: on v1 even SIGKILL does not end it.
fn check_paused(args: &Args, record: &Record, place: &Place) -> Result<(), Error> {
    let (Place::Container(entered) | Place::Part(entered)) = place;
    if args.ignore_paused || !cgroup::stops_all(entered).unwrap_or(false) {
        return Ok(());
    }
    let what = match cgroup::is_frozen(&record.cgroup) {
        Ok(true) => "a paused container",
        _ => "a frozen cgroup",
    };
    Err(Error::new(Kind::Invalid, format!("cannot exec in {what} (use --ignore-paused to override)")))
}

/// Each hierarchy's directory, or the one below it that was asked for: for all, or for the controllers named before a colon.
fn place(of: &state::Cgroup, asked: &[String]) -> Result<Place, Error> {
    if asked.is_empty() {
        return Ok(Place::Container(of.clone()));
    }
    let mut cgroup = of.clone();
    for word in asked {
        let (controllers, sub) =
            word.split_once(':').map_or(("", word.as_str()), |(names, sub)| (names, sub));
        let sub = Path::new(sub.trim_start_matches('/'));
        if sub.components().any(|part| matches!(part, Component::ParentDir)) {
            return Err(Error::new(Kind::Invalid, format!("bad sub cgroup path: {}", sub.display())));
        }
        for name in controllers.split(',') {
            let fits =
                |dir: &state::CgroupDir| name.is_empty() || dir.controllers.iter().any(|own| own == name);
            if !of.dirs.iter().any(fits) {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("unknown controller {name} in --cgroup {word}"),
                ));
            }
            for (dir, base) in cgroup.dirs.iter_mut().zip(&of.dirs).filter(|(_, base)| fits(base)) {
                // An empty part would leave a slash at the end.
                dir.path = if sub.as_os_str().is_empty() { base.path.clone() } else { base.path.join(sub) };
            }
        }
    }
    Ok(Place::Part(cgroup))
}

/// The process of `--process`, completed by the container's own; or that one with what the flags change.
fn process(args: &Args, spec: &Spec, global: &Global) -> Result<Process, Error> {
    if let Some(file) = &args.process {
        let mut warnings = Vec::new();
        let mut process = bundle::process(file, &mut warnings)?;
        global.warn(&warnings);
        if let Some(of_container) = spec.process() {
            join::complete(&mut process, of_container);
        }
        return Ok(process);
    }
    let Some(mut process) = spec.process().clone() else {
        return Err(Error::new(Kind::Invalid, "the container's configuration has no process"));
    };
    if args.command.is_empty() {
        return Err(Error::new(Kind::Invalid, "process args cannot be empty"));
    }
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(label) = &args.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(value) = args.no_new_privs {
        process.set_no_new_privileges(Some(value));
    }
    add_caps(&mut process, &args.cap, global);
    set_user(&mut process, args)?;
    Ok(process)
}

/// Ambient and inheritable stay empty where they are: a capability for everybody in the container was not asked for (CVE-2022-24769).
/// One that is unknown may be known to the caller, who knows a newer kernel: runc warns and goes on.
fn add_caps(process: &mut Process, names: &[String], global: &Global) {
    let mut sets = process.capabilities().clone().unwrap_or_else(no_caps);
    let has_ambient = sets.ambient().as_ref().is_some_and(|set| !set.is_empty());
    let (known, unknown): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| caps::parse(name).is_some());
    if !unknown.is_empty() {
        global.log.warn(&format!("ignoring unknown or unavailable capabilities: {}", list(&unknown)));
    }
    for cap in known.into_iter().filter_map(|name| caps::parse(name)) {
        let with = |set: &Option<oci_spec::runtime::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(cap);
            Some(set)
        };
        sets.set_bounding(with(sets.bounding()));
        sets.set_effective(with(sets.effective()));
        sets.set_permitted(with(sets.permitted()));
        if has_ambient {
            sets.set_inheritable(with(sets.inheritable()));
            sets.set_ambient(with(sets.ambient()));
        }
    }
    if !names.is_empty() {
        process.set_capabilities(Some(sets));
    }
}

/// As Go prints a list.
fn list(words: &[&String]) -> String {
    let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
    format!("[{}]", words.join(" "))
}

fn no_caps() -> LinuxCapabilities {
    let mut none = LinuxCapabilities::default();
    none.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    none
}

/// Strict numbers: what overflows elsewhere becomes root.
fn set_user(process: &mut Process, args: &Args) -> Result<(), Error> {
    let id = |text: &str, what: &str| match text.parse::<u32>() {
        Ok(id) if id != u32::MAX && !text.starts_with('+') => Ok(id),
        _ => Err(Error::new(Kind::Invalid, format!("{what} {text:?} is not a number from 0 to 4294967294"))),
    };
    let mut user: User = process.user().clone();
    if let Some(text) = &args.user {
        let (uid, gid) = text.split_once(':').map_or((text.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        user.set_uid(id(uid, "user")?);
        if let Some(gid) = gid {
            user.set_gid(id(gid, "group")?);
        }
    }
    if !args.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        for text in args.additional_gids.iter().flat_map(|list| list.split(',')) {
            groups.push(id(text, "group")?);
        }
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    Ok(())
}
