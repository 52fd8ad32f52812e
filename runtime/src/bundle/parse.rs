//! Bytes -> typed configuration. An error names the place twice: as JSON pointer, and as line and column.

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Value};

use super::members::{self, Members};
use super::spelling;
use crate::error::{Error, Kind};

/// Parses a configuration.
pub(super) fn spec(text: &str, warnings: &mut Vec<String>) -> Result<Spec, Error> {
    typed(text, "config.json", warnings, |value, warnings| {
        let process = value.get_mut("process");
        let process =
            process.is_some_and(|process| leave_out_unknown(process, warnings) | respell_flag(process));
        let resources = value.pointer_mut("/linux/resources");
        resources.is_some_and(leave_out_empty_pids) | process
    })
}

/// Parses a process alone.
pub(super) fn process(text: &str, file: &str, warnings: &mut Vec<String>) -> Result<Process, Error> {
    typed(text, file, warnings, |value, warnings| {
        leave_out_unknown(value, warnings) | default_user(value) | respell_flag(value)
    })
}

/// Parses resources alone. A list is refused here: the type, of which every member may be absent, would take an empty one.
pub(super) fn resources(text: &str, file: &str) -> Result<LinuxResources, Error> {
    if text.trim_start().starts_with('[') {
        return Err(at(file, "", "invalid type: sequence, expected an object"));
    }
    typed(text, file, &mut Vec::new(), |value, _| leave_out_empty_pids(value))
}

/// Parses a list of mounts alone.
pub(super) fn mounts(text: &str, file: &str) -> Result<Vec<Mount>, Error> {
    typed(text, file, &mut Vec::new(), |_, _| false)
}

/// Makes a value fit a type that is stricter than the specification; whether anything was changed.
type Mend = fn(&mut Value, &mut Vec<String>) -> bool;

/// Straight into the type; only what does not fit is read again, with a finger on the place. As Go's decoder does, it reads one
/// value and leaves what follows.
fn typed<T: DeserializeOwned>(
    text: &str,
    file: &str,
    warnings: &mut Vec<String>,
    mend: Mend,
) -> Result<T, Error> {
    if spelling::differs(text) {
        return typed_slowly(text, file, warnings, mend);
    }
    match T::deserialize(&mut Deserializer::from_str(text)) {
        Ok(value) => Ok(value),
        Err(_) => typed_slowly(text, file, warnings, mend),
    }
}

/// Apart, for its large frame to be no part of the usual way.
#[cold]
#[inline(never)]
fn typed_slowly<T: DeserializeOwned>(
    text: &str,
    file: &str,
    warnings: &mut Vec<String>,
    mend: Mend,
) -> Result<T, Error> {
    let mut value = members::read(text).map_err(|e| at(file, "", &e.to_string()))?;
    let mut is_mended = false;
    loop {
        let error = match serde_path_to_error::deserialize(Members(&mut value)) {
            Ok(value) => return Ok(value),
            Err(e) => at(file, &pointer(e.path()), &e.inner().to_string()),
        };
        // What was mended fits, so that this comes to an end.
        match mend(&mut value, warnings) {
            true => is_mended = true,
            false if is_mended => return Err(error),
            false => return Err(explain::<T>(text, file).err().unwrap_or(error)),
        }
    }
}

/// The error with line and column.
fn explain<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, Error> {
    let mut reader = Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|e| at(file, &pointer(e.path()), &e.inner().to_string()))
}

fn at(file: &str, pointer: &str, reason: &str) -> Error {
    let place = if pointer.is_empty() { "/" } else { pointer };
    Error::new(Kind::Invalid, format!("{file}: {place}: {}{reason}", object(pointer)))
}

/// What runc calls it: the pointer alone does not say it in the words that are looked for.
fn object(pointer: &str) -> &'static str {
    match pointer.strip_prefix("/linux/memoryPolicy") {
        // The mode is its only member that must be there.
        Some("" | "/mode") => "invalid memory policy mode: ",
        Some("/nodes") => "invalid memory policy nodes: ",
        Some(rest) if rest.starts_with("/flags") => "invalid memory policy flag: ",
        _ => "",
    }
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |text, segment| match segment {
        Segment::Seq { index } => format!("{text}/{index}"),
        Segment::Map { key } => format!("{text}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("{text}/{variant}"),
        Segment::Unknown => text,
    })
}

/// Capabilities of a newer kernel than this program knows: runc warns and goes on.
fn leave_out_unknown(process: &mut Value, warnings: &mut Vec<String>) -> bool {
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else { return false };
    let mut unknown: Vec<String> = Vec::new();
    for names in sets.values_mut().filter_map(Value::as_array_mut) {
        names.retain(|name| {
            let known = serde_json::from_value::<oci_spec::runtime::Capability>(name.clone()).is_ok();
            if let (false, Some(name)) = (known, name.as_str()) {
                unknown.push(name.to_owned());
            }
            known || !name.is_string()
        });
    }
    unknown.sort();
    unknown.dedup();
    if unknown.is_empty() {
        return false;
    }
    warnings.push(format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    true
}

/// The specification's name for it, which the types spell as the kernel does for another call.
fn respell_flag(process: &mut Value) -> bool {
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    let wrong = flags.into_iter().flatten().filter(|flag| **flag == "SCHED_FLAG_RESET_ON_FORK");
    wrong.map(|flag| *flag = Value::from("SCHED_RESET_ON_FORK")).count() > 0
}

/// To runc a process without a user is root's.
fn default_user(process: &mut Value) -> bool {
    match process.as_object_mut() {
        Some(process) if !process.contains_key("user") => {
            process.insert("user".to_owned(), serde_json::json!({ "uid": 0, "gid": 0 })).is_none()
        }
        _ => false,
    }
}

/// Go writes a structure without any member as `{}`; no limit is asked for.
fn leave_out_empty_pids(resources: &mut Value) -> bool {
    let Some(resources) = resources.as_object_mut() else { return false };
    let limit = resources.get("pids").map(|pids| pids.get("limit").is_some_and(|limit| !limit.is_null()));
    match limit {
        Some(false) => resources.remove("pids").is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_name_of_a_scheduler_flag_is_taken() {
        let text =
            r#"{"cwd": "/", "scheduler": {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}}"#;
        let process = process(text, "process.json", &mut Vec::new()).unwrap();
        let flags = process.scheduler().as_ref().and_then(|scheduler| scheduler.flags().clone());
        assert_eq!(flags, Some(vec![oci_spec::runtime::LinuxSchedulerFlag::SchedResetOnFork]));
    }
}
