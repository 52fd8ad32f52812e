//! `-p [ADDRESS:]HOST:CONTAINER[/PROTOCOL]`: published ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::error::{Error, Kind};

/// A port of the host that leads into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The host's address.
    pub address: IpAddr,
    /// The host's port; 0 lets the kernel choose.
    pub host: u16,
    /// The container's port.
    pub container: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, protocol) = (SocketAddr::new(self.address, self.host), self.protocol.name());
        write!(f, "{host}->{}/{protocol}", self.container)
    }
}

/// What speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Parses one or, for ranges, several ports.
///
/// # Errors
/// What is not of this form.
pub fn parse(text: &str) -> Result<Vec<Port>, Error> {
    let invalid = |why: &str| {
        Error::new(Kind::Invalid, format!("invalid port \"{}\": {why}", text.escape_debug()))
            .hint("write [ADDRESS:]HOST:CONTAINER[/tcp|/udp], as in 127.0.0.1:8080:80")
    };
    let (rest, protocol) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), Protocol::Tcp),
        Some((rest, "udp")) => (rest, Protocol::Udp),
        Some(_) => return Err(invalid("the protocol is tcp or udp")),
    };
    let (left, container) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (address, host) = match left.rsplit_once(':') {
        Some((address, host)) => (address, host),
        None => ("", left),
    };
    let address = match address.trim_start_matches('[').trim_end_matches(']') {
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        given => given.parse().map_err(|_| invalid("the address is no IP address"))?,
    };
    let container =
        range(container).filter(|(first, _)| *first > 0).ok_or_else(|| invalid("ports are 1 to 65535"))?;
    let host = match host {
        "" if left.is_empty() => (0, 0),
        "" => (0, 0),
        given => range(given).ok_or_else(|| invalid("ports are 1 to 65535"))?,
    };
    if host != (0, 0) && host.1 - host.0 != container.1 - container.0 {
        return Err(invalid("the two ranges differ in length"));
    }
    let port = |offset: u16| Port {
        address,
        host: if host == (0, 0) { 0 } else { host.0 + offset },
        container: container.0 + offset,
        protocol,
    };
    Ok((0..=container.1 - container.0).map(port).collect())
}

/// `a` or `a-b`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Checks that nobody has the port, and settles the number of one that the kernel chooses.
///
/// # Errors
/// A port that is in use or needs a privilege.
pub(super) fn reserve(port: &mut Port) -> Result<(), Error> {
    let place = (port.address, port.host);
    let bound = match port.protocol {
        Protocol::Tcp => TcpListener::bind(place).and_then(|socket| socket.local_addr()),
        Protocol::Udp => UdpSocket::bind(place).and_then(|socket| socket.local_addr()),
    };
    let failed = |error: std::io::Error| {
        let errno = error.raw_os_error();
        let refused = Error::system(
            format!("publish port {}:{}/{}", port.address, port.host, port.protocol.name()),
            error,
        );
        match errno {
            Some(libc::EADDRINUSE) => refused.hint("another program has it: choose another port of the host"),
            Some(libc::EACCES) => {
                refused.hint("choose a port from 1024 up, or lower net.ipv4.ip_unprivileged_port_start")
            }
            _ => refused,
        }
    };
    port.host = bound.map_err(failed)?.port();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_every_form() {
        for (text, expected) in [
            ("5000:5000", "0.0.0.0 5000 5000 tcp"),
            ("127.0.0.1:5002:5000", "127.0.0.1 5002 5000 tcp"),
            ("53:53/udp", "0.0.0.0 53 53 udp"),
            ("[::1]:1:2/tcp", "::1 1 2 tcp"),
            ("80", "0.0.0.0 0 80 tcp"),
            ("127.0.0.1::80", "127.0.0.1 0 80 tcp"),
            ("1-2:11-12", "0.0.0.0 1 11 tcp, 0.0.0.0 2 12 tcp"),
        ] {
            let seen: Vec<String> = parse(text)
                .unwrap()
                .iter()
                .map(|p| format!("{} {} {} {}", p.address, p.host, p.container, p.protocol.name()))
                .collect();
            assert_eq!(seen.join(", "), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused_with_the_form() {
        for (text, why) in [
            ("a:b", "ports are 1 to 65535"),
            ("1:70000", "ports are 1 to 65535"),
            ("1:2/sctp", "the protocol is tcp or udp"),
            ("host:1:2", "the address is no IP address"),
            ("1-3:1-2", "the two ranges differ in length"),
        ] {
            let expected = format!(
                "invalid port \"{text}\": {why} (write [ADDRESS:]HOST:CONTAINER[/tcp|/udp], as in 127.0.0.1:8080:80)"
            );
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn an_occupied_port_is_an_error() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        let mut port = parse(&format!("127.0.0.1:{number}:80")).unwrap().remove(0);
        assert_eq!(
            reserve(&mut port).unwrap_err().to_string(),
            format!(
                "publish port 127.0.0.1:{number}/tcp: address already in use \
                 (another program has it: choose another port of the host)"
            )
        );
    }
}
