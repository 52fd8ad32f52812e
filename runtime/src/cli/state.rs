//! `state`: one container as JSON.

use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use super::{Global, print};
use crate::error::Error;
use crate::host::remove;
use crate::state::{ContainerId, Record, Root, Status};

/// output the state of a container
#[derive(Parser, Debug)]
pub(super) struct Args {
    #[arg(value_name = "container-id")]
    id: String,
}

/// What `state` and `list --format json` print, member by member in runc's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// 0 once stopped.
    pub(super) pid: i32,
    pub(super) status: String,
    pub(super) bundle: String,
    pub(super) rootfs: String,
    pub(super) created: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(super) annotations: std::collections::BTreeMap<String, String>,
    pub(super) owner: String,
}

impl View {
    pub(super) fn of(record: &Record, root: &Root) -> Result<Self, Error> {
        let dir = root.dir(&ContainerId::parse(&record.id)?);
        let status = remove::status(record, &dir)?;
        Ok(Self {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            pid: if status == Status::Stopped { 0 } else { record.init.pid },
            status: status.to_string(),
            bundle: record.bundle.display().to_string(),
            rootfs: record.rootfs.display().to_string(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner: String::new(),
        })
    }
}

pub(super) fn state(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let root = global.root()?;
    let record = root.load(&ContainerId::parse(&args.id)?)?;
    let view = View::of(&record, &root)?;
    let text = serde_json::to_string_pretty(&view)
        .map_err(|source| Error::system("encode the state", std::io::Error::from(source)))?;
    print(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}
