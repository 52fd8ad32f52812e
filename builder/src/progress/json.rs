//! One JSON object a line, for programs.

use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};

use super::display::Draw;
use super::event::{Event, Stream, Timed};

/// The JSON display. `time` counts seconds since it began.
pub(super) struct Json<W> {
    out: W,
    start: Instant,
}

impl<W: Write> Json<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, start: Instant::now() }
    }
}

impl<W: Write + Send> Draw for Json<W> {
    fn event(&mut self, timed: &Timed) -> io::Result<()> {
        let mut line = object(&timed.event);
        if let Value::Object(fields) = &mut line {
            let time = timed.at.saturating_duration_since(self.start).as_secs_f64();
            fields.insert("time".to_owned(), json!((time * 1000.0).round() / 1000.0));
        }
        writeln!(self.out, "{line}")
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn object(event: &Event) -> Value {
    match event {
        Event::Started { step, title } => json!({"event": "started", "step": step.0, "title": title}),
        Event::Cached { step } => json!({"event": "cached", "step": step.0}),
        Event::Log { step, stream, bytes } => {
            let stream = match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            };
            let mut line = json!({"event": "log", "step": step.0, "stream": stream});
            // Bytes that are no text are given as numbers: nothing is lost.
            match (std::str::from_utf8(bytes), &mut line) {
                (Ok(text), Value::Object(fields)) => fields.insert("text".to_owned(), json!(text)),
                (Err(_), Value::Object(fields)) => fields.insert("bytes".to_owned(), json!(bytes)),
                _ => None,
            };
            line
        }
        Event::Moved { step, item, done, total } => {
            json!({"event": "moved", "step": step.0, "item": item, "done": done, "total": total})
        }
        Event::Finished { step } => json!({"event": "finished", "step": step.0}),
        Event::Failed { step, message } => json!({"event": "failed", "step": step.0, "message": message}),
        Event::Canceled { step } => json!({"event": "canceled", "step": step.0}),
        Event::Warning { message, excerpt } => {
            json!({"event": "warning", "message": message, "excerpt": excerpt})
        }
    }
}
