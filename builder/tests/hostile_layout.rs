//! Layouts on disk as strangers write them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use builder::image::{self, Input};
use builder::store::{Digest, Store, media};

/// Keeps `text` as a blob; what points at it.
fn keep(layout: &Path, text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    fs::write(layout.join("blobs/sha256").join(digest.hex()), text).unwrap();
    format!(r#"{{"mediaType":"{}","digest":"{digest}","size":{}}}"#, media::INDEX, text.len())
}

fn index(of: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{of}]}}"#, media::INDEX)
}

fn refusal(layout: &Path) -> String {
    let store = Store::open(&layout.join("store")).unwrap();
    image::load(&store, Input::Path(layout), None).unwrap_err().to_string()
}

#[test]
fn indexes_in_each_other_are_refused_before_they_multiply() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("blobs/sha256")).unwrap();
    let mut inner = keep(place.path(), &index(""));
    for _ in 0..48 {
        inner = keep(place.path(), &index(&format!("{inner},{inner}")));
    }
    fs::write(place.path().join("index.json"), index(&inner)).unwrap();
    assert_eq!(refusal(place.path()), "load: it is an index in an index");
}

#[test]
fn of_a_blob_with_no_end_only_what_it_may_have_is_read() {
    let place = tempfile::tempdir().unwrap();
    let blobs = place.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let digest = Digest::of(b"x");
    fs::File::create(blobs.join(digest.hex())).unwrap().set_len(1 << 40).unwrap();
    let of = format!(r#"{{"mediaType":"{}","digest":"{digest}","size":1}}"#, media::MANIFEST);
    fs::write(place.path().join("index.json"), index(&of)).unwrap();
    assert_eq!(refusal(place.path()), format!("verify blob {digest}: expected 1 bytes, got 2"));
}
