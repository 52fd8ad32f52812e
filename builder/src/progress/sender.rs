//! The sending side: cheap to clone, never blocks, outlives its display.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use super::event::{Event, Message, StepId, Stream, Timed};

/// Where events go; clones share the numbering of steps.
#[derive(Debug, Clone)]
pub struct Sender {
    channel: Option<mpsc::Sender<Message>>,
    last: Arc<AtomicU32>,
}

impl Sender {
    /// A sender whose events nobody sees.
    #[must_use]
    pub fn silent() -> Self {
        Self { channel: None, last: Arc::default() }
    }

    pub(super) fn new(channel: mpsc::Sender<Message>) -> Self {
        Self { channel: Some(channel), last: Arc::default() }
    }

    /// Begins a step under the next number.
    pub fn step(&self, title: impl Into<String>) -> Step {
        let id = StepId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.send(Event::Started { step: id, title: title.into() });
        Step { sender: self.clone(), id, open: AtomicBool::new(true) }
    }

    /// A warning that belongs to no step.
    pub fn warn(&self, message: impl Into<String>) {
        self.send(Event::Warning { message: message.into(), excerpt: None });
    }

    /// Hands over one event.
    pub fn send(&self, event: Event) {
        if let Some(channel) = &self.channel {
            // The display may be gone (its terminal closed): the work goes on.
            drop(channel.send(Message::Event(Timed { at: Instant::now(), event })));
        }
    }

    /// Waits until everything so far is shown; nothing more is until the pause is dropped.
    #[must_use]
    pub fn pause(&self) -> Pause {
        let (reached, shown) = mpsc::channel();
        let (go_on, over) = mpsc::channel();
        if let Some(channel) = &self.channel
            && channel.send(Message::Pause { reached, over }).is_ok()
        {
            // Ends without a word: the other side is dropped, by a display that is gone too.
            let _ = shown.recv();
        }
        Pause(go_on)
    }
}

/// While it lives the terminal is somebody else's; events wait.
#[derive(Debug)]
pub struct Pause(#[expect(dead_code, reason = "held for its Drop")] mpsc::Sender<()>);

/// A step under way; dropped without an end it counts as canceled.
#[derive(Debug)]
pub struct Step {
    sender: Sender,
    id: StepId,
    open: AtomicBool,
}

impl Step {
    /// The step's number.
    #[must_use]
    pub fn id(&self) -> StepId {
        self.id
    }

    /// Passes on output of the step.
    pub fn log(&self, stream: Stream, bytes: &[u8]) {
        self.sender.send(Event::Log { step: self.id, stream, bytes: bytes.to_vec() });
    }

    /// Tells how far one item of the step has come.
    pub fn moved(&self, item: &str, done: u64, total: Option<u64>) {
        self.sender.send(Event::Moved { step: self.id, item: item.to_owned(), done, total });
    }

    /// Ends the step: its result was there already.
    pub fn cached(self) {
        self.end(Event::Cached { step: self.id });
    }

    /// Ends the step well.
    pub fn finished(self) {
        self.end(Event::Finished { step: self.id });
    }

    /// Ends the step with its error's line.
    pub fn failed(self, message: impl Into<String>) {
        self.has_failed(message);
    }

    /// Ends the step with its error's line while somebody still holds it.
    pub fn has_failed(&self, message: impl Into<String>) {
        self.end(Event::Failed { step: self.id, message: message.into() });
    }

    fn end(&self, event: Event) {
        if self.open.swap(false, Ordering::Relaxed) {
            self.sender.send(event);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.end(Event::Canceled { step: self.id });
    }
}
