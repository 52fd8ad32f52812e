//! `builder images`: what is in the store.

use std::process::ExitCode;

use serde::Serialize;

use super::showing::print;
use super::{Global, table};
use crate::error::{Error, Kind};
use crate::image;
use crate::registry::Reference;
use crate::store::{Store, Tagged};

/// Lists the images in the store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only images of this name, with any tag or with the one given
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
    /// Only ids
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// A JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    name: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
    id: String,
    created: Option<String>,
    platform: Option<String>,
    size: u64,
}

/// Prints a table, ids, or JSON.
pub(crate) fn images(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let mut rows = Vec::new();
    for tagged in store.list()? {
        if args.name.as_ref().is_none_or(|wanted| is_wanted(wanted, &tagged)) {
            rows.push(row(&store, tagged)?);
        }
    }
    rows.reverse(); // the newest name first
    if args.json {
        let text = serde_json::to_string_pretty(&rows)
            .map_err(|error| Error::new(Kind::Invalid, format!("write JSON: {error}")))?;
        print(&text)?;
    } else if args.quiet {
        for row in &rows {
            print(&shown_id(&row.id, args.no_trunc))?;
        }
    } else {
        let heading = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned).to_vec();
        let lines = rows.iter().map(|row| line(row, args.no_trunc));
        let whole: Vec<Vec<String>> = [heading].into_iter().chain(lines).collect();
        table::write(&whole).map_err(|error| Error::system("write to stdout", error))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A name without a tag means every tag.
fn is_wanted(wanted: &str, tagged: &Tagged) -> bool {
    let (Some(name), Ok(reference)) = (&tagged.name, wanted.parse::<Reference>()) else { return false };
    let Ok(own) = name.parse::<Reference>() else { return false };
    let last = wanted.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { own == reference } else { own.name() == reference.name() }
}

fn row(store: &Store, tagged: Tagged) -> Result<Row, Error> {
    let summary = image::summary(store, &tagged.descriptor)?;
    let reference = tagged.name.as_ref().and_then(|name| name.parse::<Reference>().ok());
    Ok(Row {
        name: reference.as_ref().map(Reference::familiar).or(tagged.name),
        repository: reference.as_ref().map(Reference::familiar_name),
        tag: reference.as_ref().and_then(|reference| reference.tag().map(str::to_owned)),
        id: summary.id.to_string(),
        created: summary.config.as_ref().and_then(|config| config.created.clone()),
        platform: summary.config.as_ref().map(|config| config.platform().to_string()),
        size: summary.size,
    })
}

fn line(row: &Row, whole: bool) -> Vec<String> {
    let none = || "<none>".to_owned();
    vec![
        row.repository.clone().or_else(|| row.name.clone()).unwrap_or_else(none),
        row.tag.clone().unwrap_or_else(none),
        shown_id(&row.id, whole),
        table::time(row.created.as_deref()),
        table::size(row.size),
    ]
}

fn shown_id(id: &str, whole: bool) -> String {
    let short = id.strip_prefix("sha256:").and_then(|hex| hex.get(..12));
    short.filter(|_| !whole).unwrap_or(id).to_owned()
}
