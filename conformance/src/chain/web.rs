//! The files of a directory over HTTP, each with a version of its own: one that the client has is not sent again.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::image;

/// Serves for the rest of this process; gives the address, which is of the loopback.
pub(crate) fn serve(directory: PathBuf) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let bound = listener.local_addr()?;
    std::thread::Builder::new().name("web".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client without its answer fails, and says so.
            let _answered = answer(stream, &directory);
        }
    })?;
    Ok(bound)
}

fn answer(mut stream: TcpStream, directory: &Path) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut line, mut known) = (String::new(), String::new(), String::new());
    reader.read_line(&mut request)?;
    while reader.read_line(&mut line)? > 2 {
        if let Some(version) = line.to_ascii_lowercase().strip_prefix("if-none-match:") {
            version.trim().clone_into(&mut known);
        }
        line.clear();
    }
    let path = request.split_whitespace().nth(1).context("a path in the request")?;
    let file = directory.join(path.split('?').next().unwrap_or_default().trim_start_matches('/'));
    let Ok(body) = std::fs::read(&file) else {
        stream.write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return Ok(());
    };
    let version = format!("\"{}\"", image::sha256(&file)?);
    let (status, body) = if known == version { (304, Vec::new()) } else { (200, body) };
    let head = format!("HTTP/1.1 {status} X\r\nETag: {version}\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)?;
    Ok(())
}
