//! The bundle: a directory with a `config.json`, read once and checked before anything is done with it.
//!
//! Invariant: whatever leaves this room has been parsed completely; a wrong type, an overflow or a missing member never
//! becomes a default.

mod check;
mod members;
mod parse;
mod spelling;

use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};

use crate::error::{Error, Kind};

pub use check::check;

/// A bundle and its configuration.
#[derive(Debug)]
pub struct Bundle {
    /// The directory, absolute.
    pub dir: PathBuf,
    pub spec: Spec,
    /// The configuration as it stands in the file: it is recorded, so that `exec` sees what `create` saw.
    pub text: String,
    /// What was left out, one line each.
    pub warnings: Vec<String>,
}

/// The version of the runtime specification that is implemented.
pub const SPEC_VERSION: &str = "1.3.0";

/// The largest configuration that is read: an engine's are some 20 KiB, and a special file never ends.
const MOST: u64 = 64 << 20;
const PIECE: usize = 8 << 10;

/// Reads and checks the bundle in `dir`.
pub fn open(dir: &Path) -> Result<Bundle, Error> {
    let dir = std::path::absolute(dir)
        .map_err(|source| Error::system(format!("find bundle {}", dir.display()), source))?;
    let text = read(&dir.join("config.json"))?;
    let mut warnings = Vec::new();
    let spec = parse::spec(&text, &mut warnings)?;
    check(&spec)?;
    Ok(Bundle { dir, spec, text, warnings })
}

/// The configuration out of a text that was checked when it was recorded.
pub fn recorded(text: &str) -> Result<Spec, Error> {
    parse::spec(text, &mut Vec::new())
}

/// The process of `exec --process`.
pub fn process(file: &Path, warnings: &mut Vec<String>) -> Result<Process, Error> {
    let text = read_file(file).map_err(|source| Error::system(format!("read {}", file.display()), source))?;
    parse::process(&text, &file.display().to_string(), warnings)
}

/// The mounts of `mounts add`: what `mounts` is in a configuration.
pub fn mounts(file: &Path) -> Result<Vec<Mount>, Error> {
    let text = read_file(file).map_err(|source| Error::system(format!("read {}", file.display()), source))?;
    parse::mounts(&text, &file.display().to_string())
}

/// The resources of `update --resources`; `name` stands in errors.
pub fn resources(text: &str, name: &str) -> Result<LinuxResources, Error> {
    parse::resources(text, name)
}

/// Reads a configuration; a missing one is told in runc's words.
fn read(file: &Path) -> Result<String, Error> {
    read_file(file).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(Kind::Invalid, "JSON specification file config.json not found")
                .hint(format!("no {}", file.display()))
        }
        _ => Error::system(format!("read {}", file.display()), source),
    })
}

/// A file that has places ends with the first piece that is not full. ESPIPE: it has none, and may go on after a pause.
fn read_pieces(file: &std::fs::File, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut piece = [0; PIECE];
    for at in (0..MOST).step_by(PIECE) {
        let count = file.read_at(&mut piece, at)?;
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        if count < PIECE {
            break;
        }
    }
    Ok(())
}

fn read_file(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    // A FIFO that nobody writes to is no reason to hang.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    let mut bytes = Vec::new();
    match read_pieces(&opened, &mut bytes) {
        Err(source) if source.raw_os_error() == Some(libc::ESPIPE) => {
            // A writer that has only not written yet is waited for; without one this ends at once.
            fcntl(&opened, FcntlArg::F_SETFL(OFlag::empty()))?;
            opened.take(MOST).read_to_end(&mut bytes)?;
        }
        other => other?,
    }
    let not_text =
        |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
    String::from_utf8(bytes).map_err(not_text)
}
