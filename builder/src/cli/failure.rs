//! What a build does that cannot go on: the shell of `--on-failure`, and giving up in the middle of something.

use std::fs::File;

use crate::cli::deliver;
use crate::error::Error;
use crate::step::Interrupt;

/// What follows the failure of a RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnFailure {
    End,
    Shell,
}

impl OnFailure {
    /// The terminal of this session, whatever the standard streams are, where a shell is wanted.
    pub(crate) fn terminal(self) -> Result<Option<File>, Error> {
        if self == Self::End {
            return Ok(None);
        }
        let opened = File::options().read(true).write(true).open("/dev/tty");
        opened.map(Some).map_err(|error| {
            Error::system("open a terminal for --on-failure shell", error)
                .hint("build in a terminal, or leave it out")
        })
    }
}

/// Ends this process, and as the first of its namespaces all others, while a download, a push or a program does not come to an
/// end. What it leaves in the store the next builder sweeps, as after SIGKILL.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread that would return to main is the one that does not come to an end"
)]
pub(crate) fn give_up() {
    deliver::forget_drafts();
    super::report(&Interrupt::error());
    std::process::exit(1)
}
