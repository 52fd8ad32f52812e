//! `--secret` and `--ssh`.

use std::path::PathBuf;

use crate::error::{Error, Kind};
use crate::step::{Credentials, Secret};

/// Reads both kinds of flags; that a file or a socket is there is seen before the build begins.
pub(crate) fn read(secrets: &[String], agents: &[String]) -> Result<Credentials, Error> {
    let mut found = Credentials::default();
    for text in secrets {
        let (id, secret) = secret(text)?;
        found.secrets.insert(id, secret);
    }
    for text in agents {
        let (id, socket) = agent(text)?;
        found.ssh.insert(id, socket);
    }
    Ok(found)
}

/// `id=NAME[,type=file|env][,src=FILE][,env=VARIABLE]`; a name alone is a variable or a file of that name.
fn secret(text: &str) -> Result<(String, Secret), Error> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => file = Some(value),
            Some(("env", value)) => variable = Some(value),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value),
            _ => return Err(refuse(format!("secret {text}: {field} is not known"))),
        }
    }
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Err(refuse(format!("secret {text} has no id")));
    };
    if kind == Some("env") {
        variable = variable.or(file.take());
    }
    let variable = variable.or((file.is_none() && std::env::var_os(id).is_some()).then_some(id));
    if let Some(name) = variable {
        let value = std::env::var_os(name)
            .ok_or_else(|| refuse(format!("secret {id}: variable {name} is not set")))?;
        return Ok((id.to_owned(), Secret::Value(std::os::unix::ffi::OsStringExt::into_vec(value))));
    }
    let path = absolute(file.unwrap_or(id))?;
    std::fs::File::open(&path).map_err(|e| Error::system(format!("open secret {}", path.display()), e))?;
    Ok((id.to_owned(), Secret::File(path)))
}

/// `NAME[=SOCKET]`; without a socket it is the one of this session.
fn agent(text: &str) -> Result<(String, PathBuf), Error> {
    let (id, socket) = match text.split_once('=') {
        Some((id, socket)) => (id, absolute(socket)?),
        None => match std::env::var_os("SSH_AUTH_SOCK") {
            Some(socket) => (text, PathBuf::from(socket)),
            None => {
                return Err(refuse(format!("agent {text}: SSH_AUTH_SOCK is not set"))
                    .hint("start an agent, or name its socket"));
            }
        },
    };
    let found = std::fs::metadata(&socket)
        .map_err(|e| Error::system(format!("find agent {}", socket.display()), e))?;
    if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) {
        return Err(refuse(format!("agent {id}: {} is not an agent's socket", socket.display()))
            .hint("load a key into an agent by ssh-add"));
    }
    Ok((id.to_owned(), socket))
}

fn absolute(path: &str) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| Error::system(format!("find {path}"), e))
}

fn refuse(message: String) -> Error {
    Error::new(Kind::Invalid, message)
}
