//! Requests to the kernel's routing netlink (rtnetlink(7)), as far as a device's move needs them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// A socket in the network namespace of the process that opened it.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

/// A message of the kernel: its type and what follows the header.
type Message = (u16, Vec<u8>);

const HEADER: usize = 16;
const UP: u32 = libc::IFF_UP.cast_unsigned();

/// An address as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    flags: u8,
    scope: u8,
    /// Kind and content.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Set by somebody to stay, and not by the network or the kernel for a while; valid beyond the host.
    pub(super) fn is_to_keep(&self) -> bool {
        let permanent = self.flags & libc::IFA_F_PERMANENT.to_le_bytes()[0] != 0;
        permanent && self.scope == libc::RT_SCOPE_UNIVERSE
    }
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        Ok(Self(socket(AddressFamily::Netlink, kind, flags, SockProtocol::NetlinkRoute)?))
    }

    /// The index of a device.
    pub(super) fn find(&self, name: &str) -> io::Result<i32> {
        let mut body = link(0, 0, 0);
        attribute(&mut body, libc::IFLA_IFNAME, &c_name(name));
        let told = self.ask(libc::RTM_GETLINK, libc::NLM_F_ACK, &body)?;
        let index = told.iter().find(|(kind, _)| *kind == libc::RTM_NEWLINK);
        let index = index.and_then(|(_, body)| body.get(4..8)?.try_into().ok()).map(i32::from_ne_bytes);
        index.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    pub(super) fn set_up(&self, index: i32, is_up: bool) -> io::Result<()> {
        let body = link(index, if is_up { UP } else { 0 }, UP);
        self.ask(libc::RTM_NEWLINK, libc::NLM_F_ACK, &body).map(drop)
    }

    /// At once into another namespace and to another name, which may be taken in the one that it leaves.
    pub(super) fn move_to(&self, index: i32, namespace: &OwnedFd, name: &str) -> io::Result<()> {
        let mut body = link(index, 0, 0);
        attribute(&mut body, libc::IFLA_IFNAME, &c_name(name));
        attribute(&mut body, libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.ask(libc::RTM_NEWLINK, libc::NLM_F_ACK, &body).map(drop)
    }

    /// All addresses of a device.
    pub(super) fn addresses(&self, index: i32) -> io::Result<Vec<Address>> {
        let told = self.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; 8])?;
        let bodies = told.iter().filter(|(kind, _)| *kind == libc::RTM_NEWADDR).map(|(_, body)| body);
        Ok(bodies.filter_map(|body| address(body, index)).collect())
    }

    pub(super) fn add(&self, index: i32, address: &Address) -> io::Result<()> {
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend(index.to_ne_bytes());
        let wanted = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST];
        for (kind, content) in address.attributes.iter().filter(|(kind, _)| wanted.contains(kind)) {
            attribute(&mut body, *kind, content);
        }
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.ask(libc::RTM_NEWADDR, flags, &body).map(drop)
    }

    /// Sends a request, and gives everything up to its acknowledgement or to the end of the list.
    fn ask(&self, kind: u16, flags: i32, body: &[u8]) -> io::Result<Vec<Message>> {
        let fd = self.0.as_raw_fd();
        let flags = u16::try_from(libc::NLM_F_REQUEST | flags).map_err(io::Error::other)?;
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        request.extend([0; 8]);
        request.extend(body);
        send(fd, &request, MsgFlags::empty())?;
        let mut told = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = recv(fd, &mut buffer, MsgFlags::empty())?;
            for (kind, body) in split(buffer.get(..count).unwrap_or_default(), HEADER) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(told),
                    libc::NLMSG_ERROR => {
                        let errno = body.first_chunk().map_or(libc::EBADMSG, |raw| -i32::from_ne_bytes(*raw));
                        return if errno == 0 { Ok(told) } else { Err(io::Error::from_raw_os_error(errno)) };
                    }
                    _ => told.push((kind, body)),
                }
            }
        }
    }
}

/// Messages (a header of 16 bytes) or attributes (of 4): both begin with a length, and a type follows.
fn split(mut bytes: &[u8], header: usize) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some((length, kind)) = head(bytes, header)
        && let Some(body) = bytes.get(header..length)
    {
        all.push((kind, body.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn head(bytes: &[u8], header: usize) -> Option<(usize, u16)> {
    match header {
        HEADER => {
            let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
            Some((length, u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?)))
        }
        _ => {
            let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
            Some((length, u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?)))
        }
    }
}

/// struct ifinfomsg.
fn link(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    // A name, an address, a number: all are short.
    let length = u16::try_from(4 + content.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(content);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn c_name(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

/// struct ifaddrmsg, if it is about this device.
fn address(body: &[u8], wanted: i32) -> Option<Address> {
    let ([family, prefix, flags, scope], rest) = body.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let attributes = split(rest, 4);
    let (family, prefix, flags, scope) = (*family, *prefix, *flags, *scope);
    (i32::from_ne_bytes(*index) == wanted).then_some(Address { family, prefix, flags, scope, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_the_kernel_writes_it() {
        let mut body = vec![2, 24, 0x80, 0];
        body.extend(7_i32.to_ne_bytes());
        attribute(&mut body, libc::IFA_LOCAL, &[10, 0, 0, 1]);
        attribute(&mut body, libc::IFA_LABEL, b"ab\0");
        let found = address(&body, 7).unwrap();
        assert_eq!(found.attributes, [(2, vec![10, 0, 0, 1]), (3, b"ab\0".to_vec())]);
        assert!(found.is_to_keep());
        assert_eq!(address(&body, 8), None);
        for (at, value) in [(2, 0), (3, 253)] {
            let mut other = body.clone();
            other[at] = value;
            assert!(!address(&other, 7).unwrap().is_to_keep(), "{at}");
        }
        assert_eq!(address(&body[..6], 7), None);
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 1, &[1; 5]);
        attribute(&mut bytes, 2, &[2; 4]);
        assert_eq!(split(&bytes, 4).len(), 2);
        assert_eq!(split(&bytes[..bytes.len() - 1], 4).len(), 1);
        assert_eq!(split(&[0; 16], HEADER), []);
    }

    #[test]
    fn the_loopback_device_is_found_with_its_index() {
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.find("lo").unwrap(), 1);
        assert_eq!(netlink.find("coracle-none").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
