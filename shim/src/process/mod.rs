//! The life of one process of a container, as a value: which call is allowed when.
//!
//! Invariant: nothing here touches the system; every answer follows from the phase alone.

use crate::error::{Error, Kind};

/// A process of this shim: a container's init if `exec` is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) container: String,
    pub(crate) exec: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Created,
    Running,
    Paused,
    Stopped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    Start,
    Exec,
    Pause,
    Resume,
    Checkpoint,
    Update,
    Kill,
    Delete,
}

/// How a process ended, and when, in seconds and nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Exit {
    pub(crate) status: u32,
    pub(crate) seconds: i64,
    pub(crate) nanos: i32,
}

impl Phase {
    /// Whether a container's init may be asked for `verb` now.
    pub(crate) fn allows(self, verb: Verb) -> Result<(), Error> {
        use Phase::{Created, Paused, Running, Stopped};
        let allowed = match verb {
            Verb::Start => self == Created,
            Verb::Exec => matches!(self, Created | Running),
            Verb::Pause => self == Running,
            Verb::Resume => self == Paused,
            Verb::Checkpoint => matches!(self, Running | Paused),
            Verb::Update => self != Stopped,
            Verb::Kill => {
                return if self == Stopped { Err(finished()) } else { Ok(()) };
            }
            Verb::Delete => matches!(self, Created | Stopped),
        };
        if allowed { Ok(()) } else { Err(refusal(verb, self)) }
    }
}

/// The text containerd's clients look for.
pub(crate) fn finished() -> Error {
    Error::new(Kind::NotFound, "process already finished")
}

fn refusal(verb: Verb, phase: Phase) -> Error {
    let what = match verb {
        Verb::Start => "start",
        Verb::Exec => "exec in",
        Verb::Pause => "pause",
        Verb::Resume => "resume",
        Verb::Checkpoint => "checkpoint",
        Verb::Update => "update",
        Verb::Kill => "kill",
        Verb::Delete => "delete",
    };
    let state = match phase {
        Phase::Created => "created",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Stopped => "stopped",
    };
    Error::new(Kind::Precondition, format!("cannot {what} a {state} process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_phases() {
        use Phase::{Created, Paused, Running, Stopped};
        for (verb, phases) in [
            (Verb::Start, vec![Created]),
            (Verb::Exec, vec![Created, Running]),
            (Verb::Pause, vec![Running]),
            (Verb::Resume, vec![Paused]),
            (Verb::Checkpoint, vec![Running, Paused]),
            (Verb::Update, vec![Created, Running, Paused]),
            (Verb::Kill, vec![Created, Running, Paused]),
            (Verb::Delete, vec![Created, Stopped]),
        ] {
            let allowed: Vec<Phase> = [Created, Running, Paused, Stopped]
                .into_iter()
                .filter(|phase| phase.allows(verb).is_ok())
                .collect();
            assert_eq!(allowed, phases, "{verb:?}");
        }
    }

    #[test]
    fn refusals_say_what_and_why() {
        assert_eq!(
            Phase::Running.allows(Verb::Delete).unwrap_err().to_string(),
            "cannot delete a running process"
        );
        let late = Phase::Stopped.allows(Verb::Kill).unwrap_err();
        assert_eq!((late.to_string().as_str(), late.kind()), ("process already finished", Kind::NotFound));
    }
}
