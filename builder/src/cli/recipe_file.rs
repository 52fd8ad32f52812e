//! Finding and reading the Dockerfile and the ignore file.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::dockerfile::Source;
use crate::dockerfile::ignore::Ignore;
use crate::error::{Error, Kind};
use crate::sys::root;

/// Who made the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The user's own directory: `-f` is a path of the machine.
    Users,
    /// It came from elsewhere: `-f` is a path in it, and its links lead nowhere else.
    Strangers,
}

/// What decides where the files are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) context: Option<&'a Path>,
    pub(super) whose: Whose,
}

impl Files<'_> {
    pub(super) fn dockerfile(&self) -> Result<Source, Error> {
        let doing = |path: &Path, error| {
            Error::system(format!("read {}", path.display()), error).hint("name the Dockerfile with -f")
        };
        let (path, bytes) = match (self.file, self.context) {
            (Some(path), _) if path == Path::new("-") => return from_stdin(),
            (Some(path), Some(context)) if self.whose == Whose::Strangers => {
                (path.to_owned(), self.inside(context, path).map_err(|error| doing(path, error))?)
            }
            // The user's own choice, which may be a pipe.
            (Some(path), _) => (path.to_owned(), std::fs::read(path).map_err(|error| doing(path, error))?),
            (None, None) => return from_stdin(),
            (None, Some(context)) => {
                let there = |name: &&str| context.join(name).symlink_metadata().is_ok();
                let name = ["Dockerfile", "Containerfile"].into_iter().find(there).unwrap_or("Dockerfile");
                let path = context.join(name);
                let bytes = self.inside(context, Path::new(name)).map_err(|error| doing(&path, error))?;
                (path, bytes)
            }
        };
        let name = path.display().to_string();
        Ok(Source { text: utf8(bytes, &name)?, name })
    }

    /// `<Dockerfile>.dockerignore` comes before `.dockerignore`.
    pub(super) fn ignore(&self) -> Result<Option<Ignore>, Error> {
        let Some(context) = self.context else { return Ok(None) };
        let with_end = |path: &Path| PathBuf::from(format!("{}.dockerignore", path.display()));
        let own = match self.file {
            Some(path) if path == Path::new("-") => None,
            Some(path) if self.whose == Whose::Users => {
                Some((read_regular(open(&with_end(path))), with_end(path)))
            }
            Some(path) => Some((self.inside(context, &with_end(path)), with_end(path))),
            None => {
                let name = PathBuf::from("Dockerfile.dockerignore");
                Some((self.inside(context, &name), context.join(name)))
            }
        };
        let common = Path::new(".dockerignore");
        for (read, path) in own.into_iter().chain([(self.inside(context, common), context.join(common))]) {
            let name = path.display().to_string();
            match read {
                Ok(bytes) => return Ignore::parse(&Source { text: utf8(bytes, &name)?, name }).map(Some),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::system(format!("read {name}"), error)),
            }
        }
        Ok(None)
    }

    /// A file of the context. A user's own may be a link to wherever.
    fn inside(&self, context: &Path, path: &Path) -> std::io::Result<Vec<u8>> {
        let file = match self.whose {
            Whose::Users => open(&context.join(path)),
            Whose::Strangers => root::open_dir(context).and_then(|at| {
                root::open(&at, &Path::new("/").join(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK)
                    .map(File::from)
            }),
        };
        read_regular(file)
    }
}

/// O_NONBLOCK: a FIFO would hang, and is refused when it is read.
fn open(path: &Path) -> std::io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// A file of the context, which is a stranger's: one that never ends, or that is too large, is refused.
fn read_regular(file: std::io::Result<File>) -> std::io::Result<Vec<u8>> {
    const LARGEST: u64 = 16 << 20;
    let refuse = |why: &str| Err(std::io::Error::new(ErrorKind::InvalidData, why));
    let file = file?;
    if !file.metadata()?.is_file() {
        return refuse("not a regular file");
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { refuse("larger than 16 MiB") } else { Ok(bytes) }
}

fn from_stdin() -> Result<Source, Error> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|e| Error::system("read the Dockerfile from stdin", e))?;
    Ok(Source { name: "-".to_owned(), text: utf8(bytes, "stdin")? })
}

/// A Dockerfile as text.
pub(super) fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::new(Kind::Invalid, format!("{name} is not UTF-8 text: byte {at} is not valid"))
    })
}
