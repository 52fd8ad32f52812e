//! The git program: whose configuration, home and ssh it is run with.
//!
//! Invariant: it reads no file of configuration. What of the user's own it may have is given to it in its environment: a filter or a
//! monitor that is configured is a program that would see a stranger's files.

use std::env;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{Login, NamedBy, Repository, Ssh};
use crate::error::{Error, Kind};

/// The first that can be told to leave the user's files alone (`GIT_CONFIG_GLOBAL`); the older ones would read them.
const OLDEST: (u32, u32) = (2, 32);
/// What a context on the command line is asked for with: logins, certificates, proxies, addresses in other words.
const OF_USERS: &[&str] =
    &["credential.", "http.", "url.", "ssh.", "core.askpass", "core.gitproxy", "core.sshcommand"];
/// What of it ssh for a Dockerfile has, once the user has allowed it.
const OF_SSH: &[&str] = &["ssh.", "core.sshcommand"];
/// No program, and one content whoever builds.
const OURS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
];
/// Whatever repository this process stands in has nothing to do with it, nor has what the user's shell says of configuration.
const FORGOTTEN: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_PARAMETERS",
    "GIT_ATTR_SOURCE",
    "GIT_TEMPLATE_DIR",
];
/// Where logins are that git and curl look for by themselves.
const LOGINS: &[&str] = &["NETRC", "GIT_SSL_CERT", "GIT_SSL_KEY"];
/// A home without `.netrc` or anything else: nothing is below a file.
const NO_HOME: &str = "/dev/null";

/// ssh as the user has it, but for questions.
const OF_USER: &str = "ssh -o BatchMode=yes";
/// The same in a user namespace, where ssh takes itself for root's: it looks for the home of its user id, and not in HOME.
const OF_BUILD: &str = "if [ -r \"$HOME/.ssh/config\" ]; then set -- -F \"$HOME/.ssh/config\" \"$@\"; fi; \
    ssh -o BatchMode=yes -o \"UserKnownHostsFile=$HOME/.ssh/known_hosts\"";
/// git has no home for a Dockerfile, but its ssh has: hosts that are known are in there.
const SSH_HOME: &str = "CORACLE_SSH_HOME";

/// Says the login of the address, which its environment has: what stands in arguments everybody on the machine may read, and git
/// passes the address on in them.
const LOGIN: &str = "!f() { test \"$1\" != get || printf 'username=%s\\npassword=%s\\n' \"$CORACLE_GIT_USER\" \"$CORACLE_GIT_PASSWORD\"; }; f";

/// Names as git lists them (the parts outside the middle in lower case), and values.
type Settings = Vec<(String, String)>;

/// git without its words, as it may run for the repository.
pub(super) fn git(repository: &Repository, at: Option<&Path>) -> Result<Command, Error> {
    check_version()?;
    // The modes of what is checked out must not depend on who builds.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec git \"$@\"", "git"]).stdin(Stdio::null());
    if let Some(at) = at {
        command.current_dir(at);
    }
    let mut settings = taken(repository)?;
    forget(&mut command);
    if repository.named_by == NamedBy::Dockerfile {
        withhold(&mut command);
        // Else a server may have the ticket of a Kerberos user for the asking.
        settings.push(("http.emptyAuth".to_owned(), "false".to_owned()));
    }
    allow(&mut command, repository, &settings);
    if let Some(login) = &repository.login()? {
        settings.extend(log_in(&mut command, login));
    }
    settings.extend(OURS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    configure(&mut command, &settings);
    Ok(command)
}

fn check_version() -> Result<(), Error> {
    static FOUND: OnceLock<io::Result<String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let output = Command::new("git").arg("version").stdin(Stdio::null()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("git version ").to_owned())
    });
    match found {
        Ok(version) if is_older(version) => {
            let text = format!("run git: version {version} cannot leave the user's configuration alone");
            Err(Error::new(Kind::Unsupported, text).hint("install git 2.32 or newer"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = Error::new(Kind::Unsupported, "run git: it is not installed");
            Err(missing.hint("repositories are fetched by the git program"))
        }
        Err(error) => Err(Error::system("run git", io::Error::from(error.kind()))),
    }
}

/// One that says nothing of the kind is not known to be.
fn is_older(version: &str) -> bool {
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    matches!((parts.next(), parts.next()), (Some(major), Some(minor)) if (major, minor) < OLDEST)
}

/// What of the user's configuration it gets, from whichever file it is.
fn taken(repository: &Repository) -> Result<Settings, Error> {
    let wanted = match (repository.named_by, &repository.ssh) {
        (NamedBy::User, _) => OF_USERS,
        (NamedBy::Dockerfile, Ssh::Refused) => return Ok(Vec::new()),
        (NamedBy::Dockerfile, _) => OF_SSH,
    };
    let doing = "read the user's git configuration";
    let mut command = Command::new("git");
    // Where no repository is: its configuration is not the user's.
    command.args(["config", "--list", "-z"]).current_dir("/").stdin(Stdio::null());
    for name in FORGOTTEN.iter().filter(|name| !name.starts_with("GIT_CONFIG_")) {
        command.env_remove(name);
    }
    let output =
        command.env("LC_ALL", "C").output().map_err(|error| Error::system(doing.to_owned(), error))?;
    if !output.status.success() {
        return Err(super::failed(doing, &String::from_utf8_lossy(&output.stderr)));
    }
    let mut settings = parse(&String::from_utf8_lossy(&output.stdout));
    settings.retain(|(name, _)| wanted.iter().any(|wanted| is_below(name, wanted)));
    Ok(settings)
}

/// `NAME LF VALUE NUL`; a name alone means yes.
fn parse(listed: &str) -> Settings {
    let entries = listed.split('\0').filter(|entry| !entry.is_empty());
    let split = |entry: &str| match entry.split_once('\n') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (entry.to_owned(), "true".to_owned()),
    };
    entries.map(split).collect()
}

fn is_below(name: &str, wanted: &str) -> bool {
    if wanted.ends_with('.') { name.starts_with(wanted) } else { name == wanted }
}

fn forget(command: &mut Command) {
    for name in FORGOTTEN {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_ATTR_NOSYSTEM", "1");
}

/// A Dockerfile's author has no use of what the user can get at.
fn withhold(command: &mut Command) {
    for name in LOGINS {
        command.env_remove(name);
    }
    command.env("GIT_ASKPASS", "/bin/false");
    command.env("HOME", NO_HOME).env("XDG_CONFIG_HOME", NO_HOME);
}

/// A whole login stands for every other: an empty helper forgets those before it. Submodules of the same server get it too.
fn log_in(command: &mut Command, login: &Login) -> Settings {
    let name = |last: &str| format!("credential.{}.{last}", login.server);
    let Some(password) = &login.password else { return vec![(name("username"), login.user.clone())] };
    command.env("CORACLE_GIT_USER", &login.user).env("CORACLE_GIT_PASSWORD", password);
    vec![(name("helper"), String::new()), (name("helper"), LOGIN.to_owned())]
}

/// Which protocols git may speak, and how its ssh asks: nobody would answer it at the terminal.
fn allow(command: &mut Command, repository: &Repository, settings: &Settings) {
    let others = "http:https:git";
    if repository.ssh == Ssh::Refused {
        command.env("GIT_ALLOW_PROTOCOL", others);
        return;
    }
    command.env("GIT_ALLOW_PROTOCOL", format!("{others}:ssh"));
    if let Ssh::Agent(socket) = &repository.ssh {
        command.env("SSH_AUTH_SOCK", socket);
    }
    let own = own_ssh(settings);
    let ssh = match &own {
        Some(own) => own.as_str(),
        None if repository.ssh == Ssh::Users => OF_USER,
        None => OF_BUILD,
    };
    if own.is_none() {
        command.env("GIT_SSH_VARIANT", "ssh");
    }
    match repository.named_by {
        NamedBy::User if own.is_some() => {}
        NamedBy::User => {
            command.env("GIT_SSH_COMMAND", ssh);
        }
        NamedBy::Dockerfile => {
            command.env(SSH_HOME, env::var_os("HOME").unwrap_or_default());
            command.env("GIT_SSH_COMMAND", format!("export HOME=\"${SSH_HOME}\"; {ssh}"));
        }
    }
}

/// What the user has told git to run for ssh, as words of a shell, in git's order.
fn own_ssh(settings: &Settings) -> Option<String> {
    let configured = || {
        let of_ssh = settings.iter().rfind(|(name, _)| name == "core.sshcommand");
        of_ssh.map(|(_, command)| command.clone())
    };
    let in_environment = |name: &str| env::var_os(name)?.into_string().ok();
    in_environment("GIT_SSH_COMMAND")
        .or_else(configured)
        .or_else(|| env::var_os("GIT_SSH").map(|_| "\"$GIT_SSH\"".to_owned()))
}

fn configure(command: &mut Command, settings: &Settings) {
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (number, (name, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{number}"), name);
        command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, older) in [
            ("2.31.9", true),
            ("1.99", true),
            ("2.32.0", false),
            ("2.47.3 (Apple Git-1)", false),
            ("3.0.0", false),
            ("", false),
        ] {
            assert_eq!(is_older(version), older, "{version}");
        }
    }

    #[test]
    fn no_program_is_among_what_is_taken() {
        let listed = "filter.lfs.smudge\ngit-lfs smudge\0credential.helper\n\0credential.https://h.helper\na=b\n\0\
            http.sslverify\0core.fsmonitor\n/x\0core.sshcommand\nssh -i k\0core.hookspath\n/x\0url.a:.insteadof\nb:\0";
        let mut settings = parse(listed);
        settings.retain(|(name, _)| OF_USERS.iter().any(|wanted| is_below(name, wanted)));
        let shown: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            shown,
            [
                "credential.helper=",
                "credential.https://h.helper=a=b\n",
                "http.sslverify=true",
                "core.sshcommand=ssh -i k",
                "url.a:.insteadof=b:"
            ]
        );
    }
}
