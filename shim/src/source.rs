//! What an event of the poll loop is about, packed into the number the kernel keeps for it.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    Listener,
    Signals,
    Events,
    Client(u32),
    Pump(u32),
    Oom(u32),
    /// What a runtime waits for before it is started.
    Launch(u32),
}

impl Source {
    pub(crate) fn token(self) -> u64 {
        let (kind, serial) = match self {
            Source::Listener => (0, 0),
            Source::Signals => (1, 0),
            Source::Events => (2, 0),
            Source::Client(serial) => (3, serial),
            Source::Pump(serial) => (4, serial),
            Source::Oom(serial) => (5, serial),
            Source::Launch(serial) => (6, serial),
        };
        kind << 32 | u64::from(serial)
    }

    pub(crate) fn from_token(token: u64) -> Option<Source> {
        let serial = u32::try_from(token & u64::from(u32::MAX)).ok()?;
        Some(match token >> 32 {
            0 => Source::Listener,
            1 => Source::Signals,
            2 => Source::Events,
            3 => Source::Client(serial),
            4 => Source::Pump(serial),
            5 => Source::Oom(serial),
            6 => Source::Launch(serial),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_was_made_of() {
        for source in [
            Source::Listener,
            Source::Signals,
            Source::Events,
            Source::Client(u32::MAX),
            Source::Pump(1),
            Source::Oom(2),
            Source::Launch(3),
        ] {
            assert_eq!(Source::from_token(source.token()), Some(source));
        }
        assert_eq!(Source::from_token(u64::MAX), None);
    }
}
