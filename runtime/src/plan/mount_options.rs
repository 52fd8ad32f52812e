//! The words of a mount's `options`, each with its one meaning (runc's list; mount(8), mount_setattr(2)).

use super::rootfs::Propagation;

/// How much of a tree a bind takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    One,
    Whole,
}

impl Tree {
    /// `AT_RECURSIVE`, or nothing.
    pub fn flag(self) -> i32 {
        match self {
            Self::One => 0,
            Self::Whole => libc::AT_RECURSIVE,
        }
    }
}

/// Mount attributes to set and to clear: on the mount itself, and on everything below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attrs {
    pub own: Change,
    pub tree: Change,
}

/// One `mount_setattr`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    pub set: u64,
    pub clear: u64,
}

impl Change {
    /// Nothing to do.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn apply(&mut self, effect: Self) {
        self.set = self.set & !effect.clear | effect.set;
        self.clear = self.clear & !effect.set | effect.clear;
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "+{:#x} -{:#x}", self.set, self.clear)
    }
}

/// A parameter of the file system itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    Flag(String),
    Value(String, String),
}

/// Whether what the mount covers is copied into it first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CopyUp {
    #[default]
    No,
    Yes,
}

/// The options of one mount, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    pub attrs: Attrs,
    pub propagation: Vec<Propagation>,
    pub bind: Option<Tree>,
    pub remount: bool,
    pub copy_up: CopyUp,
    pub idmap: Option<Tree>,
    pub params: Vec<Param>,
}

const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// Attribute words. The same word with an `r` before it acts on the whole tree (`rro`, `rnosuid`).
const ATTRIBUTES: [(&str, Change); 19] = [
    ("ro", set(libc::MOUNT_ATTR_RDONLY)),
    ("rw", clear(libc::MOUNT_ATTR_RDONLY)),
    ("nosuid", set(libc::MOUNT_ATTR_NOSUID)),
    ("suid", clear(libc::MOUNT_ATTR_NOSUID)),
    ("nodev", set(libc::MOUNT_ATTR_NODEV)),
    ("dev", clear(libc::MOUNT_ATTR_NODEV)),
    ("noexec", set(libc::MOUNT_ATTR_NOEXEC)),
    ("exec", clear(libc::MOUNT_ATTR_NOEXEC)),
    ("nodiratime", set(libc::MOUNT_ATTR_NODIRATIME)),
    ("diratime", clear(libc::MOUNT_ATTR_NODIRATIME)),
    ("nosymfollow", set(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("symfollow", clear(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    // The four kinds of access times exclude each other: the whole field is cleared, then one is set.
    ("noatime", Change { set: libc::MOUNT_ATTR_NOATIME, clear: ATIME }),
    ("strictatime", Change { set: libc::MOUNT_ATTR_STRICTATIME, clear: ATIME }),
    ("relatime", clear(ATIME)),
    // What is not to be set stays as it is, as with mount(8).
    ("atime", Change { set: 0, clear: 0 }),
    ("norelatime", Change { set: 0, clear: 0 }),
    ("nostrictatime", Change { set: 0, clear: 0 }),
    ("defaults", Change { set: 0, clear: 0 }),
];

/// Words that the kernel takes as parameters of the superblock, and their opposites, which are its defaults.
const SUPERBLOCK: [&str; 4] = ["sync", "dirsync", "lazytime", "mand"];
const SUPERBLOCK_DEFAULTS: [&str; 9] =
    ["async", "nolazytime", "nomand", "loud", "silent", "iversion", "noiversion", "acl", "noacl"];

const fn set(flag: u64) -> Change {
    Change { set: flag, clear: 0 }
}

const fn clear(flag: u64) -> Change {
    Change { set: 0, clear: flag }
}

/// Sorts all words; whatever is no known word is a parameter of the file system.
pub fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    for word in options {
        read_word(&mut parsed, word);
    }
    parsed
}

fn read_word(parsed: &mut Parsed, word: &str) {
    if let Some(change) = attribute(word) {
        return parsed.attrs.own.apply(change);
    }
    if let Some(change) = word.strip_prefix('r').and_then(attribute) {
        return parsed.attrs.tree.apply(change);
    }
    if let Some(propagation) = Propagation::parse(word) {
        return parsed.propagation.push(propagation);
    }
    match word {
        "bind" => parsed.bind = Some(parsed.bind.unwrap_or(Tree::One)),
        "rbind" => parsed.bind = Some(Tree::Whole),
        "remount" => parsed.remount = true,
        "tmpcopyup" => parsed.copy_up = CopyUp::Yes,
        "idmap" => parsed.idmap = Some(Tree::One),
        "ridmap" => parsed.idmap = Some(Tree::Whole),
        word if SUPERBLOCK.contains(&word) => parsed.params.push(Param::Flag(word.to_owned())),
        word if word.is_empty() || SUPERBLOCK_DEFAULTS.contains(&word) => {}
        word => parsed.params.push(param(word)),
    }
}

fn attribute(word: &str) -> Option<Change> {
    ATTRIBUTES.iter().find(|(name, _)| *name == word).map(|(_, change)| *change)
}

fn param(word: &str) -> Param {
    match word.split_once('=') {
        Some((key, value)) => Param::Value(key.to_owned(), value.to_owned()),
        None => Param::Flag(word.to_owned()),
    }
}

/// Every word that has a meaning of its own, sorted.
pub fn words() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().map(|(word, _)| *word);
    let mut words: Vec<String> = attributes.clone().map(str::to_owned).collect();
    words.extend(attributes.filter(|word| *word != "defaults").map(|word| format!("r{word}")));
    let propagation = ["private", "shared", "slave", "unbindable"];
    words.extend(propagation.iter().flat_map(|word| [(*word).to_owned(), format!("r{word}")]));
    words.extend(["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"].map(str::to_owned));
    words.extend(SUPERBLOCK.iter().chain(&SUPERBLOCK_DEFAULTS).map(|word| (*word).to_owned()));
    words.sort();
    words
}
