//! `builder login` and `builder logout`: what a registry knows this user by.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use nix::sys::termios::{self, LocalFlags, SetArg};

use super::showing::print;
use crate::error::{Error, Kind};
use crate::registry::{Access, Credentials, Reference, Repository, Settings};

/// Keeps a name and password for a registry
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// The name
    #[arg(short, long)]
    username: Option<String>,
    /// Read the password from standard input, not from the terminal
    #[arg(long)]
    password_stdin: bool,
    /// The registry
    #[arg(default_value = "docker.io", value_name = "HOST[:PORT]")]
    registry: String,
}

/// Forgets the name and password for a registry
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// The registry
    #[arg(default_value = "docker.io", value_name = "HOST[:PORT]")]
    registry: String,
}

/// Asks the registry first: a password that it does not take is not kept.
pub(crate) fn login(args: &LoginArgs) -> Result<ExitCode, Error> {
    let place = probe(&args.registry)?;
    let name = match &args.username {
        Some(name) => name.clone(),
        None if args.password_stdin => {
            return Err(Error::new(Kind::Invalid, "--password-stdin needs --username"));
        }
        None => ask("Username: ", Echo::On)?,
    };
    let password = if args.password_stdin { read_all()? } else { ask("Password: ", Echo::Off)? };
    if name.is_empty() || password.is_empty() || name.contains(':') {
        return Err(Error::new(
            Kind::Invalid,
            "log in: name and password must not be empty, and no colon in the name",
        ));
    }
    let credentials = Credentials::of(&args.registry, &name, &password);
    let endpoint = Settings::from_environment()?.registry(&args.registry);
    Repository::new(endpoint, &place, Access::Pull, &credentials)
        .and_then(|repository| repository.ping())
        .map_err(|error| error.during(&format!("log in to {}", args.registry)))?;
    let file = Credentials::from_environment().keep(&args.registry, &name, &password)?;
    print(&format!("logged in to {}, kept in {}", args.registry, file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Only what our own `login` kept: Docker's file is Docker's.
pub(crate) fn logout(args: &LogoutArgs) -> Result<ExitCode, Error> {
    probe(&args.registry)?;
    let known = Credentials::from_environment().forget(&args.registry)?;
    print(&if known {
        format!("logged out of {}", args.registry)
    } else {
        format!("not logged in to {}", args.registry)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Any repository there; the name is checked with it.
fn probe(registry: &str) -> Result<Reference, Error> {
    let place: Result<Reference, Error> = format!("{registry}/login/probe").parse();
    place.ok().filter(|place| place.registry() == registry).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("\"{}\" is not a registry", registry.escape_debug()))
            .hint("write host[:port]")
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    On,
    Off,
}

fn ask(prompt: &str, echo: Echo) -> Result<String, Error> {
    let doing = |error: std::io::Error| Error::system("read from the terminal", error);
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let text = "log in: standard input is not a terminal";
        return Err(Error::new(Kind::Invalid, text).hint("use --username and --password-stdin"));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{prompt}").and_then(|()| stderr.flush()).map_err(doing)?;
    let before = termios::tcgetattr(&stdin).map_err(|errno| doing(errno.into()))?;
    if echo == Echo::Off {
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &quiet).map_err(|errno| doing(errno.into()))?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &before).map_err(|errno| doing(errno.into()))?;
    if echo == Echo::Off {
        drop(writeln!(stderr)); // the newline that was not echoed
    }
    read.map_err(doing)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn read_all() -> Result<String, Error> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(64 << 10).read_to_string(&mut text);
    read.map_err(|error| Error::system("read the password from standard input", error))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
