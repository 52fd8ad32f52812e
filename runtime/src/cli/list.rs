//! `list`: all containers below the root.

use std::process::ExitCode;

use clap::Parser;

use super::state::View;
use super::{Global, print};
use crate::error::{Error, Kind};
use crate::host::account;
use crate::state::{Found, Record, Root};

/// lists containers started by this runtime with the given root
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// select one of: table or json
    #[arg(short, long, value_name = "string", default_value = "table")]
    format: String,
    /// display only container IDs
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn list(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let root = global.root()?;
    let views = views(&root, global)?;
    if args.quiet {
        let ids: String = views.iter().map(|view| format!("{}\n", view.id)).collect();
        print(&ids);
        return Ok(ExitCode::SUCCESS);
    }
    match args.format.as_str() {
        "table" => print(&table(&views)),
        "json" => {
            // runc prints Go's nil for none.
            let text = match views.is_empty() {
                true => "null".to_owned(),
                false => serde_json::to_string(&views)
                    .map_err(|source| Error::system("encode the list", std::io::Error::from(source)))?,
            };
            print(&format!("{text}\n"));
        }
        _ => return Err(Error::new(Kind::Invalid, "invalid format option")),
    }
    Ok(ExitCode::SUCCESS)
}

/// One container that cannot be read does not hide the others.
fn views(root: &Root, global: &Global) -> Result<Vec<View>, Error> {
    let ids = match root.ids() {
        Err(error) if error.errno() == Some(libc::ENOENT) && !global.has_root() => Vec::new(),
        other => other?,
    };
    let mut views = Vec::new();
    for id in ids {
        match root.find(&id) {
            Ok(Found::Container(record)) => {
                let mut view = View::of(&record, root)?;
                view.owner = owner(&record);
                views.push(view);
            }
            // Being created, or removed meanwhile.
            Ok(Found::Intent(_)) | Err(_) => {}
            Ok(Found::Corrupt(error)) => {
                global.log.error(&Error::new(Kind::Invalid, format!("load container {id}: {error}")));
            }
        }
    }
    Ok(views)
}

fn owner(record: &Record) -> String {
    account::name(record.owner).unwrap_or_else(|| format!("#{}", record.owner))
}

/// Columns as wide as their widest cell and two blanks.
fn table(views: &[View]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(views.iter().map(|view| {
        let View { id, pid, status, bundle, created, owner, .. } = view;
        [id.clone(), pid.to_string(), status.clone(), bundle.clone(), created.clone(), owner.clone()]
    }));
    // The least width that Go's tabwriter is asked for.
    let mut widths = [12usize; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len() + 3);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).take(5).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}{}\n", cells.collect::<String>(), row.last().map_or("", String::as_str))
    };
    rows.iter().map(line).collect()
}
