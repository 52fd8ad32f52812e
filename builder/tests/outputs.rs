//! `--output`, `--annotation`, `--metadata-file`: what a build gives besides the image in the store.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "the other users of the site use the rest")]

mod site;

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;
use site::{Site, entries, names};

const TWO_LAYERS: &str = "FROM scratch\nCOPY a /d/a\nCOPY --chmod=600 b /d/b\n";

fn two_layers() -> Site {
    let site = Site::new(TWO_LAYERS);
    site.write("context/a", b"1").write("context/b", b"2");
    site
}

#[test]
fn files_come_as_a_tar_and_as_a_directory_with_what_is_there_kept() {
    let site = two_layers();
    site.write("out/d/own", b"mine");
    site.build(&["-o", "out", "-o", "type=tar,dest=files.tar", "context"]);
    assert_eq!(names(&site.path("out/d")), ["a", "b", "own"]);
    assert_eq!(fs::metadata(site.path("out/d/b")).unwrap().mode() & 0o7777, 0o600);
    let me = nix::unistd::geteuid().as_raw();
    assert_eq!(fs::metadata(site.path("out/d/b")).unwrap().uid(), me);
    assert_eq!(entries(&fs::read(site.path("files.tar")).unwrap()), "755 d/\n644 d/a = 1\n600 d/b = 2\n");
    // On standard output it is alone.
    let output = site.builder(&["build", "--quiet", "-o", "-", "context"], b"");
    assert_eq!(output.stdout, fs::read(site.path("files.tar")).unwrap());
}

#[test]
fn an_archive_is_the_image_that_load_takes() {
    let site = two_layers();
    let (image, _) = site.build(&[
        "-t",
        "x:1",
        "-o",
        "type=oci,dest=oci.tar",
        "-o",
        "type=docker,dest=docker.tar",
        "-o",
        "type=oci,tar=false,dest=layout",
        "context",
    ]);
    let index: Value = serde_json::from_slice(&fs::read(site.path("layout/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], image.as_str());
    for (archive, form) in [("oci.tar", "oci-archive"), ("docker.tar", "docker-archive")] {
        let saved = site.builder(&["save", "--format", form, "-o", "saved.tar", "x:1"], b"");
        assert!(saved.status.success());
        let same = fs::read(site.path(archive)).unwrap() == fs::read(site.path("saved.tar")).unwrap();
        assert!(same, "{archive} is not what save writes");
    }
}

#[test]
fn an_output_has_the_compression_that_it_asks_for_on_its_own_layers_or_on_all() {
    let site = two_layers();
    site.build(&["-t", "base", "context"]);
    site.write("context/Dockerfile", b"FROM base\nCOPY a /new\n");
    site.build(&[
        "-o",
        "type=oci,tar=false,dest=new,compression=gzip,compression-level=9",
        "-o",
        "type=oci,tar=false,dest=all,compression=gzip,force-compression=true",
        "-o",
        "type=oci,tar=false,dest=as-is",
        "context",
    ]);
    let kinds = |layout: &str| -> Vec<String> {
        let at = |digest: &Value| {
            let name = digest.as_str().unwrap().replace(':', "/");
            fs::read(site.path(layout).join("blobs").join(name)).unwrap()
        };
        let index: Value =
            serde_json::from_slice(&fs::read(site.path(layout).join("index.json")).unwrap()).unwrap();
        let manifest: Value = serde_json::from_slice(&at(&index["manifests"][0]["digest"])).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        for layer in layers {
            let magic = at(&layer["digest"])[0];
            let is_gzip = layer["mediaType"].as_str().unwrap().ends_with("+gzip");
            assert_eq!(magic == 0x1f, is_gzip);
        }
        layers
            .iter()
            .map(|l| l["mediaType"].as_str().unwrap().rsplit('+').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds("new"), ["zstd", "zstd", "gzip"]);
    assert_eq!(kinds("all"), ["gzip", "gzip", "gzip"]);
    assert_eq!(kinds("as-is"), ["zstd", "zstd", "zstd"]);
}

#[test]
fn a_cached_layer_is_given_the_compression_of_the_build() {
    let site = two_layers();
    let (zstd, _) = site.build(&["context"]);
    let (gzip, said) = site.build(&["--compression", "gzip", "context"]);
    assert_eq!(said.matches("CACHED").count(), 2, "{said}");
    let kind =
        |image: &str, at: usize| site.document(image)["layers"][at]["mediaType"].as_str().unwrap().to_owned();
    assert_eq!(kind(&zstd, 0), "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(kind(&gzip, 0), "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(kind(&gzip, 1), "application/vnd.oci.image.layer.v1.tar+gzip");
    // The same bytes as a build that never made another.
    assert_eq!(two_layers().build(&["--compression", "gzip", "context"]).0, gzip);
}

#[test]
fn annotations_go_where_they_say() {
    let site = Site::new("FROM scratch\nLABEL a=b\n");
    let flags = [
        "--platform",
        "linux/amd64,linux/arm64",
        "--annotation",
        "all=1",
        "--annotation",
        "manifest[linux/arm64]:arm=1",
        "--annotation",
        "index:top=1",
        "--annotation",
        "manifest-descriptor[linux/amd64]:desc=1",
        "context",
    ];
    let (index, _) = site.build(&flags);
    let index = site.document(&index);
    assert_eq!(index["annotations"], serde_json::json!({"top": "1"}));
    assert_eq!(index["manifests"][0]["annotations"], serde_json::json!({"desc": "1"}));
    assert_eq!(index["manifests"][1].get("annotations"), None);
    let of =
        |at: usize| site.document(index["manifests"][at]["digest"].as_str().unwrap())["annotations"].clone();
    assert_eq!(of(0), serde_json::json!({"all": "1"}));
    assert_eq!(of(1), serde_json::json!({"all": "1", "arm": "1"}));
    assert_eq!(
        site.refused(&["--annotation", "index:a=b", "context"]),
        "builder: annotation index: there is no index over the image of one platform (write it on the manifest, or make an index with --build-arg BUILDKIT_MULTI_PLATFORM=1)"
    );
}

#[test]
fn a_program_gets_the_digests_in_files() {
    let site = two_layers();
    let (image, _) = site.build(&["-t", "x:1", "--iidfile", "id", "--metadata-file", "meta.json", "context"]);
    assert_eq!(fs::read_to_string(site.path("id")).unwrap(), image);
    let meta: Value = serde_json::from_slice(&fs::read(site.path("meta.json")).unwrap()).unwrap();
    assert_eq!(meta["containerimage.digest"], image.as_str());
    assert_eq!(meta["containerimage.config.digest"], site.document(&image)["config"]["digest"]);
    assert_eq!(meta["image.name"], "docker.io/library/x:1");
}

/// Each builder is the first process of its namespace, so no process id tells their drafts apart.
#[test]
fn two_builds_at_once_may_write_the_same_file() {
    let site = two_layers();
    site.write("out.tar.1", b"of somebody else");
    let build = || site.build(&["-t", "x:1", "-o", "type=oci,dest=out.tar", "context"]).0;
    let (one, other) = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(build), scope.spawn(build));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(one, other);
    let saved = site.builder(&["save", "--format", "oci-archive", "-o", "saved.tar", "x:1"], b"");
    assert!(saved.status.success());
    assert!(fs::read(site.path("out.tar")).unwrap() == fs::read(site.path("saved.tar")).unwrap());
    assert_eq!(fs::read(site.path("out.tar.1")).unwrap(), b"of somebody else");
    assert_eq!(names(&site.path("")), ["context", "out.tar", "out.tar.1", "saved.tar", "store"]);
}
