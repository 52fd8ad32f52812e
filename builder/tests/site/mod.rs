//! A place to build in with the finished program: contexts, a store, and what the layers hold.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Gone when dropped.
pub(crate) struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(dockerfile: &str) -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        site.write("context/Dockerfile", dockerfile.as_bytes());
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self
    }

    pub(crate) fn builder(&self, arguments: &[&str], input: &[u8]) -> Output {
        self.builder_with(&[], arguments, input)
    }

    /// With these variables in its environment.
    pub(crate) fn builder_with(&self, env: &[(&str, &str)], arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_builder"))
            .arg("--store")
            .arg(self.path("store"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env("SOURCE_DATE_EPOCH", "0")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does not read its input closes it.
        drop(child.stdin.take().unwrap().write_all(input));
        child.wait_with_output().unwrap()
    }

    /// Standard output and standard error of a build that works.
    pub(crate) fn build(&self, flags: &[&str]) -> (String, String) {
        self.build_from(flags, b"")
    }

    pub(crate) fn build_from(&self, flags: &[&str], input: &[u8]) -> (String, String) {
        let output = self.builder(&[&["build", "--progress", "plain"], flags].concat(), input);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (String::from_utf8_lossy(&output.stdout).trim().to_owned(), said)
    }

    /// The last line of standard error of a build that does not.
    pub(crate) fn refused(&self, flags: &[&str]) -> String {
        let output = self.builder(&[&["build", "--progress", "quiet"], flags].concat(), b"");
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.lines().find(|line| line.starts_with("builder: ")).unwrap_or(&said).to_owned()
    }

    pub(crate) fn blob(&self, digest: &str) -> Vec<u8> {
        fs::read(self.path("store/blobs/sha256").join(digest.trim_start_matches("sha256:"))).unwrap()
    }

    pub(crate) fn document(&self, digest: &str) -> Value {
        serde_json::from_slice(&self.blob(digest)).unwrap()
    }

    /// `MODE PATH [-> TARGET] [= CONTENT]` for each entry of each layer.
    pub(crate) fn listing(&self, image: &str) -> String {
        let layers = self.document(image)["layers"].as_array().unwrap().clone();
        let digests = layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned());
        digests.map(|digest| entries(&zstd::decode_all(&*self.blob(&digest)).unwrap())).collect()
    }
}

/// The entries of a tar, as lines.
pub(crate) fn entries(tar: &[u8]) -> String {
    let mut text = String::new();
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mode = entry.header().mode().unwrap();
        let link = entry.link_name().unwrap().map(|to| format!(" -> {}", to.display())).unwrap_or_default();
        let mut content = Vec::new();
        let is_file = entry.header().entry_type().is_file();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        let content = String::from_utf8_lossy(&content);
        let content = if is_file { format!(" = {}", content.trim_end()) } else { String::new() };
        text.push_str(&format!("{mode:o} {path}{link}{content}\n"));
    }
    text
}

/// A tar of these files, in directories of their own.
pub(crate) fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What stands in a directory, as names.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
