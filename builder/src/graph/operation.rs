//! What a step can be asked to do. Everything is decided here: the step carries it out.

use super::NodeId;
use crate::image::{Digest, Platform};

/// One deed on a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// The file system of an image, unpacked.
    Image(Base),
    /// An empty file system.
    Scratch,
    /// Runs a process on the first input's file system.
    Run(Box<Run>),
    /// Copies files onto the first input's file system.
    Copy(Box<Copy>),
    /// Makes sure that a directory exists on the first input's file system.
    Workdir(Workdir),
}

/// An image that was resolved to content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The full reference, as `docker.io/library/python:3.10`.
    pub reference: String,
    /// For what it is.
    pub platform: Platform,
    /// Digest of the platform's manifest; the store has it.
    pub manifest: Digest,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

/// A process to run in a container of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The final argument vector, shell included where the shell form was used.
    pub args: Vec<String>,
    /// The program that reads commands in this stage: no part of the step's identity.
    pub shell: String,
    /// The whole environment, `PATH` always included.
    pub env: Vec<(String, String)>,
    /// Proxy settings: given to the process, but no part of the step's identity.
    pub proxy: Vec<(String, String)>,
    /// `USER` as written, empty for root: resolved in the step's own `/etc/passwd`.
    pub user: String,
    /// Absolute working directory.
    pub cwd: String,
    /// Mounts in the order of the flags.
    pub mounts: Vec<Mount>,
    /// Devices in the order of the flags.
    pub devices: Vec<Device>,
    /// The network that the process sees.
    pub network: Network,
    /// How far the process is confined.
    pub security: Security,
    /// Scripts from here-documents, laid read-only and executable under `/dev/pipes`.
    pub scripts: Vec<Inline>,
    /// Name of the container's host.
    pub hostname: Option<String>,
    /// Extra lines of `/etc/hosts`: name, address.
    pub add_hosts: Vec<(String, String)>,
}

/// One `RUN --device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `VENDOR/CLASS`, `VENDOR/CLASS=NAME`; the files of the machine that builds say what it is.
    pub name: String,
    /// An error when that machine does not have it.
    pub required: bool,
}

/// The network of a RUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own with outgoing access.
    Default,
    /// A namespace of its own with nothing but a loopback.
    None,
    /// The host's.
    Host,
}

/// How far a RUN is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// The usual capabilities and filters.
    Sandbox,
    /// All capabilities that the builder itself has, no filter.
    Insecure,
}

/// One `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path in the container; empty for a secret that is only an environment variable.
    pub target: String,
    /// What is mounted there.
    pub kind: MountKind,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A part of the context or of another node; writes are discarded.
    Bind {
        /// Where from.
        from: From,
        /// Path below it, `/` for all.
        source: String,
        /// May be written.
        access: Access,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its identity.
        id: String,
        /// What fills it when it is new.
        from: Option<From>,
        /// Path below `from`.
        source: String,
        /// May be written.
        access: Access,
        /// Who else may use it meanwhile.
        sharing: Sharing,
        /// Mode of the directory when new.
        mode: u32,
        /// Owner of the directory when new.
        uid: u32,
        /// Group of the directory when new.
        gid: u32,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Size limit in bytes.
        size: Option<u64>,
    },
    /// A secret from the command line.
    Secret(Credential),
    /// The agent socket from the command line.
    Ssh(Credential),
}

/// A secret or an agent's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name on the command line.
    pub id: String,
    /// An error when the command line does not give it.
    pub required: bool,
    /// Mode of the file or socket.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The environment variable that holds it (the value of a secret, the path of a socket).
    pub env: Option<String>,
}

/// May it be written?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Who may use a cache directory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// Nobody: another user gets a directory of its own.
    Private,
    /// Nobody: others wait.
    Locked,
}

/// A tree that files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The build context, seen through its ignore file.
    Context,
    /// A named context that is a directory on this machine.
    Named(String),
    /// The result of another node.
    Node(NodeId),
}

/// One COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is copied, in order.
    pub sources: Vec<Source>,
    /// Absolute, cleaned path in the image.
    pub dest: String,
    /// Whether `dest` is a directory even with a single source.
    pub dest_kind: DestKind,
    /// `user[:group]` as written, names resolved in the image; `None`: 0:0.
    pub chown: Option<String>,
    /// Octal or symbolic mode as written, already checked.
    pub chmod: Option<String>,
    /// The layer does not depend on what is below it.
    pub link: bool,
    /// Keep the sources' parent directories below `dest`; `/./` marks where they begin.
    pub parents: bool,
    /// Patterns of files to leave out, `!` brings back.
    pub excludes: Vec<String>,
    /// Whether archives are unpacked.
    pub unpack: Unpack,
}

/// What the destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestKind {
    /// A directory: written with a slash at the end, or there are several sources.
    Directory,
    /// A directory if there is one already or the source is one, else the new name of the file.
    AsFound,
}

/// Whether archives among the sources are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpack {
    /// COPY, and ADD of a download: never.
    Never,
    /// ADD of a local file: if it is an archive.
    IfArchive,
    /// `--unpack`: an error if it is none.
    Always,
}

/// One source of a COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files of a tree.
    Files {
        /// The tree.
        from: From,
        /// Path below it, relative, `*`, `?`, `[]` match within one name.
        pattern: String,
    },
    /// A here-document.
    Inline(Inline),
    /// A download.
    Http {
        /// The address.
        url: String,
        /// `algorithm:hex` that the bytes must have.
        checksum: Option<String>,
    },
    /// A git repository.
    Git(Git),
}

/// A file whose content stands in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inline {
    /// Name of the file.
    pub name: String,
    /// Its content.
    pub content: String,
}

/// A git repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// Where to clone from.
    pub remote: String,
    /// Branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// Directory of the repository to take.
    pub subdir: String,
    /// The commit that it must be, or its beginning.
    pub checksum: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// Fetch its submodules.
    pub submodules: bool,
}

/// A directory that must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workdir {
    /// Absolute, cleaned.
    pub path: String,
    /// Owner of what has to be made: `USER` as written, empty for root.
    pub user: String,
}
