//! `conformance stage DIR`: everything that a proof needs, in one world-readable folder, for an ordinary user or a guest.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{assets, build, setup};

/// Copies the binaries, the assets and the name of the ordinary user into `dir`.
pub(crate) fn stage(dir: &Path) -> Result<()> {
    let binaries = build::build()?;
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    open(dir)?;
    for (_, name) in build::BINARIES {
        copy(&binaries.join(name), &dir.join(name))?;
    }
    std::fs::write(dir.join("user"), format!("{}\n", setup::USER))?;
    let kept = assets::folder(&binaries);
    std::fs::create_dir_all(dir.join("assets"))?;
    open(&dir.join("assets"))?;
    if kept.is_dir() {
        tree(&kept, &dir.join("assets"))?;
    }
    let sources = build::sources().context("find the sources")?;
    copy(&sources.join("shim/README.md"), &dir.join("shim-README.md"))?;
    let examples = sources.join("builder/examples");
    std::fs::create_dir_all(dir.join("examples"))?;
    tree(&examples, &dir.join("examples"))
}

fn open(dir: &Path) -> Result<()> {
    Ok(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?)
}

/// A copy keeps the time of the original: whether a binary is stale is told from it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let meta = std::fs::metadata(from).with_context(|| format!("read {}", from.display()))?;
    // A running binary cannot be written to: replace it.
    if to.exists() {
        std::fs::remove_file(to)?;
    }
    std::fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    let mode = if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    let file = std::fs::OpenOptions::new().append(true).open(to);
    Ok(file.and_then(|file| file.set_modified(meta.modified()?))?)
}

fn tree(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(".new.") {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            open(&target)?;
            tree(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}
