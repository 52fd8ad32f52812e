//! As much HTTP as a test of networks needs: one server, one client, over TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every request on `address` with `text`, until it is killed.
pub(crate) fn serve(address: &str, text: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    writeln!(std::io::stdout(), "serving {}", listener.local_addr()?)?;
    std::io::stdout().flush()?;
    for stream in listener.incoming().flatten() {
        // One bad client must not end the server.
        let _answered = answer(stream, text);
    }
    Ok(())
}

fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}

/// The body of `http://HOST:PORT/PATH`, or the whole answer where it is not a 200.
pub(crate) fn get(host_port: &str, path: &str) -> std::io::Result<String> {
    let address = host_port.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host_port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => body.to_owned(),
        _ => answer,
    })
}
