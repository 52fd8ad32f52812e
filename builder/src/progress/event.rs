//! The events that a display draws.

use std::sync::mpsc;
use std::time::Instant;

/// Number of a step, in the order of first appearance, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub u32);

/// Where a step's output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output of a RUN.
    Stdout,
    /// Standard error of a RUN, and what the builder itself says about the step.
    Stderr,
}

/// What the display is sent.
pub(super) enum Message {
    /// To be shown.
    Event(Timed),
    /// Others have the terminal until this is over.
    Pause {
        /// Dropped when everything before is shown.
        reached: mpsc::Sender<()>,
        /// Ends when the display may go on.
        over: mpsc::Receiver<()>,
    },
}

/// Something that happened, with its moment.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    pub(super) at: Instant,
    pub(super) event: Event,
}

/// Something that happened to a step, or to the build as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Work on a step begins.
    Started {
        /// The step.
        step: StepId,
        /// One line, such as `[build 2/5] RUN make`.
        title: String,
    },
    /// The step's result was there already.
    Cached {
        /// The step.
        step: StepId,
    },
    /// Output of the step, in arbitrary pieces.
    Log {
        /// The step.
        step: StepId,
        /// Which of its streams.
        stream: Stream,
        /// The bytes as they came.
        bytes: Vec<u8>,
    },
    /// Bytes of one item (a layer, a file, an upload) so far.
    Moved {
        /// The step.
        step: StepId,
        /// What moves, such as `sha256:0123456789ab`.
        item: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// The step ended well.
    Finished {
        /// The step.
        step: StepId,
    },
    /// The step ended badly.
    Failed {
        /// The step.
        step: StepId,
        /// The error's one line.
        message: String,
    },
    /// The step was given up because another failed.
    Canceled {
        /// The step.
        step: StepId,
    },
    /// A warning that belongs to no step.
    Warning {
        /// One line.
        message: String,
        /// Lines of the input that it is about, with a caret.
        excerpt: Option<String>,
    },
}
