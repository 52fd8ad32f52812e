//! Blocks out of a package's README, so that what is written there is what is tested.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::build;
use crate::case::{Ctx, not_run};

/// The indented block of the shim's README that begins with the line `first`, without its indentation.
pub(super) fn of_the_shim(ctx: &Ctx, first: &str) -> Result<String> {
    let staged = ctx.binaries.join("shim-README.md");
    let file = match build::sources() {
        _ if staged.is_file() => staged,
        Some(top) => top.join("shim/README.md"),
        None => return Err(not_run("shim/README.md is absent")),
    };
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    block(&text, first).with_context(|| format!("find the block of {first:?} in {}", file.display()))
}

/// The runtime, which leaves a line in `mark` whenever it is called.
pub(super) fn marking(ctx: &Ctx) -> Result<(String, PathBuf)> {
    let (named, mark) = (ctx.path("named"), ctx.path("mark"));
    let runtime = ctx.binaries.join("runtime");
    let script =
        format!("#!/bin/sh\necho called >>'{}'\nexec '{}' \"$@\"\n", mark.display(), runtime.display());
    std::fs::write(&named, script)?;
    std::fs::set_permissions(&named, std::fs::Permissions::from_mode(0o755))?;
    Ok((named.display().to_string(), mark))
}

fn block(text: &str, first: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| line.strip_prefix("    ") != Some(first)).peekable();
    lines.peek()?;
    let mut found = String::new();
    for line in lines.map_while(|line| line.strip_prefix("    ")) {
        found.push_str(line);
        found.push('\n');
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::block;

    #[test]
    fn a_block_is_what_is_indented_from_its_first_line() {
        let text = "a\n\n    x\n    y\n\n    version = 3\n    [t]\n      k = 1\nb\n    z\n";
        assert_eq!(block(text, "version = 3").as_deref(), Some("version = 3\n[t]\n  k = 1\n"));
        assert_eq!(block(text, "version = 2"), None);
    }
}
