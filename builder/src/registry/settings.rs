//! `registries.toml`: mirrors, and registries without TLS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Endpoint, Reference};
use crate::error::{Error, Kind};

/// Where images come from, as the user set it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default, rename = "registry")]
    registries: Vec<Rule>,
}

/// What holds for the images whose name begins with `prefix`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// A registry, or a registry and the first parts of a repository.
    pub(super) prefix: String,
    /// Asked first, in this order: `http[s]://host[:port][/path]`, or without a scheme.
    #[serde(default)]
    pub(super) mirrors: Vec<String>,
    /// `true`: HTTP where no scheme is given, and no check of certificates. `false`: TLS, on the loopback too.
    pub(super) insecure: Option<bool>,
    /// A PEM file of certificates that vouch for it, besides the system's.
    pub(super) ca: Option<PathBuf>,
    /// Other hosts whose token service gets this registry's credentials.
    #[serde(default)]
    pub(super) realms: Vec<String>,
}

impl Settings {
    /// From `$CORACLE_REGISTRIES`, else `registries.toml` in `$XDG_CONFIG_HOME/coracle`, `~/.config/coracle` or
    /// `/etc/coracle`, whichever is there first; none is no settings.
    pub fn from_environment() -> Result<Self, Error> {
        if let Some(named) = std::env::var_os("CORACLE_REGISTRIES").filter(|name| !name.is_empty()) {
            return Self::read(Path::new(&named))?.ok_or_else(|| {
                Error::system(
                    format!("read {}", Path::new(&named).display()),
                    io::Error::from(io::ErrorKind::NotFound),
                )
                .hint("CORACLE_REGISTRIES names it")
            });
        }
        let places = [
            config_home().map(|home| home.join("registries.toml")),
            Some("/etc/coracle/registries.toml".into()),
        ];
        for place in places.into_iter().flatten() {
            if let Some(settings) = Self::read(&place)? {
                return Ok(settings);
            }
        }
        Ok(Self::default())
    }

    fn read(path: &Path) -> Result<Option<Self>, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text)
                .map(Some)
                .map_err(|error| error.during(&format!("read {}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::system(format!("read {}", path.display()), error)),
        }
    }

    /// From the text of a `registries.toml`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(0, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            Error::new(Kind::Invalid, format!("line {line}: {}", error.message()))
        })?;
        for rule in &settings.registries {
            for mirror in &rule.mirrors {
                Endpoint::of_mirror(mirror, rule)?;
            }
        }
        Ok(settings)
    }

    /// Where to pull `reference` from: the mirrors, then the registry itself.
    pub fn sources(&self, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
        let rule = self.rule(reference);
        let mirrors = rule
            .iter()
            .flat_map(|rule| rule.mirrors.iter().map(move |mirror| Endpoint::of_mirror(mirror, rule)));
        mirrors.chain([Ok(Endpoint::of_registry(reference.registry(), rule))]).collect()
    }

    /// Where to push `reference` to: the registry itself.
    pub fn home(&self, reference: &Reference) -> Endpoint {
        Endpoint::of_registry(reference.registry(), self.rule(reference))
    }

    /// The registry of a login.
    pub fn registry(&self, registry: &str) -> Endpoint {
        Endpoint::of_registry(registry, self.registries.iter().find(|rule| rule.prefix == registry))
    }

    /// The longest prefix that ends where a part of the name ends.
    fn rule(&self, reference: &Reference) -> Option<&Rule> {
        let name = reference.name();
        let matches = |rule: &&Rule| {
            name.strip_prefix(&rule.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.registries.iter().filter(matches).max_by_key(|rule| rule.prefix.len())
    }
}

/// `$XDG_CONFIG_HOME/coracle`, or `~/.config/coracle`.
pub(super) fn config_home() -> Option<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| Path::new(value).is_absolute()).map(PathBuf::from);
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|place| place.join("coracle"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(settings: &str, name: &str) -> Vec<String> {
        let settings = Settings::parse(settings).unwrap();
        settings.sources(&name.parse().unwrap()).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let text = r#"
            [[registry]]
            prefix = "docker.io"
            mirrors = ["http://127.0.0.1:5000", "https://mirror.example/cache/"]
            [[registry]]
            prefix = "docker.io/library"
            mirrors = ["mirror.test"]
            [[registry]]
            prefix = "plain.example"
            insecure = true
        "#;
        assert_eq!(
            sources(text, "user/app"),
            ["http://127.0.0.1:5000", "https://mirror.example/cache", "https://registry-1.docker.io"]
        );
        assert_eq!(sources(text, "python"), ["https://mirror.test", "https://registry-1.docker.io"]);
        assert_eq!(sources(text, "docker.iox/library/a"), ["https://docker.iox"]);
        assert_eq!(sources(text, "plain.example/a"), ["http://plain.example"]);
    }

    #[test]
    fn the_loopback_needs_no_tls_unless_it_is_asked_for() {
        for name in ["localhost:5000/a", "127.0.0.1:5000/a", "127.1.2.3/a", "[::1]:5000/a"] {
            assert!(sources("", name)[0].starts_with("http://"), "{name}");
        }
        let text = "[[registry]]\nprefix = \"localhost:5000\"\ninsecure = false";
        assert_eq!(sources(text, "localhost:5000/a"), ["https://localhost:5000"]);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            ("[[registry]]\nprefix = 1", "line 2: invalid type: integer `1`, expected a string"),
            (
                "[[registry]]\nprefix = \"a\"\nmirror = \"b\"",
                "line 3: unknown field `mirror`, expected one of `prefix`, `mirrors`, `insecure`, `ca`, `realms`",
            ),
            (
                "[[registry]]\nprefix = \"a\"\nmirrors = [\"ftp://b\"]",
                "invalid mirror \"ftp://b\": expected http:// or https://",
            ),
            (
                "[[registry]]\nprefix = \"a\"\nmirrors = [\"http://u:p@b\"]",
                "invalid mirror \"http://***@b\": expected host[:port][/path]",
            ),
        ] {
            assert_eq!(Settings::parse(text).unwrap_err().to_string(), expected);
        }
    }
}
