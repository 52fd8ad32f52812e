//! The hooks of the configuration, checked, in the order of the container's life.

use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::{Hook as SpecHook, Spec};

use super::text;
use crate::error::Error;

/// One program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub path: PathBuf,
    /// With the name that the program sees as its own first.
    pub args: Vec<String>,
    /// None where the configuration has no such member, which is not the same as an empty one.
    pub env: Option<Vec<String>>,
    pub timeout: Option<Duration>,
}

/// All hooks by their moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// In the runtime's namespaces, once init is in its own and has mounted everything, but not changed its root.
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    /// By init in the container's namespaces, before the root is changed.
    pub create_container: Vec<Hook>,
    /// By init in the container's root, just before the program.
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// Checks every hook.
pub fn plan(spec: &Spec) -> Result<Hooks, Error> {
    let Some(hooks) = spec.hooks().as_ref() else { return Ok(Hooks::default()) };
    Ok(Hooks {
        prestart: list(hooks.prestart().as_deref(), "prestart")?,
        create_runtime: list(hooks.create_runtime().as_deref(), "createRuntime")?,
        create_container: list(hooks.create_container().as_deref(), "createContainer")?,
        start_container: list(hooks.start_container().as_deref(), "startContainer")?,
        poststart: list(hooks.poststart().as_deref(), "poststart")?,
        poststop: list(hooks.poststop().as_deref(), "poststop")?,
    })
}

fn list(hooks: Option<&[SpecHook]>, moment: &str) -> Result<Vec<Hook>, Error> {
    let hooks = hooks.unwrap_or_default();
    hooks.iter().enumerate().map(|(at, hook)| one(hook, &format!("hooks.{moment}[{at}]"))).collect()
}

fn one(hook: &SpecHook, field: &str) -> Result<Hook, Error> {
    let path = text::absolute(hook.path(), &format!("{field}.path"))?;
    let args = match hook.args().as_deref() {
        None | Some([]) => vec![path.to_string_lossy().into_owned()],
        Some(args) => args.to_vec(),
    };
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
            _ => return Err(text::invalid(format!("{field}.timeout"), "must be greater than zero")),
        },
    };
    Ok(Hook { path, args, env: hook.env().clone(), timeout })
}
