//! A tree of files as layers make it, one over the other: what a container would see, and which paths are one file.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail};
use tar::EntryType;

/// One file, directory, link or node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// `file`, `directory`, `symlink`, `fifo`, `character`, `block`.
    pub(super) kind: &'static str,
    pub(super) mode: u32,
    pub(super) owner: (u64, u64),
    pub(super) time: u64,
    /// A link's target; a device's numbers.
    pub(super) target: String,
    /// Length, and a hash: two builders are compared, neither of them with an attacker.
    pub(super) content: (u64, u64),
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
    /// Paths with the same number are hard links of one file.
    inode: u64,
}

impl Node {
    /// Whether nothing but the number of the file differs.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        Self { inode: other.inode, ..self.clone() } == *other
    }
}

/// What one entry of a layer does.
#[derive(Debug, Clone)]
enum Change {
    Put(Node),
    /// A hard link to this path.
    Link(String),
    Whiteout,
    /// What is below from earlier layers is gone.
    Opaque,
}

/// The entries of a layer, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(Vec<(String, Change)>);

impl Layer {
    /// Reads an uncompressed tar; `first` is the number of its first file.
    pub(super) fn read(input: impl Read, first: u64) -> Result<Self> {
        let mut archive = tar::Archive::new(input);
        let mut changes = Vec::new();
        let mut numbers = first..;
        for entry in archive.entries().context("read a layer")? {
            let mut entry = entry.context("read an entry of a layer")?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = path.trim_start_matches("./").trim_matches('/').to_owned();
            let inode = numbers.next().context("number a file")?;
            let change = match whiteout(&path) {
                Some(change) => change,
                None => (path, change(&mut entry, inode)?),
            };
            changes.push(change);
        }
        Ok(Self(changes))
    }
}

/// What a path that stands for a deletion deletes.
fn whiteout(path: &str) -> Option<(String, Change)> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let hidden = name.strip_prefix(".wh.")?;
    if hidden == ".wh..opq" {
        return Some((parent.to_owned(), Change::Opaque));
    }
    let whole = if parent.is_empty() { hidden.to_owned() } else { format!("{parent}/{hidden}") };
    Some((whole, Change::Whiteout))
}

fn change(entry: &mut tar::Entry<'_, impl Read>, inode: u64) -> Result<Change> {
    let target = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let target = target.unwrap_or_default();
    let header = entry.header().clone();
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => "file",
        EntryType::Directory => "directory",
        EntryType::Symlink => "symlink",
        EntryType::Fifo => "fifo",
        EntryType::Char => "character",
        EntryType::Block => "block",
        EntryType::Link => {
            return Ok(Change::Link(target.trim_start_matches("./").trim_matches('/').to_owned()));
        }
        other => bail!("an entry of the type {other:?}"),
    };
    let mut owner = (header.uid()?, header.gid()?);
    let mut time = header.mtime()?;
    let mut attributes = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let (key, value) = (extension.key()?, extension.value_bytes());
            let number = || -> Result<u64> {
                let text = std::str::from_utf8(value)?;
                Ok(text.split('.').next().unwrap_or_default().parse()?)
            };
            match key {
                "uid" => owner.0 = number()?,
                "gid" => owner.1 = number()?,
                "mtime" => time = number()?,
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        attributes.insert(name.to_owned(), value.to_owned());
                    }
                }
            }
        }
    }
    let target = match kind {
        "character" | "block" => {
            format!("{:?} {:?}", header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0))
        }
        _ => target,
    };
    let content = if kind == "file" { content(entry)? } else { (0, 0) };
    let mode = header.mode()? & 0o7777;
    Ok(Change::Put(Node { kind, mode, owner, time, target, content, attributes, inode }))
}

fn content(input: &mut impl Read) -> Result<(u64, u64)> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    // FNV-1a, which is the same in every version of every program.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok((bytes.len() as u64, hash))
}

/// Nodes by path, without a leading slash; the root itself is "".
#[derive(Debug, Clone, Default)]
pub(super) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Puts a layer over what is there.
    pub(super) fn apply(&mut self, layer: &Layer) -> Result<()> {
        // Deletions are about the layers below, wherever they are in the archive.
        for (path, change) in &layer.0 {
            match change {
                Change::Whiteout => self.remove(path),
                Change::Opaque => self.remove_below(path),
                Change::Put(_) | Change::Link(_) => {}
            }
        }
        for (path, change) in &layer.0 {
            match change {
                Change::Put(node) => self.put(path, node.clone()),
                Change::Link(target) => {
                    let node = self.0.get(target).cloned();
                    let node = node.with_context(|| format!("find {target}, of which {path} is a link"))?;
                    self.put(path, node);
                }
                Change::Whiteout | Change::Opaque => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, node: Node) {
        if node.kind != "directory" {
            self.remove_below(path);
        }
        self.0.insert(path.to_owned(), node);
    }

    fn remove(&mut self, path: &str) {
        self.remove_below(path);
        self.0.remove(path);
    }

    fn remove_below(&mut self, path: &str) {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.0.retain(|at, _| at.is_empty() || !at.starts_with(&prefix));
    }

    pub(super) fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.0
    }

    /// The other paths of the file at `path`.
    pub(super) fn twins(&self, path: &str) -> Vec<&str> {
        let Some(inode) = self.0.get(path).map(|node| node.inode) else { return Vec::new() };
        let same = self.0.iter().filter(|(at, node)| node.inode == inode && *at != path);
        same.map(|(at, _)| at.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(entries: &[(&str, EntryType, &str)], first: u64) -> Layer {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            if *kind == EntryType::Link {
                header.set_size(0);
                builder.append_link(&mut header, path, text).unwrap();
            } else {
                header.set_size(text.len() as u64);
                builder.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
        }
        Layer::read(builder.into_inner().unwrap().as_slice(), first).unwrap()
    }

    #[test]
    fn layers_hide_replace_and_link() {
        use EntryType::{Directory, Link, Regular};
        let mut tree = Tree::default();
        let below = [("d/", Directory, ""), ("d/x", Regular, "x"), ("d/y", Link, "d/x"), ("e", Regular, "e")];
        tree.apply(&layer(&below, 0)).unwrap();
        assert_eq!(tree.twins("d/x"), ["d/y"]);
        let above = [("d/new", Regular, "n"), ("d/.wh.x", Regular, ""), (".wh.e", Regular, "")];
        tree.apply(&layer(&above, 100)).unwrap();
        assert_eq!(tree.nodes().keys().collect::<Vec<_>>(), ["d", "d/new", "d/y"]);
        assert_eq!(tree.twins("d/y"), Vec::<&str>::new());
        tree.apply(&layer(&[("d/.wh..wh..opq", Regular, ""), ("d/z", Regular, "z")], 200)).unwrap();
        assert_eq!(tree.nodes().keys().collect::<Vec<_>>(), ["d", "d/z"]);
        tree.apply(&layer(&[("d", Regular, "a file now")], 300)).unwrap();
        assert_eq!(tree.nodes().keys().collect::<Vec<_>>(), ["d"]);
    }
}
