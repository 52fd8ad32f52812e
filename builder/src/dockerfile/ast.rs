//! The syntax tree: what the text says, with nothing expanded.

use super::directive::Directives;
use super::heredoc::Heredoc;
use super::lexer::Comment;
use super::source::Place;

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The parser directives.
    pub directives: Directives,
    /// ARGs above the first FROM.
    pub globals: Vec<Instruction>,
    /// The stages in order.
    pub stages: Vec<Stage>,
}

/// A FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it starts from, as written.
    pub base: Word,
    /// Its name, as written.
    pub name: Option<Word>,
    /// `--platform`, as written.
    pub platform: Option<Word>,
    /// The FROM line.
    pub place: Place,
    /// The word `AS`, for its casing.
    pub as_word: Option<Word>,
    /// The FROM keyword.
    pub keyword: Word,
    /// The comment lines directly above.
    pub comments: Vec<Comment>,
    /// An empty line between continuation lines.
    pub gap: Option<Place>,
    /// The rest.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The keyword, as written.
    pub keyword: Word,
    /// All its lines.
    pub place: Place,
    /// Keyword and arguments on one line, as written.
    pub text: String,
    /// The comment lines directly above.
    pub comments: Vec<Comment>,
    /// An empty line between continuation lines.
    pub gap: Option<Place>,
    /// What it says.
    pub kind: Kind,
}

/// A piece of text and its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// As written.
    pub text: String,
    /// Where.
    pub place: Place,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// ADD.
    Add(Transfer),
    /// ARG: names with or without a default.
    Arg(Vec<Definition>),
    /// CMD.
    Cmd(Command),
    /// COPY.
    Copy(Transfer),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// ENV.
    Env(Vec<Definition>),
    /// EXPOSE.
    Expose(Vec<Word>),
    /// HEALTHCHECK.
    Healthcheck(Healthcheck),
    /// LABEL.
    Label(Vec<Definition>),
    /// MAINTAINER.
    Maintainer(String),
    /// ONBUILD: the instruction's text, here-documents included.
    Onbuild(String),
    /// RUN.
    Run(Run),
    /// SHELL.
    Shell(Vec<String>),
    /// STOPSIGNAL.
    Stopsignal(Word),
    /// USER.
    User(Word),
    /// VOLUME.
    Volume(Volumes),
    /// WORKDIR.
    Workdir(Word),
}

/// `name`, `name=value`, or the older `name value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// As written.
    pub name: Word,
    /// As written, quotes included.
    pub value: Option<Word>,
    /// How the two are joined.
    pub form: Form,
}

/// How name and value are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `name=value`, or a name alone.
    Equals,
    /// `name value`.
    Space,
}

/// The two forms of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One line for a shell.
    Shell(String),
    /// The argument vector.
    Exec(Vec<String>),
}

/// RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run.
    pub command: Command,
    /// Here-documents.
    pub heredocs: Vec<Heredoc>,
    /// `--mount` values.
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
    /// `--device` values.
    pub devices: Vec<Word>,
}

/// COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Sources that are paths or addresses.
    pub sources: Vec<Word>,
    /// Sources that are here-documents.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub dest: Word,
    /// `--from`.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`, `--parents`, `--unpack`, `--keep-git-dir`: names of those that are on or off.
    pub switches: Vec<(&'static str, Switch)>,
    /// `--exclude` values.
    pub excludes: Vec<Word>,
    /// `--checksum`.
    pub checksum: Option<Word>,
}

/// A flag that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// `--flag` or `--flag=true`.
    On,
    /// `--flag=false`.
    Off,
}

impl Transfer {
    /// A switch, if it was given.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<Switch> {
        self.switches.iter().rev().find(|(n, _)| *n == name).map(|&(_, state)| state)
    }
}

/// HEALTHCHECK: durations in nanoseconds, 0 inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`.
    None,
    /// `CMD ...`.
    Check {
        /// What is run.
        command: Command,
        /// Between checks.
        interval: i64,
        /// For one check.
        timeout: i64,
        /// Until failures count.
        start_period: i64,
        /// Between checks during the start period.
        start_interval: i64,
        /// Failures in a row.
        retries: i64,
    },
}

/// VOLUME: the two forms differ in that only one is expanded into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volumes {
    /// Paths, as written.
    pub paths: Vec<Word>,
}
