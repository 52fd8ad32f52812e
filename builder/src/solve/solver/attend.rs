//! `--on-failure shell`: the first RUN that fails gets one, and the build ends with it.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::{Solver, lock};
use crate::error::Error;
use crate::graph::Node;
use crate::progress::Step;
use crate::step::{Interrupt, OpenShell};

impl Solver<'_> {
    /// What a step ends with whose process failed, after a shell in what it left where one is wanted.
    pub(super) fn attend(
        &self,
        node: &Node,
        progress: &Step,
        (error, open): (Error, &OpenShell<'_>),
    ) -> Error {
        let Some(mut terminal) = self.env.terminal.as_ref() else { return error };
        if self.interrupt.is_raised() || self.attended.swap(true, Ordering::SeqCst) {
            return error;
        }
        progress.has_failed(error.to_string());
        let error = error.during(&format!("Dockerfile line {}", node.line));
        let words =
            format!("builder: {error}\nbuilder: a shell as the step left it; the build ends with it\n");
        // What is cut short now must not stand for the cause.
        lock(&self.failed).get_or_insert(error);
        self.interrupt.raise();
        let _pause = self.env.progress.pause();
        // A terminal that is gone leaves nobody to tell.
        drop(terminal.write_all(words.as_bytes()));
        if let Err(why) = open(terminal) {
            drop(writeln!(terminal, "builder: no shell: {why}"));
        }
        Interrupt::error()
    }
}
