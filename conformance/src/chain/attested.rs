//! Images that carry what their build says of itself: engines take them as they take any other, and a scanner's image is a container.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::place::{PATIENCE, Place};
use super::registry::Registry;
use crate::case::{Case, Ctx};
use crate::engines::docker::{Docker, NEEDS};
use crate::engines::engine::Cli;
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/build-attested-elsewhere",
        source: "issue 5: attestations; BuildKit's docs/attestations/attestation-storage.md",
        needs: &[Need::UserNamespaces],
        run: elsewhere,
    },
    Case {
        name: "chain/build-attested-skopeo",
        source: "issue 5: attestations, taken by skopeo",
        needs: &[Need::UserNamespaces, Need::Program("skopeo")],
        run: skopeo,
    },
    Case {
        name: "chain/build-attested-podman",
        source: "issue 5: attestations, taken by podman",
        needs: &[Need::Root, Need::Program("podman")],
        run: podman,
    },
    Case {
        name: "chain/build-attested-docker",
        source: "issue 5: attestations, taken by Docker",
        needs: NEEDS,
        run: docker,
    },
    Case {
        name: "chain/build-sbom",
        source: "issue 5: lists of contents; BuildKit's docs/attestations/sbom-protocol.md",
        needs: &[Need::UserNamespaces],
        run: scanned,
    },
];

const DOCKERFILE: &str = "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\", \"write\", \"/file\", \"x\"]\nCMD [\"/probe\", \"print\", \"it runs\"]\n";

/// An image with its provenance in a registry: its name there, its digest.
fn pushed(ctx: &Ctx, registry: &Registry) -> Result<(Place, String, String)> {
    let place = Place::new(ctx, "builder", "http://127.0.0.1:1")?;
    let context = place.context("context", &[("Dockerfile", DOCKERFILE)])?;
    let name = format!("{}/attested:1", registry.url().trim_start_matches("http://"));
    // Docker 20.10 knows no zstd.
    let flags =
        ["build", "--quiet", "--compression", "gzip", "--network", "none", "--provenance", "mode=max"];
    let words = [&flags[..], &["-t", &name, "--push", &context]].concat();
    let digest = place.run(&words)?.success()?.out.trim().to_owned();
    place.verify_blobs()?;
    Ok((place, name, digest))
}

/// Pulled by a store that has nothing, run, listed, saved, loaded, and built upon.
fn elsewhere(ctx: &Ctx) -> Result<()> {
    let registry = Registry::start(ctx)?;
    let (_, name, digest) = pushed(ctx, &registry)?;
    let other = Place::new(ctx, "other", "http://127.0.0.1:1")?;
    let ran = other.run(&["run", "--rm", "--network", "none", &name])?.success()?;
    ran.out("it runs\n")?;
    let listed = other.run(&["images"])?.success()?.out;
    ensure!(listed.contains("attested"), "it is not listed: {listed}");
    let context = other.context("context", &[("Dockerfile", &format!("FROM {name}\nCOPY probe /more\n"))])?;
    let said = other.run(&["build", "--network", "none", "--provenance", "true", &context])?.success()?;
    ensure!(said.out.starts_with("sha256:") && said.out.trim() != digest, "it gives {}", said.out);
    other.verify_blobs()
}

fn skopeo(ctx: &Ctx) -> Result<()> {
    let registry = Registry::start(ctx)?;
    let (_, name, digest) = pushed(ctx, &registry)?;
    let layout = ctx.path("layout");
    let from = format!("docker://{name}");
    let copy = |flags: &[&str], to: &str| {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--src-tls-verify=false"]).args(flags).args([&from, to]);
        process::run(&mut command, PATIENCE)?.success()
    };
    copy(&["--all"], &format!("oci:{}:all", layout.display()))?;
    copy(&[], &format!("oci:{}:one", layout.display()))?;
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let entries = index["manifests"].as_array().context("read what skopeo wrote")?.clone();
    let named = |tag: &str| {
        let has = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
        entries.iter().find(has).map(|entry| entry["digest"].clone())
    };
    ensure!(named("all") == Some(Value::from(digest)), "all of it is {index}");
    ensure!(named("one").is_some() && named("one") != named("all"), "one of it is {index}");
    // What skopeo wrote is loaded again, statements and all.
    let place = Place::new(ctx, "loader", "http://127.0.0.1:1")?;
    place.run(&["load", "-i", &layout.to_string_lossy()])?.success()?;
    place.verify_blobs()
}

fn podman(ctx: &Ctx) -> Result<()> {
    let registry = Registry::start(ctx)?;
    let (_, name, _) = pushed(ctx, &registry)?;
    let podman = |words: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(ctx.path("podman")).arg("--runroot").arg(ctx.path("podman-run"));
        command.args(["--storage-driver", "vfs"]).args(words).env("HOME", ctx.path("podman-home"));
        process::run(&mut command, PATIENCE)?.success()
    };
    podman(&["pull", "--quiet", "--tls-verify=false", &name])?;
    let command = podman(&["image", "inspect", "--format", "{{.Config.Cmd}}", &name])?.out;
    ensure!(command == "[/probe print it runs]\n", "podman has {command:?}");
    podman(&["rmi", &name]).map(drop)
}

fn docker(ctx: &Ctx) -> Result<()> {
    let docker = ctx.session(|ctx| Docker::beside_the_shim(ctx, "{}"))?;
    let registry = Registry::start(ctx)?;
    let (_, name, _) = pushed(ctx, &registry)?;
    docker.call(&["pull", "--quiet", &name])?.success()?;
    docker.call(&["run", "--rm", "--network", "none", &name])?.success()?.out("it runs\n")?;
    Ok(())
}

const SCANNER: &str = "FROM scratch\nCOPY probe /probe\nCOPY found.json /\n\
CMD [\"/probe\", \"copy\", \"/found.json\", \"/run/out/sbom.spdx.json\", \",\", \"copy\", \"/found.json\", \"/run/out/sbom-one.spdx.json\", \
\",\", \"stat\", \"/run/src/core/sbom/own\", \",\", \"stat\", \"/run/src/extras/sbom-one/first\", \",\", \"stat\", \"/run/src/extras/sbom-context/Dockerfile\", \
\",\", \"write\", \"/tmp/scratch\", \"x\", \",\", \"show\"]\n";

const SCANNED: &str = "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM scratch AS one\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY probe /first\n\
FROM scratch AS two\nCOPY probe /second\nFROM scratch\nCOPY --from=one /first /own\nCOPY --from=two /second /own2\n";

/// The probe is the scanner: it sees what it is to scan, and what it writes is what the image carries.
fn scanned(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let files =
        r#"[{"fileName": "/own2"}, {"fileName": "./own", "comment": "mine"}, {"fileName": "absent"}]"#;
    let found = format!(
        r#"{{"predicateType": "https://spdx.dev/Document", "predicate": {{"name": "all of it", "files": {files}}}}}"#
    );
    let scanner = place.context("scanner", &[("Dockerfile", SCANNER), ("found.json", &found)])?;
    let network = ["--network", "none"];
    place.run(&[&["build", "-t", "scanner:1"], &network[..], &[&scanner]].concat())?.success()?;
    let context = place.context("context", &[("Dockerfile", SCANNED)])?;
    let flags =
        ["build", "--progress", "plain", "--sbom", "generator=scanner:1,LEVEL=9", "--provenance", "mode=min"];
    let words = [&flags[..], &network[..], &[&context]].concat();
    let first = place.run(&words)?.success()?;
    for expected in [
        "stat /run/src/core/sbom/own: file",
        "stat /run/src/extras/sbom-one/first: file",
        "stat /run/src/extras/sbom-context/Dockerfile: file",
        "\"BUILDKIT_SCAN_SOURCE\":\"/run/src/core/sbom\"",
        "\"BUILDKIT_SCAN_SOURCE_EXTRAS\":\"/run/src/extras/\"",
        "\"BUILDKIT_SCAN_DESTINATION\":\"/run/out/\"",
        "\"BUILDKIT_SCAN_LEVEL\":\"9\"",
    ] {
        ensure!(first.err.contains(expected), "{expected:?} is not in {}", first.err);
    }
    ensure!(!first.err.contains("sbom-two"), "a stage is scanned that does not say so: {}", first.err);
    let kinds = predicates(&place, first.out.trim())?;
    let list = "https://spdx.dev/Document";
    ensure!(kinds == [list, list, "https://slsa.dev/provenance/v1"], "the image carries {kinds:?}");
    layers_are_named(&place, first.out.trim())?;
    let again = place.run(&words)?.success()?.out(&first.out)?;
    ensure!(!again.err.contains(" DONE "), "a step is carried out again: {}", again.err);
    refused(&place, &network)
}

/// In the list of the result alone, where the scanner says nothing of its own.
fn layers_are_named(place: &Place, index: &str) -> Result<()> {
    let image = document(place, document(place, index)?["manifests"][0]["digest"].clone())?;
    let second = format!("layerID: {}", image["layers"][1]["digest"].as_str().unwrap_or_default());
    let comments: Vec<Vec<Value>> = statements(place, index)?
        .iter()
        .filter_map(|statement| statement["predicate"]["files"].as_array())
        .map(|files| files.iter().map(|file| file["comment"].clone()).collect())
        .collect();
    let (mine, none) = (Value::from("mine"), Value::Null);
    let expected = [[Value::from(second), mine.clone(), none.clone()], [none.clone(), mine, none]];
    ensure!(comments == expected, "the files' layers are {comments:?}, not {expected:?}");
    Ok(())
}

/// The kinds of statements beside an image, in their order.
fn predicates(place: &Place, index: &str) -> Result<Vec<String>> {
    let kind = |statement: &Value| statement["predicateType"].as_str().unwrap_or_default().to_owned();
    Ok(statements(place, index)?.iter().map(kind).collect())
}

fn statements(place: &Place, index: &str) -> Result<Vec<Value>> {
    let manifest = document(place, document(place, index)?["manifests"][1]["digest"].clone())?;
    let layers = manifest["layers"].as_array().context("find the statements")?;
    layers.iter().map(|layer| document(place, layer["digest"].clone())).collect()
}

fn document(place: &Place, digest: impl Into<Value>) -> Result<Value> {
    let digest = digest.into();
    let path = place.store.join("blobs").join(digest.as_str().unwrap_or_default().replace(':', "/"));
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// A scanner that writes nothing, one that writes something else, and one that cannot be had.
fn refused(place: &Place, network: &[&str]) -> Result<()> {
    let context = place.context("plain", &[("Dockerfile", "FROM scratch\nCOPY probe /p\n")])?;
    for (name, command, expected) in [
        ("silent", "print\", \"nothing", "builder: scan the image: the scanner wrote nothing to /run/out\n"),
        (
            "other",
            "write\", \"/run/out/sbom.spdx.json\", \"{}",
            "builder: read sbom.spdx.json of the scanner: its predicateType is not https://spdx.dev/Document (a scanner writes in-toto statements of SPDX documents)\n",
        ),
    ] {
        let text = format!("FROM scratch\nCOPY probe /probe\nCMD [\"/probe\", \"{command}\"]\n");
        let scanner = place.context(name, &[("Dockerfile", &text)])?;
        place.run(&[&["build", "-t", name], network, &[&scanner]].concat())?.success()?;
        let generator = format!("generator={name}");
        place
            .run(&[&["build", "--sbom", &generator], network, &[&context]].concat())?
            .code(1)?
            .says(expected)?;
    }
    let hint = "(name a scanner that can be had with --sbom generator=IMAGE)";
    place.run(&[&["build", "--sbom", "true"], network, &[&context]].concat())?.code(1)?.says(hint)?;
    Ok(())
}
