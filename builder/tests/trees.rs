//! Trees at the edge of what a file system can hold, and what of the user's process must not show in an image.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(dead_code, reason = "the other users of the site use the rest")]

mod site;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output};

use nix::unistd::Uid;
use site::Site;

/// What `setcap cap_net_bind_service=+ep` writes.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Runs the builder with `words` in a shell that has carried out `first`.
fn after(site: &Site, first: &str, words: &str) -> Output {
    let script = format!("{first}; exec \"$0\" {words}");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_builder")]).current_dir(site.path("."));
    command.env("SOURCE_DATE_EPOCH", "0").output().unwrap()
}

/// The digest that a build came to.
fn built(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, said(output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().find(|line| line.starts_with("builder: ")).unwrap_or(&text).to_owned()
}

/// The extended attributes of each file of each layer.
fn attributes(site: &Site, image: &str) -> BTreeMap<String, Vec<(String, Vec<u8>)>> {
    let mut found = BTreeMap::new();
    for layer in site.document(image)["layers"].as_array().unwrap() {
        let bytes = zstd::decode_all(&*site.blob(layer["digest"].as_str().unwrap())).unwrap();
        for entry in tar::Archive::new(&*bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let Some(records) = entry.pax_extensions().unwrap() else { continue };
            let records = records.map(|record| record.unwrap());
            let key = |name: &str| name.strip_prefix("SCHILY.xattr.").map(str::to_owned);
            let of_file = records.filter_map(|r| Some((key(r.key().unwrap())?, r.value_bytes().to_vec())));
            found.insert(path, of_file.collect());
        }
    }
    found
}

/// A tar with a file of these attributes.
fn tar_with(attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let keyed: Vec<(String, &[u8])> =
        attributes.iter().map(|(key, value)| (format!("SCHILY.xattr.{key}"), *value)).collect();
    builder.append_pax_extensions(keyed.iter().map(|(key, value)| (key.as_str(), *value))).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o755);
    builder.append_data(&mut header, "f", &b"x"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_file_that_is_copied_by_name_keeps_its_attributes() {
    let mut given: Vec<(&str, &[u8])> = vec![("user.a", b"v")];
    match Uid::effective().is_root() {
        true => given.insert(0, ("security.capability", &CAPABILITY)),
        false => println!("not run: capabilities of files, as an ordinary user"),
    }
    let site = Site::new(
        "FROM scratch AS a\nADD t.tar /d/\nFROM scratch\nCOPY --from=a /d/f /one\nCOPY --from=a /d /dir\n",
    );
    site.write("context/t.tar", &tar_with(&given));
    let (image, _) = site.build(&["context"]);
    let expected: Vec<(String, Vec<u8>)> =
        given.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
    let found = attributes(&site, &image);
    assert_eq!((found.get("dir/f"), found.get("one")), (Some(&expected), Some(&expected)));
}

#[test]
fn an_image_is_the_same_under_every_umask_and_the_user_s_files_are_not() {
    let site = Site::new("FROM scratch\nWORKDIR /x/y\nCOPY Dockerfile /p/q/D\nADD t.tar /t/\n");
    site.write("context/t.tar", &site::tar_of(&[("i/j/f", "in directories that the archive leaves out")]));
    let build = |umask: &str| {
        let words = format!("--store store-{umask} build -q --iidfile id-{umask} context");
        built(&after(&site, &format!("umask {umask}"), &words))
    };
    let usual = build("022");
    for umask in ["077", "027", "0"] {
        assert_eq!(build(umask), usual, "under umask {umask}");
    }
    // A context that is an archive has directories that only the builder makes.
    let context = site::tar_of(&[("Dockerfile", "FROM scratch\nCOPY . /\n"), ("i/j/f", "x")]);
    site.write("context.tar", &context);
    let [usual, strict] = ["022", "077"].map(|umask| {
        let words = format!("--store tar-{umask} build -q - <context.tar");
        built(&after(&site, &format!("umask {umask}"), &words))
    });
    assert_eq!(strict, usual, "from an archive");
    let modes = ["022", "077"].map(|umask| fs::metadata(site.path(&format!("id-{umask}"))).unwrap().mode());
    assert_eq!(modes.map(|mode| mode & 0o777), [0o644, 0o600]);
}

#[test]
fn a_tree_with_more_linked_files_than_descriptors_is_copied() {
    let site = Site::new("FROM scratch\nCOPY m /m\n");
    for number in 0..300 {
        site.write(&format!("context/m/{}/{number:03}", number % 7), b"x");
    }
    for number in 0..300 {
        let file = site.path(&format!("context/m/{}/{number:03}", number % 7));
        fs::create_dir_all(site.path("outside")).unwrap();
        fs::hard_link(&file, site.path(&format!("outside/{number:03}"))).unwrap();
    }
    fs::hard_link(site.path("context/m/0/000"), site.path("context/m/6/last")).unwrap();
    let image = built(&after(&site, "ulimit -n 150", "--store store build -q context"));
    let listing = site.listing(&image);
    assert_eq!(listing.lines().filter(|line| line.ends_with(" = x")).count(), 300, "{listing}");
    assert!(listing.contains("644 m/6/last -> m/0/000\n"), "{listing}");
}

/// An archive whose one member is a file that many directories lead to.
fn deep_tar(depth: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let path = "d/".repeat(depth) + "f";
    builder.append_pax_extensions([("path", path.as_bytes())]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_tree_as_deep_as_one_may_be_is_built() {
    let site = Site::new("FROM scratch AS a\nADD x.tar /\nFROM scratch\nCOPY --from=a / /\n");
    site.write("context/x.tar", &deep_tar(1023));
    let image = built(&after(&site, "ulimit -n 8000", "--store store build -q context"));
    assert_eq!(site.listing(&image).lines().count(), 1024);
    assert_eq!(fs::read_dir(site.path("store/tmp")).unwrap().count(), 0);
}

#[test]
fn a_deeper_tree_is_an_error_and_leaves_nothing() {
    let site = Site::new("FROM scratch\nADD x.tar /d/\n");
    let path = "d/".repeat(100);
    for (depth, files) in [(9000, 20_000), (1024, 200)] {
        site.write("context/x.tar", &deep_tar(depth));
        let output = after(&site, &format!("ulimit -n {files}"), "--store store build -q context");
        let expected = format!("unpack \"{path}...\": it goes more than 1024 directories deep");
        assert!(said(&output).contains(&expected), "{}: {}", output.status, said(&output));
        assert_eq!(
            (output.status.code(), fs::read_dir(site.path("store/tmp")).unwrap().count()),
            (Some(1), 0)
        );
    }
}

#[test]
fn a_context_that_is_too_deep_is_an_error_that_says_where() {
    let site = Site::new("FROM scratch\nCOPY deep /deep\n");
    let mut path = site.path("context/deep");
    path.extend(std::iter::repeat_n("d", 1500));
    fs::create_dir_all(&path).unwrap();
    let output = after(&site, "ulimit -n 8000", "--store store build -q context");
    let path = "deep/".to_owned() + &"d/".repeat(97) + "d...";
    let expected = format!("read deep: {path} goes more than 1024 directories deep");
    assert!(said(&output).contains(&expected), "{}: {}", output.status, said(&output));
}

#[test]
fn what_a_killed_builder_left_is_swept_at_any_depth() {
    let site = Site::new("FROM scratch\n");
    site.build(&["context"]);
    let mut path = site.path("store/tmp/1-1");
    path.extend(std::iter::repeat_n("d", 1900));
    fs::create_dir_all(&path).unwrap();
    let output = after(&site, "ulimit -n 150", "--store store prune --all");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_dir(site.path("store/tmp")).unwrap().count(), 0);
}
