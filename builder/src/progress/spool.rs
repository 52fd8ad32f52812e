//! Output that is kept until it is known whether somebody needs it.

use std::fs::File;
use std::io::{self, Seek, Write};

/// From here on a step's output goes to a file, so that a talkative step costs no memory.
const IN_MEMORY: usize = 1 << 20;

/// The whole output of one step.
#[derive(Debug, Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
}

impl Spool {
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() < IN_MEMORY {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(unnamed()?),
        };
        file.write_all(&self.memory)?;
        self.memory.clear();
        Ok(())
    }

    /// Writes everything to `out`.
    pub(super) fn copy_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.rewind()?;
            io::copy(file, out)?;
        }
        out.write_all(&self.memory)
    }

    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        self.file.is_none() && self.memory.is_empty()
    }

    /// Whether the last byte that came ended a line.
    pub(super) fn ends_line(&self) -> bool {
        self.memory.last().is_none_or(|byte| *byte == b'\n')
    }
}

/// A file without a name: nothing is left of it however we end.
fn unnamed() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(nix::libc::O_TMPFILE).mode(0o600);
    options.open(std::env::temp_dir())
}
