//! A directory to unpack into that stands in another one, where nothing may change; and tars written by hand.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use builder::layer::{Compression, Unpack, Unpacked, unpack};

/// A tar being written by hand.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// A header with everything set but what the test is about.
    pub(crate) fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name);
        fields.linkname[..link.len()].copy_from_slice(link);
        fields.typeflag = [kind];
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        header.set_size(size);
        header.set_cksum();
        header
    }

    pub(crate) fn raw(mut self, header: &tar::Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn entry(self, kind: u8, name: &str, link: &str, content: &str) -> Self {
        let header = Self::header(kind, name.as_bytes(), link.as_bytes(), content.len() as u64);
        self.raw(&header, content.as_bytes())
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name, "", content)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(b'5', name, "", "")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, "")
    }

    pub(crate) fn hard(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, "")
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let fits = |length: &usize| length.to_string().len() + rest == *length;
            let length = (1..9).map(|digits| rest + digits).find(fits).unwrap();
            bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        let header = Self::header(b'x', b"pax", b"", bytes.len() as u64);
        self.raw(&header, &bytes)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A directory with a victim in it, and `root` to unpack into.
pub(crate) struct Place {
    outside: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("root")).unwrap();
        fs::write(outside.path().join("victim"), "untouched").unwrap();
        Self { outside }
    }

    pub(crate) fn outside(&self) -> &Path {
        self.outside.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.outside.path().join("root")
    }

    pub(crate) fn unpack(&self, tar: &[u8], options: &Unpack) -> Result<Unpacked, String> {
        self.unpack_as(tar, Compression::None, options)
    }

    /// Unpacks, and looks whether anything happened outside.
    pub(crate) fn unpack_as(
        &self,
        blob: &[u8],
        compression: Compression,
        options: &Unpack,
    ) -> Result<Unpacked, String> {
        let root = File::open(self.root()).unwrap();
        let result = unpack(blob, compression, root.as_fd(), options).map_err(|error| error.to_string());
        let entries = fs::read_dir(self.outside.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["root", "victim"], "something was made outside");
        let victim = self.outside.path().join("victim");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1, "the victim was linked");
        result
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }
}
