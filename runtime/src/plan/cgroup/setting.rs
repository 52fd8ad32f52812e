//! One value for one file of a cgroup.

/// Written in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller, by the name that v1's hierarchies have; on v2 it tells what to enable.
    pub controller: String,
    pub file: String,
    pub value: String,
    pub how: How,
}

/// What to do besides a plain write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    Write,
    /// An older kernel lacks the file, and its absence means the same as the value.
    IfThere,
    /// This file where the first is absent, with this value (bfq's weight and the generic one).
    Or(String, String),
    /// Refused when that much, or that much of memory and swap together, is in use already (`checkBeforeUpdate`): the kernel
    /// would kill.
    UnlessInUse {
        with_swap: Option<u64>,
    },
    /// v1: memory and memory+swap; which goes first depends on what is set now.
    WithSwap {
        swap_file: String,
        swap: String,
    },
    /// The kernel takes it only before or after its neighbour changes: once more at the end if refused now.
    Retry,
}

impl Setting {
    /// A plain write.
    pub fn new(controller: &str, file: impl Into<String>, value: impl ToString) -> Self {
        Self {
            controller: controller.to_owned(),
            file: file.into(),
            value: value.to_string(),
            how: How::Write,
        }
    }

    /// With another manner of writing.
    #[must_use]
    pub fn how(mut self, how: How) -> Self {
        self.how = how;
        self
    }
}
