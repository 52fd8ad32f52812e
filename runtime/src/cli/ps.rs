//! `ps`: the processes of a container.

use std::process::{Command, ExitCode};

use clap::Parser;

use super::{Global, print};
use crate::error::{Error, Kind};
use crate::host::{cgroup, remove};
use crate::state::{ContainerId, Status};
use crate::sys::command;

/// ps displays the processes running inside a container
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// select one of: table or json
    #[arg(short, long, value_name = "string", default_value = "table")]
    format: String,
    #[arg(value_name = "container-id")]
    id: String,
    /// options for the host's ps, which draws the table
    #[arg(value_name = "ps options", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(super) fn ps(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let record = root.load(&id)?;
    let mut pids = cgroup::procs(&record.cgroup)?;
    // Without a cgroup init is the only one that is known.
    if pids.is_empty() && remove::status(&record, &root.dir(&id))? != Status::Stopped {
        pids.push(record.init.pid);
    }
    match args.format.as_str() {
        "json" => {
            let text: Vec<String> = pids.iter().map(i32::to_string).collect();
            let text = if pids.is_empty() { "null".to_owned() } else { format!("[{}]", text.join(",")) };
            print(&format!("{text}\n"));
        }
        "table" => print(&table(args, &pids)?),
        _ => return Err(Error::new(Kind::Invalid, "invalid format option")),
    }
    Ok(ExitCode::SUCCESS)
}

/// The host's ps shows all processes; the lines of the others are left out.
fn table(args: &Args, pids: &[i32]) -> Result<String, Error> {
    let options = match args.options.is_empty() {
        true => vec!["-ef".to_owned()],
        false => args.options.clone(),
    };
    let run = command::output(Command::new("ps").args(&options))
        .map_err(|source| Error::system("run ps", source))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        return Err(Error::new(Kind::System, format!("{}: {}", run.status, said.trim())));
    }
    let text = String::from_utf8_lossy(&run.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Error::new(Kind::Invalid, "couldn't find PID field in ps output"))?;
    let is_inside = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let inside: String = lines.filter(is_inside).map(|line| format!("{line}\n")).collect();
    Ok(format!("{header}\n{inside}"))
}
