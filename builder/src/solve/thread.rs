//! The threads of a build.

use std::thread::{Builder, Scope};

use crate::error::Error;

/// Room for a walk through the deepest tree that is taken (`sys::root::DEEPEST`), 16 KiB a level. The kernel gives memory as it is used.
const STACK: usize = 16 << 20;

/// Carries out `work` beside this thread.
pub(super) fn begin<'s>(scope: &'s Scope<'s, '_>, work: impl FnOnce() + Send + 's) -> Result<(), Error> {
    let begun = Builder::new().stack_size(STACK).spawn_scoped(scope, work);
    begun.map(drop).map_err(|error| Error::system("start a thread of the build", error))
}
