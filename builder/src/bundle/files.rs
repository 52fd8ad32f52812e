//! The container's own `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.

use std::fmt::Write as _;

/// How a container finds names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Options, as in resolv.conf(5).
    pub options: Vec<String>,
}

impl Resolver {
    /// From the text of a `resolv.conf`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => resolver.servers.extend(words.next()),
                Some("search" | "domain") => resolver.search = words.collect(),
                Some("options") => resolver.options.extend(words),
                _ => {}
            }
        }
        resolver
    }

    /// The text of a `resolv.conf`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let _always = writeln!(text, "nameserver {server}");
        }
        for (word, values) in [("search", &self.search), ("options", &self.options)] {
            if !values.is_empty() {
                let _always = writeln!(text, "{word} {}", values.join(" "));
            }
        }
        text
    }
}

/// The names by which a container knows itself and others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its own name.
    pub name: String,
    /// Its own address, where it has one.
    pub address: Option<String>,
    /// Further names: name, address.
    pub others: Vec<(String, String)>,
}

impl Host {
    /// The text of `/etc/hosts`.
    #[must_use]
    pub fn hosts(&self) -> String {
        let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        let own = self.address.as_deref().unwrap_or("127.0.0.1");
        let _always = writeln!(text, "{own}\t{}", self.name);
        for (name, address) in &self.others {
            let _always = writeln!(text, "{address}\t{name}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_survives_reading_and_writing() {
        let text = "# a\nnameserver 10.0.0.1\nnameserver ::1\nsearch a.b c\noptions ndots:2\n";
        let resolver = Resolver::parse(text);
        assert_eq!(resolver.text(), "nameserver 10.0.0.1\nnameserver ::1\nsearch a.b c\noptions ndots:2\n");
    }

    #[test]
    fn the_container_knows_its_own_name() {
        let host = Host {
            name: "web".to_owned(),
            address: Some("10.0.2.100".to_owned()),
            others: vec![("db".to_owned(), "10.1.1.1".to_owned())],
        };
        assert_eq!(
            host.hosts(),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.2.100\tweb\n10.1.1.1\tdb\n"
        );
    }
}
