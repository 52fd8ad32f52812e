//! Registries that break off, lie, and ask for credentials that are not theirs.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod http;

use std::fs;
use std::path::Path;
use std::process::Command;

use builder::store::{Digest, media};
use http::{Answer, Server};

/// Documents of an image with one layer.
struct Image {
    manifest: String,
    config: String,
    layer: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        let layer: Vec<u8> = (0..400_000_u32).flat_map(|number| number.to_le_bytes()).collect();
        let arch = builder::image::Platform::host().architecture;
        let config = format!(
            r#"{{"architecture":"{arch}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Digest::of(&layer)
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
            media::MANIFEST,
            media::CONFIG,
            Digest::of(config.as_bytes()),
            config.len(),
            media::LAYER,
            Digest::of(&layer),
            layer.len()
        );
        Self { manifest, config, layer }
    }

    /// What an honest registry says.
    fn answer(&self, path: &str) -> Answer {
        let is = |bytes: &[u8]| path.ends_with(Digest::of(bytes).as_str());
        if path.contains("/manifests/") {
            Answer::ok(self.manifest.as_bytes()).header("Content-Type", media::MANIFEST)
        } else if is(self.config.as_bytes()) {
            Answer::ok(self.config.as_bytes())
        } else if is(&self.layer) {
            Answer::ok(&self.layer)
        } else {
            Answer::status(404)
        }
    }
}

/// Runs `builder pull` with a home of its own; its first line on stderr that is an error, empty for success.
fn pull(home: &Path, server: &Server) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_builder"))
        .args(["pull", "--quiet", &format!("{}/a/b:1", server.authority())])
        .env_clear()
        .env("HOME", home)
        .env("CORACLE_STORE", home.join("store"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("builder: ")).unwrap_or_default().to_owned();
    assert_eq!(output.status.success(), line.is_empty(), "{text}");
    line
}

fn log_in(home: &Path, registry: &str) {
    fs::create_dir_all(home.join(".docker")).unwrap();
    // "name:secret"
    let text = format!(r#"{{"auths":{{"{registry}":{{"auth":"bmFtZTpzZWNyZXQ="}}}}}}"#);
    fs::write(home.join(".docker/config.json"), text).unwrap();
}

fn blobs(home: &Path) -> usize {
    fs::read_dir(home.join("store/blobs/sha256")).unwrap().count()
        + fs::read_dir(home.join("store/tmp")).unwrap().count()
}

#[test]
fn an_honest_one_is_believed() {
    let image = Image::new();
    let server = Server::start(move |request| image.answer(&request.path));
    let home = tempfile::tempdir().unwrap();
    assert_eq!(pull(home.path(), &server), "");
    assert_eq!(blobs(home.path()), 3);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let image = Image::new();
    let length = image.layer.len();
    let layer = Digest::of(&image.layer);
    let server = Server::start(move |request| {
        let whole = image.answer(&request.path);
        if !request.path.ends_with(layer.as_str()) {
            return whole;
        }
        match request.header("range") {
            None => whole.cut(length / 3),
            Some(range) => {
                let from: usize =
                    range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
                assert!(from > 0);
                Answer::new(206, &image.layer[from..])
            }
        }
    });
    let home = tempfile::tempdir().unwrap();
    assert_eq!(pull(home.path(), &server), "");
    assert_eq!(server.paths().iter().filter(|path| path.contains("/blobs/")).count(), 3);
}

#[test]
fn a_blob_that_is_another_is_refused_and_not_kept() {
    let image = Image::new();
    let layer = Digest::of(&image.layer);
    let mut wrong = image.layer.clone();
    wrong[1000] ^= 1;
    let is = Digest::of(&wrong);
    let expected = layer.clone();
    let server = Server::start(move |request| {
        if request.path.ends_with(layer.as_str()) { Answer::ok(&wrong) } else { image.answer(&request.path) }
    });
    let home = tempfile::tempdir().unwrap();
    assert_eq!(
        pull(home.path(), &server),
        format!("pull {}/a/b:1: verify blob {expected}: its content is {is}", server.authority())
    );
    assert_eq!(blobs(home.path()), 2);
}

#[test]
fn a_blob_without_an_end_is_cut() {
    let image = Image::new();
    let layer = Digest::of(&image.layer);
    let mut endless = image.layer.clone();
    endless.resize(image.layer.len() + (8 << 20), 0);
    let server = Server::start(move |request| {
        if request.path.ends_with(layer.as_str()) {
            Answer::ok(&endless)
        } else {
            image.answer(&request.path)
        }
    });
    let home = tempfile::tempdir().unwrap();
    let error = pull(home.path(), &server);
    assert!(error.contains(": expected 1600000 bytes, got "), "{error}");
}

#[test]
fn credentials_stay_behind_when_a_redirect_leads_away() {
    let image = Image::new();
    let layer = Digest::of(&image.layer);
    let content = image.layer.clone();
    let away = Server::start(move |_| Answer::ok(&content));
    let location = format!("http://{}/content", away.authority());
    let server = Server::start(move |request| {
        if request.header("authorization").is_none() {
            Answer::status(401).header("WWW-Authenticate", "Basic realm=\"r\"")
        } else if request.path.ends_with(layer.as_str()) {
            Answer::status(307).header("Location", &location)
        } else {
            image.answer(&request.path)
        }
    });
    let home = tempfile::tempdir().unwrap();
    log_in(home.path(), &server.authority());
    assert_eq!(pull(home.path(), &server), "");
    assert_eq!(away.paths(), ["/content"]);
    assert!(away.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_token_service_elsewhere_gets_no_credentials() {
    let away = Server::start(|_| Answer::ok(br#"{"token":"t"}"#));
    let realm = format!("Bearer realm=\"http://localhost:{}/token\",service=\"s\"", away.port());
    let server = Server::start(move |_| Answer::status(401).header("WWW-Authenticate", &realm));
    let home = tempfile::tempdir().unwrap();
    log_in(home.path(), &server.authority());
    let (authority, port) = (server.authority(), away.port());
    assert_eq!(
        pull(home.path(), &server),
        format!(
            "pull {authority}/a/b:1: http://{authority}: it wants its credentials sent to localhost:{port} (if that is right, add realms = [\"HOST\"] to its entry in registries.toml)"
        )
    );
    assert_eq!(away.paths(), [""; 0]);
}

#[test]
fn a_token_is_fetched_once_with_the_scope_and_sent_to_the_registry() {
    let image = Image::new();
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            assert_eq!(request.header("authorization"), Some("Basic bmFtZTpzZWNyZXQ="));
            return Answer::ok(br#"{"token":"the-token"}"#);
        }
        match request.header("authorization") {
            Some("Bearer the-token") => image.answer(&request.path),
            _ => {
                let realm = format!(
                    "Bearer realm=\"http://{}/token\",service=\"s\"",
                    request.header("host").unwrap()
                );
                Answer::status(401).header("WWW-Authenticate", &realm)
            }
        }
    });
    let home = tempfile::tempdir().unwrap();
    log_in(home.path(), &server.authority());
    assert_eq!(pull(home.path(), &server), "");
    let asked: Vec<String> = server.paths().into_iter().filter(|path| path.starts_with("/token")).collect();
    assert_eq!(asked, ["/token?service=s&scope=repository%3Aa%2Fb%3Apull"]);
}

#[test]
fn refusals_say_what_to_do() {
    for (status, body, expected) in [
        (
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication\nrequired"}]}"#,
            "it asks for a login: authenticationrequired (builder login AUTHORITY; a registry may say this of a repository that it does not have)",
        ),
        (403, "", "this login may not (builder login AUTHORITY as another user)"),
        (418, "<html>", "HTTP status 418"),
    ] {
        let server = Server::start(move |_| Answer::new(status, body.as_bytes()));
        let home = tempfile::tempdir().unwrap();
        let authority = server.authority();
        assert_eq!(
            pull(home.path(), &server),
            format!("pull {authority}/a/b:1: http://{authority}: {expected}")
                .replace("AUTHORITY", &authority)
        );
    }
    let server = Server::start(|_| Answer::status(404));
    let home = tempfile::tempdir().unwrap();
    let authority = server.authority();
    assert_eq!(
        pull(home.path(), &server),
        format!("pull {authority}/a/b:1: http://{authority} has no such image (check the name and the tag)")
    );
}

#[test]
fn trouble_that_passes_is_waited_for() {
    let image = Image::new();
    let failures = std::sync::atomic::AtomicU32::new(2);
    let server = Server::start(move |request| {
        let before = failures.load(std::sync::atomic::Ordering::SeqCst);
        failures.store(before.saturating_sub(1), std::sync::atomic::Ordering::SeqCst);
        if before > 0 { Answer::status(503) } else { image.answer(&request.path) }
    });
    let home = tempfile::tempdir().unwrap();
    assert_eq!(pull(home.path(), &server), "");
}
