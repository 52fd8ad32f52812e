//! What comes from elsewhere: ADD of addresses, repositories and packed archives; contexts that are not directories.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "the other users of the server and the site use the rest")]

mod http;
mod site;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Answer, Server};
use site::{Site, tar_of};

#[test]
fn a_download_is_added_and_asked_for_once_a_version() {
    let changed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&changed);
    let server = Server::start(move |request| match (request.path.as_str(), seen.load(Ordering::SeqCst)) {
        ("/file", false) if request.header("if-none-match") == Some("\"1\"") => Answer::status(304),
        ("/file", false) => Answer::ok(b"one")
            .header("ETag", "\"1\"")
            .header("Content-Disposition", "attachment; filename=\"passwd\""),
        ("/file", true) => Answer::ok(b"two").header("ETag", "\"2\""),
        ("/moved", _) => Answer::status(302).header("Location", "/file"),
        _ => Answer::status(404),
    });
    let site = Site::new(&format!("FROM scratch\nADD http://{}/moved /d/\n", server.authority()));
    let (first, _) = site.build(&["context"]);
    assert_eq!(site.listing(&first), "755 d/\n600 d/moved = one\n");
    let (again, said) = site.build(&["context"]);
    assert_eq!(again, first);
    assert!(said.contains("CACHED"), "{said}");
    changed.store(true, Ordering::SeqCst);
    let (other, said) = site.build(&["--explain", "context"]);
    assert_eq!(site.listing(&other), "755 d/\n600 d/moved = two\n");
    assert!(said.contains("not cached: file moved changed"), "{said}");
    assert_eq!(server.paths(), ["/moved", "/file", "/moved", "/file", "/moved", "/file"]);
}

/// In the words of whoever wrote the Dockerfile: neither a server nor a redirect names a file.
#[test]
fn a_download_is_named_by_its_address() {
    let server = Server::start(|_| Answer::ok(b"x"));
    let address = server.authority();
    let site = Site::new(&format!(
        "FROM scratch\nADD http://{address}/a%20b?c=/d http://{address}/e/ /many/\nADD http://{address} /named\n"
    ));
    let (image, _) = site.build(&["context"]);
    assert_eq!(site.listing(&image), "755 many/\n600 many/a b = x\n600 many/e = x\n600 named = x\n");
    for nameless in ["", "/", "/..", "/%2e%2e", "/a%2F..", "/%00"] {
        let text = format!("FROM scratch\nADD http://{address}{nameless} /d/\n");
        site.write("context/Dockerfile", text.as_bytes());
        let said = site.refused(&["context"]);
        let expected = format!(
            "source http://{address}{nameless}: its address does not name a file (write the whole name as the destination)"
        );
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn a_download_must_have_its_checksum_and_is_then_not_fetched_again() {
    let server = Server::start(|_| Answer::ok(b"one"));
    let sum = builder::store::Digest::of(b"one");
    let address = server.authority();
    let site = Site::new(&format!("FROM scratch\nADD --checksum={sum} --chmod=644 http://{address}/f /\n"));
    let (image, _) = site.build(&["context"]);
    assert_eq!(site.listing(&image), "644 f = one\n");
    site.build(&["--no-cache", "context"]);
    assert_eq!(server.paths(), ["/f"]);
    let wrong = builder::store::Digest::of(b"other");
    site.write(
        "context/Dockerfile",
        format!("FROM scratch\nADD --checksum={wrong} http://{address}/f /\n").as_bytes(),
    );
    assert_eq!(
        site.refused(&["context"]),
        format!("builder: verify http://{address}/f: its checksum is {sum}, not {wrong}")
    );
    site.write("context/Dockerfile", format!("FROM scratch\nADD http://{address}x/f /\n").as_bytes());
    let missing = Server::start(|_| Answer::status(404));
    let address = missing.authority();
    site.write("context/Dockerfile", format!("FROM scratch\nADD http://{address}/f /\n").as_bytes());
    assert_eq!(site.refused(&["context"]), format!("builder: download http://{address}/f: HTTP status 404"));
}

#[test]
fn archives_are_unpacked_whatever_packed_them_and_downloads_only_when_asked() {
    let tar = tar_of(&[("a/b", "content")]);
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&tar).unwrap();
    let xz = xz.finish().unwrap();
    let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bz2.write_all(&tar).unwrap();
    let bz2 = bz2.finish().unwrap();
    let packed = xz.clone();
    let server = Server::start(move |_| Answer::ok(&packed));
    let address = server.authority();
    let site = Site::new(&format!(
        "FROM scratch\nADD x.tar.xz /xz/\nADD x.tar.bz2 /bz2/\nADD --unpack=true http://{address}/x.tar.xz /on/\nADD http://{address}/x.tar.xz /off/\n"
    ));
    site.write("context/x.tar.xz", &xz).write("context/x.tar.bz2", &bz2);
    let (image, _) = site.build(&["--output", "out", "context"]);
    for place in ["xz", "bz2", "on"] {
        assert_eq!(
            fs::read_to_string(site.path("out").join(place).join("a/b")).unwrap(),
            "content",
            "{image}"
        );
    }
    assert_eq!(fs::read(site.path("out/off/x.tar.xz")).unwrap(), xz);
}

/// A repository with one commit on `main` and a tag, and a server of its files.
fn repository(at: &Path) -> Server {
    let git = |words: &[&str]| {
        let run = Command::new("git").args(words).current_dir(at).env("HOME", at).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    fs::create_dir_all(at.join("sub")).unwrap();
    fs::write(at.join("sub/Dockerfile"), "FROM scratch\nCOPY file /\n").unwrap();
    fs::write(at.join("sub/file"), "in git").unwrap();
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
    git(&[&who[..], &["commit", "--quiet", "-m", "one"]].concat());
    git(&[&who[..], &["tag", "-a", "-m", "v", "v1"]].concat());
    git(&["update-server-info"]);
    let files = at.join(".git");
    Server::start(move |request| {
        let name = request.path.trim_start_matches("/r.git/").split('?').next().unwrap_or_default();
        fs::read(files.join(name)).map_or_else(|_| Answer::status(404), |bytes| Answer::ok(&bytes))
    })
}

#[test]
fn a_repository_is_added_at_a_branch_a_tag_and_a_directory() {
    let site = Site::new("");
    let server = repository(&site.path("repository"));
    let address = format!("http://{}/r.git", server.authority());
    site.write(
        "context/Dockerfile",
        format!(
            "FROM scratch\nADD {address} /all/\nADD {address}#v1:sub /sub/\nADD --keep-git-dir=true {address}#main /git/\n"
        )
        .as_bytes(),
    );
    let (image, _) = site.build(&["--output", "out", "context"]);
    let listing = site.listing(&image);
    assert!(
        listing.starts_with("755 all/\n755 all/sub/\n644 all/sub/Dockerfile = FROM scratch"),
        "{listing}"
    );
    assert!(listing.contains("755 sub/\n644 sub/Dockerfile"), "{listing}");
    assert_eq!(site::names(&site.path("out/git")), [".git", "sub"]);
    assert_eq!(site::names(&site.path("out/all")), ["sub"]);
    let (again, said) = site.build(&["context"]);
    assert_eq!(again, image);
    assert_eq!(said.matches("CACHED").count(), 3, "{said}");
    for (source, expected) in [
        (
            format!("{address}#nope"),
            format!(
                "builder: find nope in {address}: no branch or tag is named so (a commit is named by all of its digits)"
            ),
        ),
        (
            format!("--checksum=0123456 {address}"),
            format!(
                "builder: verify {address}: its commit is {}, not 0123456",
                commit(&site.path("repository"))
            ),
        ),
    ] {
        site.write("context/Dockerfile", format!("FROM scratch\nADD {source} /\n").as_bytes());
        assert_eq!(site.refused(&["context"]), expected);
    }
}

fn commit(at: &Path) -> String {
    object(at, "HEAD")
}

fn object(at: &Path, name: &str) -> String {
    let run = Command::new("git").args(["rev-parse", name]).current_dir(at).output().unwrap();
    String::from_utf8(run.stdout).unwrap().trim().to_owned()
}

/// BuildKit's rule: the beginning of the commit, or of the tag that is of it.
#[test]
fn a_repository_must_have_the_commit_that_its_checksum_begins() {
    let site = Site::new("");
    let at = site.path("repository");
    let server = repository(&at);
    let address = format!("http://{}/r.git", server.authority());
    let (commit, tag) = (commit(&at), object(&at, "v1"));
    let dockerfile = |words: &str| {
        site.write("context/Dockerfile", format!("FROM scratch\nADD {words} /\n").as_bytes());
    };
    for words in [
        format!("--checksum={commit} {address}"),
        format!("--checksum={} {address}", &commit[..1]),
        format!("--checksum={tag} {address}#v1"),
        format!("--checksum={commit} {address}#v1"),
        format!("{address}?commit={commit}&fetch-by-commit=true"),
    ] {
        dockerfile(&words);
        let (image, _) = site.build(&["context"]);
        assert!(site.listing(&image).contains("644 sub/file = in git"), "{words}");
    }
    dockerfile(&format!("--checksum={tag} {address}#main"));
    assert_eq!(
        site.refused(&["context"]),
        format!("builder: verify {address}: its commit is {commit}, not {tag}")
    );
    dockerfile(&format!("--checksum=01 {address}?checksum=02"));
    let said = site.refused(&["context"]);
    assert!(
        said.contains(&format!("source {address}?checksum=02: its checksum is not that of the flag")),
        "{said}"
    );
    assert_eq!(
        site.refused(&[&format!("{address}?checksum=00000000")]),
        format!("builder: verify {address}: its commit is {commit}, not 00000000")
    );
}

#[test]
fn a_repository_is_named_by_words_and_a_branch_comes_before_a_tag() {
    let site = Site::new("");
    let at = site.path("repository");
    let server = repository(&at);
    let git = |words: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let run =
            Command::new("git").args(who).args(words).current_dir(&at).env("HOME", &at).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    git(&["checkout", "--quiet", "-b", "both"]);
    fs::write(at.join("sub/file"), "in the branch").unwrap();
    git(&["commit", "--quiet", "--all", "-m", "two"]);
    git(&["tag", "both", "main"]);
    git(&["update-server-info"]);
    let address = format!("http://{}/r.git", server.authority());
    for (words, expected) in [
        ("#both:sub", "in the branch"),
        ("?ref=both&subdir=sub", "in the branch"),
        ("?tag=both&subdir=sub", "in git"),
        ("?branch=both#:sub", "in the branch"),
    ] {
        let (image, _) = site.build(&[&format!("{address}{words}")]);
        assert_eq!(site.listing(&image), format!("644 file = {expected}\n"), "{words}");
    }
    assert_eq!(
        site.refused(&[&format!("{address}?brunch=x")]),
        format!(
            "builder: context {address}?brunch=x: brunch=x is not supported (it may be ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules or fetch-by-commit)"
        )
    );
}

/// The server wants one; git has it for the asking, and writes it nowhere.
#[test]
fn a_kept_git_directory_has_no_login_in_it() {
    let site = Site::new("");
    let at = site.path("repository");
    drop(repository(&at));
    let files = at.join(".git");
    let server = Server::start(move |request| {
        if request.header("authorization") != Some("Basic bWU6aGlkZGVu") {
            return Answer::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        let name = request.path.trim_start_matches("/r.git/").split('?').next().unwrap_or_default();
        fs::read(files.join(name)).map_or_else(|_| Answer::status(404), |bytes| Answer::ok(&bytes))
    });
    let address = format!("{}/r.git", server.authority());
    site.write(
        "context/Dockerfile",
        format!("FROM scratch\nADD --keep-git-dir=true http://me:hidden@{address}#main /\n").as_bytes(),
    );
    site.build(&["--output", "out", "context"]);
    let config = fs::read_to_string(site.path("out/.git/config")).unwrap();
    assert!(config.contains(&format!("url = http://{address}\n")), "{config}");
    let found = Command::new("grep").args(["-r", "-l", "hidden"]).arg(site.path("out")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let wrong = format!("FROM scratch\nADD http://me:hidden@{address}#nope /\n");
    site.write("context/Dockerfile", wrong.as_bytes());
    let said = site.refused(&["context"]);
    assert!(said.starts_with(&format!("builder: find nope in http://{address}: ")), "{said}");
}

#[test]
fn a_context_may_be_a_tar_on_stdin_an_address_or_a_repository() {
    let site = Site::new("");
    let dockerfile = "FROM scratch\nCOPY file /\n";
    let tar =
        tar_of(&[("Dockerfile", dockerfile), ("other", "FROM scratch\nCOPY file /other\n"), ("file", "x")]);
    let packed = zstd::encode_all(&*tar, 3).unwrap();
    let (image, _) = site.build_from(&["-"], &packed);
    assert_eq!(site.listing(&image), "644 file = x\n");
    let (other, _) = site.build_from(&["-f", "other", "-"], &packed);
    assert_eq!(site.listing(&other), "644 other = x\n");
    let server = Server::start(move |request| match request.path.as_str() {
        "/c.tar.zst" => Answer::ok(&packed),
        _ => Answer::ok(b"FROM scratch\nLABEL a=b\n"),
    });
    let address = server.authority();
    assert_eq!(site.build(&[&format!("http://{address}/c.tar.zst")]).0, image);
    let (text, _) = site.build(&[&format!("http://{address}/Dockerfile")]);
    assert_eq!(site.listing(&text), "");
    let git = repository(&site.path("repository"));
    let (image, _) = site.build(&[&format!("http://{}/r.git#main:sub", git.authority())]);
    assert_eq!(site.listing(&image), "644 file = in git\n");
    assert_eq!(site::names(&site.path("store/tmp")), Vec::<String>::new());
}

#[test]
fn a_dockerfile_of_a_foreign_context_leads_nowhere_else() {
    let site = Site::new("");
    site.write("secret", b"not a Dockerfile");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "Dockerfile", site.path("secret")).unwrap();
    let output = site.builder(&["build", "-"], &builder.into_inner().unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no such file or directory (name the Dockerfile with -f)"), "{said}");
}

#[test]
fn named_contexts_are_of_every_kind() {
    let site = Site::new("FROM scratch\nCOPY file /\n");
    site.write("context/file", b"in the layout");
    site.build(&["-t", "base:1", "-o", "type=oci,tar=false,dest=layout", "context"]);
    let tar = tar_of(&[("t", "in the tar")]);
    let server = Server::start(move |_| Answer::ok(&tar));
    let git = repository(&site.path("repository"));
    site.write(
        "context/Dockerfile",
        b"FROM base\nCOPY --from=tar t /\nCOPY --from=git sub/file /g\nCOPY --from=base file /again\n",
    );
    let flags = [
        "--build-context",
        "base=oci-layout://layout:1",
        "--build-context",
        &format!("tar=http://{}/x.tar", server.authority()),
        "--build-context",
        &format!("git=http://{}/r.git", git.authority()),
        "context",
    ];
    let (image, _) = site.build(&flags);
    assert_eq!(
        site.listing(&image),
        "644 file = in the layout\n644 t = in the tar\n644 g = in git\n644 again = in the layout\n"
    );
    assert_eq!(
        site.refused(&["--build-context", "base=oci-layout://layout:2", "context"]),
        "builder: oci-layout://layout: no such image in it"
    );
}

/// Its files are root's, whoever has them, and stand on nothing.
#[test]
fn a_stage_starts_from_a_directory() {
    let site = Site::new("FROM base AS one\nCOPY Dockerfile /d\nFROM one\n");
    site.write("tree/etc/a", b"a").write("tree/b", b"b");
    let (image, _) = site.build(&["--build-context", "base=tree", "context"]);
    let expected =
        "644 b = b\n755 etc/\n644 etc/a = a\n644 d = FROM base AS one\nCOPY Dockerfile /d\nFROM one\n";
    assert_eq!(site.listing(&image), expected);
    let config = site.document(&image)["config"]["digest"].as_str().unwrap().to_owned();
    let history = &site.document(&config)["history"];
    assert_eq!(history[0]["created_by"], "FROM base # buildkit");
    let (again, said) = site.build(&["--build-context", "base=tree", "context"]);
    assert_eq!(again, image);
    assert!(!said.contains(" DONE "), "{said}");
    site.write("tree/b", b"other");
    let (other, _) = site.build(&["--build-context", "base=tree", "context"]);
    assert_eq!(site.listing(&other), expected.replace("b = b", "b = other"));
}

#[test]
fn an_image_is_pushed_in_the_compression_that_is_asked_for() {
    // It has every blob already, and takes every manifest.
    let server = Server::start(|request| match request.path.contains("/manifests/") {
        true => Answer::status(201),
        false => Answer::status(200),
    });
    let site = Site::new("FROM scratch\nCOPY a /a\nCOPY b /b\n");
    site.write("context/a", b"1").write("context/b", b"2");
    let (image, _) = site.build(&["-t", "x:1", "context"]);
    let name = format!("{}/x:1", server.authority());
    let push = |flags: &[&str]| {
        let output = site.builder(&[&["push"], flags, &["x:1", &name]].concat(), b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let manifest = server.requests().pop().unwrap().body;
        let digest = builder::store::Digest::of(&manifest).to_string();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), digest);
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let layers = manifest["layers"].as_array().unwrap().clone();
        let kinds = layers.iter().map(|layer| layer["mediaType"].as_str().unwrap().to_owned());
        (digest, kinds.collect::<Vec<_>>().join(" "), manifest["config"]["digest"].clone())
    };
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let config = site.document(&image)["config"]["digest"].clone();
    assert_eq!(push(&[]), (image.clone(), format!("{layer}+zstd {layer}+zstd"), config.clone()));
    let (digest, kinds, same) = push(&["--compression", "gzip"]);
    assert_eq!((kinds, same), (format!("{layer}+gzip {layer}+gzip"), config.clone()));
    assert_ne!(digest, image);
    assert_eq!(push(&["--compression", "none"]).1, format!("{layer} {layer}"));
    assert_eq!(push(&["--compression", "zstd"]).0, image);
    // The image here is as it was.
    assert_eq!(push(&[]).0, image);
}
