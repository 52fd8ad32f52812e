//! As much HTTP as a test of networks needs: one server, one client, over TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
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

/// The comments of the keys that the SSH agent at a socket has (draft-miller-ssh-agent, 3.5).
pub(crate) fn keys(socket: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[0, 0, 0, 1, 11])?;
    let number = |stream: &mut UnixStream| -> std::io::Result<u64> {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes).into())
    };
    let mut kind = [0];
    number(&mut stream)?;
    stream.read_exact(&mut kind)?;
    if kind != [12] {
        return Err(std::io::Error::other(format!("an answer of kind {kind:?}")));
    }
    let mut comments = Vec::new();
    for _ in 0..number(&mut stream)? {
        let mut text = String::new();
        let length = number(&mut stream)?;
        std::io::copy(&mut (&stream).take(length), &mut std::io::sink())?;
        let length = number(&mut stream)?;
        (&stream).take(length).read_to_string(&mut text)?;
        comments.push(text);
    }
    Ok(comments.join(" "))
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
