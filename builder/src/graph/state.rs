//! A stage between two of its instructions.

use std::collections::BTreeSet;

use super::{HistoryEntry, NodeId, scan};
use crate::image::{Config, Platform};

/// What `RUN` in shell form starts with unless SHELL says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Where programs are looked for if the image does not say.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that an instruction may depend on or change.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The file system so far.
    pub(super) node: NodeId,
    /// The image config so far, the base's history in it.
    pub(super) config: Config,
    /// What this build adds to the history.
    pub(super) history: Vec<HistoryEntry>,
    /// ARGs that are in scope.
    pub(super) args: Vec<(String, Option<String>)>,
    /// Names that an ARG has set after the last ENV of that name: the later one counts.
    pub(super) args_over_env: BTreeSet<String>,
    /// Whether CMD, HEALTHCHECK... stood in this stage already.
    pub(super) seen: BTreeSet<&'static str>,
    /// For what the stage is.
    pub(super) platform: Platform,
    /// Seconds since 1970 of everything that the stage writes; `None`: as it comes.
    pub(super) time: Option<i64>,
}

impl State {
    /// Right after FROM.
    pub(super) fn new((node, time): (NodeId, Option<i64>), config: Config, platform: Platform) -> Self {
        Self {
            node,
            config,
            history: Vec::new(),
            args: Vec::new(),
            args_over_env: BTreeSet::new(),
            seen: BTreeSet::new(),
            platform,
            time,
        }
    }

    /// The variables that instructions expand: of ENV and ARG the later.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        if scan::is_argument(name) {
            return None;
        }
        let arg = || {
            let found = self.args.iter().rev().find(|(n, value)| n == name && value.is_some());
            found.and_then(|(_, value)| value.clone())
        };
        if self.args_over_env.contains(name) { arg() } else { self.env(name).or_else(arg) }
    }

    /// An ARG, with its value if it has one.
    pub(super) fn set_arg(&mut self, name: String, value: Option<String>) {
        if value.is_some() {
            self.args_over_env.insert(name.clone());
        }
        self.args.push((name, value));
    }

    /// A variable of the image.
    pub(super) fn env(&self, name: &str) -> Option<String> {
        let mut pairs = self.config.config.env.iter().map(|pair| split(pair));
        pairs.find(|(n, _)| *n == name).map(|(_, value)| value.to_owned())
    }

    /// Sets a variable of the image where it stands, or at the end.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        self.args_over_env.remove(name);
        let pair = format!("{name}={value}");
        match self.config.config.env.iter_mut().find(|old| split(old).0 == name) {
            Some(old) => *old = pair,
            None => self.config.config.env.push(pair),
        }
    }

    /// ARGs with what their names stand for, each name once.
    pub(super) fn set_args(&self) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = Vec::new();
        for (name, _) in &self.args {
            if let (None, Some(value)) = (out.iter().find(|(n, _)| n == name), self.variable(name)) {
                out.push((name.clone(), value));
            }
        }
        out
    }

    /// The environment of a RUN: ARGs, then ENV, of one name the later, then a PATH if there is none.
    pub(super) fn run_env(&self) -> Vec<(String, String)> {
        let mut env = self.set_args();
        env.retain(|(name, _)| self.env(name).is_none());
        let image = self.config.config.env.iter().map(|pair| split(pair));
        env.extend(
            image.map(|(name, value)| {
                (name.to_owned(), self.variable(name).unwrap_or_else(|| value.to_owned()))
            }),
        );
        if !env.iter().any(|(name, _)| name == "PATH") {
            env.push(("PATH".to_owned(), PATH.to_owned()));
        }
        env
    }

    /// The argument vector of a line in shell form.
    pub(super) fn in_shell(&self, line: &str) -> Vec<String> {
        let shell = &self.config.config.shell;
        let words: Vec<String> =
            if shell.is_empty() { SHELL.map(str::to_owned).to_vec() } else { shell.clone() };
        words.into_iter().chain([line.to_owned()]).collect()
    }

    /// The program of those lines, by itself.
    pub(super) fn shell(&self) -> String {
        let [usual, _] = SHELL;
        self.config.config.shell.first().cloned().unwrap_or_else(|| usual.to_owned())
    }

    /// The working directory, `/` where the image has none.
    pub(super) fn cwd(&self) -> &str {
        match self.config.config.working_dir.as_str() {
            "" => "/",
            path => path,
        }
    }

    /// Adds a line to the history; `node` made its layer.
    pub(super) fn record(&mut self, created_by: String, node: Option<NodeId>) {
        self.history.push(HistoryEntry { created_by, node });
    }
}

fn split(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}
