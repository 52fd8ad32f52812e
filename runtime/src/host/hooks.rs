//! Hooks on the host's side, and the state that all hooks read.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Error;
pub use crate::init::hooks::State;
use crate::init::hooks::{self, Moment, Unset};
use crate::plan::hooks::Hook;
use crate::state::Record;

/// Who a container is, for its hooks.
#[derive(Debug)]
pub struct Subject<'a> {
    pub version: &'a str,
    pub id: &'a str,
    pub bundle: &'a Path,
    pub annotations: &'a BTreeMap<String, String>,
}

/// The state's JSON, open where status and pid go.
pub fn state(subject: &Subject<'_>) -> State {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let annotations: serde_json::Map<String, serde_json::Value> =
        subject.annotations.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    let bundle = subject.bundle.to_string_lossy();
    State {
        before_status: format!(
            "{{\"ociVersion\":{},\"id\":{},\"status\":\"",
            text(subject.version),
            text(subject.id)
        ),
        before_pid: "\",\"pid\":".to_owned(),
        after_pid: format!(
            ",\"bundle\":{},\"annotations\":{}}}",
            text(&bundle),
            serde_json::Value::Object(annotations)
        ),
    }
}

/// Hooks of a container on record: `name` is the moment (`poststart`, `poststop`), `status` the container's.
pub fn run(hooks: &[Hook], name: &'static str, status: &'static str, record: &Record) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = state_of(record);
    let pid = if status == "stopped" { 0 } else { record.init.pid };
    hooks::run(hooks, &Moment { name, status, pid, state: &state, unset: Unset::Callers })
}

/// The same of a container on record.
pub fn state_of(record: &Record) -> State {
    let Record { oci_version, id, bundle, annotations, .. } = record;
    state(&Subject { version: oci_version, id, bundle, annotations })
}
