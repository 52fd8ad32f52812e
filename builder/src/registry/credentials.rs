//! Names and passwords: Docker's and podman's files, their helper programs, and our own `login`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::settings::config_home;
use crate::error::{Error, Kind};

/// How Docker names its hub in its files.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a registry knows the user by. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Name and password.
    Password {
        /// The name.
        name: String,
        /// The password, or a token in its place.
        password: String,
    },
    /// A refresh token of the registry's token service.
    Identity(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl Login {
    /// The value of a Basic `Authorization` header.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { name, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
            }
            Self::Identity(_) => None,
        }
    }
}

/// The files with credentials, the first to be asked first.
#[derive(Debug, Clone)]
pub struct Credentials {
    given: Option<(String, Login)>,
    own: Option<PathBuf>,
    others: Vec<PathBuf>,
}

#[derive(Default, Serialize, Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credHelpers", skip_serializing_if = "BTreeMap::is_empty")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore", skip_serializing_if = "Option::is_none")]
    store: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Auth {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
    #[serde(default, rename = "identitytoken", skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
}

/// What a helper program answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

impl Credentials {
    /// This name and password for this registry, and nothing else.
    pub fn of(registry: &str, name: &str, password: &str) -> Self {
        let login = Login::Password { name: name.to_owned(), password: password.to_owned() };
        Self { given: Some((registry.to_owned(), login)), own: None, others: Vec::new() }
    }

    /// Our own `auth.json` beside `registries.toml`, then `$REGISTRY_AUTH_FILE`, podman's and Docker's.
    pub fn from_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = set("DOCKER_CONFIG").or_else(|| set("HOME").map(|home| home.join(".docker")));
        let podman = set("XDG_RUNTIME_DIR").map(|place| place.join("containers/auth.json"));
        let others = [set("REGISTRY_AUTH_FILE"), podman, docker.map(|place| place.join("config.json"))];
        Self {
            given: None,
            own: config_home().map(|home| home.join("auth.json")),
            others: others.into_iter().flatten().collect(),
        }
    }

    /// The login for a registry, or for the longest part of its repository's name that has one.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Login>, Error> {
        if let Some((known, login)) = &self.given {
            return Ok((known == registry).then(|| login.clone()));
        }
        for path in self.own.iter().chain(&self.others) {
            if let Some(file) = read(path)?
                && let Some(login) = login_in(&file, registry, repository)
                    .map_err(|e| e.during(&format!("read {}", path.display())))?
            {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// Keeps a name and password in our own file, which only the user can read.
    pub fn keep(&self, registry: &str, name: &str, password: &str) -> Result<PathBuf, Error> {
        let auth = STANDARD.encode(format!("{name}:{password}"));
        self.change(|file| {
            file.auths.insert(registry.to_owned(), Auth { auth: Some(auth), identity: None });
        })
    }

    /// Forgets a registry in our own file. Whether it was known there.
    pub fn forget(&self, registry: &str) -> Result<bool, Error> {
        let Some(file) = self.own.as_deref().map(read).transpose()?.flatten() else { return Ok(false) };
        if !file.auths.contains_key(registry) {
            return Ok(false);
        }
        self.change(|file| drop(file.auths.remove(registry)))?;
        Ok(true)
    }

    fn change(&self, change: impl FnOnce(&mut AuthFile)) -> Result<PathBuf, Error> {
        let path =
            self.own.clone().ok_or_else(|| Error::new(Kind::Invalid, "keep the login: HOME is not set"))?;
        let mut file = read(&path)?.unwrap_or_default();
        change(&mut file);
        let text = serde_json::to_vec_pretty(&file)
            .map_err(|error| Error::new(Kind::Invalid, format!("write {}: {error}", path.display())))?;
        write_private(&path, &text)
            .map_err(|error| Error::system(format!("write {}", path.display()), error))?;
        Ok(path)
    }
}

/// Readable by its owner only from the first byte on, and never half-written.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let draft = path.with_extension(format!("json.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_data()).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        drop(fs::remove_file(&draft)); // the error that is returned matters more
    }
    written
}

fn read(path: &Path) -> Result<Option<AuthFile>, Error> {
    match fs::read(path) {
        // The text may hold passwords: of the parser's complaint only the place is told.
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let text = format!(
                "read {}: not valid at line {}, column {}",
                path.display(),
                error.line(),
                error.column()
            );
            Error::new(Kind::Invalid, text)
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Ok(None)
        }
        Err(error) => Err(Error::system(format!("read {}", path.display()), error)),
    }
}

fn login_in(file: &AuthFile, registry: &str, repository: &str) -> Result<Option<Login>, Error> {
    let whole = format!("{registry}/{repository}");
    let mut keys: Vec<&str> = whole.match_indices('/').rev().filter_map(|(at, _)| whole.get(..at)).collect();
    keys.insert(0, &whole);
    let hub = registry == "docker.io";
    keys.extend(hub.then_some([HUB_KEY, "index.docker.io", "registry-1.docker.io"]).into_iter().flatten());
    for key in keys {
        let helper = file.helpers.get(key);
        if let Some(auth) =
            file.auths.iter().find(|(name, _)| plain_key(name) == plain_key(key)).map(|(_, auth)| auth)
            && let Some(login) = decode(auth)?
        {
            return Ok(Some(login));
        }
        if let Some(login) = helper.and_then(|helper| ask(helper, key)) {
            return Ok(Some(login));
        }
    }
    Ok(file.store.as_ref().and_then(|helper| ask(helper, if hub { HUB_KEY } else { registry })))
}

/// Old Docker wrote addresses for keys.
fn plain_key(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2")
}

fn decode(auth: &Auth) -> Result<Option<Login>, Error> {
    if let Some(identity) = auth.identity.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Login::Identity(identity.clone())));
    }
    let Some(encoded) = auth.auth.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let invalid = || Error::new(Kind::Invalid, "a login that is not base64 of name:password");
    let bytes = STANDARD.decode(encoded.trim()).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let (name, password) = text.split_once(':').ok_or_else(invalid)?;
    let password = password.trim_end_matches('\0').to_owned();
    Ok(Some(Login::Password { name: name.to_owned(), password }))
}

/// `docker-credential-HELPER get`. One that fails or knows nothing means no login, as it does for Docker.
fn ask(helper: &str, registry: &str) -> Option<Login> {
    if helper.is_empty() || helper.contains('/') {
        return None;
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(registry.as_bytes()).ok()?;
    let output = child.wait_with_output().ok().filter(|output| output.status.success())?;
    let helped: Helped = serde_json::from_slice(&output.stdout).ok()?;
    Some(match helped.username.as_str() {
        "<token>" => Login::Identity(helped.secret),
        _ => Login::Password { name: helped.username, password: helped.secret },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, registry: &str, repository: &str) -> Option<Login> {
        login_in(&serde_json::from_str(text).unwrap(), registry, repository).unwrap()
    }

    fn password(name: &str, password: &str) -> Option<Login> {
        Some(Login::Password { name: name.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn dockers_and_podmans_keys_are_understood() {
        let text = format!(
            r#"{{"auths":{{"{HUB_KEY}":{{"auth":"{}"}},"quay.io":{{"auth":"{}"}},"quay.io/team":{{"auth":"{}"}},
                "https://old.example/v1/":{{"auth":"{}"}},"empty.example":{{}},"id.example":{{"identitytoken":"t"}}}}}}"#,
            STANDARD.encode("hub:h"),
            STANDARD.encode("quay:q:with:colons"),
            STANDARD.encode("team:t"),
            STANDARD.encode("old:o")
        );
        assert_eq!(find(&text, "docker.io", "library/a"), password("hub", "h"));
        assert_eq!(find(&text, "quay.io", "other/a"), password("quay", "q:with:colons"));
        assert_eq!(find(&text, "quay.io", "team/a"), password("team", "t"));
        assert_eq!(find(&text, "old.example", "a"), password("old", "o"));
        assert_eq!(find(&text, "empty.example", "a"), None);
        assert_eq!(find(&text, "example", "a"), None);
        assert_eq!(find(&text, "id.example", "a"), Some(Login::Identity("t".to_owned())));
    }

    #[test]
    fn a_login_is_never_shown() {
        assert_eq!(format!("{:?}", password("name", "secret").unwrap()), "Login(..)");
        let broken = serde_json::from_str(r#"{"auths":{"a.b":{"auth":"c2VjcmV0"}}}"#).unwrap();
        let error = login_in(&broken, "a.b", "c").unwrap_err().to_string();
        assert_eq!(error, "a login that is not base64 of name:password");
    }

    #[test]
    fn kept_logins_are_the_users_only() {
        use std::os::unix::fs::MetadataExt;
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join("coracle/auth.json");
        let credentials = Credentials { given: None, own: Some(own.clone()), others: vec![] };
        credentials.keep("r.example", "name", "secret").unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o600);
        assert_eq!(credentials.find("r.example", "a").unwrap(), password("name", "secret"));
        assert!(credentials.forget("r.example").unwrap());
        assert!(!credentials.forget("r.example").unwrap());
        assert_eq!(credentials.find("r.example", "a").unwrap(), None);
    }
}
