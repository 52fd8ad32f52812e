//! The trial: can this runtime start any container on this host? If not, its cases are not failures.

use std::path::Path;

use anyhow::{Result, bail};

use crate::case::{Ctx, Shared};
use crate::needs::Host;
use crate::subject::Subject;

/// Runs one container that ends with code 7; the error is the runtime's own first words.
pub(crate) fn can_run(subject: &Subject, binaries: &Path, work: &Path) -> Result<()> {
    let tag = format!("trial{}-{}", std::process::id(), subject.name);
    let dir = work.join(&tag);
    std::fs::create_dir(&dir)?;
    let (subject, binaries) = (subject.clone(), binaries.to_owned());
    let ctx = Ctx { subject, host: Host::measure(), dir, binaries, tag, shared: Shared::new() };
    let bundle = ctx.bundle_named("bundle", &["exit", "7"])?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?;
    if ended.code == 7 {
        return Ok(());
    }
    let _deleted = ctx.rt(&["delete", "--force", &ctx.id("c")]);
    bail!("{}", ended.unexpected("the trial container did not end with its own code"))
}
