//! A Python package index over the wheels of the assets, served by the test itself on an address that is not the loopback.
//!
//! A RUN step reaches it as it reaches any host outside: from its own network namespace, through the network helper.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::assets;
use crate::case::{Ctx, not_run};

/// Serves for the rest of this process; gives the address.
pub(crate) fn serve(ctx: &Ctx) -> Result<SocketAddr> {
    let wheels = assets::get(&ctx.binaries, "wheels")?;
    let address = outside_address()?;
    let listener = TcpListener::bind((address, 0))?;
    let bound = listener.local_addr()?;
    std::thread::Builder::new().name("index".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // pip tries again; a request that fails twice fails the test.
            let _answered = answer(stream, &wheels);
        }
    })?;
    Ok(bound)
}

/// The address that this host has towards others: no packet is sent to find it.
fn outside_address() -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let reached = socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).and_then(|()| socket.local_addr());
    match reached {
        Ok(SocketAddr::V4(address)) if !address.ip().is_loopback() => Ok(*address.ip()),
        _ => Err(not_run(
            "this host has no address but the loopback, so no container can reach the test's package index",
        )),
    }
}

fn answer(mut stream: TcpStream, wheels: &Path) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split_whitespace().nth(1).context("a path in the request")?;
    match page(path, wheels)? {
        Some((kind, body)) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )?;
            stream.write_all(&body)?;
        }
        None => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?,
    }
    Ok(())
}

/// `/simple/NAME/` is a page of links, `/wheels/FILE` a file.
fn page(path: &str, wheels: &Path) -> Result<Option<(&'static str, Vec<u8>)>> {
    if let Some(name) = path.strip_prefix("/simple/") {
        let wanted = normal(name.trim_end_matches('/'));
        let links: String = files(wheels)?
            .iter()
            .filter(|file| file.split('-').next().is_some_and(|project| normal(project) == wanted))
            .map(|file| format!("<a href=\"/wheels/{file}\">{file}</a>\n"))
            .collect();
        let page = format!("<!DOCTYPE html><html><body>\n{links}</body></html>\n");
        return Ok((!links.is_empty()).then(|| ("text/html", page.into_bytes())));
    }
    let known = path
        .strip_prefix("/wheels/")
        .and_then(|name| files(wheels).ok()?.into_iter().find(|file| file == name));
    known
        .map(|file| Ok(("application/octet-stream", std::fs::read(PathBuf::from(wheels).join(file))?)))
        .transpose()
}

fn files(wheels: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(wheels)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// A project's name as indexes compare it.
fn normal(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}
