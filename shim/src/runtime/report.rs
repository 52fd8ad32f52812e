//! Why a runtime failed, from its JSON log or, if that says nothing, from what it printed.

use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
}

/// Reads the reason and removes the log.
pub(super) fn failure(log: &Path, output: &[u8], code: Option<i32>) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    drop(std::fs::remove_file(log));
    reason(&text, output, code)
}

fn reason(log: &str, output: &[u8], code: Option<i32>) -> String {
    let errors = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    if let Some(last) = errors.rev().find(|line| matches!(line.level.as_str(), "error" | "fatal" | "panic")) {
        return last.msg;
    }
    let printed = String::from_utf8_lossy(output);
    match (printed.trim(), code) {
        ("", Some(code)) => format!("exit status {code}"),
        ("", None) => "killed".into(),
        (text, _) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_the_log_is_the_reason() {
        let log = "{\"level\":\"error\",\"msg\":\"first\"}\nnot json\n{\"level\":\"error\",\"msg\":\"second\",\"time\":\"t\"}\n\
                   {\"level\":\"warning\",\"msg\":\"third\"}\n";
        assert_eq!(reason(log, b"printed", Some(1)), "second");
    }

    #[test]
    fn without_a_log_it_is_the_output_then_the_exit_code() {
        assert_eq!(
            reason("", b" container \"x\" does not exist\n", Some(1)),
            "container \"x\" does not exist"
        );
        assert_eq!(reason("", b"", Some(3)), "exit status 3");
        assert_eq!(reason("", b"", None), "killed");
    }
}
