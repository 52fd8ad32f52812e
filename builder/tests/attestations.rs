//! `--provenance`, `--attest`: what a build says of itself, and that an image which carries it is one like any other.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "the other users of the server and the site use the rest")]

mod http;
mod site;

use std::fs;
use std::path::Path;

use base64::Engine;
use http::{Answer, Server};
use serde_json::{Value, json};
use site::{Site, names};

const TWO_STAGES: &str = "ARG COLOR\nFROM base AS one\nARG COLOR=a\nWORKDIR /w\nCOPY a $COLOR\n\
FROM base\nCOPY --from=one /w /w\nCOPY <<EOF /text\nhere\nEOF\n";

/// A base in the store, and a Dockerfile of two stages on it.
fn two_stages() -> Site {
    let site = Site::new("FROM scratch\nCOPY b /b\n");
    site.write("context/a", b"1").write("context/b", b"2");
    site.build(&["-t", "base:1", "context"]);
    site.write("context/Dockerfile", TWO_STAGES.replace("base", "base:1").as_bytes());
    site
}

/// The statement that stands at `at` in the only attestation manifest of an index, and what it is about.
fn statement(site: &Site, index: &str, at: usize) -> (Value, String) {
    let entries = site.document(index)["manifests"].as_array().unwrap().clone();
    let found: Vec<&Value> = entries.iter().filter(|entry| entry["platform"]["os"] == "unknown").collect();
    let [entry] = found.as_slice() else { panic!("{entries:?}") };
    assert_eq!(entry["platform"]["architecture"], "unknown");
    assert_eq!(entry["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    let about = entry["annotations"]["vnd.docker.reference.digest"].as_str().unwrap().to_owned();
    let manifest = site.document(entry["digest"].as_str().unwrap());
    assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(site.blob(manifest["config"]["digest"].as_str().unwrap()), b"{}");
    assert_eq!(manifest["subject"]["digest"], about.as_str());
    let layer = &manifest["layers"][at];
    assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
    let statement = site.document(layer["digest"].as_str().unwrap());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], layer["annotations"]["in-toto.io/predicate-type"]);
    (statement, about)
}

fn image_of(site: &Site, index: &str) -> String {
    site.document(index)["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn provenance_says_what_went_in_and_how_it_was_put_together() {
    let site = two_stages();
    let flags = [
        "-t",
        "x:1",
        "--provenance",
        "mode=max,builder-id=https://b",
        "--build-arg",
        "COLOR=red",
        "--label",
        "l=v",
        "context",
    ];
    let (index, _) = site.build(&flags);
    let (statement, about) = statement(&site, &index, 0);
    assert_eq!(about, image_of(&site, &index));
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let digest = about.trim_start_matches("sha256:");
    let platform = std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64");
    let subject = json!([{"name": format!("pkg:docker/x@1?platform=linux%2F{platform}"), "digest": {"sha256": digest}}]);
    assert_eq!(statement["subject"], subject);
    let definition = &statement["predicate"]["buildDefinition"];
    let base = site.document(&index_digest(&site, "base:1"));
    assert_eq!(base["layers"].as_array().unwrap().len(), 1);
    assert_eq!(
        definition["resolvedDependencies"],
        json!([{
            "uri": format!("pkg:docker/base@1?platform=linux%2F{platform}"),
            "digest": {"sha256": index_digest(&site, "base:1").trim_start_matches("sha256:")},
        }])
    );
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["frontend"], "dockerfile.v0");
    assert_eq!(
        request["args"],
        json!({"build-arg:COLOR": "red", "build-arg:SOURCE_DATE_EPOCH": "0", "label:l": "v"})
    );
    assert_eq!(request["locals"], json!([{"name": "context"}, {"name": "dockerfile"}]));
    assert_eq!(definition["externalParameters"]["configSource"], json!({"path": "Dockerfile"}));
    let details = &statement["predicate"]["runDetails"];
    assert_eq!(details["builder"]["id"], "https://b");
    let metadata = &details["metadata"];
    assert_eq!(metadata["buildkit_completeness"], json!({"request": true, "resolvedDependencies": false}));
    for absent in ["startedOn", "finishedOn", "invocationId"] {
        assert_eq!(metadata.get(absent), None, "two builds of one thing say the same");
    }
    steps(&definition["internalParameters"]["buildConfig"]["llbDefinition"], &metadata["buildkit_metadata"]);
    let layers = metadata["buildkit_metadata"]["layers"].as_object().unwrap();
    let heights: Vec<usize> = layers.values().map(|chains| chains[0].as_array().unwrap().len()).collect();
    assert_eq!(heights, [1, 2, 3]);
    let own = site.document(&about)["layers"].clone();
    assert_eq!(layers.values().next_back().unwrap()[0][2]["digest"], own[2]["digest"]);
}

/// Each instruction is a step with the line that it is on, and each place outside is one too.
fn steps(steps: &Value, metadata: &Value) {
    let kinds: Vec<String> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let operation = &step["op"]["Op"];
            let inputs = step["inputs"].as_array().map_or(0, Vec::len);
            let kind = operation.as_object().map_or("end", |fields| fields.keys().next().unwrap());
            let source = operation["source"]["identifier"].as_str().unwrap_or_default();
            format!("{kind} {inputs} {}", source.split(['@']).next().unwrap())
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "source 0 docker-image://docker.io/library/base:1",
            "file 1 ",
            "source 0 local://context",
            "file 2 ",
            "file 2 ",
            "file 1 ",
            "end 1 ",
        ]
    );
    let lines = |step: &str| {
        metadata["source"]["locations"][step]["locations"][0]["ranges"][0]["start"]["line"].clone()
    };
    assert_eq!(
        [lines("step0"), lines("step1"), lines("step3"), lines("step5")],
        [json!(6), json!(4), json!(5), json!(8)]
    );
    let source = &metadata["source"]["infos"][0];
    assert_eq!(source["filename"], "Dockerfile");
    let text = base64::engine::general_purpose::STANDARD.decode(source["data"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), TWO_STAGES.replace("base", "base:1"));
}

fn index_digest(site: &Site, name: &str) -> String {
    let index: Value = serde_json::from_slice(&fs::read(site.path("store/index.json")).unwrap()).unwrap();
    let name = format!("docker.io/library/{name}");
    let found = index["manifests"].as_array().unwrap().iter();
    let mut found =
        found.filter(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == name.as_str());
    found.next().unwrap()["digest"].as_str().unwrap().to_owned()
}

#[test]
fn the_least_of_it_gives_away_nothing_of_the_command_line() {
    let site = two_stages();
    let flags = [
        "--provenance",
        "mode=min,version=v0.2",
        "--build-arg",
        "COLOR=hush",
        "--label",
        "hush=1",
        "--target",
        "one",
        "context",
    ];
    let (index, _) = site.build(&flags);
    let (statement, _) = statement(&site, &index, 0);
    assert!(!statement.to_string().contains("hush"), "{statement}");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v0.2");
    let predicate = &statement["predicate"];
    assert_eq!(predicate["buildType"], "https://mobyproject.org/buildkit@v1");
    assert_eq!(predicate["invocation"]["configSource"], json!({"entryPoint": "Dockerfile"}));
    assert_eq!(predicate["invocation"]["parameters"]["args"], json!({"target": "one"}));
    assert_eq!(
        predicate["metadata"]["completeness"],
        json!({"parameters": false, "environment": true, "materials": false})
    );
    assert_eq!(predicate["metadata"]["https://mobyproject.org/buildkit@v1#metadata"], json!({}));
    assert_eq!(predicate.get("buildConfig"), None);
    assert_eq!(predicate["materials"].as_array().unwrap().len(), 1);
}

#[test]
fn the_same_build_says_the_same_and_one_that_keeps_its_times_says_when_it_was() {
    let (one, other) = (two_stages(), two_stages());
    let flags = ["--provenance", "true", "--build-arg", "COLOR=red", "context"];
    let (index, _) = one.build(&flags);
    assert_eq!(other.build(&flags).0, index, "another store");
    let (again, said) = one.build(&flags);
    assert_eq!(again, index, "from the cache");
    assert!(!said.contains(" DONE "), "{said}");
    // The image is the one that a build without all this makes.
    let (plain, _) = one.build(&["--build-arg", "COLOR=red", "context"]);
    assert_eq!(image_of(&one, &index), plain);
    assert_eq!(one.build(&["--provenance", "false", "--build-arg", "COLOR=red", "context"]).0, plain);
    let (kept, _) = one.build(&["--provenance", "true", "--timestamps", "keep", "context"]);
    let metadata = statement(&one, &kept, 0).0["predicate"]["runDetails"]["metadata"].clone();
    for present in ["startedOn", "finishedOn", "invocationId"] {
        assert!(metadata[present].is_string(), "{metadata}");
    }
}

#[test]
fn what_comes_from_addresses_is_known_by_its_content() {
    let site = Site::new("");
    let server = Server::start(|_| Answer::ok(b"one"));
    let address = server.authority();
    site.write(
        "context/Dockerfile",
        format!("FROM scratch\nADD http://me:pw@{address}/file /f\n").as_bytes(),
    );
    let sum = |bytes: &[u8]| builder::store::Digest::of(bytes).hex().to_owned();
    let (index, _) = site.build(&["--attest", "type=provenance", "context"]);
    let (statement, _) = statement(&site, &index, 0);
    assert!(!statement.to_string().contains("me:pw"), "{statement}");
    let dependencies = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    let expected =
        json!({"uri": format!("http://xxxxx:xxxxx@{address}/file"), "digest": {"sha256": sum(b"one")}});
    assert_eq!(dependencies, &json!([expected]));
}

#[test]
fn a_context_from_elsewhere_leaves_nothing_open() {
    let site = Site::new("");
    let text: &[u8] = b"FROM scratch\nLABEL a=b\n";
    let server = Server::start(move |_| Answer::ok(text));
    let url = format!("http://{}/Dockerfile", server.authority());
    let (index, _) = site.build(&["--provenance", "complete-materials=true", &url]);
    let (statement, _) = statement(&site, &index, 0);
    let definition = &statement["predicate"]["buildDefinition"];
    let sum = builder::store::Digest::of(text).hex().to_owned();
    let source = json!({"uri": url, "digest": {"sha256": sum}, "path": "Dockerfile"});
    assert_eq!(definition["externalParameters"]["configSource"], source);
    assert_eq!(definition["resolvedDependencies"], json!([{"uri": url, "digest": {"sha256": sum}}]));
    let metadata = &statement["predicate"]["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_hermetic"], true);
    assert_eq!(metadata["buildkit_completeness"]["resolvedDependencies"], true);
    site.write("context/Dockerfile", text);
    assert_eq!(
        site.refused(&["--provenance", "complete-materials=true", "context"]),
        "builder: attest the build: directories of this machine have no digest: context, dockerfile (build from a repository or an archive, or leave complete-materials out)"
    );
}

#[test]
fn an_image_with_attestations_goes_every_way_that_an_image_goes() {
    let site = two_stages();
    let (index, _) = site.build(&[
        "-t",
        "x:1",
        "--provenance",
        "true",
        "-o",
        "type=oci,dest=oci.tar",
        "-o",
        "type=docker,dest=docker.tar",
        "context",
    ]);
    let run = |words: &[&str]| {
        let output = site.builder(words, b"");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run(&["images"]).contains("x"));
    run(&["save", "--format", "oci-archive", "-o", "saved.tar", "x:1"]);
    assert!(fs::read(site.path("saved.tar")).unwrap() == fs::read(site.path("oci.tar")).unwrap());
    run(&["save", "--format", "docker-archive", "-o", "saved.tar", "x:1"]);
    assert!(fs::read(site.path("saved.tar")).unwrap() == fs::read(site.path("docker.tar")).unwrap());
    let other = Site::new("");
    let loaded = other.builder(&["load", "-i", site.path("oci.tar").to_str().unwrap()], b"");
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let attestation = statement(&site, &index, 0).0;
    assert_eq!(statement(&other, &index, 0).0, attestation);
    for blob in names(&other.path("store/blobs/sha256")) {
        assert_eq!(builder::store::Digest::of(&other.blob(&blob)).hex(), blob);
    }
    run(&["prune"]);
    assert_eq!(statement(&site, &index, 0).0, attestation, "prune keeps what the image's index names");
    site.write("context/Dockerfile", b"FROM x:1\nCOPY a /more\n");
    site.build(&["context"]);
    pushed(&site, &index);
}

/// Every manifest and every blob goes up, the index last.
fn pushed(site: &Site, index: &str) {
    let server = Server::start(|request| match request.path.as_str() {
        path if path.ends_with("/blobs/uploads/") => Answer::status(202).header("Location", "/upload"),
        path if path.starts_with("/upload") || path.contains("/manifests/") => Answer::status(201),
        path if path.contains("/blobs/") => Answer::status(404),
        _ => Answer::status(200),
    });
    let output = site.builder(&["push", "x:1", &format!("{}/x:1", server.authority())], b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let puts: Vec<String> = server.paths().into_iter().filter(|path| path.contains("/manifests/")).collect();
    let children = site.document(index)["manifests"].as_array().unwrap().clone();
    let mut expected: Vec<String> = children
        .iter()
        .map(|child| format!("/v2/x/manifests/{}", child["digest"].as_str().unwrap()))
        .collect();
    expected.push("/v2/x/manifests/1".to_owned());
    assert_eq!(puts, expected);
    let refused =
        site.builder(&["push", "--compression", "gzip", "x:1", &format!("{}/x:1", server.authority())], b"");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("recompress: the image has attestations, which are about its layers as they are (leave the compression as it is, or give it to the build that attests)"),
        "{said}"
    );
}

#[test]
fn an_output_of_another_compression_is_attested_as_it_is() {
    let site = two_stages();
    site.build(&[
        "--provenance",
        "true",
        "-o",
        "type=oci,tar=false,dest=layout,compression=gzip,force-compression=true",
        "context",
    ]);
    let at = |digest: &Value| -> Value {
        let name = digest.as_str().unwrap().replace(':', "/");
        serde_json::from_slice(&fs::read(site.path("layout/blobs").join(name)).unwrap()).unwrap()
    };
    let top: Value = serde_json::from_slice(&fs::read(site.path("layout/index.json")).unwrap()).unwrap();
    let index = at(&top["manifests"][0]["digest"]);
    let image = &index["manifests"][0]["digest"];
    assert!(at(image)["layers"][0]["mediaType"].as_str().unwrap().ends_with("+gzip"));
    assert_eq!(&index["manifests"][1]["annotations"]["vnd.docker.reference.digest"], image);
    let statement = at(&at(&index["manifests"][1]["digest"])["layers"][0]["digest"]);
    assert_eq!(
        statement["subject"][0]["digest"]["sha256"],
        image.as_str().unwrap().trim_start_matches("sha256:")
    );
}

#[test]
fn an_output_for_registries_without_artifacts_carries_an_image_that_is_none() {
    let site = two_stages();
    site.build(&[
        "--provenance",
        "true",
        "-o",
        "type=oci,tar=false,dest=layout,oci-artifact=false",
        "context",
    ]);
    let at = |digest: &Value| -> Value {
        let name = digest.as_str().unwrap().replace(':', "/");
        serde_json::from_slice(&fs::read(site.path("layout/blobs").join(name)).unwrap()).unwrap()
    };
    let top: Value = serde_json::from_slice(&fs::read(site.path("layout/index.json")).unwrap()).unwrap();
    let entry = at(&top["manifests"][0]["digest"])["manifests"][1].clone();
    assert_eq!(entry["platform"], json!({"architecture": "unknown", "os": "unknown"}));
    let manifest = at(&entry["digest"]);
    assert_eq!((manifest.get("artifactType"), manifest.get("subject")), (None, None));
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    let config = at(&manifest["config"]["digest"]);
    assert_eq!(
        config,
        json!({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [manifest["layers"][0]["digest"]]},
        })
    );
}

#[test]
fn a_checkout_is_said_by_its_address_and_commit() {
    let site = Site::new("FROM scratch\nCOPY Dockerfile /\n");
    let git = |words: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let mut command = std::process::Command::new("git");
        let run = command.args(who).args(words).current_dir(site.path("context")).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["remote", "add", "origin", "https://me:hidden@example.org/r.git"]);
    let expected = json!({
        "source": "https://xxxxx:xxxxx@example.org/r.git",
        "revision": git(&["rev-parse", "HEAD"]),
    });
    for (version, at) in [
        ("v1", "/predicate/runDetails/metadata/buildkit_metadata/vcs"),
        ("v0.2", "/predicate/metadata/https:~1~1mobyproject.org~1buildkit@v1#metadata/vcs"),
    ] {
        let (index, _) = site.build(&["--provenance", &format!("mode=min,version={version}"), "context"]);
        assert_eq!(statement(&site, &index, 0).0.pointer(at), Some(&expected), "{version}");
    }
}

#[test]
fn files_come_with_a_statement_about_each_of_them() {
    let site = two_stages();
    site.build(&[
        "--provenance",
        "filename=how.json",
        "-o",
        "out",
        "-o",
        "type=tar,dest=files.tar",
        "context",
    ]);
    let how: Value = serde_json::from_slice(&fs::read(site.path("out/how.json")).unwrap()).unwrap();
    let sum = |bytes: &[u8]| json!({"sha256": builder::store::Digest::of(bytes).hex()});
    let about = |name: &str, bytes: &[u8]| json!({"name": name, "digest": sum(bytes)});
    assert_eq!(how["subject"], json!([about("b", b"2"), about("text", b"here\n"), about("w/a", b"1")]));
    let mut archive = tar::Archive::new(fs::File::open(site.path("files.tar")).unwrap());
    let last =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).last().unwrap();
    assert_eq!(last, Path::new("how.json"));
    site.build(&["--provenance", "inline-only=true", "-o", "other", "context"]);
    assert_eq!(names(&site.path("other")), ["b", "text", "w"]);
}

/// What an output of that name in a layout points to.
fn top_of(site: &Site, layout: &str) -> String {
    let index: Value =
        serde_json::from_slice(&fs::read(site.path(layout).join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn an_output_in_another_compression_has_statements_about_itself() {
    let site = Site::new("FROM scratch\nCOPY a /a\n");
    site.write("context/a", b"1");
    let output = "type=oci,tar=false,dest=layout,name=r.example/named:1,compression=gzip";
    site.build(&["-t", "mine:1", "--provenance", "mode=max", "-o", output, "context"]);
    let top = top_of(&site, "layout");
    let (statement, about) = statement(&site, &top, 0);
    let own = site.document(&about)["layers"].clone();
    assert_eq!(own[0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let metadata = &statement["predicate"]["runDetails"]["metadata"]["buildkit_metadata"];
    let chains = metadata["layers"].as_object().unwrap();
    assert_eq!(chains.values().next_back().unwrap()[0], own);
    let subject = statement["subject"][0]["name"].as_str().unwrap();
    assert!(subject.starts_with("pkg:docker/r.example/named@1"), "it is about {subject}");
}

#[test]
fn a_cache_in_an_image_names_the_layers_that_the_image_has() {
    let site = Site::new("FROM scratch\nCOPY a /a\n");
    site.write("context/a", b"1");
    let (before, _) = site.build(&["context"]);
    let before = site.document(&before)["layers"][0]["digest"].clone();
    let zstd = "type=oci,tar=false,dest=again,name=x:1,compression=zstd";
    let flags = ["--compression", "gzip", "--cache-to", "type=inline", "-o", zstd, "context"];
    let (image, _) = site.build(&flags);
    for (image, other) in [(image, before.clone()), (top_of(&site, "again"), Value::Null)] {
        let manifest = site.document(&image);
        let config = site.document(manifest["config"]["digest"].as_str().unwrap());
        let cache = config["coracle.cache.v1"].to_string();
        assert!(cache.contains(&manifest["layers"][0].to_string()), "{manifest} has not what is in {cache}");
        assert!(other.is_null() || !cache.contains(other.as_str().unwrap()), "{cache}");
    }
}

#[test]
fn a_wrong_word_is_refused_before_anything_is_built() {
    let site = Site::new("FROM scratch\n");
    assert_eq!(
        site.refused(&["--provenance", "mode=most", "context"]),
        "builder: --provenance mode=most: mode is min or max"
    );
    assert_eq!(
        site.refused(&["--sbom", "generator=Not a name", "context"]),
        "builder: --sbom generator=Not a name: invalid image name \"Not a name\": the repository must be lower case"
    );
}
