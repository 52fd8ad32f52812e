//! `builder history`: how an image came about.

use std::process::ExitCode;

use serde::Serialize;

use super::showing::print;
use super::{Global, table};
use crate::error::{Error, Kind};
use crate::image::{self, History};
use crate::store::{Descriptor, Store};

/// Longest instruction in the table.
const WIDTH: usize = 60;

/// Shows the steps that made an image, the last one first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Whole instructions
    #[arg(long)]
    no_trunc: bool,
    /// A JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    created: Option<String>,
    created_by: String,
    /// Compressed; absent for a step without a layer.
    size: Option<u64>,
    layer: Option<String>,
    comment: String,
}

/// Prints a table or JSON.
pub(crate) fn history(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let summary = image::summary(&store, &image::find(&store, &args.image)?.descriptor)?;
    let (Some(config), Some(manifest)) = (summary.config, summary.manifest) else {
        return Err(Error::new(Kind::Invalid, format!("{} has no config in the store", args.image)));
    };
    let mut rows = rows(&config.history, &manifest.layers);
    rows.reverse();
    if args.json {
        let text = serde_json::to_string_pretty(&rows);
        print(&text.map_err(|error| Error::new(Kind::Invalid, format!("write JSON: {error}")))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let heading = ["CREATED", "CREATED BY", "SIZE", "COMMENT"].map(str::to_owned).to_vec();
    let lines = rows.into_iter().map(|row| line(row, args.no_trunc));
    let whole: Vec<Vec<String>> = [heading].into_iter().chain(lines).collect();
    table::write(&whole).map_err(|error| Error::system("write to stdout", error))?;
    Ok(ExitCode::SUCCESS)
}

/// Each step that is not empty has the next layer; layers without a step come last.
fn rows(history: &[History], layers: &[Descriptor]) -> Vec<Row> {
    let mut layers = layers.iter();
    let mut rows: Vec<Row> = Vec::new();
    for step in history {
        let layer = if step.empty_layer { None } else { layers.next() };
        rows.push(Row {
            created: step.created.clone(),
            created_by: step.created_by.clone(),
            size: layer.map(|layer| layer.size),
            layer: layer.map(|layer| layer.digest.to_string()),
            comment: step.comment.clone(),
        });
    }
    rows.extend(layers.map(|layer| Row {
        created: None,
        created_by: String::new(),
        size: Some(layer.size),
        layer: Some(layer.digest.to_string()),
        comment: String::new(),
    }));
    rows
}

fn line(row: Row, whole: bool) -> Vec<String> {
    let plain: String = row.created_by.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut = if whole || plain.chars().count() <= WIDTH {
        plain
    } else {
        plain.chars().take(WIDTH - 3).chain("...".chars()).collect()
    };
    vec![table::time(row.created.as_deref()), cut, table::size(row.size.unwrap_or(0)), row.comment]
}
