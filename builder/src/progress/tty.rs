//! A live view: every step with its time, transfers and the last lines of what runs.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::display::Draw;
use super::event::{Event, StepId, Timed};
use super::spool::Spool;
use super::text;

/// Lines of output shown below a step that runs.
const TAIL: usize = 6;

/// Between two frames.
const FRAME: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Cached,
    Done,
    Failed,
    Canceled,
}

struct Step {
    title: String,
    start: Instant,
    end: Option<Instant>,
    state: State,
    moved: BTreeMap<String, (u64, Option<u64>)>,
    tail: VecDeque<String>,
    open: Vec<u8>,
    spool: Spool,
}

/// The live display.
pub(super) struct Tty<W> {
    out: W,
    start: Instant,
    steps: BTreeMap<StepId, Step>,
    /// Lines of the frame on the screen.
    drawn: usize,
    last: Option<Instant>,
}

impl<W: Write> Tty<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, start: Instant::now(), steps: BTreeMap::new(), drawn: 0, last: None }
    }

    fn log(&mut self, id: StepId, bytes: &[u8]) -> io::Result<()> {
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        step.spool.push(bytes)?;
        step.open.extend_from_slice(bytes);
        while let Some(end) = step.open.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let rest = step.open.split_off(end + 1);
            let line = text::printable(&std::mem::replace(&mut step.open, rest));
            if line.is_empty() {
                continue;
            }
            step.tail.push_back(line);
            if step.tail.len() > TAIL {
                step.tail.pop_front();
            }
        }
        Ok(())
    }

    fn close(&mut self, id: StepId, at: Instant, state: State) {
        if let Some(step) = self.steps.get_mut(&id) {
            step.end = Some(at);
            step.state = state;
            step.tail.clear();
            step.moved.clear();
            if state != State::Failed {
                step.spool = Spool::default();
            }
        }
    }

    fn draw(&mut self, now: Instant) -> io::Result<()> {
        let (width, height) = terminal_size::terminal_size()
            .map_or((80, 24), |(w, h)| (usize::from(w.0).max(20), usize::from(h.0).max(5)));
        let mut lines = Vec::new();
        for step in self.steps.values() {
            lines.extend(step_lines(step, now, width));
        }
        // What does not fit on the screen cannot be redrawn: the oldest lines go first.
        let surplus = lines.len().saturating_sub(height.saturating_sub(2));
        let ended = self.steps.values().filter(|step| step.end.is_some()).count();
        let time = text::seconds(now.duration_since(self.start));
        let mut frame = self.rewind();
        frame.push_str(&clip(&format!("[+] {time} ({ended}/{} steps)", self.steps.len()), width));
        frame.push('\n');
        for line in lines.iter().skip(surplus) {
            frame.push_str(line);
            frame.push('\n');
        }
        self.drawn = lines.len() - surplus + 1;
        self.last = Some(now);
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }

    /// To the first line of the frame, and everything below it gone.
    fn rewind(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }
}

fn step_lines(step: &Step, now: Instant, width: usize) -> Vec<String> {
    let time = text::seconds(step.end.unwrap_or(now).duration_since(step.start));
    let mark = match step.state {
        State::Running => "=>",
        State::Cached => "=> CACHED",
        State::Done => "=>",
        State::Failed => "=> ERROR",
        State::Canceled => "=> CANCELED",
    };
    let title = clip(&format!(" {mark} {}", step.title), width.saturating_sub(time.len() + 1));
    let pad = width.saturating_sub(title.chars().count() + time.len());
    let colour = match step.state {
        State::Running => "\x1b[0m",
        State::Failed => "\x1b[31m",
        State::Canceled => "\x1b[33m",
        State::Cached | State::Done => "\x1b[34m",
    };
    let mut lines = vec![format!("{colour}{title}{}{time}\x1b[0m", " ".repeat(pad))];
    for (item, (done, total)) in &step.moved {
        lines.push(clip(&format!(" => => {item} {}", text::progress(*done, *total)), width));
    }
    lines.extend(
        step.tail.iter().map(|line| format!("\x1b[2m{}\x1b[0m", clip(&format!(" => => # {line}"), width))),
    );
    lines
}

fn clip(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

impl<W: Write + Send> Draw for Tty<W> {
    fn event(&mut self, timed: &Timed) -> io::Result<()> {
        let at = timed.at;
        match &timed.event {
            Event::Started { step, title } => {
                let new = Step {
                    title: title.clone(),
                    start: at,
                    end: None,
                    state: State::Running,
                    moved: BTreeMap::new(),
                    tail: VecDeque::new(),
                    open: Vec::new(),
                    spool: Spool::default(),
                };
                self.steps.insert(*step, new);
            }
            Event::Log { step, bytes, .. } => self.log(*step, bytes)?,
            Event::Moved { step, item, done, total } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.moved.insert(item.clone(), (*done, *total));
                }
            }
            Event::Cached { step } => self.close(*step, at, State::Cached),
            Event::Finished { step } => self.close(*step, at, State::Done),
            Event::Failed { step, .. } => self.close(*step, at, State::Failed),
            Event::Canceled { step } => self.close(*step, at, State::Canceled),
            Event::Warning { message, excerpt } => {
                let frame = self.rewind();
                writeln!(self.out, "{frame}WARNING: {message}")?;
                if let Some(lines) = excerpt {
                    writeln!(self.out, "{lines}")?;
                }
                self.last = None;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= FRAME);
        if due && !self.steps.is_empty() { self.draw(now) } else { Ok(()) }
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.steps.is_empty() {
            self.draw(Instant::now())?;
            self.drawn = 0; // what is written now stays
        }
        for (id, step) in self.steps.iter_mut().filter(|(_, step)| step.state == State::Failed) {
            if step.spool.is_empty() {
                continue;
            }
            writeln!(self.out, "------\n > #{} {}:", id.0, step.title)?;
            let mut spool = std::mem::take(&mut step.spool);
            spool.copy_to(&mut self.out)?;
            let end = if spool.ends_line() { "" } else { "\n" };
            writeln!(self.out, "{end}------")?;
        }
        self.out.flush()
    }
}
