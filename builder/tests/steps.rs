//! COPY, ADD and WORKDIR, from a Dockerfile to the bytes of the layers, by the finished program.
//!
//! No RUN, so no runtime is needed; user namespaces are, unless root runs the tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "what could not run here is said")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A context and a store, gone when dropped.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(dockerfile: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("context")).unwrap();
        place.write("Dockerfile", dockerfile);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> &Self {
        let path = self.path("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self
    }

    fn write_bytes(&self, name: &str, content: &[u8]) {
        self.write(name, "");
        fs::write(self.path("context").join(name), content).unwrap();
    }

    fn builder(&self, store: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_builder"))
            .arg("--store")
            .arg(self.path(store))
            .args(arguments)
            .current_dir(self.directory.path())
            .env("SOURCE_DATE_EPOCH", "0")
            .output()
            .unwrap()
    }

    /// The digest, or what was said instead.
    fn build_in(&self, store: &str, flags: &[&str]) -> Result<String, String> {
        let output = self.builder(store, &[&["build", "--progress", "plain"], flags, &["context"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(said)
    }

    /// A line for each entry of each layer; layers are divided by a line with dashes.
    fn layers(&self) -> String {
        let digest = self.build_in("store", &[]).unwrap();
        let manifest = self.blob(&digest);
        let layers = manifest["layers"].as_array().unwrap();
        let texts: Vec<String> =
            layers.iter().map(|layer| self.listing(layer["digest"].as_str().unwrap())).collect();
        texts.join("---\n")
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.path("store/blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    fn blob(&self, digest: &str) -> Value {
        serde_json::from_slice(&fs::read(self.blob_path(digest)).unwrap()).unwrap()
    }

    fn listing(&self, digest: &str) -> String {
        let blob = fs::File::open(self.blob_path(digest)).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(blob).unwrap());
        let mut text = String::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            let link =
                entry.link_name().unwrap().map(|to| format!(" -> {}", to.display())).unwrap_or_default();
            let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
            assert_eq!(header.mtime().unwrap(), 0, "{path} has a time of its own");
            text.push_str(&format!("{mode:o} {uid}:{gid} {path}{link}\n"));
        }
        text
    }
}

/// Whether this user can build here at all; where not, the reason is printed and the test says nothing.
fn can_build() -> bool {
    let place = Place::new("FROM scratch\nWORKDIR /a\n");
    match place.build_in("store", &[]) {
        Ok(_) => true,
        Err(said) => {
            println!("not run: {said}");
            false
        }
    }
}

/// Several owners need a range of ids.
fn has_many_ids() -> bool {
    let place = Place::new("FROM scratch\nCOPY --chown=5:6 Dockerfile /a\n");
    let can = place.build_in("store", &[]);
    if let Err(said) = &can {
        println!("not run: {said}");
    }
    can.is_ok()
}

#[test]
fn a_directory_is_copied_by_its_content_and_times_do_not_matter() {
    if !can_build() {
        return;
    }
    let place = Place::new("FROM scratch\nCOPY src /new\nCOPY src /slash/\nCOPY src/one src/two /many/\n");
    place.write("src/one", "1").write("src/sub/two", "2").write("src/two", "2");
    fs::set_permissions(place.path("context/src"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(place.path("context/src/sub"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(place.path("context/src/one"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("one", place.path("context/src/link")).unwrap();
    fs::hard_link(place.path("context/src/two"), place.path("context/src/twin")).unwrap();
    let content = |at: &str| {
        format!(
            "777 0:0 {at}/link -> one\n4755 0:0 {at}/one\n700 0:0 {at}/sub/\n644 0:0 {at}/sub/two\n\
             644 0:0 {at}/twin\n644 0:0 {at}/two -> {at}/twin\n"
        )
    };
    let expected = format!(
        "755 0:0 new/\n{}---\n755 0:0 slash/\n{}---\n755 0:0 many/\n4755 0:0 many/one\n644 0:0 many/two\n",
        content("new"),
        content("slash")
    );
    assert_eq!(place.layers(), expected);
}

#[test]
fn parents_are_found_at_any_depth_and_stay_as_they_are() {
    if !has_many_ids() {
        return;
    }
    let place = Place::new("# check=skip=all\nFROM scratch\nCOPY --parents --exclude=src/x **/*.c /p/\n");
    place.write("src/a/b/f.c", "").write("src/g.c", "").write("h.c", "").write("src/x/no.c", "");
    fs::set_permissions(place.path("context/src/a"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(
        place.layers(),
        "755 0:0 p/\n644 0:0 p/h.c\n755 0:0 p/src/\n700 0:0 p/src/a/\n755 0:0 p/src/a/b/\n\
         644 0:0 p/src/a/b/f.c\n644 0:0 p/src/g.c\n"
    );
}

#[test]
fn exclusions_begin_at_what_is_copied() {
    if !has_many_ids() {
        return;
    }
    let place = Place::new(
        "# check=skip=all\nFROM scratch\nCOPY --exclude=sub/no src /x\nCOPY --exclude=b *.c /y/\n",
    );
    place.write("src/sub/no", "").write("src/sub/yes", "").write("a.c", "");
    assert_eq!(
        place.layers(),
        "755 0:0 x/\n755 0:0 x/sub/\n644 0:0 x/sub/yes\n---\n755 0:0 y/\n644 0:0 y/a.c\n"
    );
}

#[test]
fn owners_and_modes_are_those_of_the_flags() {
    if !has_many_ids() {
        return;
    }
    let place = Place::new(
        "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=app --chmod=u+x,go= src /srv/\nCOPY --chown=7:app f /f\n",
    );
    place.write("passwd", "root:x:0:0::/:\napp:x:1000:1001::/:\n").write("group", "app:x:44:\n");
    place.write("src/a/b", "").write("f", "");
    assert_eq!(
        place.layers(),
        "755 0:0 etc/\n644 0:0 etc/group\n644 0:0 etc/passwd\n---\n\
         700 1000:1001 srv/\n700 1000:1001 srv/a/\n700 1000:1001 srv/a/b\n---\n644 7:44 f\n"
    );
}

#[test]
fn an_unknown_owner_is_an_error_and_not_root() {
    if !can_build() {
        return;
    }
    let place = Place::new("FROM scratch\nCOPY --chown=nobody Dockerfile /a\n");
    let said = place.build_in("store", &[]).unwrap_err();
    let line = said.lines().last().unwrap();
    assert_eq!(
        line,
        "builder: Dockerfile line 2: no user \"nobody\" in the image's /etc/passwd \
         (write its number, or add it in an earlier RUN)"
    );
}

#[test]
fn a_directory_that_is_there_makes_no_layer() {
    if !can_build() {
        return;
    }
    let place = Place::new("FROM scratch\nWORKDIR /a/b\nWORKDIR /a\nWORKDIR /a/b\n");
    assert_eq!(place.layers(), "755 0:0 a/\n755 0:0 a/b/\n");
}

#[test]
fn ignored_and_excluded_files_are_not_copied_and_exceptions_are() {
    if !can_build() {
        return;
    }
    let place = Place::new("FROM scratch\nCOPY . /all/\nCOPY --exclude=**/*.o src /some/\n");
    place.write(".dockerignore", "Dockerfile\n.dockerignore\nbig\n!big/keep\n**/*.tmp\n");
    place.write("big/drop", "").write("big/keep", "").write("src/a.o", "").write("src/a.c", "");
    place.write("src/x.tmp", "");
    assert_eq!(
        place.layers(),
        "755 0:0 all/\n755 0:0 all/big/\n644 0:0 all/big/keep\n755 0:0 all/src/\n644 0:0 all/src/a.c\n\
         644 0:0 all/src/a.o\n---\n755 0:0 some/\n644 0:0 some/a.c\n"
    );
}

#[test]
fn parents_are_kept_from_the_mark_on_and_documents_are_files() {
    if !can_build() {
        return;
    }
    let place = Place::new(concat!(
        "# syntax=docker/dockerfile:1-labs\nFROM scratch\nCOPY --parents ./src/./sub/*.txt /to/\n",
        "COPY <<ONE <<TWO /docs/\nfirst\nONE\nsecond\nTWO\n"
    ));
    place.write("src/sub/a.txt", "").write("src/sub/b.txt", "").write("src/c.txt", "");
    assert_eq!(
        place.layers(),
        "755 0:0 to/\n755 0:0 to/sub/\n644 0:0 to/sub/a.txt\n644 0:0 to/sub/b.txt\n---\n\
         755 0:0 docs/\n644 0:0 docs/ONE\n644 0:0 docs/TWO\n"
    );
}

#[test]
fn links_of_the_image_lead_nowhere_outside() {
    if !can_build() {
        return;
    }
    let place =
        Place::new("FROM scratch\nCOPY links /\nCOPY file /up/file\nCOPY file /abs/file\nWORKDIR /up/dir\n");
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(place.path("context/links")).unwrap();
    symlink("../../../../../../../../..", place.path("context/links/up")).unwrap();
    symlink(&outside, place.path("context/links/abs")).unwrap();
    place.write("file", "content");
    let said = place.build_in("store", &[]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was written outside: {said:?}");
    assert!(!Path::new("/file").exists() && !Path::new("/dir").exists());
}

#[test]
fn archives_are_unpacked_by_add_and_copied_by_copy() {
    if !can_build() {
        return;
    }
    let place = Place::new("FROM scratch\nADD a.tar /in/\nCOPY a.tar /out/\n");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    header.set_cksum();
    archive.append_data(&mut header, "d/f", &b"hi"[..]).unwrap();
    fs::write(place.path("context/a.tar"), archive.into_inner().unwrap()).unwrap();
    fs::set_permissions(place.path("context/a.tar"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        place.layers(),
        "755 0:0 in/\n755 0:0 in/d/\n640 0:0 in/d/f\n---\n755 0:0 out/\n644 0:0 out/a.tar\n"
    );
}

#[test]
fn add_unpacks_archives_and_nothing_else() {
    if !can_build() {
        return;
    }
    let place =
        Place::new("FROM scratch\nADD old.tar.gz /in/\nADD notes.gz empty.tar text.zst begun.xz /out/\n");
    let mut header = tar::Header::new_old();
    header.set_path("f").unwrap();
    header.set_mode(0o640);
    header.set_size(0);
    header.set_cksum();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    place.write_bytes("old.tar.gz", &gzip(&[&header.as_bytes()[..], &[0; 1024]].concat()));
    place.write_bytes("notes.gz", &gzip(b"not an archive"));
    place.write_bytes("empty.tar", &[0; 10240]);
    place.write_bytes("text.zst", &zstd::encode_all(&b"text"[..], 3).unwrap());
    place.write_bytes("begun.xz", b"\xfd7zXZ\0\0\x04");
    assert_eq!(
        place.layers(),
        "755 0:0 in/\n640 0:0 in/f\n---\n755 0:0 out/\n644 0:0 out/begun.xz\n644 0:0 out/empty.tar\n644 0:0 out/notes.gz\n644 0:0 out/text.zst\n"
    );
}

#[test]
fn a_file_that_would_be_a_deletion_in_the_layer_is_an_error() {
    if !can_build() {
        return;
    }
    for name in [".wh.passwd", ".wh..wh..opq"] {
        let place = Place::new("FROM scratch\nCOPY Dockerfile /etc/passwd\nCOPY etc /etc\n");
        place.write(&format!("etc/{name}"), "");
        let said = place.build_in("store", &[]).unwrap_err();
        assert_eq!(
            said.lines().last().unwrap(),
            format!(
                "builder: add etc/{name} to a layer: names that begin with .wh. are deletions in an image"
            )
        );
    }
}

#[test]
fn the_same_inputs_give_the_same_digest_and_a_touched_file_is_the_same_input() {
    if !can_build() {
        return;
    }
    let place = Place::new("FROM scratch\nCOPY . /a\nWORKDIR /b\n");
    place.write("f", "1");
    let first = place.build_in("store", &[]).unwrap();
    let touched = fs::File::open(place.path("context/f")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(place.build_in("store", &[]).unwrap(), first);
    assert_eq!(place.build_in("another store", &[]).unwrap(), first);
    assert_eq!(place.build_in("store", &["--no-cache"]).unwrap(), first);
    fs::set_permissions(place.path("context/f"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(place.build_in("store", &[]).unwrap(), first);
}

#[test]
fn a_build_that_fails_leaves_the_store_as_it_was() {
    if !can_build() {
        return;
    }
    let place = Place::new("FROM scratch\nCOPY Dockerfile /a\nCOPY nope* /b/\n");
    let said = place.build_in("store", &[]).unwrap_err();
    assert!(
        said.lines().last().unwrap().contains("copy nope*: no such file in what is copied from"),
        "another error: {said}"
    );
    assert_eq!(fs::read_dir(place.path("store/tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(place.path("store/index.json")).unwrap().matches("digest").count(), 0);
}
