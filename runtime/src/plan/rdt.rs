//! Intel RDT: which group of the resctrl file system the container is in, and what that group may use.

use oci_spec::runtime::LinuxIntelRdt;

use super::text;
use crate::error::Error;

/// Where the group comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The container's own: made, and removed with it.
    Own,
    /// Somebody's class, made where it is missing; it stays, since others may be in it.
    Given,
    /// The same without anything to write there: it has to be there.
    MustExist,
}

/// A group and its part of cache and memory bandwidth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdt {
    /// The directory's name; empty is the root group.
    pub group: String,
    pub origin: Origin,
    /// Lines for the file `schemata`.
    pub schemata: String,
    /// The name of a monitoring group in it.
    pub monitor: Option<String>,
}

/// The rules of the specification ("Intel RDT").
pub fn plan(wanted: Option<&LinuxIntelRdt>, id: &str) -> Result<Option<Rdt>, Error> {
    let Some(wanted) = wanted else { return Ok(None) };
    let schemata = schemata(wanted)?;
    let given = wanted.clos_id().as_deref().filter(|name| !name.is_empty());
    let origin = match (given, schemata.is_empty()) {
        (None, _) => Origin::Own,
        (Some(_), false) => Origin::Given,
        (Some(_), true) => Origin::MustExist,
    };
    let group = match given {
        Some("/") => String::new(),
        Some(name) => {
            let is_one_name = !name.contains(['/', '\n', '\0']) && !matches!(name, "." | "..");
            if !is_one_name {
                return Err(text::invalid(
                    "linux.intelRdt.closID",
                    format!("{name:?} is no name of a group"),
                ));
            }
            name.to_owned()
        }
        None => id.to_owned(),
    };
    // The older switches of two kinds of counters need no group of their own: `events` shows what the kernel counts.
    let monitor = wanted.enable_monitoring().unwrap_or(false).then(|| id.to_owned());
    Ok(Some(Rdt { group, origin, schemata, monitor }))
}

/// In this order, so that whole lines overwrite the single schemas.
fn schemata(wanted: &LinuxIntelRdt) -> Result<String, Error> {
    let (cache, bandwidth) = (given(wanted.l3_cache_schema()), given(wanted.mem_bw_schema()));
    let mut lines = compose(cache, bandwidth)?;
    for (at, line) in wanted.schemata().iter().flatten().enumerate() {
        if line.trim().is_empty() || line.contains(['\n', '\0']) {
            return Err(text::invalid(format!("linux.intelRdt.schemata[{at}]"), "must be one line"));
        }
        lines.push_str(line);
        lines.push('\n');
    }
    Ok(lines)
}

fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

/// Lines of cache and bandwidth. With a schema for bandwidth, lines of that kind in the one for the cache do not count.
pub fn compose(cache: Option<&str>, bandwidth: Option<&str>) -> Result<String, Error> {
    let mut lines = String::new();
    let is_bandwidth = |line: &&str| line.trim_start().starts_with("MB:");
    for line in cache.unwrap_or_default().lines() {
        if !(line.trim().is_empty() || bandwidth.is_some() && is_bandwidth(&line)) {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    if let Some(line) = bandwidth {
        if !is_bandwidth(&line) || line.contains(['\n', '\0']) {
            return Err(text::invalid("linux.intelRdt.memBwSchema", "must be one line that begins with MB:"));
        }
        lines.push_str(line);
        lines.push('\n');
    }
    if lines.contains('\0') {
        return Err(text::invalid("linux.intelRdt.l3CacheSchema", "contains a NUL character"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<Option<Rdt>, String> {
        let wanted: LinuxIntelRdt = serde_json::from_str(json).unwrap();
        plan(Some(&wanted), "box").map_err(|error| error.to_string())
    }

    #[test]
    fn the_group_is_the_class_or_the_containers_own() {
        let rdt = |group: &str, origin, schemata: &str, monitor: Option<&str>| {
            let (group, schemata) = (group.to_owned(), schemata.to_owned());
            Ok(Some(Rdt { group, origin, schemata, monitor: monitor.map(str::to_owned) }))
        };
        for (json, expected) in [
            ("{}", rdt("box", Origin::Own, "", None)),
            (r#"{"closID":"gold"}"#, rdt("gold", Origin::MustExist, "", None)),
            (r#"{"closID":"/","enableMonitoring":true}"#, rdt("", Origin::MustExist, "", Some("box"))),
            (r#"{"closID":"gold","memBwSchema":"MB:0=20"}"#, rdt("gold", Origin::Given, "MB:0=20\n", None)),
            (
                r#"{"l3CacheSchema":"L3:0=f;1=f0\nMB:0=10","memBwSchema":"MB:0=20","schemata":["L2:0=f"]}"#,
                rdt("box", Origin::Own, "L3:0=f;1=f0\nMB:0=20\nL2:0=f\n", None),
            ),
        ] {
            assert_eq!(planned(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_no_name_or_no_line_is_refused() {
        for (json, said) in [
            (r#"{"closID":"../x"}"#, "config.json: linux.intelRdt.closID: \"../x\" is no name of a group"),
            (r#"{"closID":".."}"#, "config.json: linux.intelRdt.closID: \"..\" is no name of a group"),
            (
                r#"{"memBwSchema":"L3:0=f"}"#,
                "config.json: linux.intelRdt.memBwSchema: must be one line that begins with MB:",
            ),
            (
                r#"{"schemata":["L3:0=f\nMB:0=1"]}"#,
                "config.json: linux.intelRdt.schemata[0]: must be one line",
            ),
        ] {
            assert_eq!(planned(json), Err(said.to_owned()), "{json}");
        }
    }
}
