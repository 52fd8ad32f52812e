//! Lines as they come, each with the number of its step.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::display::Draw;
use super::event::{Event, StepId, Timed};
use super::spool::Spool;
use super::text;

/// Between two lines about the same transfer.
const BETWEEN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    All,
    Failures,
}

struct Step {
    title: String,
    start: Instant,
    /// The beginning of a line whose end has not come yet.
    open: Vec<u8>,
    /// When each transfer was last shown.
    moved: BTreeMap<String, Instant>,
    /// The whole output, where only failures are shown.
    spool: Spool,
}

/// The plain display.
pub(super) struct Plain<W> {
    out: W,
    show: Show,
    steps: BTreeMap<StepId, Step>,
    /// The step of the line above.
    last: Option<StepId>,
}

impl<W: Write> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, show: Show::All, steps: BTreeMap::new(), last: None }
    }

    pub(super) fn only_failures(out: W) -> Self {
        Self { show: Show::Failures, ..Self::new(out) }
    }

    /// An empty line and the title stand above the first line of a step, and again after another step's.
    fn line(&mut self, id: StepId, text: &str) -> io::Result<()> {
        if self.show == Show::Failures {
            return Ok(());
        }
        let Some(step) = self.steps.get(&id) else { return Ok(()) };
        let mut block = String::new();
        if self.last != Some(id) {
            if self.last.is_some() {
                block.push('\n');
            }
            block.push_str(&format!("#{} {}\n", id.0, step.title));
            self.last = Some(id);
        }
        if !text.is_empty() {
            block.push_str(&format!("#{} {text}\n", id.0));
        }
        self.out.write_all(block.as_bytes())
    }

    fn log(&mut self, id: StepId, at: Instant, bytes: &[u8]) -> io::Result<()> {
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        if self.show == Show::Failures {
            return step.spool.push(bytes);
        }
        step.open.extend_from_slice(bytes);
        let Some(end) = step.open.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = step.open.split_off(end + 1);
        let lines = std::mem::replace(&mut step.open, rest);
        let since = at.duration_since(step.start).as_secs_f64();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            self.line(id, &format!("{since:.3} {}", line.trim_end_matches(['\n', '\r'])))?;
        }
        Ok(())
    }

    fn moved(
        &mut self,
        id: StepId,
        at: Instant,
        (item, done, total): (&str, u64, Option<u64>),
    ) -> io::Result<()> {
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        let complete = total == Some(done);
        let recent = step.moved.get(item).is_some_and(|&last| at.duration_since(last) < BETWEEN);
        if recent && !complete {
            return Ok(());
        }
        step.moved.insert(item.to_owned(), at);
        let text = format!("{item} {}", text::progress(done, total));
        self.line(id, &text)
    }

    fn close(&mut self, id: StepId, text: &str) -> io::Result<()> {
        if let Some(step) = self.steps.get_mut(&id) {
            if !step.open.is_empty() {
                self.log(id, Instant::now(), b"\n")?;
            }
            self.line(id, text)?;
        }
        self.steps.remove(&id);
        Ok(())
    }

    fn failed(&mut self, id: StepId, message: &str) -> io::Result<()> {
        if self.show == Show::Failures
            && let Some(mut step) = self.steps.remove(&id)
        {
            writeln!(self.out, "#{} {}", id.0, step.title)?;
            step.spool.copy_to(&mut self.out)?;
            if !step.spool.ends_line() {
                writeln!(self.out)?;
            }
            return Ok(());
        }
        self.close(id, &format!("ERROR: {message}"))
    }
}

impl<W: Write + Send> Draw for Plain<W> {
    fn event(&mut self, timed: &Timed) -> io::Result<()> {
        let at = timed.at;
        match &timed.event {
            Event::Started { step, title } => {
                let new = Step {
                    title: title.clone(),
                    start: at,
                    open: Vec::new(),
                    moved: BTreeMap::new(),
                    spool: Spool::default(),
                };
                self.steps.insert(*step, new);
                self.line(*step, "")
            }
            Event::Log { step, bytes, .. } => self.log(*step, at, bytes),
            Event::Moved { step, item, done, total } => self.moved(*step, at, (item, *done, *total)),
            Event::Cached { step } => self.close(*step, "CACHED"),
            Event::Finished { step } => {
                let time = self.steps.get(step).map(|s| at.duration_since(s.start)).unwrap_or_default();
                self.close(*step, &format!("DONE {}", text::seconds(time)))
            }
            Event::Failed { step, message } => self.failed(*step, message),
            Event::Canceled { step } => self.close(*step, "CANCELED"),
            Event::Warning { message, excerpt } => {
                if self.last.take().is_some() {
                    writeln!(self.out)?;
                }
                writeln!(self.out, "WARNING: {message}")?;
                excerpt.as_ref().map_or(Ok(()), |lines| writeln!(self.out, "{lines}"))
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Stream;

    fn shown(events: Vec<Event>) -> String {
        let start = Instant::now();
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        for event in events {
            plain.event(&Timed { at: start, event }).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn log(step: u32, text: &str) -> Event {
        Event::Log { step: StepId(step), stream: Stream::Stdout, bytes: text.into() }
    }

    #[test]
    fn lines_of_steps_at_the_same_time_stay_whole() {
        let started = |step, title: &str| Event::Started { step: StepId(step), title: title.to_owned() };
        let text = shown(vec![
            started(1, "[1/2] RUN make"),
            log(1, "one\ntw"),
            started(2, "[2/2] RUN test"),
            log(2, "x\n"),
            log(1, "o\nlast"),
            Event::Finished { step: StepId(1) },
            Event::Failed { step: StepId(2), message: "exit code 2".to_owned() },
        ]);
        let expected = "#1 [1/2] RUN make\n#1 0.000 one\n\n#2 [2/2] RUN test\n#2 0.000 x\n\n#1 [1/2] RUN make\n\
                        #1 0.000 two\n";
        let (before, after) = text.split_at(expected.len());
        assert_eq!(before, expected);
        assert!(
            after.contains(" last\n#1 DONE 0.0s\n\n#2 [2/2] RUN test\n#2 ERROR: exit code 2\n"),
            "{after}"
        );
    }
}
