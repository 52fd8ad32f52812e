//! `RUN --mount`: comma-separated options, read once the variables in them are known.

use std::collections::BTreeMap;

use super::stage::Stage;
use super::{Access, Credential, From, Mount, MountKind, Sharing, path};
use crate::dockerfile::ast::Word;
use crate::dockerfile::diagnose;
use crate::error::Error;

/// Every option of every type.
const OPTIONS: [&str; 20] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "rw",
    "readwrite",
    "ro",
    "readonly",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "size",
    "required",
    "env",
    "optional",
];

/// The `from` of a mount, for looking ahead; wrong options are found when it is lowered.
pub(super) fn named_source(word: &Word) -> Option<Word> {
    let from =
        fields(&word.text).into_iter().find_map(|field| field.strip_prefix("from=").map(str::to_owned))?;
    (!from.contains('$')).then_some(Word { text: from, place: word.place })
}

/// The mount that an option text asks for; `None` while the image that it comes from is not resolved.
pub(super) fn lower(stage: &mut Stage<'_, '_>, word: &Word) -> Result<Option<Mount>, Error> {
    let mut options = Options::read(stage, word)?;
    let kind = options.take(&["type"]).unwrap_or_else(|| "bind".to_owned());
    let mount = match kind.as_str() {
        "bind" => bind(stage, &mut options)?,
        "cache" => cache(stage, &mut options)?,
        "tmpfs" => Some(tmpfs(stage, &mut options)?),
        "secret" => Some(secret(stage, &mut options)?),
        "ssh" => Some(ssh(stage, &mut options)?),
        other => {
            let near = diagnose::suggestion(other, ["bind", "cache", "tmpfs", "secret", "ssh"]);
            return Err(stage.error(word, format!("mount type {other} is not known{near}")));
        }
    };
    match options.left.keys().next() {
        Some(name) => Err(stage.error(word, format!("option {name} is not for mounts of type {kind}"))),
        None => Ok(mount),
    }
}

struct Options {
    word: Word,
    left: BTreeMap<String, String>,
}

impl Options {
    fn read(stage: &mut Stage<'_, '_>, word: &Word) -> Result<Self, Error> {
        let mut left = BTreeMap::new();
        for field in fields(&word.text) {
            let (name, value) = match field.split_once('=') {
                Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
                None => (field.to_ascii_lowercase(), None),
            };
            if !OPTIONS.contains(&name.as_str()) {
                let near = diagnose::suggestion(&name, OPTIONS);
                return Err(stage.error(word, format!("mount option {name} is not known{near}")));
            }
            let is_switch = matches!(name.as_str(), "rw" | "readwrite" | "ro" | "readonly" | "required");
            let value = match value {
                Some(value) if name == "from" && value.contains('$') => {
                    return Err(stage
                        .error(word, "a mount's from cannot have variables")
                        .hint("name a stage that starts from it"));
                }
                Some(value) => stage.text(&Word { text: value, place: word.place })?,
                None if is_switch => "true".to_owned(),
                None => return Err(stage.error(word, format!("mount option {name} needs a value"))),
            };
            left.insert(name, value);
        }
        Ok(Self { word: word.clone(), left })
    }

    fn take(&mut self, names: &[&str]) -> Option<String> {
        names.iter().filter_map(|name| self.left.remove(*name)).last()
    }

    fn switch(&mut self, stage: &Stage<'_, '_>, names: &[&str]) -> Result<Option<bool>, Error> {
        match self.take(names).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(stage.error(&self.word, format!("{other} is not true or false"))),
        }
    }

    fn access(&mut self, stage: &Stage<'_, '_>, default: Access) -> Result<Access, Error> {
        let writable = self.switch(stage, &["rw", "readwrite"])?;
        let read_only = self.switch(stage, &["ro", "readonly"])?;
        Ok(match (writable, read_only) {
            (None, None) => default,
            (Some(true), None) | (None | Some(true), Some(false)) => Access::ReadWrite,
            _ => Access::ReadOnly,
        })
    }

    /// An octal mode or a plain number.
    fn number(&mut self, stage: &Stage<'_, '_>, name: &str, default: u32) -> Result<u32, Error> {
        let Some(text) = self.take(&[name]) else { return Ok(default) };
        let radix = if name == "mode" { 8 } else { 10 };
        u32::from_str_radix(&text, radix)
            .map_err(|_| stage.error(&self.word, format!("{name} {text} is not valid")))
    }

    fn target(&mut self, stage: &Stage<'_, '_>) -> Result<String, Error> {
        let target = self.take(&["target", "dst", "destination"]).unwrap_or_default();
        if target.is_empty() {
            return Err(stage.error(&self.word, "the mount has no target"));
        }
        let target = path::join(stage.state.cwd(), &target);
        if target == "/" {
            return Err(stage.error(&self.word, "a mount cannot cover the root directory"));
        }
        Ok(target)
    }

    fn from(&mut self, stage: &mut Stage<'_, '_>) -> Result<Option<Option<From>>, Error> {
        let Some(text) = self.take(&["from"]) else { return Ok(None) };
        stage.tree(&Word { text, place: self.word.place }).map(Some)
    }

    fn source(&mut self) -> String {
        path::clean(&self.take(&["source", "src"]).unwrap_or_default())
    }
}

fn bind(stage: &mut Stage<'_, '_>, options: &mut Options) -> Result<Option<Mount>, Error> {
    let (target, source) = (options.target(stage)?, options.source());
    let access = options.access(stage, Access::ReadOnly)?;
    let from = match options.from(stage)? {
        None => From::Context,
        Some(Some(from)) => from,
        Some(None) => return Ok(None),
    };
    Ok(Some(Mount { target, kind: MountKind::Bind { from, source, access } }))
}

fn cache(stage: &mut Stage<'_, '_>, options: &mut Options) -> Result<Option<Mount>, Error> {
    let (target, source) = (options.target(stage)?, options.source());
    let access = options.access(stage, Access::ReadWrite)?;
    let sharing = match options.take(&["sharing"]).as_deref() {
        None | Some("shared") => Sharing::Shared,
        Some("private") => Sharing::Private,
        Some("locked") => Sharing::Locked,
        Some(other) => {
            return Err(
                stage.error(&options.word, format!("sharing {other} is not shared, private or locked"))
            );
        }
    };
    let namespace = stage.walk.inputs.build_args.get("BUILDKIT_CACHE_MOUNT_NS").cloned();
    let id = options.take(&["id"]).filter(|id| !id.is_empty()).unwrap_or_else(|| target.clone());
    let id = namespace.map_or_else(|| id.clone(), |namespace| format!("{namespace}/{id}"));
    let mode = options.number(stage, "mode", 0o755)?;
    let (uid, gid) = (options.number(stage, "uid", 0)?, options.number(stage, "gid", 0)?);
    let from = match options.from(stage)? {
        None => None,
        Some(Some(from)) => Some(from),
        Some(None) => return Ok(None),
    };
    let kind = MountKind::Cache { id, from, source, access, sharing, mode, uid, gid };
    Ok(Some(Mount { target, kind }))
}

fn tmpfs(stage: &Stage<'_, '_>, options: &mut Options) -> Result<Mount, Error> {
    let target = options.target(stage)?;
    let size = match options.take(&["size"]) {
        None => None,
        Some(text) => Some(
            bytes(&text).ok_or_else(|| stage.error(&options.word, format!("size {text} is not valid")))?,
        ),
    };
    Ok(Mount { target, kind: MountKind::Tmpfs { size } })
}

fn secret(stage: &Stage<'_, '_>, options: &mut Options) -> Result<Mount, Error> {
    let target = options.take(&["target", "dst", "destination"]);
    let id = options.take(&["id", "source", "src"]);
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let id = match (id, &target) {
        (Some(id), _) if !id.is_empty() => id,
        (_, Some(target)) if !target.is_empty() => last(target),
        _ => return Err(stage.error(&options.word, "a secret needs an id or a target")),
    };
    let env = options.take(&["env"]);
    let target = match (target, &env) {
        (Some(target), _) => path::join(stage.state.cwd(), &target),
        (None, Some(_)) => String::new(),
        (None, None) => format!("/run/secrets/{}", last(&id)),
    };
    let kind = MountKind::Secret(credential(stage, options, (id, env, 0o400))?);
    Ok(Mount { target, kind })
}

fn ssh(stage: &Stage<'_, '_>, options: &mut Options) -> Result<Mount, Error> {
    let target = options.take(&["target", "dst", "destination"]);
    let target = target.map(|target| path::join(stage.state.cwd(), &target)).unwrap_or_default();
    let id = options.take(&["id"]).unwrap_or_else(|| "default".to_owned());
    let kind = MountKind::Ssh(credential(stage, options, (id, None, 0o600))?);
    Ok(Mount { target, kind })
}

/// Agents without a target are numbered; a program that asks for none finds the first, unless the image names another.
pub(super) fn number_agents(mounts: &mut [Mount], env: &[(String, String)]) {
    const VARIABLE: &str = "SSH_AUTH_SOCK";
    let is_free = !env.iter().any(|(name, _)| name == VARIABLE);
    let mut number = 0;
    for mount in mounts {
        let MountKind::Ssh(agent) = &mut mount.kind else { continue };
        if mount.target.is_empty() {
            mount.target = format!("/run/buildkit/ssh_agent.{number}");
        }
        agent.env = (number == 0 && is_free).then(|| VARIABLE.to_owned());
        number += 1;
    }
}

fn credential(
    stage: &Stage<'_, '_>,
    options: &mut Options,
    (id, env, mode): (String, Option<String>, u32),
) -> Result<Credential, Error> {
    Ok(Credential {
        id,
        env,
        required: options.switch(stage, &["required"])?.unwrap_or(false),
        mode: options.number(stage, "mode", mode)?,
        uid: options.number(stage, "uid", 0)?,
        gid: options.number(stage, "gid", 0)?,
    })
}

/// `64m`, `1g`, `1024`, as sizes are written for memory: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.trim_end_matches('b').trim_end_matches('i');
    let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g', 't']) {
        Some(digits) => (
            digits,
            match lower.chars().last() {
                Some('k') => 10,
                Some('m') => 20,
                Some('g') => 30,
                _ => 40,
            },
        ),
        None => (lower, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Comma-separated fields; a field in double quotes may have commas, and `""` is a quote in it.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, fields.last_mut()) {
            ('"', Some(field)) if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => fields.push(String::new()),
            (_, Some(field)) => field.push(letter),
            (_, None) => {}
        }
    }
    fields.iter().map(|field| field.trim().to_owned()).filter(|field| !field.is_empty()).collect()
}
