//! When a step is carried out again: keys by content, across stages, and caches of elsewhere.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "the other users of the site and the server use the rest")]

mod http;
mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use http::{Answer, Server};
use site::Site;

const STAGES: &str =
    "FROM scratch AS made\nCOPY src /src\n\nFROM scratch\nCOPY --from=made /src/out /out/\nWORKDIR /w\n";

fn stages() -> Site {
    let site = Site::new(STAGES);
    site.write("context/src/out/a", b"1").write("context/src/other", b"1");
    site
}

/// The steps that were carried out, by their instructions.
fn carried_out(said: &str) -> Vec<String> {
    let steps = said.lines().filter_map(|line| line.strip_prefix('#')?.split_once(' '));
    let (mut titles, mut done) = (std::collections::BTreeMap::new(), Vec::new());
    for (number, rest) in steps {
        if let Some((_, instruction)) = rest.split_once("] ").filter(|_| rest.starts_with('[')) {
            titles.insert(number, instruction);
        } else if rest.starts_with("DONE") {
            done.extend(titles.get(number).map(|title| (*title).to_owned()));
        }
    }
    done.sort();
    done
}

#[test]
fn a_stage_that_comes_to_the_same_files_changes_nothing_after_it() {
    let site = stages();
    let (first, said) = site.build(&["context"]);
    assert_eq!(carried_out(&said), ["COPY --from=made /src/out /out/", "COPY src /src", "WORKDIR /w"]);
    // Not taken by the second stage.
    site.write("context/src/other", b"2");
    let (second, said) = site.build(&["context"]);
    assert_eq!(carried_out(&said), ["COPY src /src"]);
    assert_eq!(second, first);
    // And from the definition alone the next time.
    assert_eq!(carried_out(&site.build(&["context"]).1), Vec::<String>::new());
    site.write("context/src/out/a", b"2");
    let (third, said) = site.build(&["--explain", "context"]);
    assert_eq!(carried_out(&said), ["COPY --from=made /src/out /out/", "COPY src /src", "WORKDIR /w"]);
    assert!(said.contains("not cached: file src/out/a changed"), "{said}");
    assert_ne!(third, first);
    fs::set_permissions(site.path("context/src/out/a"), fs::Permissions::from_mode(0o755)).unwrap();
    let (fourth, said) = site.build(&["context"]);
    assert_eq!(carried_out(&said), ["COPY --from=made /src/out /out/", "COPY src /src", "WORKDIR /w"]);
    assert_ne!(fourth, third);
    // What is kept is what a build without it makes.
    assert_eq!(site.build(&["--no-cache", "context"]).0, fourth);
}

#[test]
fn the_stages_that_are_named_run_again_and_no_other() {
    let site = stages();
    let (first, _) = site.build(&["context"]);
    let (again, said) = site.build(&["--no-cache-filter", "made", "context"]);
    assert_eq!(carried_out(&said), ["COPY src /src"]);
    assert_eq!(again, first);
}

/// A step that stands on one that is carried out is too, and needs what it takes from.
#[test]
fn what_a_step_on_a_lost_one_takes_from_is_not_left_out() {
    let site = Site::new(
        "FROM scratch AS made\nCOPY src /src\nFROM scratch\nCOPY one /one\nCOPY --from=made /src/out /out/\n",
    );
    site.write("context/src/out/a", b"1").write("context/one", b"1");
    let (first, _) = site.build(&["context"]);
    let kept = site.document(&first)["layers"][1]["digest"].clone();
    let mut lost = 0;
    for name in site::names(&site.path("store/keys")) {
        let path = site.path("store/keys").join(name);
        let record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let layer = &record["body"]["layer"][0]["digest"];
        if layer.is_string() && *layer != kept {
            fs::remove_file(path).unwrap();
            lost += 1;
        }
    }
    assert_eq!(lost, 2);
    let (second, said) = site.build(&["context"]);
    assert_eq!(carried_out(&said), ["COPY --from=made /src/out /out/", "COPY one /one", "COPY src /src"]);
    assert_eq!(second, first);
}

/// As a power failure leaves them: nothing of the build cache is synced.
#[test]
fn what_a_crash_cut_short_is_made_again() {
    let site = Site::new("FROM scratch\nCOPY one /one\nCOPY two /two\n");
    site.write("context/one", b"1").write("context/two", b"2");
    let (first, _) = site.build(&["context"]);
    let document = site.document(&first);
    let layer = document["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let blob = site.path("store/blobs/sha256").join(layer);
    let whole = fs::read(&blob).unwrap();
    fs::write(&blob, &whole[..whole.len() / 2]).unwrap();
    let (second, said) = site.build(&["context"]);
    assert_eq!(carried_out(&said), ["COPY one /one", "COPY two /two"]);
    assert_eq!((second, fs::read(&blob).unwrap()), (first.clone(), whole));
    for name in site::names(&site.path("store/keys")) {
        fs::write(site.path("store/keys").join(name), b"").unwrap();
    }
    let manifest = site.path("store/blobs/sha256").join(first.trim_start_matches("sha256:"));
    fs::write(&manifest, b"{").unwrap();
    let (third, said) = site.build(&["context"]);
    assert_eq!(carried_out(&said), ["COPY one /one", "COPY two /two"]);
    assert_eq!(site.document(&third), document);
}

#[test]
fn a_cache_in_a_directory_stands_in_for_the_store() {
    let site = stages();
    let (image, _) = site.build(&["--cache-to", "type=local,dest=max,mode=max", "context"]);
    site.build(&["--cache-to", "type=local,dest=min", "context"]);
    for (cache, carried) in [
        ("max", &[][..]),
        ("min", &[]),
        ("none", &["COPY --from=made /src/out /out/", "COPY src /src", "WORKDIR /w"]),
    ] {
        fs::remove_dir_all(site.path("store")).unwrap();
        let (again, said) = site.build(&["--cache-from", &format!("type=local,src={cache}"), "context"]);
        assert_eq!(carried_out(&said), carried, "{cache}: {said}");
        assert_eq!(again, image, "{cache}");
    }
    // The smaller one holds no layer that the image does not have.
    let blobs = |name: &str| site::names(&site.path(name).join("blobs/sha256")).len();
    assert_eq!((blobs("max"), blobs("min")), (5, 4));
    // Both of one build are what they are by themselves.
    site.build(&[
        "--cache-to",
        "type=local,dest=both-max,mode=max",
        "--cache-to",
        "type=local,dest=both-min",
        "context",
    ]);
    assert_eq!((blobs("both-max"), blobs("both-min")), (5, 4));
    // Without the first stage's record, a change to what it makes has it carried out.
    fs::remove_dir_all(site.path("store")).unwrap();
    site.write("context/src/out/a", b"other");
    let (_, said) = site.build(&["--cache-from", "type=local,src=min", "context"]);
    assert_eq!(carried_out(&said), ["COPY --from=made /src/out /out/", "COPY src /src", "WORKDIR /w"]);
}

#[test]
fn a_cache_that_cannot_be_read_or_lies_is_a_warning_and_a_miss() {
    let site = stages();
    let (image, _) = site.build(&["--cache-to", "type=local,dest=cache,mode=max", "context"]);
    let blobs = site.path("cache/blobs/sha256");
    for name in site::names(&blobs) {
        // The layers alone: they are compressed.
        if fs::read(blobs.join(&name)).unwrap().starts_with(&[0x28, 0xb5]) {
            fs::write(blobs.join(&name), "something else").unwrap();
        }
    }
    fs::remove_dir_all(site.path("store")).unwrap();
    let (again, said) = site.build(&["--cache-from", "type=local,src=cache", "context"]);
    assert!(said.contains("a cached layer cannot be had: verify blob sha256:"), "{said}");
    assert_eq!(again, image);
    site.write("cache/index.json", b"{");
    let (_, said) = site.build(&["--cache-from", "type=local,src=cache", "context"]);
    assert!(said.contains("a cache is left out: read a cache: EOF while parsing"), "{said}");
}

/// Of a layer no more is read than it is said to have.
#[test]
fn a_layer_of_a_cache_without_end_is_a_miss() {
    let site = stages();
    let (image, _) = site.build(&["--cache-to", "type=local,dest=cache,mode=max", "context"]);
    fs::remove_dir_all(site.path("store")).unwrap();
    for name in site::names(&site.path("cache/blobs/sha256")) {
        let blob = site.path("cache/blobs/sha256").join(name);
        if !fs::read(&blob).unwrap().starts_with(b"{") {
            fs::File::create(&blob).unwrap().set_len(1 << 40).unwrap();
        }
    }
    let (again, said) = site.build(&["--cache-from", "type=local,src=cache", "context"]);
    assert_eq!(again, image);
    assert!(carried_out(&said).contains(&"WORKDIR /w".to_owned()), "{said}");
}

/// A pipe would be waited for, and what a link outside leads to is nobody's cache.
#[test]
fn a_cache_is_files_in_its_directory() {
    let site = stages();
    let (image, _) = site.build(&["--cache-to", "type=local,dest=cache,mode=max", "context"]);
    let from = ["--cache-from", "type=local,src=cache", "context"];
    fs::rename(site.path("cache/blobs"), site.path("blobs")).unwrap();
    std::os::unix::fs::symlink(site.path("blobs"), site.path("cache/blobs")).unwrap();
    fs::remove_dir_all(site.path("store")).unwrap();
    let (again, said) = site.build(&from);
    assert_eq!(again, image);
    assert!(said.contains("a cache is left out: read cache/blobs/sha256/"), "{said}");
    fs::remove_file(site.path("cache/index.json")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(site.path("cache/index.json")).status().unwrap();
    assert!(made.success());
    let (again, said) = site.build(&from);
    assert_eq!(again, image);
    assert!(said.contains("a cache is left out: read cache/index.json: "), "{said}");
}

#[test]
fn a_registry_that_has_no_cache_yet_is_a_miss_and_one_that_is_not_there_a_warning() {
    let site = stages();
    let server = Server::start(|_| Answer::status(404));
    let (_, said) = site.build(&["--cache-from", &format!("{}/cache:1", server.authority()), "context"]);
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(server.paths(), ["/v2/cache/manifests/1"]);
}

#[test]
fn what_stands_on_a_step_that_ran_again_runs_again() {
    let site = Site::new("FROM scratch AS made\nCOPY src /src\nFROM made\nCOPY src /again\n");
    site.write("context/src/a", b"1");
    let (first, _) = site.build(&["context"]);
    let (again, said) = site.build(&["--no-cache-filter", "made", "context"]);
    assert_eq!(carried_out(&said), ["COPY src /again", "COPY src /src"]);
    assert_eq!(again, first);
}
