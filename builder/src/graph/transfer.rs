//! COPY and ADD: sources, destination and what becomes of owners and modes.

use super::stage::Stage;
use super::{Copy, DestKind, From, Inline, NodeId, Operation, Source, Unpack, git, path};
use crate::dockerfile::ast::{Instruction, Kind, Switch, Transfer, Word};
use crate::dockerfile::expand::expand_body;
use crate::dockerfile::heredoc::{Expansion, Heredoc};
use crate::error::Error;

pub(super) fn lower(
    stage: &mut Stage<'_, '_>,
    instruction: &Instruction,
    transfer: &Transfer,
) -> Result<(), Error> {
    let from = match &transfer.from {
        None => From::Context,
        Some(word) => {
            let name = Word { text: stage.text(word)?, place: word.place };
            match stage.tree(&name)? {
                Some(from) => from,
                None => return Ok(()),
            }
        }
    };
    let is_add = matches!(instruction.kind, Kind::Add(_));
    let mut sources = Vec::new();
    let mut shown = Vec::new();
    for word in &transfer.sources {
        shown.push(stage.text(word)?);
        sources.push(source(stage, transfer, (word, &from), is_add)?);
    }
    for document in &transfer.heredocs {
        sources.push(Source::Inline(inline(stage, &transfer.dest, document)?));
        shown.push(format!("<<{}", document.name));
    }
    let written = stage.text(&transfer.dest)?;
    let copy = Copy {
        dest_kind: dest_kind(stage, transfer, &sources, &written)?,
        dest: path::join(stage.state.cwd(), &written),
        sources,
        chown: owner(stage, transfer)?,
        chmod: transfer.chmod.as_ref().map(|word| mode(stage, word)).transpose()?,
        link: transfer.switch("link") == Some(Switch::On),
        parents: transfer.switch("parents") == Some(Switch::On),
        excludes: excludes(stage, transfer)?,
        unpack: unpack(transfer, is_add),
    };
    check_names(stage, transfer, &copy)?;
    shown.push(written);
    let created_by = history(instruction, &copy, &shown);
    let others: Vec<NodeId> = match from {
        From::Node(node) => vec![node],
        From::Context | From::Named(_) => Vec::new(),
    };
    let node = stage.step(instruction, Operation::Copy(Box::new(copy)), others);
    stage.state.record(created_by, Some(node));
    Ok(())
}

fn source(
    stage: &mut Stage<'_, '_>,
    transfer: &Transfer,
    (word, from): (&Word, &From),
    is_add: bool,
) -> Result<Source, Error> {
    let text = stage.text(word)?;
    if text.is_empty() {
        let message = format!("source {} is empty once expanded", word.text);
        return Err(stage.error(word, message).hint("write . for the whole context"));
    }
    let checksum = match &transfer.checksum {
        Some(word) => Some(checksum(stage, word)?),
        None => None,
    };
    let repository =
        git::repository(&text).map_err(|why| stage.error(word, format!("source {}: {why}", word.text)))?;
    match repository {
        Some(address) if is_add => repository_source(stage, transfer, (word, address), checksum),
        None if is_add && git::is_download(&text) => Ok(Source::Http { url: text, checksum }),
        found if found.is_some() || git::is_download(&text) => {
            Err(stage.error(word, format!("COPY does not fetch {text}")).hint("use ADD"))
        }
        _ if checksum.is_some() => Err(stage.error(word, "flag --checksum is for downloads and git sources")),
        _ => {
            // `/./` marks where kept parents begin, so it has to survive.
            let pattern = match transfer.switch("parents") == Some(Switch::On) {
                true => text.trim_start_matches('/').to_owned(),
                false => path::clean(&text).trim_start_matches('/').to_owned(),
            };
            let pattern = if text.ends_with('/') && !pattern.is_empty() && !pattern.ends_with('/') {
                format!("{pattern}/")
            } else {
                pattern
            };
            Ok(Source::Files { from: from.clone(), pattern })
        }
    }
}

/// What the address says and the flags say must be the same.
fn repository_source(
    stage: &mut Stage<'_, '_>,
    transfer: &Transfer,
    (word, address): (&Word, git::GitAddress),
    checksum: Option<String>,
) -> Result<Source, Error> {
    let by_flag = transfer.switch("keep-git-dir").map(|switch| switch == Switch::On);
    let by_arg = stage.walk.inputs.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(String::as_str);
    let differ =
        |what: &str| stage.error(word, format!("source {}: its {what} is not that of the flag", word.text));
    if let (Some(flag), Some(own)) = (by_flag, address.keep_git_dir)
        && flag != own
    {
        return Err(differ("keep-git-dir"));
    }
    if let (Some(flag), Some(own)) = (&checksum, &address.checksum)
        && flag != own
    {
        return Err(differ("checksum"));
    }
    Ok(Source::Git(super::Git {
        keep_git_dir: by_flag.or(address.keep_git_dir).unwrap_or(matches!(by_arg, Some("1" | "true"))),
        remote: address.remote,
        reference: address.reference,
        subdir: address.subdir,
        checksum: checksum.or(address.checksum),
        submodules: address.submodules,
    }))
}

fn checksum(stage: &mut Stage<'_, '_>, word: &Word) -> Result<String, Error> {
    let text = stage.text(word)?;
    let hex = |s: &str| s.chars().all(|c| c.is_ascii_hexdigit());
    let sound = match text.split_once(':') {
        Some(("sha256", digits)) => digits.len() == 64 && hex(digits),
        Some(("sha384", digits)) => digits.len() == 96 && hex(digits),
        Some(("sha512", digits)) => digits.len() == 128 && hex(digits),
        Some(_) => false,
        // A commit of a git source, or a tag that has a message; it may be shortened to one digit, as BuildKit has it.
        None => (1..=64).contains(&text.len()) && hex(&text),
    };
    if sound {
        Ok(text)
    } else {
        Err(stage
            .error(word, format!("checksum {text} is not valid"))
            .hint("sha256: and 64 hexadecimal digits, or a commit"))
    }
}

fn inline(stage: &mut Stage<'_, '_>, at: &Word, document: &Heredoc) -> Result<Inline, Error> {
    let body = document.body();
    if document.expansion == Expansion::Off {
        return Ok(Inline { name: document.name.clone(), content: body });
    }
    let state = &stage.state;
    let look_up = |name: &str| state.variable(name);
    let expanded = expand_body(&body, stage.walk.escape(), &look_up);
    let expanded =
        expanded.map_err(|message| stage.error(at, format!("here-document {}: {message}", document.name)))?;
    Ok(Inline { name: document.name.clone(), content: expanded.text })
}

/// In a directory a download needs a name, and no server is asked for it.
fn check_names(stage: &Stage<'_, '_>, transfer: &Transfer, copy: &Copy) -> Result<(), Error> {
    if copy.dest_kind != DestKind::Directory || copy.unpack == Unpack::Always {
        return Ok(());
    }
    for (word, source) in transfer.sources.iter().zip(&copy.sources) {
        if let Source::Http { url, .. } = source
            && git::file_name(url).is_none()
        {
            let message = format!("source {}: its address does not name a file", word.text);
            return Err(stage.error(word, message).hint("write the whole name as the destination"));
        }
    }
    Ok(())
}

/// Several sources into one name would leave only the last, silently.
fn dest_kind(
    stage: &Stage<'_, '_>,
    transfer: &Transfer,
    sources: &[Source],
    written: &str,
) -> Result<DestKind, Error> {
    if written.is_empty() {
        return Err(stage.error(&transfer.dest, "destination is empty once expanded"));
    }
    if path::names_directory(written) {
        return Ok(DestKind::Directory);
    }
    if sources.len() > 1 {
        let message = format!("{} sources need a directory as destination", sources.len());
        return Err(stage.error(&transfer.dest, message).hint(format!("write {written}/")));
    }
    Ok(if transfer.switch("parents") == Some(Switch::On) { DestKind::Directory } else { DestKind::AsFound })
}

/// An owner that is empty once expanded is none.
fn owner(stage: &mut Stage<'_, '_>, transfer: &Transfer) -> Result<Option<String>, Error> {
    let owner = transfer.chown.as_ref().map(|word| stage.text(word)).transpose()?;
    Ok(owner.filter(|owner| !owner.is_empty()))
}

fn mode(stage: &mut Stage<'_, '_>, word: &Word) -> Result<String, Error> {
    let text = stage.text(word)?;
    let octal =
        (1..=5).contains(&text.len()) && u32::from_str_radix(&text, 8).is_ok_and(|mode| mode <= 0o7777);
    if octal || is_symbolic(&text) {
        return Ok(text);
    }
    Err(stage
        .error(word, format!("mode {text} is not valid"))
        .hint("octal such as 0644, or symbolic such as u+rwX,go=rX"))
}

/// `[ugoa]*[-+=][rwxXst]*`, several joined by commas.
fn is_symbolic(text: &str) -> bool {
    !text.is_empty()
        && text.split(',').all(|clause| {
            let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
            rest.starts_with(['+', '-', '=']) && rest.chars().all(|c| "+-=rwxXstugo".contains(c))
        })
}

fn excludes(stage: &mut Stage<'_, '_>, transfer: &Transfer) -> Result<Vec<String>, Error> {
    transfer.excludes.iter().map(|word| stage.text(word)).collect()
}

fn unpack(transfer: &Transfer, is_add: bool) -> Unpack {
    match transfer.switch("unpack") {
        Some(Switch::On) => Unpack::Always,
        Some(Switch::Off) => Unpack::Never,
        None if is_add => Unpack::IfArchive,
        None => Unpack::Never,
    }
}

/// `COPY --chown=1:2 a b /c/`: what BuildKit shows of the flags, then sources and destination, expanded.
fn history(instruction: &Instruction, copy: &Copy, shown: &[String]) -> String {
    let mut words = vec![instruction.keyword.text.to_ascii_uppercase()];
    words.extend(copy.parents.then(|| "--parents".to_owned()));
    words.extend(copy.chown.as_ref().map(|owner| format!("--chown={owner}")));
    words.extend(copy.chmod.as_ref().map(|mode| format!("--chmod={mode}")));
    words.extend(shown.iter().cloned());
    super::history::of_step(&words.join(" "))
}
