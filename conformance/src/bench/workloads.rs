//! What is measured: a deed on a kind of bundle, one after the other or with pauses between.

use super::bundles::Kind;

/// What a runtime is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// `run` of a program that writes one word.
    Run,
    /// `create`, `start`, and `delete` once the program has ended: the three together.
    Create,
    /// `exec` of such a program in a running container.
    Exec,
    State,
    List,
    /// `kill` with a signal that does nothing.
    Kill,
    /// `--version`.
    Version,
}

/// Whether a command follows at once. A pause shows what waits for the kernel (facts: a stall of 10 ms after 60 ms of idleness).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    BackToBack,
    Gaps,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) deed: Deed,
    pub(super) kind: Kind,
    pub(super) pace: Pace,
}

impl Workload {
    pub(super) fn name(self) -> String {
        let deed = match self.deed {
            Deed::Run => "run",
            Deed::Create => "create+start+delete",
            Deed::Exec => "exec",
            Deed::State => "state",
            Deed::List => "list",
            Deed::Kill => "kill",
            Deed::Version => "version",
        };
        let pace = if self.pace == Pace::Gaps { ", 80 ms gaps" } else { "" };
        format!("{deed} {}{pace}", self.kind.name())
    }

    /// It needs a container that runs.
    pub(super) fn needs_container(self) -> bool {
        matches!(self.deed, Deed::Exec | Deed::State | Deed::List | Deed::Kill)
    }
}

/// All of them, the most telling first.
pub(super) fn all() -> Vec<Workload> {
    let of = |deed, kind, pace| Workload { deed, kind, pace };
    let mut all = Vec::new();
    for pace in [Pace::BackToBack, Pace::Gaps] {
        all.push(of(Deed::Run, Kind::Plain, pace));
        all.push(of(Deed::Create, Kind::Plain, pace));
        all.push(of(Deed::Exec, Kind::Plain, pace));
        all.push(of(Deed::Run, Kind::Engine, pace));
        all.push(of(Deed::Run, Kind::UserNamespace, pace));
    }
    all.push(of(Deed::Create, Kind::Engine, Pace::BackToBack));
    all.push(of(Deed::Exec, Kind::Engine, Pace::BackToBack));
    all.push(of(Deed::Run, Kind::Mounts100, Pace::BackToBack));
    all.push(of(Deed::Run, Kind::Environment4000, Pace::BackToBack));
    for deed in [Deed::State, Deed::List, Deed::Kill, Deed::Version] {
        all.push(of(deed, Kind::Plain, Pace::BackToBack));
    }
    all
}
