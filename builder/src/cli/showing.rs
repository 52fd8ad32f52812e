//! Work whose progress is shown on stderr.

use crate::error::Error;
use crate::progress::{self, Mode, Sender};

/// How progress is shown.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Showing {
    /// How progress is shown, on stderr
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
    /// Show nothing but failures
    #[arg(short, long)]
    quiet: bool,
}

impl Showing {
    /// Carries out work while its progress is shown.
    pub(crate) fn work<T>(self, work: impl FnOnce(&Sender) -> Result<T, Error>) -> Result<T, Error> {
        let (sender, display) = progress::start(if self.quiet { Mode::Quiet } else { self.progress })?;
        let result = work(&sender);
        drop(sender);
        display.finish();
        result
    }
}

/// Output that cannot be written is an error: a program may read it.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::system("write to stdout", error))
}
