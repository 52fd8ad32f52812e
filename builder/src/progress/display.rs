//! The thread that draws.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::{Message, Timed};
use super::json::Json;
use super::plain::Plain;
use super::sender::Sender;
use super::tty::Tty;
use crate::error::Error;

/// How a live view is refreshed: often enough for the eye, seldom enough for the processor.
const FRAME: Duration = Duration::from_millis(100);

/// What the display looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// A live view.
    Tty,
    /// Lines as they come.
    Plain,
    /// One JSON object a line.
    Json,
    /// Nothing but failures.
    Quiet,
}

/// One way to show events. Errors of the output end the showing, not the work.
pub(super) trait Draw: Send {
    /// Takes note of an event, and shows it where that happens at once.
    fn event(&mut self, timed: &Timed) -> std::io::Result<()>;

    /// Called a few times a second while work goes on.
    fn tick(&mut self, _now: Instant) -> std::io::Result<()> {
        Ok(())
    }

    /// Shows what is left when the work has ended, or before others get the terminal; events may follow.
    fn end(&mut self) -> std::io::Result<()>;
}

/// A display under way.
#[derive(Debug)]
pub struct Display {
    thread: JoinHandle<()>,
}

impl Display {
    /// Waits until everything is drawn. Every sender has to be gone by then.
    pub fn finish(self) {
        // A display that panicked has nothing more to show.
        drop(self.thread.join());
    }
}

/// Starts a display on stderr.
///
/// # Errors
/// A thread cannot be made.
pub fn start(mode: Mode) -> Result<(Sender, Display), Error> {
    let stderr = std::io::stderr();
    let live = stderr.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let draw: Box<dyn Draw> = match mode {
        Mode::Tty => Box::new(Tty::new(stderr)),
        Mode::Auto if live => Box::new(Tty::new(stderr)),
        Mode::Auto | Mode::Plain => Box::new(Plain::new(stderr)),
        Mode::Json => Box::new(Json::new(stderr)),
        Mode::Quiet => Box::new(Plain::only_failures(stderr)),
    };
    let (sender, events) = mpsc::channel();
    let thread = std::thread::Builder::new().name("progress".to_owned());
    let thread =
        thread.spawn(move || show(&events, draw)).map_err(|e| Error::system("start the display", e))?;
    Ok((Sender::new(sender), Display { thread }))
}

fn show(events: &mpsc::Receiver<Message>, mut draw: Box<dyn Draw>) {
    loop {
        let shown = match events.recv_timeout(FRAME) {
            Ok(Message::Event(timed)) => draw.event(&timed),
            Ok(Message::Pause { reached, over }) => {
                let shown = draw.end();
                drop(reached);
                // Nothing is sent: the other side is dropped.
                let _ = over.recv();
                shown
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // Nobody looks any more: take events so that their memory goes, until there are none.
        if shown.and_then(|()| draw.tick(Instant::now())).is_err() {
            for _ in events {}
            return;
        }
    }
    drop(draw.end());
    drop(std::io::stderr().flush());
}
