//! A connection to systemd's manager: its private socket, or the bus.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::message::{self, Body, Call, ERROR, FIXED, Incoming, METHOD_RETURN, SIGNAL};
use crate::error::{Error, Kind};
use crate::host::facts::outer_uid;
use crate::plan::cgroup::systemd::Bus;

/// One that answers.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Incoming>,
}

/// An error that systemd answered, by its name on the bus.
#[derive(Debug)]
pub(super) enum Refused {
    Named { name: String, text: String },
    Broken(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Named { name, text } => Self::new(Kind::System, format!("ask systemd: {text} ({name})")),
            Refused::Broken(error) => error,
        }
    }
}

const MANAGER: Call<'static> = Call {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
    signature: "",
};

const BUS: Call<'static> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
    signature: "",
};

/// How long systemd may take for one thing.
const PATIENCE: Duration = Duration::from_secs(30);

impl Connection {
    /// The private socket first: it needs no bus daemon, and systemd listens there from early boot on.
    pub(super) fn open(bus: Bus) -> Result<Self, Error> {
        let (private, shared) = sockets(bus);
        if let Ok(stream) = UnixStream::connect(&private) {
            return Self::greet(stream);
        }
        let stream = UnixStream::connect(&shared).map_err(|source| {
            let error = Error::system(format!("connect to systemd at {}", shared.display()), source);
            match bus {
                Bus::System => error,
                Bus::User => error.hint("a user's systemd runs while the user is logged in, or lingers"),
            }
        })?;
        let mut connection = Self::greet(stream)?;
        connection.call(&Call { member: "Hello", ..BUS }, &Body::default())?;
        let mut rule = Body::default();
        rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
        connection.call(&Call { member: "AddMatch", signature: "s", ..BUS }, &rule)?;
        Ok(connection)
    }

    /// The kernel tells the other side who we are; nothing is claimed (D-Bus specification, "EXTERNAL").
    fn greet(stream: UnixStream) -> Result<Self, Error> {
        let wrong = |source| Error::system("greet systemd", source);
        stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(wrong)?;
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n").map_err(wrong)?;
        for expected in ["DATA", "OK"] {
            let mut line = String::new();
            (&mut stream).take(256).read_line(&mut line).map_err(wrong)?;
            if !line.starts_with(expected) {
                return Err(Error::new(
                    Kind::System,
                    format!("greet systemd: it answered {:?}", line.trim()),
                ));
            }
        }
        Ok(Self { stream, serial: 0, signals: Vec::new() })
    }

    /// Of systemd: the number that its version begins with.
    pub(super) fn release(&mut self) -> Result<u32, Refused> {
        let mut body = Body::default();
        body.text(MANAGER.interface);
        body.text("Version");
        let properties = "org.freedesktop.DBus.Properties";
        let call = Call { interface: properties, member: "Get", signature: "ss", ..MANAGER };
        let answer = self.call(&call, &body)?;
        let text = message::Reader { bytes: &answer.body, at: 0 }.variant_text().unwrap_or_default();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().map_err(|_| {
            Refused::Broken(Error::new(Kind::System, format!("ask systemd for its version: {text:?}")))
        })
    }

    /// Calls a method of the manager.
    pub(super) fn manager(
        &mut self,
        member: &str,
        signature: &str,
        body: &Body,
    ) -> Result<Incoming, Refused> {
        self.call(&Call { member, signature, ..MANAGER }, body)
    }

    fn call(&mut self, call: &Call<'_>, body: &Body) -> Result<Incoming, Refused> {
        self.serial += 1;
        let serial = self.serial;
        let sent = self.stream.get_mut().write_all(&message::call(call, serial, body));
        sent.map_err(|source| Refused::Broken(Error::system("write to systemd", source)))?;
        loop {
            let incoming = self.receive().map_err(Refused::Broken)?;
            match incoming.kind {
                METHOD_RETURN if incoming.reply_to == serial => return Ok(incoming),
                ERROR if incoming.reply_to == serial => {
                    let text = message::Reader { bytes: &incoming.body, at: 0 }.text().unwrap_or_default();
                    return Err(Refused::Named { name: incoming.error, text });
                }
                SIGNAL => self.signals.push(incoming),
                _ => {}
            }
        }
    }

    /// The next signal of that name.
    pub(super) fn signal(&mut self, member: &str) -> Result<Incoming, Error> {
        loop {
            if let Some(at) = self.signals.iter().position(|signal| signal.member == member) {
                return Ok(self.signals.remove(at));
            }
            let incoming = self.receive()?;
            if incoming.kind == SIGNAL {
                self.signals.push(incoming);
            }
        }
    }

    fn receive(&mut self) -> Result<Incoming, Error> {
        let wrong = |source| Error::system("read from systemd", source);
        let strange = || Error::new(Kind::System, "read from systemd: it sent what is no message");
        let mut bytes = vec![0; FIXED];
        self.stream.read_exact(&mut bytes).map_err(wrong)?;
        let rest = message::rest_of(&bytes).ok_or_else(strange)?;
        bytes.resize(FIXED + rest, 0);
        self.stream.read_exact(bytes.get_mut(FIXED..).unwrap_or_default()).map_err(wrong)?;
        message::parse(&bytes).ok_or_else(strange)
    }
}

/// Where that systemd would be asked: its private socket, else the bus; None where there is neither.
pub fn socket(bus: Bus) -> Option<PathBuf> {
    let (private, shared) = sockets(bus);
    [private, shared].into_iter().find(|path| path.exists())
}

/// Private socket, and the bus.
fn sockets(bus: Bus) -> (PathBuf, PathBuf) {
    match bus {
        Bus::System => (PathBuf::from("/run/systemd/private"), PathBuf::from("/run/dbus/system_bus_socket")),
        Bus::User => {
            let own = std::env::var_os("XDG_RUNTIME_DIR")
                .filter(|dir| !dir.is_empty())
                .map_or_else(|| PathBuf::from(format!("/run/user/{}", outer_uid())), PathBuf::from);
            let shared = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok().and_then(|text| address(&text));
            (own.join("systemd/private"), shared.unwrap_or_else(|| own.join("bus")))
        }
    }
}

/// The first path of a list of addresses (D-Bus specification, "Server Addresses"); one with escapes is left to others.
fn address(text: &str) -> Option<PathBuf> {
    let fields = text.split(';').find_map(|one| one.strip_prefix("unix:"))?;
    let path = fields.split(',').find_map(|field| field.strip_prefix("path="))?;
    (!path.contains('%')).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_path() {
        let known = [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("tcp:host=x;unix:guid=1,path=/a/b", Some("/a/b")),
            ("unix:abstract=/tmp/x", None),
            ("unix:path=/a%20b", None),
            ("", None),
        ];
        for (text, path) in known {
            assert_eq!(address(text), path.map(PathBuf::from), "{text}");
        }
    }
}
