//! Which addresses a container's own network has: none that the host can reach already.
//!
//! The helper takes whatever goes to its subnet for itself: a neighbour of the host with such an address could not be
//! reached from a container, and neither could the host.

use std::fs;
use std::net::Ipv4Addr;

use nix::ifaddrs::getifaddrs;

use crate::error::Error;

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    first: u32,
    mask: u32,
}

/// The mask of a container's network: 256 addresses.
const MASK: u32 = 0xffff_ff00;

/// A route for more of the address space than this is a way out, not a network of the host's.
const LARGEST: u32 = 0xff00_0000;

impl Subnet {
    const fn new(address: Ipv4Addr, mask: u32) -> Self {
        Self { first: address.to_bits() & mask, mask }
    }

    const fn overlaps(self, other: Self) -> bool {
        let both = self.mask & other.mask;
        self.first & both == other.first & both
    }

    /// As slirp4netns takes it.
    pub(super) fn cidr(self) -> String {
        format!("{}/{}", self.address(0), self.mask.count_ones())
    }

    /// The container, as slirp4netns numbers a network.
    pub(super) const fn guest(self) -> Ipv4Addr {
        self.address(100)
    }

    /// What forwards to the host's name servers.
    pub(super) const fn dns(self) -> Ipv4Addr {
        self.address(3)
    }

    const fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first | number)
    }
}

/// A subnet that is free on this host now.
pub(super) fn free() -> Result<Subnet, Error> {
    Ok(choose(&taken()?))
}

/// slirp4netns' usual subnet, or the first private one that overlaps no taken one. The last, 198.18.2.0, is of a range
/// for measurements that no network in use has.
fn choose(taken: &[Subnet]) -> Subnet {
    let last = subnet([198, 18, 2]);
    let tens = (0..=u8::MAX).map(|second| [10, second, 2]);
    let others = (16..32).map(|second| [172, second, 2]);
    let small = (0..=u8::MAX).rev().map(|third| [192, 168, third]);
    let is_free = |candidate: &Subnet| !taken.iter().any(|taken| candidate.overlaps(*taken));
    tens.chain(others).chain(small).map(subnet).find(is_free).unwrap_or(last)
}

const fn subnet([a, b, c]: [u8; 3]) -> Subnet {
    Subnet::new(Ipv4Addr::new(a, b, c, 0), MASK)
}

/// What the host's interfaces and routes use.
fn taken() -> Result<Vec<Subnet>, Error> {
    let doing = "look at the host's networks";
    let interfaces = getifaddrs().map_err(|errno| Error::system(doing, errno))?;
    let of_interface = |found: nix::ifaddrs::InterfaceAddress| {
        let address = found.address?.as_sockaddr_in()?.ip();
        let mask = found.netmask.and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip().to_bits()));
        Some(Subnet::new(address, mask.unwrap_or(u32::MAX)))
    };
    let mut taken: Vec<Subnet> = interfaces.filter_map(of_interface).collect();
    // Of this thread's network namespace, which is the host's.
    let routes =
        fs::read_to_string("/proc/thread-self/net/route").map_err(|error| Error::system(doing, error))?;
    taken.extend(parse_routes(&routes));
    Ok(taken)
}

/// The destinations in /proc/net/route, but for default routes and the halves that a VPN makes of one.
fn parse_routes(text: &str) -> impl Iterator<Item = Subnet> {
    text.lines().skip(1).filter_map(|line| {
        let (destination, mask) = (line.split_whitespace().nth(1)?, line.split_whitespace().nth(7)?);
        let route = Subnet::new(Ipv4Addr::from_bits(number(destination)?), number(mask)?);
        (route.mask >= LARGEST).then_some(route)
    })
}

/// The kernel prints the bytes in memory, which are in the network's order, as a number of its own.
fn number(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok().map(u32::to_be)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Subnet, choose, parse_routes, taken};

    fn used(address: [u8; 4], bits: u32) -> Subnet {
        Subnet::new(Ipv4Addr::from_octets(address), u32::MAX.checked_shl(32 - bits).unwrap_or(0))
    }

    #[test]
    fn a_subnet_is_chosen_that_the_host_does_not_use() {
        for (taken, chosen) in [
            (vec![], "10.0.2.0/24"),
            (vec![used([192, 168, 1, 7], 24)], "10.0.2.0/24"),
            (vec![used([10, 0, 2, 15], 24)], "10.1.2.0/24"),
            (vec![used([10, 0, 2, 15], 32)], "10.1.2.0/24"),
            (vec![used([10, 0, 0, 1], 15)], "10.2.2.0/24"),
            (vec![used([10, 0, 0, 0], 8)], "172.16.2.0/24"),
            (vec![used([10, 9, 9, 9], 8), used([172, 16, 0, 1], 12)], "192.168.255.0/24"),
            (
                vec![used([10, 0, 0, 0], 8), used([172, 16, 0, 0], 12), used([192, 168, 0, 0], 16)],
                "198.18.2.0/24",
            ),
        ] {
            assert_eq!(choose(&taken).cidr(), chosen, "{taken:?}");
        }
    }

    #[test]
    fn its_addresses_are_those_that_slirp4netns_gives() {
        let subnet = choose(&[used([10, 0, 2, 15], 24)]);
        assert_eq!(
            (subnet.guest().to_string(), subnet.dns().to_string()),
            ("10.1.2.100".into(), "10.1.2.3".into())
        );
    }

    #[test]
    fn routes_are_read_as_the_kernel_prints_them() {
        let hex = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let line = |to: [u8; 4], mask: [u8; 4]| {
            format!("eth0\t{}\t{}\t0003\t0\t0\t0\t{}\t0\t0\t0\n", hex(to), hex([10, 0, 2, 2]), hex(mask))
        };
        let text = [
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n".to_owned(),
            line([0, 0, 0, 0], [0, 0, 0, 0]),
            line([128, 0, 0, 0], [128, 0, 0, 0]),
            line([10, 0, 2, 0], [255, 255, 255, 0]),
            line([172, 20, 0, 0], [255, 255, 0, 0]),
        ]
        .concat();
        let found: Vec<Subnet> = parse_routes(&text).collect();
        assert_eq!(found, [used([10, 0, 2, 0], 24), used([172, 20, 0, 0], 16)]);
    }

    #[test]
    fn the_loopback_is_among_the_hosts_networks() {
        assert!(taken().unwrap().contains(&used([127, 0, 0, 1], 8)));
    }
}
